"""``mar compare``: methods side by side on a folder of cases with truth."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, one_line, printable
from .messages import progress_bar
from .options import add_command, add_dask

if TYPE_CHECKING:
    import numpy as np

    from ..evaluation.comparison import Row
    from ..evaluation.truth_sets import ArrayUnits, TruthCase
    from ..progress import Progress

BLUR_MM = 1.0
TRUTH = "without metal"


def add_compare(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "compare",
        _compare,
        "measure all methods, and other people's results, on a folder of cases with truth",
        "A case is a folder with image, truth and metal (sinogram, truth and metal with "
        "--geometry), or one .h5, .mat or .npz file with these arrays. Figures are those of mar "
        "evaluate, and RMSE by distance from metal, sharp and after a common blur.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of cases")
    parser.add_argument(
        "output", type=Path, metavar="OUTPUT", help="new folder: table.md, cases.csv, worst.png"
    )
    parser.add_argument(
        "--method", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    parser.add_argument(
        "--results",
        action="append",
        default=[],
        metavar="LABEL=FOLDER",
        help="corrected images of another method: CASE.nii.gz, .npy, ...; may be repeated",
    )
    parser.add_argument(
        "--geometry", type=Path, action="append", metavar="FILE", help="as in mar correct"
    )
    parser.add_argument("--pixel-mm", type=float, help="side of the pixels of arrays")
    parser.add_argument(
        "--mu-water", type=float, help="arrays hold attenuation, water this much, for example 0.192"
    )
    parser.add_argument(
        "--segment",
        action="store_true",
        help="methods find the metal themselves, as in mar correct; else they know it",
    )
    parser.add_argument("--blur-mm", type=float, default=BLUR_MM, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="as in mar correct")
    add_dask(parser)


@dataclass(frozen=True)
class _Choices:
    """What is measured, for every case: what the process that measures one is told."""

    units: ArrayUnits
    methods: tuple[str, ...]
    results: Mapping[str, Path]
    device: str
    segment: bool
    blur_mm: float


@dataclass(frozen=True)
class _Measured:
    """A case: its rows, errors by distance sharp and blurred, and the slice with most metal."""

    rows: list[Row]
    shells: tuple[dict[str, list[float]], ...]
    shown: dict[str, np.ndarray]
    ijk_to_ras: np.ndarray

    def ratio(self, method: str) -> float:
        """RMSE over the body as a multiple of the uncorrected one."""
        (row,) = (row for row in self.rows if row.method == method)
        return row.metrics.rmse_body_hu / max(self.rows[0].metrics.rmse_body_hu, 1e-6)


def _compare(options: argparse.Namespace) -> None:
    from ..evaluation.comparison import UNCORRECTED, format_table, mean_rows
    from ..evaluation.truth_sets import cases_in
    from ..files.whole import check_new_folder, new_folder

    check_new_folder(options.output)
    results = {label: folder.absolute() for label, folder in _results(options).items()}
    chosen = _Choices(
        _units(options),
        tuple(_methods(options)),
        results,
        options.device,
        options.segment,
        options.blur_mm,
    )
    cases = cases_in(options.folder.absolute())
    for path in cases:  # one that cannot be read would cost all that was done before it
        _read(chosen, path)
    with progress_bar("comparing", options.quiet) as progress:
        measured = _measure_all(chosen, cases, options.dask, progress)
    rows = [row for one in measured for row in one.rows]
    means = mean_rows(rows, f"mean of {len(cases)}")
    others = [row for row in means if row.method != UNCORRECTED]
    text = (
        f"{format_table(means, 'markdown')}\n\n"
        f"{_distance_table([one.shells for one in measured], options.blur_mm)}\n\n"
        f"{_METAL[options.segment]}\n"
    )
    worst = None
    if others:
        best = min(others, key=lambda row: row.metrics.rmse_body_hu).method
        worst = max(measured, key=lambda one: one.ratio(best))
        told = f"{one_line(worst.rows[0].case)}, {worst.ratio(best):.2f}"
        text += f"Worst of {best}: {told} times the uncorrected RMSE (worst.png)\n"
    with new_folder(options.output) as made:
        (made / "table.md").write_text(text, encoding="utf-8")
        (made / "cases.csv").write_text(format_table(rows, "csv") + "\n", encoding="utf-8")
        if worst is not None:
            _picture(worst, made / "worst.png")
    if not options.quiet:
        print(printable(text), end="")


_METAL = {
    False: "Every method was told the true metal.",
    True: "Every method found the metal itself (--segment).",
}


def _measure_all(
    chosen: _Choices, cases: Sequence[Path], dask: str | None, progress: Progress
) -> list[_Measured]:
    """One after the other, or on a cluster.

    :raises DeviceError: a worker died at a case again and again.
    """
    from ..errors import DeviceError
    from ..files.leftovers import temporary_folder
    from ..jobs.dask import Dask

    found: dict[Path, _Measured] = {}

    def done(path: Path, measured: _Measured | None) -> None:
        if measured is None:
            raise DeviceError(f"{path}: its process died; out of memory? leave the case out")
        found[path] = measured
        progress(len(found) / len(cases), f"{len(found)} of {len(cases)} cases")

    if dask is None:
        for number, path in enumerate(cases):
            progress(number / len(cases), f"case {number + 1}: {path.name}")
            done(path, _measure(chosen, path))
    else:
        with temporary_folder() as place:
            Dask(dask)(partial(_measure, chosen), cases, done, place / "stop")
    return [found[path] for path in cases]


def _measure(chosen: _Choices, path: Path) -> _Measured:
    """One case by all methods."""
    from ..evaluation.comparison import errors_by_distance, measure_images

    one, results = _read(chosen, path)
    images = _images(one, results, chosen)
    hu = {label: image for label, (image, _) in images.items()}
    k = int(one.case.metal.sum(axis=(1, 2)).argmax())
    shown = {label: image[k] for label, image in hu.items()}
    return _Measured(
        measure_images(one.case, images),
        tuple(errors_by_distance(one.case, hu, blur) for blur in (0.0, chosen.blur_mm)),
        {**shown, TRUTH: one.case.reference_hu[k]},
        one.case.corrupted.ijk_to_ras,
    )


def _read(chosen: _Choices, path: Path) -> tuple[TruthCase, dict[str, np.ndarray]]:
    """A case, and other methods' results of it by label."""
    from ..correction.sinogram import reconstruct_scan
    from ..evaluation.truth_sets import read_case, read_result

    one = read_case(path, chosen.units, reconstruct_scan)
    return one, {
        label: read_result(folder, one.case, chosen.units)
        for label, folder in chosen.results.items()
    }


