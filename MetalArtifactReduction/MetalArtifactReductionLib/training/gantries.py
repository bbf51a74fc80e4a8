"""Scanners to train with: the user's is unknown, so geometry, spectrum, dose and kernel vary.

Building a scanner's projectors takes seconds, changing its tube milliseconds. So a few gantries are
drawn and built once, and every block of slices gets a beam of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..physics.acquisition import AcquisitionParameters, preset
from ..physics.materials import material
from ..physics.scanner import Scanner
from ..physics.slice_models import physics_slice
from ..tomography import ImageGrid, Reprojection
from .clean_blocks import CleanBlock

CLIP_HU = (-1024.0, 3071.0)

PIXEL_MM = (0.6, 1.0)
FAN_MM = ((500.0, 900.0), (570.0, 1040.0), (595.0, 1085.6), (625.0, 1095.0))
"""Source to isocentre and to detector."""

PARALLEL_SHARE = 0.4
WINDOWS = ("ramp", "shepp-logan", "hamming")
KVPS = (80.0, 100.0, 110.0, 130.0, 140.0)
"""120 kV, the Hann and the cosine window, and the reference geometry are left for testing."""


def draw_gantry(rng: np.random.Generator, size: int) -> tuple[ImageGrid, AcquisitionParameters]:
    """A grid of ``size`` x ``size`` pixels and an acquisition with everything but the beam."""
    pixel = float(rng.uniform(*PIXEL_MM)) * 512 / size
    common: dict[str, Any] = {
        "energies": 10,
        "samples_per_bin": 2,
        "window": str(rng.choice(WINDOWS)),
        "cutoff": float(rng.uniform(0.8, 1.0)),
        "focal_spot_mm": float(rng.uniform(0.6, 1.4)),
        "hu_clip": None,
        "bins": None,
    }
    if rng.random() < PARALLEL_SHARE:
        chosen = preset("parallel", **common, views=int(rng.integers(80, 150)) * 8 * size // 512)
    else:
        source, detector = FAN_MM[int(rng.integers(len(FAN_MM)))]
        pitch = float(rng.uniform(0.55, 0.7)) * 512 / size
        chosen = preset(
            "reference",
            **common,
            views=int(rng.integers(90, 145)) * 8 * size // 512,
            source_isocentre_mm=source,
            source_detector_mm=detector,
            bin_mm=pitch * detector / source,
            curved_detector=bool(rng.random() < 0.7),
        )
    return ImageGrid(size, size, (pixel, pixel)), chosen


def draw_beam(rng: np.random.Generator) -> dict[str, Any]:
    """Tube, dose, scatter and processing."""
    photons = float(np.exp(rng.uniform(np.log(4e5), np.log(2e7))))
    return {
        "kvp": KVPS[int(rng.integers(len(KVPS)))],
        "photons_per_ray": photons,
        "electronic_noise_photons": float(rng.uniform(2.0, 15.0)),
        "starvation_filter_photons": float(rng.choice([0.0, 100.0, 400.0])),
        "floor_photons": float(rng.choice([0.5, 2.0, 10.0])),
        "scatter_to_primary": float(rng.choice([0.0, 1.0])) * float(rng.uniform(0.001, 0.015)),
        "scatter_width_mm": float(rng.uniform(80.0, 160.0)),
        "detector": "energy-integrating" if rng.random() < 0.85 else "photon-counting",
        "reference_energy_kev": float(rng.uniform(62.0, 76.0)),
    }


class Gantries:
    """Scanners and the corrections of their images, built when first asked for.

    :param count: how many differ.
    :param size: sides of their images in pixels.
    :param seed: they follow from it.
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        rng = np.random.default_rng([seed, 2])
        self._drawn = [draw_gantry(rng, size) for _ in range(count)]
        self._scanners: dict[int, Scanner] = {}
        self._corrections: dict[int, Reprojection] = {}

    def __len__(self) -> int:
        return len(self._drawn)

    def scanner(self, index: int, device: torch.device) -> Scanner:
        """The scanner of that number."""
        if index not in self._scanners:
            grid, parameters = self._drawn[index]
            self._scanners[index] = Scanner(grid, parameters, device)
        return self._scanners[index]

    def correction(self, index: int, device: torch.device) -> Reprojection:
        """What the correction projects that scanner's images with."""
        if index not in self._corrections:
            self._corrections[index] = Reprojection(self._drawn[index][0], device)
        return self._corrections[index]


def scanned(
    scanner: Scanner, clean: CleanBlock, seed: int, with_reference: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """HU with and without metal, ``(slices, rows, cols)``; twice the same without reference."""
    device = clean.hu.device
    generator = torch.Generator(device=device).manual_seed(seed)
    materials = [material(name) for name in clean.metals]
    scans = []
    for k, hu in enumerate(clean.hu):
        normals = torch.randn(2, *scanner.cells.sinogram_shape, generator=generator, device=device)
        scan = physics_slice(scanner, hu, clean.fractions[:, k], materials, normals, with_reference)
        scans.append(scan.sinograms)
    images = scanner.reconstruct(torch.cat(scans)).unflatten(0, (len(scans), -1))
    images = torch.where(scanner.seen, images, clean.hu[:, None])
    return images[:, 0], images[:, -1]
