"""Metal among teeth whose enamel is as bright as what is certain metal elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MetalArtifactReductionLib.metal import MetalSegmentation, segment_metal
from MetalArtifactReductionLib.volume import CTVolume

SIDE, PIXEL_MM, SLICES = 150, 0.6, 6
ROW, COL = np.mgrid[:SIDE, :SIDE] * PIXEL_MM
METAL_HU, ENAMEL_HU, DENTINE_HU = 12000.0, 2900.0, 1900.0
TEETH = [(50 - 25 * np.sin(a), 45 - 31 * np.cos(a)) for a in np.linspace(0.1, np.pi - 0.1, 9)]
IN_A_TOOTH = TEETH[2]


def disc(place: tuple[float, float], radius_mm: float) -> np.ndarray:
    """Share of the pixels in a disc, in mm."""
    away_mm = np.hypot(ROW - place[0], COL - place[1])
    return np.clip((radius_mm - away_mm) / PIXEL_MM + 0.5, 0, 1)


def jaw() -> np.ndarray:
    """A slice with a row of teeth that touch: enamel around dentine."""
    hu = np.where(np.hypot((ROW - 45) / 40, (COL - 45) / 42) < 1, 50.0, -1000.0)
    for place in TEETH:
        for radius_mm, inside_hu in ((5.4, ENAMEL_HU), (3.6, DENTINE_HU)):
            hu += disc(place, radius_mm) * (inside_hu - hu)
    return hu


def found(metal: np.ndarray, tissue: np.ndarray, clip_hu: float | None) -> MetalSegmentation:
    """In a scan of six slices, two of which hold the metal."""
    hu = np.stack([tissue + (k in (2, 3)) * metal * (METAL_HU - tissue) for k in range(SLICES)])
    hu = ndimage.gaussian_filter(hu, (0, 0.7, 0.7))
    hu += np.random.default_rng(1).normal(0, 8, hu.shape)
    hu = hu if clip_hu is None else hu.clip(max=clip_hu)
    scan = CTVolume(hu.astype(np.float32), np.diag([-PIXEL_MM, -PIXEL_MM, 2.0, 1.0]))
    return segment_metal(scan)


def assert_only(metal: np.ndarray, fraction: np.ndarray) -> None:
    """All of the metal is marked, with no more than its blur."""
    away_mm = ndimage.distance_transform_edt(metal <= 0.5) * PIXEL_MM
    assert (fraction[2:4, metal > 0.5] > 0).all()
    assert not fraction[2:4, away_mm > 3.5].any()


@pytest.mark.parametrize("clip_hu", [3071.0, None])
def test_of_teeth_behind_brackets_nothing_is_metal(clip_hu: float | None) -> None:
    brackets = np.zeros((SIDE, SIDE))
    for row, col in TEETH:
        out = np.array([row - 55, col - 45]) / np.hypot(row - 55, col - 45)
        brackets = np.maximum(brackets, disc((row + 6.4 * out[0], col + 6.4 * out[1]), 1.5))
    assert_only(brackets, found(brackets, jaw(), clip_hu).fraction)


def test_a_filling_is_found_though_more_of_the_enamel_than_of_it_is_bright() -> None:
    filling = disc(IN_A_TOOTH, 2.2)
    assert_only(filling, found(filling, jaw(), 3071.0).fraction)


def test_where_there_is_no_row_of_teeth_thin_metal_counts_far_from_what_is_clipped() -> None:
    soft = np.where(jaw() > -500, 50.0, -1000.0)
    thin = (abs(ROW - 40) < 0.4) & (abs(COL - 45) < 12)
    plate = np.maximum(disc((40, 33), 3.0), 0.28 * thin)
    fraction = found(plate, soft, 3071.0).fraction
    far = thin & (COL > 42) & (COL < 54)
    assert (fraction[2:4, far].max(axis=1) > 0).all()


def test_a_skull_is_no_jaw_and_a_thin_plate_on_it_counts_far_from_what_is_clipped() -> None:
    away_mm, tissue = np.hypot(ROW - 45, COL - 45), np.full((SIDE, SIDE), -1000.0)
    for radius_mm, inside_hu in ((44.0, 50.0), (35.0, 1500.0), (28.0, 40.0)):
        tissue[away_mm < radius_mm] = inside_hu
    plate = np.clip((0.35 - np.abs(away_mm - 35.3)) / PIXEL_MM + 0.5, 0, 1)
    plate *= np.abs(np.arctan2(ROW - 45, COL - 45)) < 0.25
    metal = np.maximum(disc((45, 80), 1.2), 0.37 * plate)
    assert (found(metal, tissue, 3071.0).fraction[2:4, plate > 0.5] > 0).mean() > 0.95
