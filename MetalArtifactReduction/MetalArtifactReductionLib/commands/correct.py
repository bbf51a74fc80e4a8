"""``mar correct``: volumes in, corrected volumes out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..correction.options import RECONSTRUCTIONS, CorrectionOptions
from .batch import add_batch_options, correct_many, is_batch
from .dry_run import add_dry_run
from .measured import (
    add_sinogram_options,
    corrected,
    read_input_or_scan,
    refuse_many,
    write_sinogram_of,
)
from .messages import note, progress_bar
from .options import (
    add_command,
    add_compute_options,
    add_json,
    add_metal_options,
    add_read_options,
    chosen_options,
    metal_of,
    metal_table,
)

if TYPE_CHECKING:
    from ..correction.result import CorrectionResult
    from ..dicom_export import DicomOutputs, DicomTemplate
    from ..metal import MetalSegmentation
    from ..volume import CTVolume
    from .records import CorrectRecord


def add_correct(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "correct",
        _correct,
        "correct the metal artifacts of a CT, or of many",
        "Every slice that holds metal is projected, the metal trace in the sinogram is filled in, "
        "and the slice is reconstructed with the metal put back. Slices without metal come out "
        "unchanged, and so does the input file.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="CT file, or a folder with a DICOM series; several, and CSV files of cases: see below;"
        " a sinogram: see --geometry",
    )
    # Text: a path would lose the slash at its end.
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help="corrected volume to write; a name that ends in / is a folder for a DICOM series",
    )
    add_read_options(parser)
    parser.add_argument("--method", default="nmar", help=f"{_methods_help()} (%(default)s)")
    parser.add_argument(
        "--reconstruction",
        choices=RECONSTRUCTIONS,
        default=RECONSTRUCTIONS[0],
        help="how the filled sinogram becomes the image (default: %(default)s)",
    )
    parser.add_argument(
        "--always",
        action="store_true",
        help="correct slices with metal but without streaks, too, and take also the streaks that a "
        "method adds; else the former stay as they are and the latter are left out",
    )
    add_metal_options(parser).add_argument(
        "--mask", type=Path, metavar="FILE", help="metal mask on the input's grid"
    )
    parser.add_argument(
        "--change-map", metavar="FILE", help="write corrected - input; FOLDER/: DICOM"
    )
    parser.add_argument(
        "--expected-error",
        type=Path,
        metavar="FILE",
        help="write how far off each voxel may be in HU, of methods that know it; no DICOM",
    )
    parser.add_argument(
        "--metal", metavar="FILE", help="write the metal that was used; .dcm: DICOM segmentation"
    )
    parser.add_argument("--force", action="store_true", help="replace existing outputs")
    add_sinogram_options(parser)
    _add_dicom_options(parser)
    add_compute_options(parser)
    add_json(parser)
    add_dry_run(parser)
    add_batch_options(parser)


def _add_dicom_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "DICOM out",
        "A derived series beside the original, in the same study and frame of reference.",
    )
    group.add_argument(
        "--dicom", action="store_true", help="OUTPUT is a folder for a derived series"
    )
    group.add_argument(
        "--dicom-template",
        type=Path,
        metavar="FOLDER",
        help="the DICOM series that an INPUT in another format was made from",
    )
    group.add_argument(
        "--dicom-template-series", metavar="SERIES", help="of a template with several series"
    )


def _methods_help() -> str:
    from ..methods.registry import methods

    lines = "; ".join(f"{entry.name}: {entry.summary}" for entry in methods().values())
    return lines.replace("%", "%%")  # in the path of own weights


def _correct(options: argparse.Namespace) -> int:
    if is_batch(options):
        refuse_many(options)
        return correct_many(options)
    options.input = Path(options.inputs[0])
    _correct_one(options)
    return 0


def _correct_one(options: argparse.Namespace) -> None:
    from ..batch.work import expected_error
    from ..files.leftovers import claimed
    from ..files.volumes import check_output, write_array_like, write_volume
    from ..files.whole import moved_at_once, written_together
    from ..methods.registry import create_method, require_expected_error
    from .records import printed

    chosen = chosen_options(options)
    error_file = options.expected_error
    if error_file is not None:
        require_expected_error(options.method)
    method = create_method(options.method)
    volume, scan = read_input_or_scan(options, chosen.device)
    dicom, template = _dicom_outputs(options, volume)
    output, change_map, metal = (
        None if text is None or path in dicom.paths() else path
        for text in (options.output, options.change_map, options.metal)
        for path in [Path(text or "")]
    )
    files = [path for path in (output, change_map, error_file, metal) if path is not None]
    for path in files:
        check_output(volume, path, overwrite=options.force)
    files += [options.sinogram] if options.sinogram is not None else []
    _check_distinct(files, options.mask)
    if options.dry_run:
        _tell_dry_run(options, volume, chosen)
        return
    with claimed(*files, *dicom.paths()), ExitStack() as stack:
        fraction, found = metal_of(options, volume)
        if found is not None and not (options.quiet or options.json):
            print(metal_table(found))
        with progress_bar("correcting", options.quiet) as progress:
            todo: dict[str, Any] = {"method": method, "options": chosen, "progress": progress}
            result, sinogram = corrected(volume, scan, fraction, **todo)
        now = stack.enter_context(moved_at_once())
        places = stack.enter_context(written_together(files, overwrite=options.force))
        arrays = {change_map: result.change_hu, metal: result.metal_fraction}
        if error_file is not None:
            arrays[error_file] = expected_error(result)
        for path, array in arrays.items():
            if path is not None:
                write_array_like(array, volume, places[path])
        if output is not None:
            write_volume(result.corrected, places[output])
        write_sinogram_of(options, sinogram, places)
        if template is not None:
            from ..dicom_export import dicom_outputs_written

            written = stack.enter_context(
                dicom_outputs_written(result, template, dicom, overwrite=options.force)
            )
            note(written.notes)
        now()
    if options.json:
        print(printed(_record(options, volume, result, found, chosen.device)))
    elif not options.quiet:
        _tell(result)


def _tell(result: CorrectionResult) -> None:
    from ..evaluation.outside_trace import changed_outside

    if len(result.left_alone):
        print(result.told)
    outside = changed_outside(result.parameters)
    if outside:
        print(f"changed outside the metal's rays: {outside}")


def _tell_dry_run(options: argparse.Namespace, volume: CTVolume, chosen: CorrectionOptions) -> None:
    from .dry_run import correction_cost, told

    fraction, _ = metal_of(options, volume)
    slices = int(fraction.any(axis=(1, 2)).sum())
    shape = " x ".join(map(str, volume.hu.shape[::-1]))
    outputs = [options.output, options.change_map, options.expected_error, options.metal]
    outputs.append(options.sinogram)
    told(
        f"would correct {options.input} ({shape}, {slices} slices with metal) with {chosen.method} "
        f"on {chosen.device}",
        f"would write {', '.join(str(one) for one in outputs if one is not None)}",
        str(correction_cost(chosen, volume, slices)),
    )


def _record(
    options: argparse.Namespace,
    volume: CTVolume,
    result: CorrectionResult,
    found: MetalSegmentation | None,
    device: str,
) -> CorrectRecord:
    from ..evaluation.outside_trace import KEY
    from .records import CorrectRecord, MetalRecord

    names = ("change_map", "expected_error", "metal", "sinogram")
    outputs = {"corrected": options.output} | {name: getattr(options, name) for name in names}
    outside = result.parameters.get(KEY)
    return CorrectRecord(
        str(options.input),
        {name: str(path) for name, path in outputs.items() if path is not None},
        result.method,
        device,
        len(volume.hu),
        [int(index) for index in result.left_alone],
        MetalRecord.of(volume, result.metal_fraction, found),
        {name: float(value) for name, value in outside.items()}
        if isinstance(outside, Mapping)
        else {},
        dict(result.timings),
    )


def _dicom_outputs(
    options: argparse.Namespace, volume: CTVolume
) -> tuple[DicomOutputs, DicomTemplate | None]:
    """What is written as DICOM, checked, and after which series; no template for nothing."""
    from ..dicom_export import DicomOutputs, check_dicom_outputs, dicom_template, names_dicom
    from ..errors import InputError

    def folder(text: str | None) -> Path | None:
        return Path(text) if text and names_dicom(text) and not text.endswith(".dcm") else None

    seg = options.metal if options.metal and options.metal.lower().endswith(".dcm") else None
    outputs = DicomOutputs(
        Path(options.output) if options.dicom else folder(options.output),
        folder(options.change_map),
        Path(seg) if seg else None,
    )
    if not outputs.paths():
        if options.dicom_template:
            raise InputError(
                f"--dicom-template {options.dicom_template}: no output is DICOM; end the name of "
                "one in / or give --dicom"
            )
        return outputs, None
    template = dicom_template(
        volume, folder=options.dicom_template, series=options.dicom_template_series
    )
    check_dicom_outputs(outputs, template, overwrite=options.force)
    return outputs, template


def _check_distinct(outputs: Sequence[Path], mask: Path | None) -> None:
    from ..errors import OutputError
    from ..files.whole import check_path_free

    resolved = [path.resolve() for path in outputs]
    for path in outputs:
        if resolved.count(path.resolve()) > 1:
            raise OutputError(f"{path}: named for two outputs; give each its own name")
        check_path_free(path, inputs=(mask,) if mask else (), overwrite=True)
