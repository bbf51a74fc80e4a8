"""The same scene at five pixel sizes is corrected as well, by every method."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.working_grid import FINEST_MM, WorkingGrid
from MetalArtifactReductionLib.methods.registry import methods
from MetalArtifactReductionLib.tomography import (
    FilteredBackProjection,
    ImageGrid,
    ParallelProjector,
    parallel_geometry_for,
)
from MetalArtifactReductionLib.tomography.attenuation import hu_to_mu, mu_to_hu
from MetalArtifactReductionLib.volume import CTVolume
from support import once

SCENE_MM, SCENE_PIXELS = 0.2, 600  # 120 mm
COMMON_MM = 3.0
PIXELS_MM = (0.2, 0.3, 0.6, 1.0, 1.5)
HARDLY_AN_ERROR_HU = 1.5
"""What is left where a method removes nearly everything is the pixels' own."""

SPECTRUM = ((0.3, 1.15, 0.40), (0.4, 0.98, 0.20), (0.3, 0.86, 0.11))
"""Share, water relative to its mean, and steel in 1/mm, of three energies."""


@once
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A limb with bones, and a nail of steel: what a scanner shows, and without the steel."""
    y, x = (np.mgrid[:SCENE_PIXELS, :SCENE_PIXELS] - (SCENE_PIXELS - 1) / 2) * SCENE_MM
    hu = np.full(x.shape, -1000.0)
    hu[(x / 55) ** 2 + (y / 48) ** 2 <= 1] = -90
    hu[(x / 49) ** 2 + (y / 42) ** 2 <= 1] = 50
    for column, radius in ((14, 13), (-26, 9)):
        hu[np.hypot(x - column, y - 3) <= radius] = 900
        hu[np.hypot(x - column, y - 3) <= radius - 3] = 90
    steel = np.hypot(x - 14, y - 3) <= 6.5
    grid = ImageGrid(*x.shape, (SCENE_MM, SCENE_MM))
    geometry = parallel_geometry_for(grid, views_per_pixel=1.2, fewest_views=540)
    projector = ParallelProjector(grid, geometry, torch.device("cpu"))
    tissue, metal = (
        projector(torch.from_numpy(image[None].astype(np.float32)))
        for image in (hu_to_mu(torch.from_numpy(np.where(steel, -1000, hu))).numpy(), steel)
    )
    images = []
    for amount in (metal.clamp_min(0.0), torch.zeros_like(metal)):
        seen = sum(
            share * torch.exp(-water * tissue - mu * amount) for share, water, mu in SPECTRUM
        )
        image = FilteredBackProjection(projector)(-torch.log(seen.clamp_min(1e-4)))
        images.append(ndimage.gaussian_filter(mu_to_hu(image)[0].numpy(), 0.5 / SCENE_MM))
    return images[0].clip(-1000, 3071), images[1]


def sampled(image: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Means over square pixels, by exact areas."""
    count = int(SCENE_PIXELS * SCENE_MM / COMMON_MM) * round(COMMON_MM / pixel_mm)
    edges = np.arange(count + 1) * pixel_mm / SCENE_MM
    total = np.pad(image.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    at = ndimage.map_coordinates(total, np.meshgrid(edges, edges, indexing="ij"), order=1)
    return np.diff(np.diff(at, axis=0), axis=1) * (SCENE_MM / pixel_mm) ** 2


def error_hu(method: str, pixel_mm: float) -> float:
    """RMSE over the body 3 mm and more from the metal, on pixels of 3 mm for all."""
    shown, truth = (sampled(image, pixel_mm) for image in scene())
    volume = CTVolume(shown[None].astype(np.float32), np.diag([-pixel_mm, -pixel_mm, 2.0, 1.0]))
    result = correct_volume(volume, None, method, always=True)
    count = round(COMMON_MM / pixel_mm)

    def coarse(image: np.ndarray) -> np.ndarray:
        size = len(image) // count
        return image.reshape(size, count, size, count).mean(axis=(1, 3))

    error = coarse(result.corrected.hu[0] - truth)
    body = ndimage.binary_erosion(sampled(scene()[1], COMMON_MM) > -300, iterations=2)
    metal = sampled((scene()[0] > 2500).astype(float), COMMON_MM) > 0
    return float(np.sqrt((error[body & ~ndimage.binary_dilation(metal)] ** 2).mean()))


@pytest.mark.parametrize("method", [name for name in methods() if name != "patient"])
def test_every_method_is_as_good_at_every_pixel_size(method: str) -> None:
    errors = {pixel_mm: error_hu(method, pixel_mm) for pixel_mm in PIXELS_MM}
    print(method, {pixel_mm: round(error, 1) for pixel_mm, error in errors.items()})
    assert max(errors.values()) <= 1.15 * min(errors.values()) + HARDLY_AN_ERROR_HU


def rim_hu(pixel_mm: float) -> float:
    """Mean error within 0.6 mm of the metal after linear interpolation."""
    shown, truth = (sampled(image, pixel_mm) for image in scene())
    volume = CTVolume(shown[None].astype(np.float32), np.diag([-pixel_mm, -pixel_mm, 2.0, 1.0]))
    result = correct_volume(volume, None, "li", always=True)
    distance = ndimage.distance_transform_edt(result.metal_fraction[0] <= 0, sampling=pixel_mm)
    return float((result.corrected.hu[0] - truth)[(distance > 0) & (distance <= 0.6)].mean())


@pytest.mark.parametrize("pixel_mm", [0.2, 0.3])
def test_no_blur_of_metal_stays_on_fine_pixels(pixel_mm: float) -> None:
    assert abs(rim_hu(pixel_mm) - rim_hu(0.6)) < 50


@pytest.mark.parametrize("spacing", [(2.0, 0.2, 0.2), (0.3, 0.15, 0.7), (8.0, 1.5, 1.4), (1, 1, 1)])
def test_the_working_grid_covers_the_same_place(spacing: tuple[float, float, float]) -> None:
    k, j, i = spacing
    rng = np.random.default_rng(1)
    volume = CTVolume(rng.normal(0, 1, (3, 31, 45)).astype(np.float32), np.diag([-i, -j, k, 1.0]))
    grid = WorkingGrid(volume)
    rows, cols = (
        n * s for n, s in zip(grid.volume.hu.shape[1:], grid.volume.spacing_mm[1:], strict=True)
    )
    for side, pixel_mm in zip(grid.volume.spacing_mm[1:], spacing[1:], strict=True):
        assert FINEST_MM <= side < 2 * FINEST_MM or side == pixel_mm
        assert side / pixel_mm == pytest.approx(round(side / pixel_mm))
    # Corner of the first voxel, and the extent, up to a pixel that is cut.
    first, own = (one.ijk_to_ras @ [-0.5, -0.5, 0, 1] for one in (grid.volume, volume))
    assert first == pytest.approx(own, abs=1e-4)
    assert 31 * j <= rows + 1e-4 < 31 * j + FINEST_MM + j
    assert 45 * i <= cols + 1e-4 < 45 * i + FINEST_MM + i
    assert grid.volume.hu.mean() == pytest.approx(volume.hu.mean(), abs=0.05)


def test_padding_does_not_reach_tissue_beside_metal() -> None:
    """A rod at the edge of a field of view of 75 mm, a band of shadow along its rays."""
    y, x = (np.mgrid[:420, :420] - 209.5) * 0.2
    radius, from_rod = np.hypot(x, y), np.hypot(x - 35, y)
    hu = np.random.default_rng(0).normal(40, 15, x.shape)
    hu[(abs(y) < 2) & (radius < 36)] -= 250
    hu[from_rod < 2] = 3071
    hu[radius >= 37.5] = -3024
    volume = CTVolume(hu[None].astype(np.float32), np.diag([-0.2, -0.2, 2.0, 1.0]))
    metal = (from_rod < 2)[None].astype(np.float32)
    shown = correct_volume(volume, metal, "li", always=True).corrected.hu[0]
    tissue = (from_rod > 2) & (from_rod < 3.5) & (radius < 37.5)
    assert shown[tissue].min() > -600
    assert (shown[radius >= 37.5] == -3024).all()


def test_what_needs_no_other_pixels_is_computed_on_its_own() -> None:
    volume = CTVolume(np.zeros((2, 8, 8), np.float32), np.diag([-0.8, -0.8, 2.0, 1.0]))
    grid = WorkingGrid(volume)
    assert not grid.resampled and np.shares_memory(grid.volume.hu, volume.hu)
