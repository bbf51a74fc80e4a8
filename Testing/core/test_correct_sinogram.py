"""Measured scans: corrected in their trace only, and better than from the image alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analytic import Ellipse, fan_sinogram, rasterize
from MetalArtifactReductionLib import Scan, correct_sinogram
from MetalArtifactReductionLib.correction.sinogram import reconstruct_scan
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.tomography import FanGeometry, ImageGrid
from MetalArtifactReductionLib.tomography.attenuation import mu_to_hu

MU = 0.021
GRID = ImageGrid(96, 96, (1.5, 1.5))
FAN = FanGeometry(400, 200, 1.2, 550.0, 950.0, False, 0.25)
SHORT = replace(FAN, views=260, range_rad=math.radians(220), start_rad=0.5, direction=-1)
BODY = [Ellipse(MU, 60, 45), Ellipse(0.5 * MU, 8, 8, 25, 10), Ellipse(-0.3 * MU, 9, 6, -25, -8)]
METAL = [Ellipse(20 * MU, 3, 3, 0, 12), Ellipse(20 * MU, 3, 3, 4, -14)]


def scan_of(geometry: FanGeometry, *, metal: bool = True) -> Scan:
    """Two slices, the second with metal whose ray saturates the detector."""
    clean = fan_sinogram(BODY, geometry)
    both = np.minimum(clean + metal * fan_sinogram(METAL, geometry), 4.0)
    return Scan(np.stack([clean, both]).astype(np.float32), geometry, GRID, MU)


@pytest.mark.parametrize("geometry", [FAN, SHORT], ids=["full", "short"])
def test_only_the_trace_is_replaced_and_the_image_is_better(geometry: FanGeometry) -> None:
    scan = scan_of(geometry)
    before = scan.sinogram.copy()
    metal = np.zeros((2, 96, 96), np.float32)
    metal[1] = rasterize(METAL, GRID) > 5 * MU
    result = correct_sinogram(scan, metal, "li")
    assert np.array_equal(scan.sinogram, before)
    assert np.array_equal(result.sinogram[~result.trace], before[~result.trace])
    assert not result.trace[0].any() and 0.02 < result.trace[1].mean() < 0.2
    true_trace = fan_sinogram(METAL, geometry) > 2 * MU
    assert result.trace[1][true_trace].mean() > 0.99
    truth = mu_to_hu(rasterize(BODY, GRID), MU)
    tissue = (truth > -500) & (rasterize(METAL, GRID) == 0)

    def error(hu: np.ndarray) -> float:
        return float(np.sqrt(np.mean((hu[1] - truth)[tissue] ** 2)))

    assert error(result.image.corrected.hu) < 0.75 * error(result.original.hu)
    filled = np.abs(result.sinogram[1] - fan_sinogram(BODY, geometry))[result.trace[1]]
    raw = np.abs(before[1] - fan_sinogram(BODY, geometry))[result.trace[1]]
    assert filled.mean() < 0.3 * raw.mean()


@pytest.mark.parametrize("geometry", [FAN, SHORT], ids=["full", "short"])
def test_a_scan_is_reconstructed_in_hu_where_it_was_measured(geometry: FanGeometry) -> None:
    volume = reconstruct_scan(scan_of(geometry, metal=False))
    truth = mu_to_hu(rasterize(BODY, GRID), MU)
    flat = np.hypot(*np.gradient(truth)) == 0
    flat &= truth > -500
    assert abs((volume.hu[0] - truth)[flat].mean()) < 3
    assert np.sqrt(np.mean((volume.hu[0] - truth)[flat] ** 2)) < 15
    # The dense disc lies at x = 25 mm to the patient's left, y = 10 mm to the front.
    index = np.linalg.inv(volume.ijk_to_ras) @ [-25, 10, 0, 1]
    col, row = index[:2].round().astype(int)
    assert volume.hu[0, row, col] == pytest.approx(500, abs=40)


def test_a_slice_without_metal_stays_as_it_was() -> None:
    scan = scan_of(FAN)
    metal = np.zeros((2, 96, 96), np.float32)
    metal[1] = rasterize(METAL, GRID) > 5 * MU
    result = correct_sinogram(scan, metal, "nmar")
    assert np.array_equal(result.image.corrected.hu[0], result.original.hu[0])
    assert np.array_equal(result.sinogram[0], scan.sinogram[0])


def _turned(scan: Scan) -> object:
    return replace(scan, sinogram=scan.sinogram.swapaxes(1, 2))


WRONG = {
    "exchanged; transpose": _turned,
    "not its first axis; move": lambda s: replace(s, sinogram=s.sinogram.swapaxes(0, 1)),
    "401 views of 200 bins; correct": lambda s: replace(s, geometry=replace(FAN, views=401)),
    "radians": lambda s: replace(s, geometry=replace(FAN, range_rad=math.radians(2 * math.pi))),
    "range_rad is 360: degrees? give radians": lambda s: replace(
        s, geometry=replace(FAN, range_rad=360.0)
    ),
    "cover 185 degrees, the image needs": lambda s: replace(
        s, geometry=replace(FAN, range_rad=math.radians(185))
    ),
    "intensities": lambda s: replace(s, sinogram=np.exp(-s.sinogram)),
    "-log(counts": lambda s: replace(s, sinogram=1e5 * np.exp(-s.sinogram)),
    "1 NaN or infinite": lambda s: replace(s, sinogram=np.where(s.sinogram == 4.0, np.nan, 0)),
    "the second must be larger": lambda s: replace(s, geometry=replace(FAN, source_detector_mm=1)),
    "mu_water_per_mm is 0.21": lambda s: reconstruct_scan(replace(s, mu_water_per_mm=0.21)),
    "too fine": lambda s: reconstruct_scan(replace(s, grid=ImageGrid(512, 512, (0.2, 0.2)))),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_scan_that_does_not_fit_is_refused_with_the_remedy(message: str) -> None:
    with pytest.raises(InputError) as refused:
        WRONG[message](scan_of(FAN))
    text = str(refused.value)
    assert message.removeprefix("1 ") in text and "\n" not in text


def test_the_strict_prior_replaces_a_bin_more_beside_the_trace_and_nothing_else() -> None:
    scan = scan_of(FAN)
    metal = np.zeros((2, 96, 96), np.float32)
    metal[1] = rasterize(METAL, GRID) > 5 * MU
    nmar, strict = (correct_sinogram(scan, metal, name) for name in ("nmar", "prior-strict"))
    assert np.array_equal(strict.sinogram[~strict.trace], scan.sinogram[~strict.trace])
    assert (strict.trace | ~nmar.trace).all()
    more = strict.trace[1].sum(axis=1) - nmar.trace[1].sum(axis=1)
    edges = (np.diff(nmar.trace[1].astype(int)) != 0).sum(axis=1)
    assert 0.5 < more.sum() / edges.sum() < 1.6
