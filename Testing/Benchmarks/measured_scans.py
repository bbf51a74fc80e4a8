"""What raw data are worth: every method on the measured sinogram and on the image alone.

    python Testing/Benchmarks/measured_scans.py [--method NAME ...] [--pixels 192] [--slices 2]

A phantom pelvis with a hip prosthesis is scanned in parallel and fan beam; the short scan is the
first part of the fan's turn. Both ways start from the same reconstruction with the same metal,
found in it, and are compared with the same scan without metal, reconstructed alike.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from MetalArtifactReductionLib import Scan, correct_sinogram, correct_volume, segment_metal
from MetalArtifactReductionLib.correction.sinogram import reconstruct_scan
from MetalArtifactReductionLib.evaluation.comparison import (
    UNCORRECTED,
    Row,
    ScanWithTruth,
    format_table,
    measure_images,
)
from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters, preset
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.tomography import FanGeometry, ImageGrid
from SimulateImplantsLib.cases.demo import hip_prosthesis
from SimulateImplantsLib.phantoms import pelvis_phantom
from SimulateImplantsLib.voxels.voxelize import voxelize

METHODS = ("li", "nmar", "unet", "prior", "prior-strict")
COLUMNS = ("rmse_body_hu", "rmse_near_metal_hu", "streak_amplitude_hu")
SIDE_MM = 400.0


def scans(pixels: int, slices: int) -> Iterator[tuple[str, ScanWithTruth, Scan]]:
    """Each geometry with its case; the case's images are reconstructions of its scan."""
    pixel = SIDE_MM / pixels
    phantom = pelvis_phantom(0, (5.0, pixel, pixel), (8, pixels, pixels))
    volume = phantom.volume
    hips = [hip_prosthesis(hip) for hip in phantom.truth.hips if hip.side == "left"]
    fractions = voxelize(hips, volume).fractions
    most = sum(fractions.values()).sum(axis=(1, 2)).argsort()[-slices:]
    fractions = {name: one for name, one in fractions.items() if one[most].any()}
    chosen = sorted(int(k) for k in most)
    grid = ImageGrid(pixels, pixels, (pixel, pixel))
    beams: dict[str, AcquisitionParameters] = {
        "parallel": preset("parallel"),
        "fan": preset("reference", views=720, bins=600, bin_mm=1.5),
    }
    for name, parameters in beams.items():
        made = simulate_volume(volume, fractions, parameters, slices=chosen, keep_sinograms=True)
        both = made.sinograms
        assert both is not None and both.reference is not None
        geometry = parameters.geometry_for(grid)
        views = {name: geometry.views}
        if isinstance(geometry, FanGeometry):
            fan = 2 * math.asin(SIDE_MM / 2 / geometry.source_isocentre_mm)
            views["short fan"] = math.ceil((math.pi + fan) / (2 * math.pi) * geometry.views) + 1
        for label, kept in views.items():
            turn = geometry.range_rad * kept / geometry.views
            scan = Scan(
                both.corrupted[:, :kept],
                replace(geometry, views=kept, range_rad=turn),
                grid,
                slice_mm=5.0,
            )
            truth = reconstruct_scan(replace(scan, sinogram=both.reference[:, :kept]))
            metal = made.metal_fraction[both.slices]
            yield label, ScanWithTruth(label, reconstruct_scan(scan), truth.hu, metal), scan


def measured(case: ScanWithTruth, scan: Scan, methods: list[str]) -> list[Row]:
    """Uncorrected, then each method from the image and from the raw data."""
    metal = segment_metal(case.corrupted).fraction
    images = {UNCORRECTED: (case.corrupted.hu, 0.0)}
    for method in methods:
        from_image = correct_volume(case.corrupted, metal, method)
        raw = correct_sinogram(scan, metal, method, original=case.corrupted).image
        for label, one in ((f"{method}, image", from_image), (f"{method}, raw", raw)):
            images[label] = (one.corrected.hu, one.timings["correction"])
    return measure_images(case, images)


def main() -> None:
    """Print a table for each geometry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", action="append", help=f"default: {', '.join(METHODS)}")
    parser.add_argument("--pixels", type=int, default=192)
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for _, case, scan in scans(options.pixels, options.slices):
        rows = measured(case, scan, options.method or list(METHODS))
        print(format_table(rows, "markdown", COLUMNS), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
