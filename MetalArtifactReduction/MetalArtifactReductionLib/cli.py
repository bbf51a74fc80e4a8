"""The command line ``mar``: parses, calls the library, tells the user.

Exit codes: 0 done; 1 a fault of the program (with its traceback); 2 unusable input, output or
option, one line says which and what to do; 130 stopped by the user, nothing written; 141 the reader
of the output has gone.

Other packages add commands through the entry-point group ``metal_artifact_reduction.commands``:
each entry is a function that takes the sub-parsers and adds its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import Cancelled, MARError

if TYPE_CHECKING:
    from .progress import Progress
    from .volume import CTVolume

COMMANDS_GROUP = "metal_artifact_reduction.commands"

RECONSTRUCTIONS = ("replace", "add-change", "frequency-split")
"""As in ``recombination``, the default first; that module would load torch before ``--help``."""

DESCRIPTION = """\
Metal artifact reduction for CT that exists only as images: DICOM, NIfTI, NRRD or MetaImage in,
corrected volume out. Not a medical device.

  mar info ct.nii.gz                          what is this volume, is it usable?
  mar segment ct.nii.gz metal.nii.gz          find the metal; look at it before you correct
  mar correct ct.nii.gz corrected.nii.gz      correct it (normalised interpolation, NMAR)
  mar correct dicom-folder/ corrected.nrrd --mask metal.nii.gz --change-map change.nrrd
  mar demo                                    see it work on a phantom with known truth