def _images(
    one: TruthCase, results: Mapping[str, np.ndarray], chosen: _Choices
) -> dict[str, tuple[np.ndarray, float]]:
    """Label -> HU and seconds, the uncorrected image first."""
    from ..correction import correct_sinogram, correct_volume
    from ..evaluation.comparison import UNCORRECTED
    from ..metal import segment_metal

    case = one.case
    images: dict[str, tuple[np.ndarray, float]] = {UNCORRECTED: (case.corrupted.hu, 0.0)}
    images |= {label: (hu, 0.0) for label, hu in results.items()}
    metal = case.metal
    if chosen.segment:
        try:
            metal = segment_metal(case.corrupted).fraction
        except InputError:  # none is found: the methods leave the image as it is
            return images | {name: (case.corrupted.hu, 0.0) for name in chosen.methods}
    for name in chosen.methods:
        if one.scan is None:
            result = correct_volume(case.corrupted, metal, name, device=chosen.device)
        else:
            result = correct_sinogram(
                one.scan, metal, name, original=case.corrupted, device=chosen.device
            ).image
        images[name] = (result.corrected.hu, result.timings["correction"])
    return images


def _distance_table(shells: Sequence[tuple[dict[str, list[float]], ...]], blur_mm: float) -> str:
    """Means over the cases, sharp and blurred."""
    import warnings

    import numpy as np

    from ..evaluation.comparison import DISTANCES_MM, aligned_table

    names = [f"{a:g}-{b:g} mm" if np.isfinite(b) else f"> {a:g} mm" for a, b in DISTANCES_MM]
    cells = [["RMSE HU from metal", "", *names]]
    for part, title in enumerate(("sharp", f"after a blur of {blur_mm:g} mm")):
        for label in shells[0][part]:
            values = np.array([one[part][label] for one in shells])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # a shell that no case has
                means = np.nanmean(values, axis=0)
            cells.append([label, title, *("-" if np.isnan(v) else f"{v:.1f}" for v in means)])
    return aligned_table(cells, markdown=True)


def _picture(worst: _Measured, path: Path) -> None:
    from ..files.pictures import comparison_picture

    comparison_picture(worst.shown, path, ijk_to_ras=worst.ijk_to_ras, difference_to=TRUTH)


def _units(options: argparse.Namespace) -> ArrayUnits:
    from ..evaluation.truth_sets import ArrayUnits
    from ..files.scan_geometry import read_scan_geometry

    for name in ("pixel_mm", "mu_water", "blur_mm"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e4:
            raise InputError(f"--{name.replace('_', '-')} {value}: give a number above 0")
    geometry = read_scan_geometry(options.geometry) if options.geometry else None
    return ArrayUnits(options.pixel_mm, options.mu_water, geometry)


def _methods(options: argparse.Namespace) -> list[str]:
    """Those asked for; else all that can be used as they are."""
    from ..methods.registry import methods, require_method

    usable = (one for one in methods().values() if one.inpainter and not one.trains_first)
    chosen = options.method or [one.name for one in usable]
    for name in chosen:
        require_method(name)
    return list(dict.fromkeys(chosen))


def _results(options: argparse.Namespace) -> dict[str, Path]:
    found = {}
    for text in options.results:
        label, equals, folder = text.partition("=")
        if not (label and equals and folder):
            raise InputError(f"--results {text!r}: give LABEL=FOLDER")
        found[label] = Path(folder)
    return found
