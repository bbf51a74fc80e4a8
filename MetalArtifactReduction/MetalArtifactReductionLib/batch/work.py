"""One case of a batch: corrected in whatever process or machine, its folder whole or not at all."""

from __future__ import annotations

import math
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Cancelled, InputError, MARError
from ..files.leftovers import ASIDE, hidden_folder
from ..files.whole import new_folder
from ..jobs.task import NO_MEMORY
from ..progress import Cancel, Progress, check_cancelled
from .case import Case
from .record import MARKER, BatchSettings, CaseRecord, fail, failed_file, write_json
from .summary import PICTURE

if TYPE_CHECKING:
    import numpy as np

    from ..correction.result import CorrectionResult
    from ..evaluation.before_after import Measure
    from ..volume import CTVolume

Writer = Callable[["CorrectionResult", Path], None]
_SUFFIX_OF = {"nifti": ".nii.gz", "nifti2": ".nii.gz", "nrrd": ".nrrd", "metaimage": ".mha"}


def run_case(
    case: Case,
    settings: BatchSettings,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> CaseRecord:
    """Correct a case into its folder; whatever goes wrong is in the record, and in ``failed``.

    :raises KeyboardInterrupt: at the terminal; nothing is left behind.
    """
    started = time.monotonic()
    try:
        record = _correct(case, settings, progress, cancel, started)
    except Cancelled:
        return CaseRecord(case.output, case.given, "stopped", case.options.method)
    except MemoryError:
        return fail(case, settings, NO_MEMORY, traceback.format_exc(), started)
    except MARError as error:
        return fail(case, settings, " ".join(str(error).split()), "", started)
    except Exception as error:
        reason = " ".join(f"a fault of the program: {type(error).__name__}: {error}".split())
        return fail(case, settings, reason, traceback.format_exc(), started)
    for suffix in (".json", ".txt"):
        failed_file(case, settings, suffix).unlink(missing_ok=True)
    return record


def _correct(
    case: Case,
    settings: BatchSettings,
    progress: Progress | None,
    cancel: Cancel | None,
    started: float,
) -> CaseRecord:
    from ..correction import correct_volume
    from ..evaluation.before_after import compare_before_after
    from ..evaluation.outside_trace import changed_outside
    from ..evaluation.report_pictures import write_before_after
    from ..files.masks import read_mask
    from ..files.volumes import read_volume
    from ..jobs.correction import plain

    check_cancelled(cancel)
    kept = settings.kept_with(case)
    volume = read_volume(case.input, **case.reading())
    notes = list(volume.source.warnings if volume.source else ())
    write = _dicom_writer(volume, settings) if settings.dicom else _file_writer(volume, settings)
    fraction = None if case.mask is None else read_mask(case.mask, volume)
    result = correct_volume(
        volume, fraction, options=case.options, progress=progress, cancel=cancel
    )
    check_cancelled(cancel)
    measures = {
        measure.key: measure
        for measure in compare_before_after(
            volume,
            result.corrected.hu,
            result.metal_fraction,
            expected_error_hu=result.expected_error_hu,
        )
    }
    if len(result.left_alone):
        notes.append(result.told)
    outside = changed_outside(result.parameters)
    if outside:
        notes.append(f"changed outside the metal's rays: {outside}")
    record = _record(case, volume, result, measures["streak_amplitude_hu"], notes, started)
    target = settings.folder / case.output
    target.parent.mkdir(parents=True, exist_ok=True)
    with _earlier_aside(target, settings), new_folder(target) as folder:
        write(result, folder)
        write_before_after(folder / PICTURE, volume, result)
        figures = {key: [_rounded(m.before), _rounded(m.after)] for key, m in measures.items()}
        facts = {
            "settings": kept,
            "record": asdict(record),
            "before_after": figures,
            "parameters": plain(result.parameters),
        }
        write_json(folder / MARKER, facts)
    return record


def _record(
    case: Case,
    volume: CTVolume,
    result: CorrectionResult,
    streaks: Measure,
    notes: Sequence[str],
    started: float,
) -> CaseRecord:
    from ..metal.segmentation import metal_volume_mm3

    fraction = result.metal_fraction
    metal_mm3 = metal_volume_mm3(fraction, volume.voxel_mm3)
    return CaseRecord(
        case.output,
        case.given,
        "done",
        result.method,
        seconds=round(time.monotonic() - started, 2),
        slices=len(fraction),
        slices_with_metal=int(fraction.reshape(len(fraction), -1).any(axis=1).sum()),
        metal_cm3=_rounded(metal_mm3 / 1000),
        streaks_before_hu=_rounded(streaks.before),
        streaks_after_hu=_rounded(streaks.after),
        notes="; ".join(notes),
    )


def _file_writer(volume: CTVolume, settings: BatchSettings) -> Writer:
    """Writes ``corrected``, ``metal`` and the change map as files; checks the format now."""
    from ..files.volumes import check_output, write_array_like, write_volume

    source = volume.source.format if volume.source is not None else ""
    suffix = settings.suffix or _SUFFIX_OF.get(source, ".nrrd")
    check_output(volume, settings.folder / f"corrected{suffix}", overwrite=True)

    def write(result: CorrectionResult, folder: Path) -> None:
        write_volume(result.corrected, folder / f"corrected{suffix}")
        write_array_like(result.metal_fraction, volume, folder / f"metal{suffix}")
        if settings.change_map:
            write_array_like(result.change_hu, volume, folder / f"change{suffix}")
        if settings.expected_error:
            error = expected_error(result)
            write_array_like(error, volume, folder / f"expected-error{suffix}")

    return write


def expected_error(result: CorrectionResult) -> np.ndarray:
    """The expected error of a result.

    :raises InputError: its method does not know it.
    """
    if result.expected_error_hu is None:
        raise InputError(f"method {result.method!r} does not know its expected error")
    return result.expected_error_hu


def _dicom_writer(volume: CTVolume, settings: BatchSettings) -> Writer:
    """Writes derived series ``corrected`` and ``change``, and ``metal.dcm``."""
    from ..dicom_export import DicomOutputs, dicom_template, write_dicom_outputs

    template = dicom_template(volume)

    def write(result: CorrectionResult, folder: Path) -> None:
        change = folder / "change" if settings.change_map else None
        outputs = DicomOutputs(folder / "corrected", change, folder / "metal.dcm")
        write_dicom_outputs(result, template, outputs)

    return write


@contextmanager
def _earlier_aside(target: Path, settings: BatchSettings) -> Iterator[None]:
    """With ``force`` the folder of an earlier run makes room once the new one is written."""
    if not settings.force or not (target / MARKER).is_file():
        yield
        return
    hidden = hidden_folder(target.parent, ASIDE)
    aside = hidden / target.name
    target.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(target)
        raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _rounded(value: float) -> float | None:
    """To a thousandth; None where there is nothing to measure."""
    return round(float(value), 3) if math.isfinite(value) else None
