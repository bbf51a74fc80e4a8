"""Which metal to train with, and squared error or a discriminator? A table and pictures.

    python Testing/Benchmarks/compare_training_metal.py DATA \\
        --method realistic=unet --method random=WEIGHTS/unet-random.safetensors \\
        --method mixed=WEIGHTS/unet-mixed.safetensors --method cgan=cgan \\
        [--plans 3] [--slices 2] [--csv FILE] [--pictures FOLDER]

Realistic constructs (spine, hip prostheses, nails) are simulated with the reference scanner in
slices that no network was trained on, and corrected from the image alone: linear interpolation,
NMAR and the methods given as LABEL=NAME or LABEL=FILE. Each figure is a mean over cases: RMSE in
HU over the body and within 20 pixels of metal, streak amplitude, noise in flat soft tissue within
20 pixels of metal and edge strengths, both relative to the scan without metal (1 is best), seconds
of a case. DATA holds the public CTs that the plans in Testing/Experiments name; WEIGHTS is
MetalArtifactReductionLib/weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from held_out_cases import GROUPS, cases, corrected, measured
from PIL import Image

from MetalArtifactReductionLib.evaluation.comparison import (
    UNCORRECTED,
    Row,
    format_table,
    mean_rows,
)
from MetalArtifactReductionLib.files.pictures import comparison_picture
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.files.whole import written_whole
from MetalArtifactReductionLib.volume import CTVolume

COLUMNS = (
    "rmse_body_hu",
    "rmse_near_metal_hu",
    "streak_amplitude_hu",
    "noise_ratio",
    "edge_strength_soft",
    "edge_strength_bone",
)
LARGEST_PICTURE = 1600
NAIL = "totalseg_example_hip_nail_3mm"


def picture(
    images: Mapping[str, tuple[np.ndarray, float]],
    k: int,
    path: Path,
    volume: CTVolume,
    truth: np.ndarray | None = None,
) -> None:
    """One slice by every method."""
    shown = {
        "with metal" if label == UNCORRECTED else label: hu[k] for label, (hu, _) in images.items()
    }
    if truth is not None:
        shown["without metal"] = truth[k]
    comparison_picture(shown, path, ijk_to_ras=volume.ijk_to_ras, overwrite=True)
    with Image.open(path) as opened:  # nothing in it has a colour
        grey = opened.convert("L")
    grey.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    grey.save(path, optimize=True)
    print(f"{path}: slice {k}")


def nail_picture(data: Path, methods: Mapping[str, str], folder: Path) -> None:
    """The real nail, in the slice with the strongest streaks."""
    volume = read_volume(data / f"{NAIL}.nii.gz")
    images = corrected(volume, methods, None)
    change = np.abs(images[next(iter(methods))][0] - volume.hu).sum(axis=(1, 2))
    picture(images, int(change.argmax()), folder / "learned-nail.png", volume)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the CTs")
    parser.add_argument("--method", action="append", default=[], metavar="LABEL=NAME")
    parser.add_argument("--plans", type=int, default=3, help="constructs a group")
    parser.add_argument("--slices", type=int, default=2, help="neighbouring slices of each")
    parser.add_argument("--csv", type=Path, help="every case's figures")
    parser.add_argument("--pictures", type=Path, help="folder for pictures")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    methods = {"li": "li", "nmar": "nmar"} | dict(m.split("=", 1) for m in options.method)
    rows: dict[str, list[Row]] = {group: [] for group in GROUPS}
    for group, case in cases(options.data, options.plans, options.slices):
        images = corrected(case.corrupted, methods, None)
        rows[group] += measured(case, images)
        print(f"{case.name}: done", flush=True)
        if options.pictures is not None and case.name.endswith(f" {options.plans // 2}"):
            k = int(case.metal.sum(axis=(1, 2)).argmax())
            path = options.pictures / f"learned-{group.replace(' ', '-')}.png"
            picture(images, k, path, case.corrupted, case.reference_hu)
    every = [row for group in rows.values() for row in group]
    print()
    for group, found in (*rows.items(), ("all", every)):
        print(format_table(mean_rows(found, group), "markdown", COLUMNS), "\n")
    if options.csv is not None:
        with written_whole(options.csv, overwrite=True) as temporary:
            temporary.write_text(format_table(every, "csv") + "\n", encoding="utf-8")
    if options.pictures is not None:
        nail_picture(options.data, methods, options.pictures)


if __name__ == "__main__":
    main()
