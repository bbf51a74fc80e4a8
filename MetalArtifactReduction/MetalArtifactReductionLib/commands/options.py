"""Options and small steps that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..correction.options import CorrectionOptions
from ..metal.options import SEGMENTATIONS
from .messages import add_message_options, note

if TYPE_CHECKING:
    import numpy as np

    from ..metal import CleanUpParameters, MetalSegmentation
    from ..volume import CTVolume


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    text: str,
) -> argparse.ArgumentParser:
    """A sub-parser whose ``--help`` starts with the summary and goes on with ``text``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {text}"
    )
    add_message_options(parser)
    parser.add_argument(
        "--config",
        dest="configuration",
        type=Path,
        metavar="FILE",
        help="defaults from this file; see mar config",
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_input(parser: argparse.ArgumentParser) -> None:
    """``INPUT`` and ``--series``."""
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="CT file, or a folder with a DICOM series"
    )
    add_read_options(parser)


def add_read_options(parser: argparse.ArgumentParser) -> None:
    """How an input is read: ``--series``, ``--acquisition``, ``--hu-offset``, ``--assume-ct``."""
    parser.add_argument(
        "--series", help="of a folder with several series: UID, number or description"
    )
    parser.add_argument(
        "--acquisition",
        help="of a series with several acquisitions ('all' stacks them), or of a file with several"
        " volumes (phases), from 1; 'each', of mar correct: a case for each one",
    )
    parser.add_argument(
        "--hu-offset",
        type=float,
        default=0.0,
        metavar="HU",
        help="add this to the values of a file that does not hold HU, for example -1024",
    )
    parser.add_argument(
        "--assume-ct", action="store_true", help="take another modality (C-arm: XA) as CT"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument(
        "--json", action="store_true", help="print the result as JSON, and nothing else"
    )


def add_dask(parser: Any) -> None:
    """``--dask``."""
    parser.add_argument(
        "--dask",
        metavar="SCHEDULER",
        help="on a cluster: address or file of a running Dask scheduler; local:N for N here",
    )


def read_input(options: argparse.Namespace) -> CTVolume:
    """The volume of ``INPUT``; what is unusual about it goes to the error stream."""
    volume = read_volume_of(options)
    note(volume.source.warnings if volume.source else ())
    return volume


def read_volume_of(options: argparse.Namespace) -> CTVolume:
    """The volume of ``INPUT``."""
    from ..files.volumes import read_volume

    return read_volume(
        options.input,
        series=options.series,
        acquisition=options.acquisition,
        hu_offset=options.hu_offset,
        assume_ct=options.assume_ct,
    )


def add_metal_options(parser: argparse.ArgumentParser) -> Any:
    """What is metal, and what the user says of it; returns the group of what excludes a threshold.

    :func:`clean_up_of` reads what is said of single parts.
    """
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--threshold", type=float, metavar="HU", help="metal begins here; proposed if not given"
    )
    parser.add_argument(
        "--segmentation",
        default=SEGMENTATIONS[0],
        choices=SEGMENTATIONS,
        help="how a threshold is proposed",
    )
    parts = parser.add_argument_group(
        "parts of the metal",
        "Each bright part is judged, and told with its number; this overrules it.",
    )
    parts.add_argument(
        "--include-surface",
        action="store_true",
        default=None,
        help="small metal on the skin or outside the body is metal, too",
    )
    for name, what in (("include", "is metal"), ("exclude", "is no metal")):
        parts.add_argument(
            f"--{name}", type=_labels, metavar="N[,N...]", help=f"part N {what}, whatever it is"
        )
        parts.add_argument(
            f"--{name}-near",
            type=float,
            nargs=4,
            action="append",
            metavar=("R", "A", "S", "MM"),
            help=f"what lies within MM of this place in the patient {what}; may be repeated",
        )
    return group


PART_OPTIONS = ("include", "exclude", "include_near", "exclude_near")
"""Names of what speaks of single parts of one volume; None where not given."""


def clean_up_of(options: argparse.Namespace) -> CleanUpParameters:
    """What the user says of single parts."""
    from ..metal import CleanUpParameters

    return CleanUpParameters(
        include_surface=bool(options.include_surface),
        include=options.include or (),
        exclude=options.exclude or (),
        include_near=tuple(map(tuple, options.include_near or ())),
        exclude_near=tuple(map(tuple, options.exclude_near or ())),
    )


def _labels(text: str) -> tuple[int, ...]:
    """Numbers of parts, separated by commas."""
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of part numbers like 1,3") from None


def chosen_options(options: argparse.Namespace, *, settled: bool = True) -> CorrectionOptions:
    """What the arguments of ``mar correct`` say of the correction itself.

    :param settled: "auto" becomes a device here; workers of a cluster choose for themselves.
    :raises DeviceError: no such device.
    """
    chosen = CorrectionOptions(
        options.method,
        reconstruction=options.reconstruction,
        always=options.always,
        segmentation=options.segmentation,
        threshold_hu=options.threshold,
        clean_up=clean_up_of(options),
        device=options.device,
        batch_slices=options.batch_slices,
    )
    return chosen.settled() if settled else chosen


def metal_table(found: MetalSegmentation) -> str:
    """The metal that was found, one line a part; specks are only counted."""
    lines = [f"metal above {found.threshold_hu:.0f} HU: {found.volume_mm3 / 1000:.2f} ml"]
    specks = [c for c in found.components if c.is_speck]
    for c in found.components:
        if c.is_speck:
            continue
        place = ", ".join(f"{axis} {mm:.0f}" for axis, mm in zip("RAS", c.centre_ras, strict=True))
        decision = "metal" if c.kept else "left out"
        reason = "" if c.remark == decision else f", {c.remark}"
        lines.append(
            f"  part {c.label}: {c.volume_mm3 / 1000:.3f} ml, up to {c.highest_hu:.0f} HU, at "
            f"{place} mm, slices {c.slices[0]}-{c.slices[1]}: {decision}{reason}"
        )
    if specks:
        volume = max(c.volume_mm3 for c in specks)
        lines.append(f"  {len(specks)} specks of {volume:.1f} mm³ or less: left out")
    return "\n".join(lines)


def metal_of(
    options: argparse.Namespace, volume: CTVolume
) -> tuple[np.ndarray, MetalSegmentation | None]:
    """The metal fraction: of ``--mask``, or segmented; see :func:`add_metal_options`."""
    from ..files.masks import read_mask
    from ..metal import segment_metal

    if options.mask is not None:
        return read_mask(options.mask, volume), None
    found = segment_metal(
        volume,
        options.segmentation,
        threshold_hu=options.threshold,
        clean_up=clean_up_of(options),
    )
    return found.fraction, found


def add_compute_options(parser: argparse.ArgumentParser) -> None:
    """``--device``, ``--batch-slices``."""
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, mps; auto takes the fastest there is"
    )
    parser.add_argument(
        "--batch-slices", type=count, default=8, help="slices at once; fewer need less memory"
    )


def count(text: str) -> int:
    """One or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