Every command explains itself: mar COMMAND --help"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mar: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command, the installed packages' own included."""
    parser = _Parser(
        prog="mar", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of any error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_info(commands)
    _add_segment(commands)
    _add_correct(commands)
    _add_evaluate(commands)
    for entry in sorted(entry_points(group=COMMANDS_GROUP), key=lambda e: e.name):
        entry.load()(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    debug = False
    try:
        options = build_parser().parse_args(arguments)
        debug = options.debug
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone (mar info ... | head): nothing to tell, nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Cancelled as error:
        print(f"mar: {error}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("mar: stopped; nothing was written", file=sys.stderr)
        return 130
    except (MARError, MemoryError) as error:
        if debug:
            raise
        remedy = "not enough memory; give fewer --batch-slices or crop the volume"
        message = remedy if isinstance(error, MemoryError) else " ".join(str(error).split())
        print(f"mar: {message}", file=sys.stderr)
        return 2
    return 0


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str, text: str
) -> argparse.ArgumentParser:
    """A sub-parser whose ``--help`` starts with the summary and goes on with ``text``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {text}"
    )
    parser.set_defaults(run=run)
    return parser


def add_compute_options(parser: argparse.ArgumentParser) -> None:
    """``--device``, ``--batch-slices``, ``--quiet``."""
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, mps; auto takes the fastest there is"
    )
    parser.add_argument(
        "--batch-slices", type=_count, default=8, help="slices at once; fewer need less memory"
    )
    add_quiet(parser)


def _count(text: str) -> int:
    """One or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


@contextmanager
def progress_bar(title: str, quiet: bool = False) -> Iterator[Progress]:
    """A bar on the error stream that a library function can report to."""
    from tqdm import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
    with tqdm(total=1.0, desc=title, bar_format=layout, disable=quiet, leave=not quiet) as bar:

        def progress(fraction: float, message: str) -> None:
            bar.set_postfix_str(message, refresh=False)
            bar.update(fraction - bar.n)

        yield progress


def _read(options: argparse.Namespace) -> CTVolume:
    from .volume import read_volume

    volume = read_volume(options.input, series=getattr(options, "series", None))
    for warning in volume.source.warnings if volume.source else ():
        print(f"mar: note: {warning}", file=sys.stderr)
    return volume


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="CT file, or a folder with a DICOM series"
    )
    parser.add_argument(
        "--series", help="of a folder with several series: UID, number or description"
    )


def _add_info(commands: Any) -> None:
    parser = add_command(
        commands,
        "info",
        _info,
        "tell what a volume is and whether it can be corrected",
        "Prints matrix, spacing, orientation, HU range, padding, clipping and what the file says "
        "of the scan. Nothing that identifies a patient is read or printed.",
    )
    _add_input(parser)


def _info(options: argparse.Namespace) -> None:
    from .volume_checks import describe

    facts = {name: _fact(value) for name, value in describe(_read(options)).items()}
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if value:
            print(f"{name.replace('_', ' '):<{width}}  {value}")


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_fact(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_fact(one) for one in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _add_metal_options(parser: argparse.ArgumentParser) -> Any:
    """``--segmentation`` and ``--threshold``; returns the group of what excludes a threshold."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--threshold", type=float, metavar="HU", help="metal begins here; proposed if not given"
    )
    parser.add_argument(
        "--segmentation",
        default="threshold",
        choices=("threshold", "kmeans"),
        help="how a threshold is proposed",
    )
    return group


def _add_segment(commands: Any) -> None:
    parser = add_command(
        commands,
        "segment",
        _segment,
        "find the metal in a CT and write it as a mask",
        "The threshold is proposed from the bright tail of the data (or by K-means, k = 3); 3-D "
        "clean-up drops specks and leads on the skin. The mask can be edited anywhere and given to "
        "'mar correct --mask'.",
    )
    _add_input(parser)
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="mask to write, .nii.gz ...")
    _add_metal_options(parser)
    parser.add_argument(
        "--fraction", action="store_true", help="write the share of metal, 0..1, not a mask"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing output")


def _segment(options: argparse.Namespace) -> None:
    from .metal import segment_metal
    from .volume_io import check_output, write_array_like

    volume = _read(options)
    check_output(volume, options.output, overwrite=options.force)
    found = segment_metal(volume, options.segmentation, threshold_hu=options.threshold)
    array = found.fraction if options.fraction else found.mask
    write_array_like(array, volume, options.output, overwrite=options.force)
    print(_metal_table(found))


def _metal_table(found: Any) -> str:
    lines = [f"metal above {found.threshold_hu:.0f} HU: {found.volume_mm3 / 1000:.2f} ml"]
    lines += [
        f"  part {c.label}: {c.volume_mm3 / 1000:.2f} ml, up to {c.highest_hu:.0f} HU, slices "
        f"{c.slices[0]}-{c.slices[1]}: {c.remark}"
        for c in found.components
    ]
    return "\n".join(lines)


def _add_correct(commands: Any) -> None:
    parser = add_command(
        commands,
        "correct",
        _correct,
        "correct the metal artifacts of a CT",
        "Every slice that holds metal is projected, the metal trace in the sinogram is filled in, "
        "and the slice is reconstructed with the metal put back. Slices without metal come out "
        "unchanged, and so does the input file.",
    )
    _add_input(parser)
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
    _add_metal_options(parser).add_argument(
        "--mask", type=Path, metavar="FILE", help="metal mask on the input's grid"
    )
    parser.add_argument("--change-map", type=Path, metavar="FILE", help="write corrected - input")
    parser.add_argument("--metal", type=Path, metavar="FILE", help="write the metal that was used")
    parser.add_argument("--force", action="store_true", help="replace existing outputs")
    add_compute_options(parser)


def _methods_help() -> str:
    from .inpainting.registry import METHODS

    return "; ".join(f"{entry.name}: {entry.summary}" for entry in METHODS.values())


def _correct(options: argparse.Namespace) -> None:
    from .correction import CorrectionParameters, correct_volume
    from .inpainting.registry import create_inpainter
    from .metal import segment_metal
    from .outputs import written_together
    from .tomography import as_device
    from .volume import write_volume
    from .volume_io import check_output, read_mask, write_array_like

    device = str(as_device(options.device))
    inpainter = create_inpainter(options.method)
    volume = _read(options)
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
            print(_metal_table(found))
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
    from .errors import OutputError
    from .outputs import check_path_free

    resolved = [path.resolve() for path in outputs]
    for path in outputs:
        if resolved.count(path.resolve()) > 1:
            raise OutputError(f"{path}: named for two outputs; give each its own name")
        check_path_free(path, inputs=(mask,) if mask else (), overwrite=True)


def _add_evaluate(commands: Any) -> None:
    parser = add_command(
        commands,
        "evaluate",
        _evaluate,
        "measure a volume against the truth, or without one",
        "With --reference: RMSE in HU over the body and near metal, PSNR, SSIM, streaks, noise, "
        "edges, metal and bone volume and Dice (the AAPM CT-MAR measures). Without: streaks, noise "
        "and mean HU around the metal, which need no truth.",
    )
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="VOLUME", help="volumes to measure, same grid"
    )
    parser.add_argument("--reference", type=Path, help="the same scan without metal or artifacts")
    parser.add_argument(
        "--mask", type=Path, help="metal mask; segmented from the first volume if absent"
    )
    parser.add_argument("--csv", type=Path, help="write the table as CSV too")
    parser.add_argument("--force", action="store_true", help="replace an existing CSV")


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluation.command import evaluate_files

    print(
        evaluate_files(
            options.inputs,
            reference=options.reference,
            mask=options.mask,
            csv=options.csv,
            overwrite=options.force,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
