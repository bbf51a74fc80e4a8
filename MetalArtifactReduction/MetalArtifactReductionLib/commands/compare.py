"""``mar compare``: methods side by side on a folder of cases with truth."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, one_line, printable
from .messages import progress_bar
from .options import add_command

if TYPE_CHECKING:
    import numpy as np

    from ..evaluation.comparison import Row
    from ..evaluation.truth_sets import ArrayUnits, TruthCase
    from ..volume import CTVolume

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
    parser.add_argument("--blur-mm", type=float, default=BLUR_MM, help="default: %(default)s")
    parser.add_argument("--device", default="auto", help="as in mar correct")


def _compare(options: argparse.Namespace) -> None:
    from ..correction.sinogram import reconstruct_scan
    from ..evaluation.comparison import UNCORRECTED, errors_by_distance, format_table, mean_rows
    from ..evaluation.comparison import measure_images as measured
    from ..evaluation.truth_sets import read_cases
    from ..files.whole import check_new_folder, new_folder

    check_new_folder(options.output)
    units, methods, results = _units(options), _methods(options), _results(options)
    rows: list[Row] = []
    shells: list[tuple[dict[str, list[float]], ...]] = []
    worst: dict[str, tuple[float, str, CTVolume, dict[str, np.ndarray]]] = {}
    with progress_bar("comparing", options.quiet) as progress:
        for number, one in enumerate(read_cases(options.folder, units, reconstruct_scan)):
            progress(0.0, f"case {number + 1}: {one.case.name}")
            images = _images(one, methods, results, units, options.device)
            here = measured(one.case, images)
            rows += here
            hu = {label: image for label, (image, _) in images.items()}
            shells.append(
                tuple(errors_by_distance(one.case, hu, blur) for blur in (0.0, options.blur_mm))
            )
            before = here[0].metrics.rmse_body_hu
            k = int(one.case.metal.sum(axis=(1, 2)).argmax())
            shown = {label: image[k] for label, image in hu.items()}
            shown[TRUTH] = one.case.reference_hu[k]
            for row in here[1:]:
                ratio = row.metrics.rmse_body_hu / max(before, 1e-6)
                if row.method not in worst or ratio > worst[row.method][0]:
                    worst[row.method] = (ratio, one.case.name, one.case.corrupted, shown)
    means = mean_rows(rows, f"mean of {len(shells)}")
    others = [row for row in means if row.method != UNCORRECTED]
    best = min(others, key=lambda row: row.metrics.rmse_body_hu).method if others else None
    text = f"{format_table(means, 'markdown')}\n\n{_distance_table(shells, options.blur_mm)}\n"
    if best is not None:
        ratio, name, _, _ = worst[best]
        told = f"{one_line(name)}, {ratio:.2f} times the uncorrected RMSE (worst.png)"
        text += f"\nWorst of {best}: {told}\n"
    with new_folder(options.output) as made:
        (made / "table.md").write_text(text, encoding="utf-8")
        (made / "cases.csv").write_text(format_table(rows, "csv") + "\n", encoding="utf-8")
        if best is not None:
            _picture(worst[best][2], worst[best][3], made / "worst.png")
    if not options.quiet:
        print(printable(text), end="")


def _images(
    one: TruthCase,
    methods: Sequence[str],
    results: Mapping[str, Path],
    units: ArrayUnits,
    device: str,
) -> dict[str, tuple[np.ndarray, float]]:
    """Label -> HU and seconds, the uncorrected image first; all methods know the true metal."""
    from ..correction import correct_sinogram, correct_volume
    from ..evaluation.comparison import UNCORRECTED
    from ..evaluation.truth_sets import read_result

    case = one.case
    images: dict[str, tuple[np.ndarray, float]] = {UNCORRECTED: (case.corrupted.hu, 0.0)}
    for label, folder in results.items():
        images[label] = (read_result(folder, case, units), 0.0)
    for name in methods:
        if one.scan is None:
            result = correct_volume(case.corrupted, case.metal, name, device=device)
        else:
            result = correct_sinogram(
                one.scan, case.metal, name, original=case.corrupted, device=device
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


def _picture(volume: CTVolume, shown: Mapping[str, np.ndarray], path: Path) -> None:
    from ..files.pictures import comparison_picture

    comparison_picture(shown, path, ijk_to_ras=volume.ijk_to_ras, difference_to=TRUTH)


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
