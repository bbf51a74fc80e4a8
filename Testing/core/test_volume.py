"""CTVolume: axes, storage order, padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from MetalArtifactReductionLib.volume import (
    CTVolume,
    acquisition_axes,
    padding_mask,
    shear_deg,
    to_storage,
    volume_from_storage,
)


def affine(directions: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = directions * spacing
    matrix[:3, 3] = (-103.25, 51.125, -880.5)
    return matrix


def test_every_storage_order_puts_the_patients_axes_in_the_same_places() -> None:
    stored = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            directions = np.eye(3)[:, order] * signs
            matrix = affine(directions, (0.7, 0.9, 2.5))
            volume = volume_from_storage(stored, matrix)
            # Column, row and slice index run along R-L, A-P and S-I.
            assert np.abs(volume.ijk_to_ras[:3, :3]).argmax(axis=0).tolist() == [0, 1, 2]
            assert volume.hu.flags.c_contiguous and volume.hu.dtype == np.float32
            # The same value is at the same place in the patient (plain matrix arithmetic).
            for k, j, i in ((0, 0, 0), (3, 4, 5), (1, 2, 4)):
                place = matrix @ (i, j, k, 1)
                col, row, slice_ = np.rint(np.linalg.solve(volume.ijk_to_ras, place)[:3]).astype(
                    int
                )
                assert volume.hu[slice_, row, col] == stored[k, j, i]
            back, back_matrix = to_storage(volume.hu, volume)
            assert np.array_equal(back, stored)
            assert np.array_equal(back_matrix, matrix)


def test_oblique_volumes_keep_the_axis_closest_to_superior() -> None:
    tilted = Rotation.from_euler("x", 40, degrees=True).as_matrix()
    assert acquisition_axes(affine(tilted, (1, 1, 3))) == (0, 1, 2)
    beyond = Rotation.from_euler("x", 50, degrees=True).as_matrix()
    assert acquisition_axes(affine(beyond, (1, 1, 3))) == (1, 0, 2)


def test_spacing_follows_the_array() -> None:
    volume = CTVolume(np.zeros((2, 3, 4), np.float32), affine(np.eye(3), (0.5, 0.6, 3.0)))
    assert volume.spacing_mm == pytest.approx((3.0, 0.6, 0.5))


def test_a_volume_says_its_size_and_not_its_values() -> None:
    volume = CTVolume(np.zeros((30, 512, 512), np.float32), np.diag([-0.5, -0.5, 2.5, 1.0]))
    assert repr(volume) == "CTVolume(30 x 512 x 512 of 2.5 x 0.5 x 0.5 mm)"


def test_shear_is_the_gantry_tilt() -> None:
    angle = np.radians(17.0)
    directions = np.array([[1, 0, 0], [0, 1, np.sin(angle)], [0, 0, np.cos(angle)]])
    assert shear_deg(affine(directions, (1, 1, 3))) == pytest.approx(17.0)
    rotated = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix()
    assert shear_deg(affine(rotated, (1, 2, 3))) < 1e-5


def test_storage_refuses_what_is_no_volume() -> None:
    with pytest.raises(ValueError, match="three axes"):
        volume_from_storage(np.zeros((2, 2)), np.eye(4))
    with pytest.raises(ValueError, match="invertible"):
        volume_from_storage(np.zeros((2, 2, 2)), np.diag([1.0, 0, 1, 1]))
    volume = volume_from_storage(np.zeros((2, 3, 4)), np.eye(4))
    with pytest.raises(ValueError, match="does not fit"):
        to_storage(np.zeros((2, 3, 5)), volume)
    with pytest.raises(ValueError, match="does not fit"):
        volume.with_hu(np.zeros((4, 3, 2)))


def disc(size: int, radius: float) -> np.ndarray:
    row, col = np.mgrid[:size, :size] - (size - 1) / 2
    return row**2 + col**2 <= radius**2


def scanned_slice(padding: float, dark: float, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """A body in noisy air, a dark streak inside the body, padding outside a round field of view."""
    rng = np.random.default_rng(3)
    hu = rng.normal(-1000, 12, (size, size))
    hu[disc(size, 40)] = rng.normal(40, 12, int(disc(size, 40).sum()))
    hu[60:66, 40:88] = dark
    outside = ~disc(size, size / 2)
    hu[outside] = padding
    return np.rint(hu).astype(np.float32)[None], outside[None]


@pytest.mark.parametrize("padding", [-1024, -2000, -2048, -3024, -32768])
def test_padding_is_found_and_the_dark_streak_is_not(padding: float) -> None:
    hu, outside = scanned_slice(padding, dark=padding)
    hu[0] = np.where(disc(128, 64), np.maximum(hu[0], padding), hu[0])
    mask = padding_mask(hu)
    assert mask[outside].all()
    assert not mask[0][disc(128, 41)].any()  # neither the body nor the streak in it
    # Air clipped at the padding's own value, touching it, cannot be told from padding.
    assert (hu[mask] == padding).all()
    assert np.count_nonzero(mask & ~outside) <= (20 if padding == -1024 else 0)


def test_air_and_unpadded_images_hold_no_padding() -> None:
    rng = np.random.default_rng(5)
    noisy = rng.normal(-1000, 30, (2, 64, 64)).astype(np.float32)
    assert not padding_mask(noisy).any()
    exact = np.full((2, 64, 64), -1000, np.float32)
    exact[:, 20:40, 20:40] = 40
    assert not padding_mask(exact).any()
