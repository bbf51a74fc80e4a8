"""The trace holds the rays through the metal's blur, but not those through teeth beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MetalArtifactReductionLib.correction import correct, correct_volume
from MetalArtifactReductionLib.correction.dense_tissue import teeth_shares
from MetalArtifactReductionLib.correction.metal_blur import with_blur
from MetalArtifactReductionLib.tomography.trace import wider_trace
from MetalArtifactReductionLib.volume import CTVolume

SIDE = 128
ROW, COL = np.mgrid[:SIDE, :SIDE].astype(float)


def disc(row: float, col: float, radius: float) -> np.ndarray:
    """Share of the pixels in a disc."""
    return np.clip(radius + 0.5 - np.hypot(ROW - row, COL - col), 0, 1)


def scanned(truth: np.ndarray, metal: np.ndarray, pixels: float = 1.0) -> np.ndarray:
    """Metal of 12,000 HU, blurred with the image and cut off at 3071 HU, without streaks."""
    image = ndimage.gaussian_filter(truth + metal * (12000.0 - truth), pixels)
    return np.asarray(image, np.float32).clip(max=3071.0)


BODY = np.where(np.hypot(ROW - 64, COL - 64) < 58, 40.0, -1000.0)
ROD = disc(64, 70, 6.0)


@pytest.mark.parametrize("method", ["li", "nmar", "prior", "prior-strict", "trace-cnn"])
def test_no_bright_frame_is_left_around_metal(method: str) -> None:
    hu = scanned(BODY, ROD)
    volume = CTVolume(np.stack([hu] * 2), np.diag([0.8, 0.8, 2.0, 1.0]))
    marked = hu > 2600
    result = correct_volume(volume, np.stack([marked] * 2), method, always=True)
    beyond = ndimage.distance_transform_edt(~marked)
    ring = (beyond > 1) & (beyond <= 3)
    assert (hu - BODY)[ring].mean() > 100
    assert abs((result.corrected.hu[0] - BODY)[ring].mean()) < 25
    assert (result.corrected.hu[0] >= hu)[hu > 2700].all()


def blurred(truth: np.ndarray, metal: np.ndarray, pixel_mm: float = 0.8) -> np.ndarray:
    """What counts as blur beside what is marked, from 2600 HU on."""
    hu = scanned(truth, metal)
    marked = (hu > 2600).astype(np.float32)
    sides_mm = pixel_mm, pixel_mm
    teeth = teeth_shares(hu[None], marked[None], sides_mm)
    result = with_blur(hu[None], marked[None], hu[None] > 2640, teeth, sides_mm)[0]
    assert (result[marked > 0] == 1).all()
    return np.asarray((result > 0) & (marked == 0))


def test_bright_pixels_between_metal_and_soft_tissue_are_blur_and_bone_is_bone() -> None:
    hu = scanned(BODY, ROD)
    beside = ndimage.binary_dilation(hu > 2600, np.ones((3, 3))) & (hu <= 2600)
    assert np.array_equal(blurred(BODY, ROD), beside & (hu > 1000))
    half = np.where(COL > 70, np.maximum(BODY, 1300.0 * (BODY > 0)), BODY)
    found = blurred(half, ROD)
    assert found[beside & (hu > 1000) & (COL < 66)].all()
    assert not found[COL > 73].any()


@pytest.mark.parametrize(("pixel_mm", "pixels"), [(0.45, 2), (0.8, 1), (1.0, 1), (1.5, 0)])
def test_the_blur_has_a_width_in_mm(pixel_mm: float, pixels: int) -> None:
    hu = scanned(BODY, ROD, 1.6)
    sure = hu > 2640
    marked, no_teeth = sure[None].astype(np.float32), np.zeros(1, bool)
    result = with_blur(hu[None], marked, sure[None], no_teeth, (pixel_mm, pixel_mm))
    found = (result[0] > 0) & ~sure
    assert found.any() == bool(pixels)
    beyond = ndimage.distance_transform_edt(~sure)
    assert 1.41 * (pixels - 1) <= beyond[found].max(initial=0) <= 1.5 * pixels


def test_the_rays_beside_small_metal_are_left_to_the_teeth_around_it() -> None:
    teeth = [(64 + 30 * np.sin(a), 64 - 30 * np.cos(a)) for a in np.linspace(-2.6, -0.5, 7)]
    jaw = BODY + sum(disc(row, col, 5) for row, col in teeth) * 1800
    bracket = disc(*(np.array(teeth[3]) * 1.25 - 16.0), 2.0)
    apart_mm = 0.8 * ndimage.distance_transform_edt(jaw < 700)
    assert apart_mm[blurred(BODY, bracket)].min() < 1.0
    assert apart_mm[blurred(jaw, bracket)].min() > 2.0


def test_a_trace_is_widened_within_each_view() -> None:
    trace = torch.tensor([[[0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 1]]], dtype=torch.bool)
    wider = torch.tensor([[[0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 1, 1]]], dtype=torch.bool)
    assert torch.equal(wider_trace(trace, 1), wider)
    assert torch.equal(wider_trace(trace, 0), trace)


def test_a_jaw_goes_over_into_soft_tissue_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    crown = disc(64, 70, 4.0)
    slices = [scanned(BODY + disc(64, 40, radius) * 1900, crown) for radius in (7.0, 4.6, 0.0)]
    volume = CTVolume(np.stack(slices), np.diag([0.8, 0.8, 2.0, 1.0]))
    told: list[torch.Tensor] = []

    def without_rims(*given: torch.Tensor) -> torch.Tensor:
        told.append(given[4])
        return given[0]

    monkeypatch.setattr(correct, "without_rims", without_rims)
    correct_volume(volume, np.float32(volume.hu > 2600), "li")
    shares = torch.cat(told).tolist()
    assert shares[0] == 1 and 0 < shares[1] < 1 and shares[2] == 0
