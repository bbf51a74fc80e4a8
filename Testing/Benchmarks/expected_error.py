"""How true the expected error of a method is, on cases of ``mar dataset``.

    python Testing/Benchmarks/expected_error.py CASES [--method prior] [--per-ct 4] [--regions A,B]

The product finds the metal. Of slices that are corrected, voxels in the body within 20 pixels of
metal count, but for metal itself: true over expected mean absolute error, by how much is expected
(bins of fewer than 3 % of a row's voxels are left out), the correlation of both over voxels, and
the 10th and 90th percentile of five and more cases' own ratios. A case belongs to the first of
``--regions`` that its CT's name holds, or to "other".
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from MetalArtifactReductionLib import correct_volume, read_volume
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.evaluation.comparison import aligned_table
from MetalArtifactReductionLib.evaluation.metrics import NEAR_METAL_PIXELS
from MetalArtifactReductionLib.files.masks import read_mask
from MetalArtifactReductionLib.metal.body import body_mask, within_pixels
from MetalArtifactReductionLib.metal.certain import certain_metal
from MetalArtifactReductionLib.methods.registry import require_expected_error

EDGES_HU = (0, 15, 25, 40, 70, 120, np.inf)
LEAST_SHARE = 0.03
FEWEST = 5
REGIONS = "jaw,vault,head,neck,shoulders,thorax,abdomen,pelvis,spine"


def errors(folder: Path, method: str) -> np.ndarray | None:
    """Expected and true absolute error in HU, ``(2, voxels)``; None where nothing is corrected."""
    (corrupted,) = folder.glob("corrupted.*")
    volume = read_volume(corrupted)
    try:
        result = correct_volume(volume, method=method)
    except InputError:  # no metal is found, or what cannot be
        return None
    assert result.expected_error_hu is not None and result.strength is not None
    (reference,) = folder.glob("reference.*")
    (fraction,) = folder.glob("metal-fraction.*")
    truth, metal = read_volume(reference).hu, read_mask(fraction, volume) > 0.02
    shown = metal | (result.metal_fraction > 0) | certain_metal(volume.hu, result.metal_fraction)
    counted = body_mask(truth, volume.spacing_mm) & ~shown & within_pixels(metal, NEAR_METAL_PIXELS)
    counted[result.strength == 0] = False
    if not counted.any():
        return None
    true = np.abs(result.corrected.hu - truth)
    return np.stack([result.expected_error_hu[counted], true[counted]])


def line(name: str, cases: list[np.ndarray]) -> list[str]:
    """One row of the table."""
    expected, true = np.concatenate(cases, axis=1)
    cells = []
    for low, high in pairwise(EDGES_HU):
        inside = (expected >= low) & (expected < high)
        few = inside.mean() < LEAST_SHARE
        cells.append("" if few else f"{true[inside].mean() / expected[inside].mean():.2f}")
    ratios = [case[1].mean() / case[0].mean() for case in cases]
    low, high = np.percentile(ratios, [10, 90])
    whole = f"{true.mean() / expected.mean():.2f}"
    correlation = f"{np.corrcoef(expected, true)[0, 1]:.2f}"
    spread = f"{low:.2f} to {high:.2f}" if len(cases) >= FEWEST else ""
    return [name, str(len(cases)), *cells, whole, correlation, spread]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", type=Path, help="folder that mar dataset wrote")
    parser.add_argument("--method", default="prior")
    parser.add_argument("--per-ct", type=int, default=4, help="cases, the first ones")
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    options = parser.parse_args()
    require_expected_error(options.method)
    by_ct = defaultdict(list)
    with (options.cases / "cases.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] == "done":
                by_ct[row["ct"]].append(options.cases / f"case-{int(row['index']):05d}")
    by_region: dict[str, list[np.ndarray]] = defaultdict(list)
    for ct, folders in sorted(by_ct.items()):
        region = next((one for one in options.regions.split(",") if one in ct), "other")
        found = (errors(folder, options.method) for folder in folders[: options.per_ct])
        by_region[region] += [one for one in found if one is not None]
    bins = [f"{low} to {high}" for low, high in pairwise(EDGES_HU)]
    bins[-1] = f"from {EDGES_HU[-2]}"
    table = [["CT", "n", *(f"{one} HU" for one in bins), "all", "correlation", "cases"]]
    table += [line(region, cases) for region, cases in sorted(by_region.items()) if cases]
    table.append(line("all", [one for cases in by_region.values() for one in cases]))
    print(aligned_table(table, markdown=options.markdown))


if __name__ == "__main__":
    main()
