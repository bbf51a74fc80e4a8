"""``mar correct``: volumes in, corrected volumes out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .options import (
    add_command,
    add_compute_options,
    add_input,
    add_metal_options,
    metal_table,
    progress_bar,
    read_input,
)

RECONSTRUCTIONS = ("replace", "add-change", "frequency-split")
"""As in ``recombination``, the default first; that module would load torch before ``--help``."""


def add_correct(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "correct",
        _correct,
        "correct the metal artifacts of a CT",
        "Every slice that holds metal is projected, the metal trace in the sinogram is filled in, "
        "and the slice is reconstructed with the metal put back. Slices without metal come out "
        "unchanged, and so does the input file.",
    )
    add_input(parser)
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="corrected volume to write")
    parser.add_argument(
        "--method", default="nmar", help=f"{_methods_help()} (default: %(default)s)"
    )
    parser.add_argument(
        "--reconstruction",
        choices=RECONSTRUCTIONS,
        default=RECONSTRUCTIONS[0],
        help="how the filled sinogram becomes the image (default: %(default)s)",
    )
    add_metal_options(parser).add_argument(
        "--mask", type=Path, metavar="FILE", help="metal mask on the input's grid"
    )
    parser.add_argument("--change-map", type=Path, metavar="FILE", help="write corrected - input")
    parser.add_argument("--metal", type=Path, metavar="FILE", help="write the metal that was used")
    parser.add_argument("--force", action="store_true", help="replace existing outputs")
    add_compute_options(parser)


def _methods_help() -> str:
    from ..inpainting.registry import METHODS

    return "; ".join(f"{entry.name}: {entry.summary}" for entry in METHODS.values())


def _correct(options: argparse.Namespace) -> None:
    from ..correction import CorrectionParameters, correct_volume
    from ..inpainting.registry import create_inpainter
    from ..metal import segment_metal
    from ..outputs import written_together
    from ..tomography import as_device
    from ..volume import write_volume
    from ..volume_io import check_output, read_mask, write_array_like

    device = str(as_device(options.device))
    inpainter = create_inpainter(options.method)
    volume = read_input(options)
    outputs = list(filter(None, (options.output, options.change_map, options.metal)))
    for path in outputs:
        check_output(volume, path, overwrite=options.force)
    _check_distinct(outputs, options.mask)
    if options.mask is not None:
        fraction = read_mask(options.mask, volume)
    else:
        found = segment_metal(volume, options.segmentation, threshold_hu=options.threshold)
        fraction = found.fraction
        if not options.quiet:
            print(metal_table(found))
    with progress_bar("correcting", options.quiet) as progress:
        result = correct_volume(
            volume,
            fraction,
            inpainter,
            parameters=CorrectionParameters(reconstruction=options.reconstruction),
            device=device,
            batch_slices=options.batch_slices,
            progress=progress,
        )
    with written_together(outputs, overwrite=options.force) as files:
        if options.change_map is not None:
            write_array_like(result.change_hu, volume, files[options.change_map])
        if options.metal is not None:
            write_array_like(result.metal_fraction, volume, files[options.metal])
        write_volume(result.corrected, files[options.output])


def _check_distinct(outputs: Sequence[Path], mask: Path | None) -> None:
    from ..errors import OutputError
    from ..outputs import check_path_free

    resolved = [path.resolve() for path in outputs]
    for path in outputs:
        if resolved.count(path.resolve()) > 1:
            raise OutputError(f"{path}: named for two outputs; give each its own name")
        check_path_free(path, inputs=(mask,) if mask else (), overwrite=True)
