"""The results of a correction as DICOM: the one function that writes, and its check before.

A result is written whole or not at all, never into the source's folder, and replaces nothing but an
earlier result of this program.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..files.dicom_quiet import quiet_pydicom
from ..files.whole import moved_at_once, written_together
from ..progress import Cancel, Progress, check_cancelled, report
from .folders import check_file_free, check_folder_free, set_aside
from .template import DicomTemplate
from .writer import SeriesWriter

if TYPE_CHECKING:
    from ..correction.result import CorrectionResult


@dataclass(frozen=True)
class DicomOutputs:
    """Where to write what; None is not written.

    :param corrected: folder to make for the corrected series.
    :param change_map: folder to make for the series of changes.
    :param metal: ``.dcm`` file for the metal as a DICOM segmentation.
    """

    corrected: Path | None = None
    change_map: Path | None = None
    metal: Path | None = None

    def paths(self) -> tuple[Path, ...]:
        """Those that are written."""
        return tuple(p for p in (self.corrected, self.change_map, self.metal) if p is not None)


@dataclass(frozen=True)
class WrittenDicom:
    """What was written.

    :param paths: folders and file.
    :param notes: sentences for the user about what could not be kept as it was.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def names_dicom(text: str) -> bool:
    """Whether the name of an output asks for DICOM: a folder (ends in a slash) or a .dcm file."""
    return text.endswith(("/", "\\")) or text.lower().endswith(".dcm")


def check_dicom_outputs(
    outputs: DicomOutputs, template: DicomTemplate, *, overwrite: bool = False
) -> None:
    """Raise now what :func:`write_dicom_outputs` would raise later; to be called before long work.

    :raises OutputError: exists, lies in the source's folder, no permission, no such folder.
    """
    for folder in (outputs.corrected, outputs.change_map):
        if folder is not None:
            check_folder_free(folder, template.files, overwrite=overwrite)
    if outputs.metal is not None:
        if outputs.metal.suffix.lower() != ".dcm":
            raise OutputError(f"{outputs.metal}: a DICOM segmentation ends in .dcm; rename it")
        check_file_free(outputs.metal, template.files, overwrite=overwrite)
    resolved = [path.resolve() for path in outputs.paths()]
    for path in resolved:
        others = [other for other in resolved if other is not path]
        for other in others:
            if other == path or other in path.parents:
                raise OutputError(
                    f"{path}: lies in another output of the same run; give each its own place"
                )


def write_dicom_outputs(
    result: CorrectionResult,
    template: DicomTemplate,
    outputs: DicomOutputs,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> WrittenDicom:
    """As :func:`dicom_outputs_written`, in their places on return."""
    with dicom_outputs_written(
        result, template, outputs, overwrite=overwrite, progress=progress, cancel=cancel
    ) as written:
        return written


@contextmanager
def dicom_outputs_written(
    result: CorrectionResult,
    template: DicomTemplate,
    outputs: DicomOutputs,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Iterator[WrittenDicom]:
    """Write a correction as derived series (and a segmentation) that open beside the original.

    Values are rounded to the steps that the source stores, 1 HU nearly always; voxels that were
    not changed keep their HU exactly. The change map is the difference of what is stored.

    They appear at the end of the block.

    :param result: of the volume that ``template`` was made for.
    :raises InputError: the source's files have gone or changed.
    :raises OutputError: see :func:`check_dicom_outputs`; disk full.
    :raises Cancelled: when ``cancel`` said so; nothing was written.
    """
    check_dicom_outputs(outputs, template, overwrite=overwrite)
    paths = outputs.paths()
    writer = SeriesWriter(result, template, progress, cancel, parts=len(paths))
    with (
        quiet_pydicom(),
        moved_at_once() as now,
        set_aside(paths) as make_room,
        written_together(paths, overwrite=overwrite) as places,
    ):
        if outputs.corrected is not None:
            writer.write_corrected(places[outputs.corrected])
        if outputs.change_map is not None:
            writer.write_change(places[outputs.change_map])
        if outputs.metal is not None:
            writer.write_metal(places[outputs.metal])
        check_cancelled(cancel)
        yield WrittenDicom(paths, writer.notes)
        now()
        make_room()
    report(progress, 1.0, "written as DICOM")
