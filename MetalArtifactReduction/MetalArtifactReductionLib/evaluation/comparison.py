"""Several methods on the same cases, as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ..files.tables import cell
from ..metal.body import body_mask
from ..metal.certain import certain_metal
from ..volume import CTVolume
from .metrics import Metrics, default_regions, evaluate
from .without_reference import SHELLS_MM

UNCORRECTED = "uncorrected"

DISTANCES_MM = (*SHELLS_MM, (SHELLS_MM[-1][1], np.inf))

COLUMNS: Mapping[str, tuple[str, int]] = {
    "rmse_body_hu": ("RMSE body HU", 1),
    "rmse_near_metal_hu": ("RMSE near metal HU", 1),
    "streak_amplitude_hu": ("error range HU", 0),
    "psnr_db": ("PSNR dB", 1),
    "ssim": ("SSIM", 4),
    "noise_ratio": ("noise", 2),
    "edge_strength_soft": ("edges soft", 2),
    "edge_strength_bone": ("edges bone", 2),
    "bone_volume_ratio": ("bone volume", 3),
    "bone_dice": ("bone Dice", 3),
    "metal_volume_ratio": ("metal volume", 3),
    "metal_dice": ("metal Dice", 3),
}
"""Measures of the table: heading and digits."""


@dataclass(frozen=True)
class ScanWithTruth:
    """A scan with simulated metal.

    :param name: for the table.
    :param corrupted: what the scanner shows.
    :param reference_hu: the same scan without metal, ``(slices, rows, cols)``.
    :param metal: the true metal fraction, same shape.
    """

    name: str
    corrupted: CTVolume
    reference_hu: np.ndarray
    metal: np.ndarray


@dataclass(frozen=True)
class Row:
    """:param case: name of the case.
    :param method: name of the method, or :data:`UNCORRECTED`.
    :param metrics: its figures.
    :param seconds: of the correction without finding the metal; 0 for the input.
    """

    case: str
    method: str
    metrics: Metrics
    seconds: float


def measure_images(
    case: ScanWithTruth,
    images: Mapping[str, tuple[np.ndarray, float]],
    noise_region: np.ndarray | None = None,
) -> list[Row]:
    """Rows of images that exist already: label -> (HU, seconds).

    Only slices that hold metal are measured: the others are the same in every image. Errors count
    beside certain metal: every method shows that as the scanner did, wider than it is.

    :param noise_region: bool, of those slices; default as in :func:`.metrics.evaluate`.
    """
    slices = np.flatnonzero(case.metal.reshape(len(case.metal), -1).any(axis=1))
    if slices.size == 0:
        raise ValueError(f"case {case.name!r} holds no metal")
    metal = case.metal[slices]
    shown = np.maximum(metal, certain_metal(case.corrupted.hu, case.metal)[slices])
    reference = case.reference_hu[slices]
    regions: dict[str, Any] = default_regions(reference, shown, case.corrupted.spacing_mm)
    if noise_region is not None:
        regions["noise_region"] = noise_region
    return [
        Row(
            case.name,
            label,
            evaluate(
                hu[slices],
                reference,
                shown,
                spacing_mm=case.corrupted.spacing_mm,
                reference_metal=metal >= 0.5,
                **regions,
            ),
            seconds,
        )
        for label, (hu, seconds) in images.items()
    ]


def errors_by_distance(
    case: ScanWithTruth, images: Mapping[str, np.ndarray], blur_mm: float = 0.0
) -> dict[str, list[float]]:
    """RMSE in HU in each of :data:`DISTANCES_MM` from metal, in the body; NaN where none is.

    :param images: label -> HU. :param blur_mm: standard deviation of a Gaussian that takes what
        the images differ in resolution and noise; of the errors beside metal only.
    """
    spacing_mm = case.corrupted.spacing_mm[1:]
    slices = np.flatnonzero(case.metal.any(axis=(1, 2)))
    shown = np.maximum(case.metal, certain_metal(case.corrupted.hu, case.metal))[slices] > 0.02
    body = body_mask(case.reference_hu[slices], case.corrupted.spacing_mm) & ~shown
    beside = (~shown).astype(np.float32)
    distance = np.stack([distance_transform_edt(one, sampling=spacing_mm) for one in ~shown])
    sigma = [0.0, *(blur_mm / side for side in spacing_mm)]
    weight = gaussian_filter(beside, sigma) if blur_mm else beside
    out = {}
    for label, hu in images.items():
        error = (hu[slices] - case.reference_hu[slices]) * beside
        if blur_mm:
            error = gaussian_filter(error, sigma) / np.maximum(weight, 1e-3)
        shells = (error[body & (distance > a) & (distance <= b)] for a, b in DISTANCES_MM)
        out[label] = [float(np.sqrt(np.mean(one**2))) if one.size else np.nan for one in shells]
    return out


def mean_rows(rows: Sequence[Row], name: str = "mean") -> list[Row]:
    """Mean over the cases, method by method; figures that are NaN in a case do not count."""
    out = []
    for method in dict.fromkeys(row.method for row in rows):
        of_method = [row for row in rows if row.method == method]
        figures = {}
        for key in of_method[0].metrics.as_dict():
            values = np.array([getattr(row.metrics, key) for row in of_method])
            values = values[~np.isnan(values)]
            figures[key] = float(values.mean()) if values.size else float("nan")
        seconds = float(np.mean([row.seconds for row in of_method]))
        out.append(Row(name, method, Metrics(**figures), seconds))
    return out


def format_table(
    rows: Sequence[Row], style: str = "text", columns: Sequence[str] | None = None
) -> str:
    """The rows as ``"text"``, ``"markdown"`` or ``"csv"``.

    :param columns: names from :class:`.metrics.Metrics`; default: all of :data:`COLUMNS`. CSV has
        every measure in full precision whatever is asked.
    """
    styles: dict[str, Callable[[], str]] = {
        "csv": lambda: _csv(rows),
        "text": lambda: aligned_table(_cells(rows, columns or tuple(COLUMNS)), markdown=False),
        "markdown": lambda: aligned_table(_cells(rows, columns or tuple(COLUMNS)), markdown=True),
    }
    if style not in styles:
        raise ValueError(f"unknown table style {style!r}; choose one of {', '.join(styles)}")
    return styles[style]()


def _cells(rows: Sequence[Row], columns: Sequence[str]) -> list[list[str]]:
    head = ["case", "method", *(COLUMNS[name][0] for name in columns), "s"]
    body = [
        [
            row.case,
            row.method,
            *(f"{getattr(row.metrics, name):.{COLUMNS[name][1]}f}" for name in columns),
            f"{row.seconds:.1f}",
        ]
        for row in rows
    ]
    return [head, *body]


def aligned_table(cells: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Columns of equal width, the first two to the left; the first row is the head."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = []
    for line in cells:
        padded = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip())
    if markdown:
        rule = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
        lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join(lines)


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(rows[0].metrics.as_dict()) if rows else []
    writer.writerow(["case", "method", *names, "seconds"])
    for row in rows:
        values = [f"{value:.6g}" for value in row.metrics.as_dict().values()]
        writer.writerow([cell(row.case), cell(row.method), *values, f"{row.seconds:.3f}"])
    return out.getvalue().rstrip("\n")
