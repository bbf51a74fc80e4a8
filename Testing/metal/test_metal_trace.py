"""The metal trace and the perturbation of masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MetalArtifactReductionLib.metal import (
    PerturbationParameters,
    metal_trace,
    perturb_mask,
    perturbed_masks,
)
from MetalArtifactReductionLib.metal.neighbourhood import widened
from MetalArtifactReductionLib.tomography import (
    ImageGrid,
    ParallelProjector,
    metal_path_mm,
    parallel_geometry_for,
)
from MetalArtifactReductionLib.tomography.trace import TraceParameters, trace_from_path


def projector(rows: int = 64, cols: int = 80, spacing=(1.2, 0.8)) -> ParallelProjector:
    grid = ImageGrid(rows, cols, spacing)
    return ParallelProjector(grid, parallel_geometry_for(grid))


def test_trace_of_a_disc_is_its_shadow() -> None:
    operator = projector(96, 96, (1.0, 1.0))
    y, x = np.mgrid[:96, :96] - 47.5
    radius, cx, cy = 6.0, 14.0, 9.0
    image = (np.hypot(x - cx, -y - cy) <= radius).astype(np.float32)[None]
    trace = metal_trace(operator, torch.from_numpy(image), TraceParameters(0.1, 0))[0].numpy()
    theta = operator.geometry.angles_rad[:, None]
    s = operator.geometry.bin_positions_mm[None]
    distance = np.abs(s - cx * np.cos(theta) - cy * np.sin(theta))
    assert trace[distance < radius - 1.5].all()
    assert not trace[distance > radius + 1.5].any()


def test_outline_gives_the_trace_of_the_whole() -> None:
    operator = projector()
    rng = np.random.default_rng(3)
    fraction = np.zeros((3, 64, 80), np.float32)
    for layer in fraction:
        for _ in range(4):
            r, c, h, w = rng.integers((5, 5, 1, 1), (40, 50, 20, 25))
            layer[r : r + h, c : c + w] = rng.uniform(0.3, 1.0)
    fraction = torch.from_numpy(fraction)
    parameters = TraceParameters()
    whole = trace_from_path(
        metal_path_mm(operator, fraction),
        parameters.minimal_path_mm(operator),
        parameters.dilation_bins,
    )
    assert torch.equal(metal_trace(operator, fraction, parameters), whole)


def test_dilation_widens_each_view_by_whole_bins() -> None:
    path = torch.zeros(1, 2, 9)
    path[0, 0, 4] = 1.0
    path[0, 1, 0] = 1.0
    trace = trace_from_path(path, 0.5, 2)[0].int().tolist()
    assert trace == [[0, 0, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0, 0]]
    assert not trace_from_path(path, 1.0).any()


@pytest.mark.parametrize("radius", [(1, 1), (0, 5), (7, 2), (30, 30)])
def test_masks_are_widened_by_a_box(radius: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random((2, 24, 37)) > 0.98
    boxed = ndimage.binary_dilation(mask, np.ones((1, *(2 * r + 1 for r in radius))))
    assert np.array_equal(widened(torch.from_numpy(mask), radius).numpy(), boxed)


def test_trace_parameters_must_make_sense() -> None:
    with pytest.raises(ValueError, match="negative"):
        TraceParameters(-0.1)


def square(size: int = 80) -> np.ndarray:
    mask = np.zeros((size, size), np.float32)
    mask[30:50, 35:45] = 1.0
    return mask


def test_perturbation_repeats_with_its_seed_and_differs_without() -> None:
    masks = square()[None]
    first = perturbed_masks(masks, (1.0, 1.0), 5, seed=7)
    assert np.array_equal(first, perturbed_masks(masks, (1.0, 1.0), 5, seed=7))
    assert not np.array_equal(first, perturbed_masks(masks, (1.0, 1.0), 5, seed=8))
    assert first.shape == (5, 80, 80) and first.min() >= 0 and first.max() <= 1


def test_scale_shift_and_rotation_are_what_they_say() -> None:
    mask = square()
    rng = np.random.default_rng(0)
    bigger = perturb_mask(mask, (1.0, 1.0), rng, PerturbationParameters((1.5, 1.5), 0.0, 0.0))
    assert bigger.sum() == pytest.approx(1.5**2 * mask.sum(), rel=0.03)
    moved = perturb_mask(mask, (1.0, 1.0), rng, PerturbationParameters((1.0, 1.0), 9.0, 0.0))
    assert moved.sum() == pytest.approx(mask.sum(), rel=0.01)
    assert not np.allclose(moved, mask)
    # A turn in mm keeps the area on pixels that are not square.
    turned = perturb_mask(mask, (2.0, 1.0), rng, PerturbationParameters((1.0, 1.0), 0.0, 90.0))
    assert turned.sum() == pytest.approx(mask.sum(), rel=0.03)


def test_metal_never_leaves_the_image() -> None:
    mask = square()
    for one in perturbed_masks(mask[None], (1.0, 1.0), 40, 1, PerturbationParameters(shift_mm=60)):
        assert one.sum() > 0.5 * mask.sum()
    with pytest.raises(ValueError, match="none of the masks"):
        perturbed_masks(np.zeros((2, 8, 8)), (1.0, 1.0), 1, 0)
