"""Filtered back-projection against analytic phantoms and real CT."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from analytic import (
    Ellipse,
    fan_sinogram,
    head_phantom,
    parallel_sinogram,
    rasterize,
    relative_error,
)
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.tomography import (
    WINDOWS,
    FanGeometry,
    FanProjector,
    FilteredBackProjection,
    ImageGrid,
    ParallelGeometry,
    ParallelProjector,
    fbp,
    parallel_geometry_for,
)
from support import shared_data

GRID = ImageGrid(200, 180, (1.0, 1.0))
DISC = [Ellipse(0.02, 70, 60, 4, -6, 20)]


def as_sinogram(array):
    return torch.from_numpy(array.astype(np.float32))[None]


def interior(radius=40):
    y, x = np.mgrid[: GRID.rows, : GRID.cols]
    return np.hypot(y - GRID.rows / 2, x - GRID.cols / 2) < radius


@pytest.mark.parametrize("window", WINDOWS)
def test_a_disc_keeps_its_value(window):
    geometry = ParallelGeometry(320, 288, 1.0)
    A = ParallelProjector(GRID, geometry)
    image = fbp(A, as_sinogram(parallel_sinogram(DISC, geometry)), window)[0].numpy()
    assert image[interior()].mean() == pytest.approx(0.02, rel=2e-3)
    ringing = 0.05 if window == "sharp" else 0.03  # of the disc's edge
    assert np.abs(image[interior()] - 0.02).max() < 0.02 * ringing


@pytest.mark.parametrize("curved", [True, False])
@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_fan_beam_reconstructs_the_phantom(curved, offset):
    fan = FanGeometry(500, 420, 1.3, 550.0, 950.0, curved, offset)
    phantom = [*DISC, Ellipse(0.01, 8, 5, 30, 20, 40), Ellipse(-0.01, 6, 6, -25, -10, 0)]
    A = FanProjector(GRID, fan)
    image = fbp(A, as_sinogram(fan_sinogram(phantom, fan)))[0].numpy()
    truth = rasterize(phantom, GRID)
    flat = interior(60) & (ndimage.maximum_filter(truth, 7) == ndimage.minimum_filter(truth, 7))
    assert np.sqrt(np.mean((image - truth)[flat] ** 2)) < 0.02 * 0.01
    assert relative_error(image[interior(60)], truth[interior(60)]) < 0.03


def test_fan_and_parallel_agree_on_the_same_object():
    phantom = head_phantom(80.0)
    geometry = ParallelGeometry(360, 288, 1.0)
    parallel = ParallelProjector(GRID, geometry)
    fan = FanProjector(GRID, FanGeometry(600, 500, 1.1, 550.0, 950.0))
    one = fbp(parallel, parallel(torch.from_numpy(rasterize(phantom, GRID))[None]))
    two = fbp(fan, fan(torch.from_numpy(rasterize(phantom, GRID))[None]))
    body = rasterize(phantom, GRID) > 0
    difference = (one - two)[0].numpy()[body]
    assert np.sqrt(np.mean(difference**2)) < 0.02 * 0.015  # 15 HU on a phantom all edges
    assert abs(difference.mean()) < 0.02 * 0.001


def test_smoother_windows_have_less_noise():
    geometry = ParallelGeometry(180, 288, 1.0)
    A = ParallelProjector(GRID, geometry)
    torch.manual_seed(0)
    noise = torch.randn(1, *A.sinogram_shape)
    std = {w: float(fbp(A, noise, w).std()) for w in WINDOWS}
    assert std["hann"] < std["cosine"] < std["shepp-logan"] < std["ramp"]
    assert std["sharp"] > std["shepp-logan"]
    assert float(fbp(A, noise, "ramp", cutoff=0.5).std()) < std["ramp"]


def test_noise_matches_theory():
    """Variance of ramp-filtered back-projection of white noise: pi^2 / (12 views bin^2)."""
    geometry = ParallelGeometry(360, 288, 1.0)
    A = ParallelProjector(GRID, geometry)
    torch.manual_seed(0)
    noise = fbp(A, torch.randn(4, *A.sinogram_shape)).numpy()[:, interior()]
    assert noise.std() == pytest.approx(np.pi / np.sqrt(12 * 360), rel=0.05)


def test_is_linear_and_differentiable():
    geometry = ParallelGeometry(60, 288, 1.0)
    fan = FanProjector(GRID, FanGeometry(60, 200, 2.6, 550.0, 950.0))
    for A in (ParallelProjector(GRID, geometry), fan):
        R = FilteredBackProjection(A)
        torch.manual_seed(0)
        a, b = (torch.randn(2, *A.sinogram_shape) for _ in range(2))
        torch.testing.assert_close(R(2 * a - b), 2 * R(a) - R(b), rtol=1e-3, atol=1e-4)
        a.requires_grad_(True)
        w = torch.randn(2, *A.image_shape)
        (R(a) * w).sum().backward()
        directional = (R(b) * w).double().sum()
        assert float((a.grad * b).double().sum()) == pytest.approx(float(directional), rel=1e-3)


def test_unknown_window_and_cutoff_are_named():
    A = ParallelProjector(GRID, ParallelGeometry(60, 288, 1.0))
    with pytest.raises(InputError, match=r"'butter'.*hann"):
        fbp(A, torch.zeros(1, 60, 288), "butter")
    with pytest.raises(InputError, match=r"1\.5"):
        fbp(A, torch.zeros(1, 60, 288), cutoff=1.5)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tcga_ov_09-2043_abdomen_pelvis.nii.gz", 40),
        ("tcga_coad_AY-4070A_abdomen_pelvis.nii.gz", 20),
        ("lidc_0314_thoracic_spine.nii.gz", 70),
    ],
)
def test_round_trip_of_real_ct_loses_under_3_hu(name, index):
    image = sitk.ReadImage(str(shared_data(name)))
    hu = np.maximum(sitk.GetArrayViewFromImage(image)[index].astype(np.float32), -1000)
    col_mm, row_mm = image.GetSpacing()[:2]
    grid = ImageGrid(*hu.shape, (row_mm, col_mm))
    A = ParallelProjector(grid, parallel_geometry_for(grid))
    mu = torch.from_numpy(0.0192 * (1 + hu / 1000))[None]
    back = (fbp(A, A(mu))[0].numpy() / 0.0192 - 1) * 1000
    body = ndimage.binary_opening(hu > -300, iterations=3)
    body = ndimage.binary_erosion(ndimage.binary_fill_holes(body), iterations=2)
    assert np.sqrt(np.mean((back - hu)[body] ** 2)) < 3.0


def test_a_water_disc_has_no_bias():
    """Rings of a 300 mm disc within 0.5 HU: cupping must come from physics, never from us."""
    grid = ImageGrid(256, 256, (1.5, 1.5))
    geometry = parallel_geometry_for(grid)
    water = [Ellipse(0.0192, 150, 150)]
    A = ParallelProjector(grid, geometry)
    image = fbp(A, as_sinogram(parallel_sinogram(water, geometry)))[0].numpy()
    y, x = np.mgrid[:256, :256]
    radius = np.hypot(x - 127.5, y - 127.5) * 1.5
    for inner in range(0, 140, 20):
        ring = (radius >= inner) & (radius < inner + 20) & (radius < 145)
        assert abs(image[ring].mean() / 0.0192 - 1) * 1000 < 0.5
