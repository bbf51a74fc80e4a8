"""Projectors against exact line integrals, scikit-image and their own properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analytic import (
    Ellipse,
    fan_sinogram,
    head_phantom,
    parallel_sinogram,
    rasterize,
    relative_error,
)
from MetalArtifactReductionLib.errors import DeviceError
from MetalArtifactReductionLib.tomography import (
    FanGeometry,
    FanProjector,
    FootprintProjector,
    ImageGrid,
    ParallelGeometry,
    ParallelProjector,
    as_device,
    metal_path_mm,
    parallel_geometry_for,
)
from MetalArtifactReductionLib.tomography.interpolation import TapMatrix

GRID = ImageGrid(256, 256, (0.8, 0.8))
FANS = {
    "curved": FanGeometry(492, 444, 1.6, 550.0, 950.0, curved=True),
    "flat": FanGeometry(492, 444, 1.6, 550.0, 950.0, curved=False),
    "quarter offset": FanGeometry(492, 444, 1.6, 550.0, 950.0, curved=True, offset_bins=0.25),
}
ODD_GRID = ImageGrid(65, 78, (1.1, 0.7))


def all_projectors():
    small = ImageGrid(64, 64, (1.0, 1.0))
    yield "parallel", ParallelProjector(small, parallel_geometry_for(small))
    yield "parallel odd", ParallelProjector(ODD_GRID, parallel_geometry_for(ODD_GRID))
    offset = ParallelGeometry(90, 101, 1.3, offset_bins=2.25)
    yield "parallel offset", ParallelProjector(ODD_GRID, offset)
    yield "footprint", FootprintProjector(ODD_GRID, offset)
    for name, fan in FANS.items():
        geometry = FanGeometry(100, 111, 3.0, 550.0, 950.0, fan.curved, fan.offset_bins)
        yield f"fan {name}", FanProjector(ODD_GRID, geometry)


PROJECTORS = dict(all_projectors())


def image_of(ellipses, grid):
    return torch.from_numpy(rasterize(ellipses, grid))[None]


def test_parallel_sinogram_of_ellipses():
    # 512 x 512, the size at which astra's linear projector has a relative error of 3.3e-3.
    phantom = head_phantom(256.0)
    grid = ImageGrid(512, 512, (1.0, 1.0))
    geometry = ParallelGeometry(180, 736, 1.0)
    ours = ParallelProjector(grid, geometry)(image_of(phantom, grid))[0]
    assert relative_error(ours, parallel_sinogram(phantom, geometry)) < 3.3e-3


def test_footprint_sinogram_of_ellipses():
    phantom = head_phantom(50.0)
    grid = ImageGrid(128, 128, (0.8, 0.8))
    geometry = ParallelGeometry(180, 184, 0.8)
    ours = FootprintProjector(grid, geometry)(image_of(phantom, grid))[0]
    assert relative_error(ours, parallel_sinogram(phantom, geometry)) < 2e-2  # of 128 pixels


@pytest.mark.parametrize("name", FANS)
def test_fan_sinogram_of_ellipses(name):
    phantom = [*head_phantom(100.0), Ellipse(0.01, 9, 6, 40, 25, 30)]  # no mirror symmetry
    ours = FanProjector(GRID, FANS[name])(image_of(phantom, GRID))[0]
    assert relative_error(ours, fan_sinogram(phantom, FANS[name])) < 6e-3


def test_detector_offset_moves_the_sinogram():
    phantom = head_phantom(20.0)
    geometry = ParallelGeometry(90, 101, 0.9, offset_bins=3.5)
    grid = ImageGrid(64, 70, (0.9, 0.9))
    ours = ParallelProjector(grid, geometry)(image_of(phantom, grid))[0]
    assert relative_error(ours, parallel_sinogram(phantom, geometry)) < 4e-2
    centred = ParallelGeometry(90, 101, 0.9)
    assert relative_error(ours, parallel_sinogram(phantom, centred)) > 0.2


def test_non_square_pixels():
    phantom = [Ellipse(0.02, 30, 20, 5, -8, 25), Ellipse(0.03, 6, 9, -10, 4, 0)]
    grid = ImageGrid(161, 128, (0.5, 0.8))
    geometry = ParallelGeometry(240, 251, 0.5)
    ours = ParallelProjector(grid, geometry)(image_of(phantom, grid))[0]
    assert relative_error(ours, parallel_sinogram(phantom, geometry)) < 1e-2


@pytest.mark.parametrize("name", PROJECTORS)
def test_adjoint(name):
    A = PROJECTORS[name]
    torch.manual_seed(0)
    x, y = torch.randn(3, *A.image_shape), torch.randn(3, *A.sinogram_shape)
    ax, aty = A(x).double(), A.adjoint(y).double()
    gap = abs((ax * y).sum() - (x * aty).sum()) / (ax.norm() * y.norm())
    assert gap < 1e-6


@pytest.mark.parametrize("name", PROJECTORS)
def test_gradient_is_the_adjoint(name):
    A = PROJECTORS[name]
    torch.manual_seed(1)
    x = torch.randn(2, *A.image_shape, requires_grad=True)
    target = torch.randn(2, *A.sinogram_shape)
    (0.5 * (A(x) - target).square().sum()).backward()
    expected = A.adjoint(A(x.detach()) - target)
    torch.testing.assert_close(x.grad, expected)
    y = torch.randn(2, *A.sinogram_shape, requires_grad=True)
    A.adjoint(y).square().sum().backward()
    torch.testing.assert_close(y.grad, 2 * A(A.adjoint(y.detach())))


@pytest.mark.parametrize("name", PROJECTORS)
def test_slices_are_independent_of_the_batch(name):
    A = PROJECTORS[name]
    torch.manual_seed(2)
    x = torch.randn(11, *A.image_shape)
    together = A(x)
    alone = torch.cat([A(one[None]) for one in x])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))


def test_rotating_the_image_shifts_the_views():
    grid = ImageGrid(96, 96, (1.0, 1.0))
    geometry = ParallelGeometry(120, 144, 1.0)
    image = image_of(head_phantom(40.0), grid)
    A = ParallelProjector(grid, geometry)
    turned = A(torch.rot90(image, 1, (1, 2)))[0]  # anticlockwise: theta -> theta + 90 degrees
    expected = torch.cat([A(image)[0, 60:].flip(-1), A(image)[0, :60]])
    torch.testing.assert_close(turned, expected, rtol=0, atol=5e-3 * float(expected.abs().max()))


def test_agrees_with_scikit_image():
    radon = pytest.importorskip("skimage.transform").radon
    grid = ImageGrid(129, 129, (1.0, 1.0))  # odd: skimage rotates about pixel n // 2
    geometry = ParallelGeometry(60, 129, 1.0)
    image = rasterize(head_phantom(60.0), grid)
    theirs = radon(image, theta=np.rad2deg(geometry.angles_rad), circle=True).T
    ours = ParallelProjector(grid, geometry)(torch.from_numpy(image)[None])[0]
    direct = FootprintProjector(grid, geometry)(torch.from_numpy(image)[None])[0]
    assert relative_error(ours, theirs) < 2e-2
    assert relative_error(direct, theirs) < 2e-2


def test_footprint_of_one_pixel_is_a_trapezoid():
    grid = ImageGrid(9, 9, (1.0, 1.0))
    geometry = ParallelGeometry(4, 201, 0.05)  # 0, 45, 90, 135 degrees
    image = torch.zeros(1, 9, 9)
    image[0, 4, 4] = 2.0
    sinogram = FootprintProjector(grid, geometry)(image)[0].numpy()
    s = np.abs(geometry.bin_positions_mm)
    box = np.where(s < 0.5 - 0.03, 2.0, np.where(s > 0.5 + 0.03, 0.0, np.nan))
    inside = ~np.isnan(box)
    np.testing.assert_allclose(sinogram[0][inside], box[inside], atol=1e-3)
    np.testing.assert_allclose(sinogram[2][inside], box[inside], atol=1e-3)
    triangle = 2 * 2 * np.maximum(np.sqrt(0.5) - s, 0)
    np.testing.assert_allclose(sinogram[1], triangle, atol=0.06)
    np.testing.assert_allclose(sinogram.sum(axis=1) * 0.05, 2.0, rtol=1e-4)


def test_metal_path_is_positive_bounded_and_complete():
    grid = ImageGrid(80, 80, (0.7, 0.9))
    geometry = parallel_geometry_for(grid)
    A = ParallelProjector(grid, geometry)
    fraction = image_of([Ellipse(1.0, 6.0, 4.0, 9.0, -5.0, 20.0)], grid)
    path = metal_path_mm(A, fraction)
    assert float(path.min()) >= 0
    assert float(path.max()) == pytest.approx(12.0, rel=0.02)
    area = float(fraction.sum()) * 0.7 * 0.9
    np.testing.assert_allclose(path[0].sum(dim=1) * geometry.bin_mm, area, rtol=1e-4)


def test_linear_image_outside_the_detector_does_not_wrap_around():
    grid = ImageGrid(64, 64, (1.0, 1.0))
    image = image_of([Ellipse(0.02, 4, 4, 25, 0)], grid)
    short = ParallelGeometry(90, 33, 1.0)  # sees only the middle
    truth = parallel_sinogram([Ellipse(0.02, 4, 4, 25, 0)], short)
    ours = ParallelProjector(grid, short)(image)[0].numpy()
    assert np.abs(ours - truth).max() < 0.05 * truth.max()


def test_tap_matrix_without_embedding_bag_is_the_same():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 50, (40, 5))
    weight = rng.normal(size=(40, 5))
    fast = TapMatrix(index, weight, 50, torch.device("cpu"))
    slow = TapMatrix(index, weight, 50, torch.device("cpu"))
    slow.use_bags = False
    x = torch.randn(50, 3)
    y = torch.randn(40, 3)
    torch.testing.assert_close(fast.forward(x), slow.forward(x))
    torch.testing.assert_close(fast.transpose(y), slow.transpose(y))
    assert (fast.forward(x) * y).sum() == pytest.approx(
        float((x * fast.transpose(y)).sum()), rel=1e-4
    )


def test_wrong_shapes_and_devices_are_named():
    A = PROJECTORS["parallel"]
    with pytest.raises(ValueError, match=r"\(64, 64\).*got \(3, 5, 5\)"):
        A(torch.zeros(3, 5, 5))
    with pytest.raises(ValueError, match="sinogram"):
        A.adjoint(torch.zeros(64, 64))
    with pytest.raises(DeviceError, match=r"'gpu9'.*cpu"):
        as_device("gpu9")
    assert as_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu():
    geometry = parallel_geometry_for(GRID)
    image = image_of(head_phantom(100.0), GRID)
    cpu = ParallelProjector(GRID, geometry)(image)
    gpu = ParallelProjector(GRID, geometry, "cuda")(image).cpu()
    torch.testing.assert_close(cpu, gpu, rtol=0, atol=1e-4 * float(cpu.max()))
