"""A small hip with bones that change from slice to slice, and a rod through some of them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.simulation import SimulationResult, simulate_volume
from MetalArtifactReductionLib.volume import CTVolume
from support import once

SHAPE = (22, 64, 64)
PIXEL_MM = 5.0
METAL = slice(9, 13)


def clean_hip(seed: int = 0) -> CTVolume:
    """Body, two shafts that move with the slice, mild texture; HU."""
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[: SHAPE[1], : SHAPE[2]] - 31.5
    hu = np.full(SHAPE, -1000.0)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), (1, 2, 2))
    for k, layer in enumerate(hu):
        body = np.hypot(row / 22, col / 28)
        layer[body < 1] = -90
        layer[body < 0.9] = 50
        for side in (-1, 1):
            shaft = np.hypot(row - 2 - 0.2 * k, col - side * (13 + 0.15 * k))
            layer[shaft < 6] = 900
            layer[shaft < 4] = 150
    hu += np.where(hu > -500, 60 * texture, 0)
    affine = np.diag([PIXEL_MM, PIXEL_MM, 5.0, 1.0])
    return CTVolume(hu.astype(np.float32), affine)


def rod() -> np.ndarray:
    """Metal fraction of a rod in the left shaft."""
    row, col = np.mgrid[: SHAPE[1], : SHAPE[2]] - 31.5
    fraction = np.zeros(SHAPE, np.float32)
    fraction[METAL] = np.hypot(row - 4, col + 15) < 2.3
    return fraction


@once
def scanned_hip() -> SimulationResult:
    """The hip with a rod of steel, its artifact and the truth."""
    return simulate_volume(clean_hip(), {"316L": rod()}, preset("wide-field", views=360))
