"""Distances, interpolation and filling of holes against SciPy."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.phantoms.sdf import rotation_xyz
from SimulateImplantsLib.placement.bone_field import (
    LocalGrid,
    distance_to,
    distance_within,
    sample_grid,
    sample_hu,
    without_holes,
)


def blobs(threshold: float) -> np.ndarray:
    """Round random shapes."""
    noise = np.random.default_rng(0).normal(size=(20, 40, 30))
    return np.asarray(ndimage.gaussian_filter(noise, 2) > threshold)


def test_distances_are_exact_in_mm() -> None:
    spacing = np.array([2.5, 0.7, 0.9])
    mask = blobs(0.12)
    assert 0.01 < mask.mean() < 0.2
    exact = ndimage.distance_transform_edt(~mask, spacing)
    np.testing.assert_allclose(distance_to(mask, spacing), exact, atol=1e-4)


def test_near_distances_are_exact_and_far_ones_cut_off() -> None:
    mask = blobs(0.12)
    exact = 0.9 * ndimage.distance_transform_edt(~mask)
    assert exact.max() > 4.5
    for most_mm in (3.6, 45.0):
        found = distance_within(mask, 0.9, most_mm)
        np.testing.assert_allclose(found, np.minimum(exact, most_mm), atol=1e-4)


def test_holes_of_sections_are_filled() -> None:
    bone = blobs(0.0)
    for axis in range(3):
        sections = [ndimage.binary_fill_holes(one) for one in np.moveaxis(bone, axis, 0)]
        expected = np.stack(sections, axis=axis)
        assert expected.sum() > bone.sum()
        np.testing.assert_array_equal(without_holes(bone, axis), expected)


def test_a_turned_grid_has_the_hu_of_its_points() -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_xyz(0.2, -0.1, 2.9) @ np.diag([0.8, 0.8, 3.0])
    matrix[:3, 3] = 5.0, -7.0, 30.0
    hu = np.random.default_rng(1).normal(0, 300, (14, 40, 50)).astype(np.float32)
    volume = CTVolume(hu, matrix)
    middle = matrix[:3, :3] @ np.array([24.5, 19.5, 6.5]) + matrix[:3, 3]
    low, high = np.array([-12.0, -30.0, -15.0]), np.array([12.0, 20.0, 15.0])
    grid = LocalGrid.spanning(middle, rotation_xyz(0.5, 0.3, -1.0), low, high, 1.1)
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape), 0, -1))
    expected = sample_hu(volume, points)
    assert 0.1 < np.isnan(expected).mean() < 0.9  # it leaves the volume
    np.testing.assert_allclose(sample_grid(volume, grid), expected, atol=1e-2)
