"""Teeth beside metal stay teeth, whatever the method; bright streaks and blur become none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.artifact_strength import SoftTissue
from MetalArtifactReductionLib.correction.dense_tissue import keep_dense
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.volume import CTVolume

SIDE, PIXEL_MM = 160, 0.8
SPACING_MM = (PIXEL_MM, PIXEL_MM)
ROW, COL = np.mgrid[:SIDE, :SIDE].astype(float)
CLIPPED_FROM_HU = 3009.58
TEETH = [(90 + 42 * np.sin(a), 80 - 34 * np.cos(a)) for a in np.linspace(-2.6, -0.54, 8)]


def disc(row: float, col: float, radius: float) -> np.ndarray:
    """Share of the pixels in a disc."""
    return np.clip(radius + 0.5 - np.hypot(ROW - row, COL - col), 0, 1)


def jaw() -> np.ndarray:
    """Soft tissue with an arch of teeth."""
    hu = np.where(np.hypot((ROW - 80) / 70, (COL - 80) / 62) < 1, 50.0, -1000.0)
    for row, col in TEETH:
        hu += disc(row, col, 4.5) * 1850
    return np.asarray(ndimage.gaussian_filter(hu, 0.6))


def blurred(metal: np.ndarray, hu: np.ndarray, metal_hu: float = 12000.0) -> np.ndarray:
    """The metal as a scanner blurs and clips it, without any streak."""
    return np.asarray(hu + ndimage.gaussian_filter(metal * (metal_hu - hu), 0.6)).clip(max=3071.0)


def kept(
    corrected: np.ndarray, original: np.ndarray, streaks: float, metal: np.ndarray
) -> np.ndarray:
    """The slice by :func:`keep_dense`, with the same streaks everywhere."""
    everywhere = np.full_like(original, streaks)
    fraction = ndimage.maximum_filter(metal, 3)  # as a segmentation marks its blur, too
    return keep_dense(corrected, original, everywhere, fraction, SPACING_MM, CLIPPED_FROM_HU)


FILLING = disc(*TEETH[3], 1.5)


@pytest.mark.parametrize("streaks", [30.0, 60.0])
def test_a_tooth_that_a_method_dissolved_is_back_beside_its_filling(streaks: float) -> None:
    truth, dissolved = jaw(), np.where(jaw() > 400, 50.0, jaw())
    result = kept(dissolved, blurred(FILLING, truth), streaks, FILLING)
    beyond_mm = ndimage.distance_transform_edt(FILLING == 0) * PIXEL_MM
    tooth, least = (truth > 1200) & (FILLING == 0), streaks * (streaks / 70) ** 3 + 1.0
    clear = tooth & (beyond_mm > 2.2)  # the blur ends
    assert (beyond_mm[clear] < 4).sum() > 4
    assert (result[clear] > truth[clear] - least).all()
    assert (result <= np.maximum(truth, dissolved) + 100.0).all()  # its blur


def test_a_thin_wall_of_enamel_beside_a_filling_stays() -> None:
    filling, truth = disc(*TEETH[3], 2.0), jaw()
    result = kept(np.where(truth > 400, 50.0, truth), blurred(filling, truth), 30.0, filling)
    beyond_mm = ndimage.distance_transform_edt(filling == 0) * PIXEL_MM
    wall = (truth > 1200) & (beyond_mm > 1.5) & (beyond_mm < 2.0)
    assert wall.sum() > 10
    assert -300 < (result - truth)[wall].mean() < 50


@pytest.mark.parametrize("streaks", [400.0, np.inf])
def test_what_strong_or_unknown_streaks_may_have_made_is_not_taken(streaks: float) -> None:
    dissolved = np.where(jaw() > 400, 50.0, jaw())
    result = kept(dissolved, blurred(FILLING, jaw()), streaks, FILLING)
    assert np.array_equal(result, dissolved)


def test_neither_the_blur_of_metal_nor_a_bright_arm_beside_it_is_taken_for_a_tooth() -> None:
    soft = np.where(jaw() > -500, 50.0, -1000.0)
    clip = disc(100, 80, 1.6)
    star = blurred(clip, soft) + 900 * ((abs(ROW - 100) < 1) & (abs(COL - 80) < 7))
    result = kept(soft, star.clip(max=3071.0), 30.0, clip)
    assert np.array_equal(result, soft)


def test_around_a_large_piece_of_metal_nothing_is_taken() -> None:
    stem = disc(*TEETH[3], 8.0)
    dissolved = np.where(jaw() > 400, 50.0, jaw())
    assert np.array_equal(kept(dissolved, blurred(stem, jaw()), 30.0, stem), dissolved)


def test_where_there_are_no_teeth_apart_from_metal_nothing_is_taken() -> None:
    """As between the screws of a spine, however bright."""
    soft = np.where(jaw() > -500, 50.0, -1000.0)
    bars = soft + disc(*TEETH[3], 4.5) * 1850
    assert np.array_equal(kept(soft, blurred(FILLING, bars), 30.0, FILLING), soft)


def test_teeth_that_a_proposal_lost_do_not_count_as_streaks() -> None:
    noisy = jaw() + np.random.default_rng(1).normal(0, 5, (SIDE, SIDE))
    lost = np.where(jaw() > 300, 50.0, jaw())
    metal = disc(TEETH[3][0] - 7, TEETH[3][1], 1.5)
    near = ndimage.distance_transform_edt(metal == 0) * PIXEL_MM < 15
    streaks = SoftTissue(noisy, lost, metal, SPACING_MM).streaks_hu
    assert streaks[near].max() < 35
    waves = noisy + 80 * np.sin(COL / 3)
    shown = SoftTissue(waves, lost, metal, SPACING_MM).streaks_hu
    assert 40 < np.median(shown[near]) < 120
    everything = np.full((SIDE, SIDE), 2000.0)
    assert np.isinf(SoftTissue(everything, everything, metal, SPACING_MM).streaks_hu).all()


@pytest.mark.parametrize("method", ["li", "nmar", "prior"])
def test_teeth_behind_braces_are_not_dissolved(method: str) -> None:
    """With the truth of a simulated scan; half of it and more lost over 300 HU before."""
    brackets = np.zeros((SIDE, SIDE))
    for row, col in TEETH:
        away = np.array([row - 95, col - 80]) / np.hypot(row - 95, col - 80)
        brackets = np.maximum(brackets, disc(row + 6 * away[0], col + 6 * away[1], 1.5))
    clean = CTVolume(jaw()[None].astype(np.float32), np.diag([-PIXEL_MM, -PIXEL_MM, 2.0, 1.0]))
    metal = brackets[None].astype(np.float32)
    scan = simulate_volume(clean, {"316L": metal}, preset("wide-field", views=500), seed=1)
    assert scan.reference is not None
    result = correct_volume(scan.corrupted, ndimage.maximum_filter(metal, 3), method, always=True)
    truth = scan.reference.hu
    apart_mm = ndimage.distance_transform_edt(metal[0] == 0) * PIXEL_MM
    dense = (truth > 1200) & (apart_mm > 1.2)
    assert dense.sum() > 200
    assert ((result.corrected.hu - truth)[dense] < -300).mean() < 0.08
