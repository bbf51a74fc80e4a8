"""Measures of harm against images whose harm is known, and corrections that do none or much."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safety import fake_metal, measure_safety

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.methods import InpaintingContext, Method
from MetalArtifactReductionLib.volume import CTVolume

SPACING = (2.0, 0.5, 0.5)


def scene(size: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Muscle with a ring of cortical bone around a disc of metal; distance from the centre, mm."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * 0.5
    radius = np.hypot(x, y)
    truth = np.where(radius <= 48, 50.0, -1000.0)
    truth[(radius > 10) & (radius <= 14)] = 800.0
    metal = (radius <= 4).astype(np.float32)
    return np.stack([truth, truth]), np.stack([metal, metal]), radius


def test_the_truth_is_safe() -> None:
    truth, metal, _ = scene()
    safety = measure_safety(np.where(metal > 0, 3071.0, truth), truth, metal, spacing_mm=SPACING)
    assert safety.as_dict() == {
        "rim_error_hu": 0.0,
        "next_error_hu": 0.0,
        "cortical_dice": 1.0,
        "cortical_kept": 1.0,
    }


def test_shells_show_what_is_in_them() -> None:
    truth, metal, radius = scene()
    image = truth.copy()
    image[:, (radius > 4) & (radius <= 5.5)] -= 120.0
    image[:, (radius > 7) & (radius <= 8.5)] += 30.0
    safety = measure_safety(image, truth, metal, spacing_mm=SPACING)
    # Shares of the rings' areas by their radii; pixels of half a millimetre blur the borders.
    rim = -120.0 * (5.5**2 - 4**2) / (6**2 - 4**2)
    after = 30.0 * (8.5**2 - 7**2) / (9**2 - 6**2)
    assert safety.rim_error_hu == pytest.approx(rim, abs=12)
    assert safety.next_error_hu == pytest.approx(after, abs=3)
    assert safety.cortical_dice == 1.0


def test_what_is_shown_as_metal_is_no_rim() -> None:
    truth, metal, radius = scene()
    image = truth.copy()
    image[:, radius <= 5] = 3071.0
    image[:, (radius > 5) & (radius <= 8)] -= 80.0
    blind = measure_safety(image, truth, metal, spacing_mm=SPACING)
    shown = np.stack([radius <= 5] * 2)
    seeing = measure_safety(image, truth, metal, spacing_mm=SPACING, shown_metal=shown)
    assert blind.rim_error_hu > 1000
    assert seeing.rim_error_hu == pytest.approx(-80.0)


def test_bone_that_was_removed_is_missed() -> None:
    truth, metal, _ = scene()
    image = truth.copy()
    half = image[:, :, :100]
    half[half == 800.0] = 200.0
    safety = measure_safety(image, truth, metal, spacing_mm=SPACING)
    assert safety.cortical_kept == pytest.approx(0.5)
    assert safety.cortical_dice == pytest.approx(2 * 0.5 / 1.5)


def test_bone_that_was_invented_counts_against_the_dice_only() -> None:
    truth, metal, radius = scene()
    image = truth.copy()
    image[:, (radius > 14) & (radius <= 18)] = 800.0
    safety = measure_safety(image, truth, metal, spacing_mm=SPACING)
    assert safety.cortical_kept == 1.0
    invented = (18**2 - 14**2) / (14**2 - 10**2)
    assert safety.cortical_dice == pytest.approx(2 / (2 + invented), abs=0.02)


def test_without_metal_or_with_other_shapes_nothing_is_measured() -> None:
    truth, metal, _ = scene()
    with pytest.raises(ValueError, match="no metal"):
        measure_safety(truth, truth, 0 * metal, spacing_mm=SPACING)
    with pytest.raises(ValueError, match="shapes differ"):
        measure_safety(truth[:1], truth, metal, spacing_mm=SPACING)


class Measured(Method):
    """Keeps what was measured: the ideal answer where there is no metal."""

    name = "measured"

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        return sinogram


class Emptied(Measured):
    """Sees nothing at all behind the metal."""

    name = "emptied"

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        return torch.zeros_like(sinogram)


def clean_scan() -> tuple[CTVolume, np.ndarray]:
    """A smooth patient of two slices, and the mask of a disc that is not there."""
    y, x = np.mgrid[:96, :96] - 47.5
    hu = -1000.0 + 1050.0 / (1.0 + np.exp(np.hypot(x / 40, y / 34) * 30 - 30))
    mask = (np.hypot(x - 10, y) <= 3).astype(np.float32)
    volume = CTVolume(
        np.ascontiguousarray(np.stack([hu, hu]), np.float32), np.diag([2.0, 2.0, 3.0, 1.0])
    )
    return volume, np.stack([mask, mask])


def test_fake_metal_finds_out_who_believes_in_it() -> None:
    volume, mask = clean_scan()
    honest = fake_metal(volume, mask, Measured())
    blind = fake_metal(volume, mask, Emptied())
    assert honest.others_identical and blind.others_identical
    assert honest.rmse_hu < 2.0  # projection and reconstruction of a smooth image
    assert blind.rmse_hu > 20 * honest.rmse_hu
    assert blind.highest_change_hu >= blind.rmse_hu


def test_the_change_is_that_of_the_correction_itself() -> None:
    volume, mask = clean_scan()
    found = fake_metal(volume, mask, "li")
    change = correct_volume(volume, mask, "li", always=True).change_hu.astype(np.float64)
    where = body_mask(volume.hu, volume.spacing_mm) & (mask == 0)
    assert found.rmse_hu == pytest.approx(np.sqrt((change[where] ** 2).mean()), rel=1e-5)
    assert found.highest_change_hu == pytest.approx(np.abs(change[where]).max(), rel=1e-5)


def test_fake_metal_needs_a_mask_on_the_grid() -> None:
    volume, mask = clean_scan()
    with pytest.raises(ValueError, match="empty"):
        fake_metal(volume, 0 * mask, "li")
    with pytest.raises(ValueError, match="differ"):
        fake_metal(volume, mask[:1], "li")
