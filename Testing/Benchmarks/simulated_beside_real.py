"""Simulated cases beside real metal: streaks, metal HU and the width of metal's rim.

    python Testing/Benchmarks/simulated_beside_real.py DATA CASES [--count 60]

DATA holds the CTs of ``metal_kept.REAL`` as NIfTI, CASES the cases of ``mar dataset``. In both the
product finds the metal, and each slice with 10 pixels of it and more is measured:

- metal HU: median over the metal.
- streaks: amplitude (CT-MAR measure 4) in soft tissue 2 to 30 mm from metal; elsewhere: the same
  30 to 60 mm away, which is mostly anatomy.
- rim: area between 80 and 20 % of the metal's largest HU over the length of its contour, in mm.

A volume is the median of its n slices; the n cases are given as 10th, 50th and 90th percentile.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from metal_kept import REAL, real_volumes
from scipy import ndimage
from skimage.measure import perimeter

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.evaluation.comparison import aligned_table
from MetalArtifactReductionLib.evaluation.metrics import streak_amplitude
from MetalArtifactReductionLib.evaluation.without_reference import soft_tissue_near_metal
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

FEWEST_PIXELS = 10
REACH_MM = 30.0
FIGURES = ("metal HU", "streaks", "elsewhere", "rim mm")


def rim_mm(hu: np.ndarray, metal: np.ndarray, pixel_mm: float) -> float:
    """Of one slice: median over its pieces of metal."""
    labels, count = ndimage.label(ndimage.binary_dilation(metal, iterations=3))
    widths = []
    for piece in range(1, count + 1):
        height = np.where(labels == piece, hu, -np.inf) / hu[labels == piece].max()
        length = perimeter(height > 0.5)
        area = (height > 0.2).sum() - (height > 0.8).sum()
        widths += [area / length * pixel_mm] if length > 0 else []
    return float(np.median(widths)) if widths else float("nan")


def figures(volume: CTVolume) -> np.ndarray:
    """:data:`FIGURES` of each slice in which metal is found, ``(slices, 4)``."""
    try:
        metal = segment_metal(volume).fraction > 0
    except InputError:  # none found
        return np.empty((0, len(FIGURES)))
    metal &= metal.sum(axis=(1, 2), keepdims=True) >= FEWEST_PIXELS
    used = np.flatnonzero(metal.any(axis=(1, 2)))
    if not used.size:
        return np.empty((0, len(FIGURES)))
    hu, metal = volume.hu[used], metal[used]
    spacing = volume.spacing_mm
    body = body_mask(volume.hu, spacing)[used]
    near, wider = (
        soft_tissue_near_metal(hu, metal, spacing_mm=spacing, body=body, reach_mm=reach)
        for reach in (REACH_MM, 2 * REACH_MM)
    )
    rows = [
        (
            np.median(layer[marked]),
            streak_amplitude(layer[close]),
            streak_amplitude(layer[away & ~close]),
            rim_mm(layer, marked, float(np.sqrt(spacing[1] * spacing[2]))),
        )
        for layer, marked, close, away in zip(hu, metal, near, wider, strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, len(FIGURES))


def line(name: str, count: int, values: Iterable[float]) -> list[str]:
    """One row of the table."""
    cells = [f"{v:.0f}" if abs(v) > 20 else f"{v:.2f}" for v in values]
    return [name, str(count), *cells]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--count", type=int, default=60, help="cases, drawn by chance")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    options = parser.parse_args()
    table = [["", "n", *FIGURES]]
    for name, volume in real_volumes(options.data, list(REAL)):
        found = figures(volume)
        table.append(line(name, len(found), np.nanmedian(found, axis=0)))
    cases = sorted(options.cases.glob("*/corrupted.nii*"))
    drawn = np.random.default_rng(0).permutation(len(cases))[: options.count]
    each = [figures(read_volume(cases[k])) for k in sorted(drawn)]
    medians = np.array([np.nanmedian(found, axis=0) for found in each if len(found)])
    for share in (10, 50, 90):
        values = np.nanpercentile(medians, share, axis=0)
        table.append(line(f"simulated, {share} %", len(medians), values))
    print(aligned_table(table, markdown=options.markdown))


if __name__ == "__main__":
    main()
