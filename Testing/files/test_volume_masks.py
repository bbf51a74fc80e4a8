"""Masks: on the volume's grid or refused with the value that differs."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.grids import geometry_difference
from MetalArtifactReductionLib.files.itk import image_from_array
from MetalArtifactReductionLib.files.masks import read_mask
from MetalArtifactReductionLib.files.volumes import read_volume, write_array_like
from MetalArtifactReductionLib.volume import CTVolume, to_storage

SHAPE = (5, 32, 40)


@pytest.fixture
def ct(tmp_path: Path) -> CTVolume:
    """A coronally stored oblique CT."""
    rng = np.random.default_rng(8)
    array = rng.integers(-1024, 2000, (32, 5, 40)).astype(np.int16)
    image = sitk.GetImageFromArray(array)
    turned = Rotation.from_euler("zyx", (0.2, -0.1, 0.15)).as_matrix()
    image.SetDirection((turned @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])).ravel().tolist())
    image.SetSpacing((0.8, 3.0, 0.9))
    image.SetOrigin((-100.5, 33.25, -812.7))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    return read_volume(tmp_path / "ct.nrrd")


@pytest.fixture
def metal(ct: CTVolume) -> np.ndarray:
    mask = np.zeros(ct.hu.shape, np.uint8)
    mask[1:4, 5:9, 20:33] = 1
    mask[0, 0, 0] = 1
    return mask


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_labels_and_fractions(tmp_path: Path, ct: CTVolume, metal: np.ndarray, suffix: str) -> None:
    for factor, dtype in ((1, "uint8"), (255, "uint8"), (3, "int16"), (1, "float32")):
        path = write_array_like(
            metal * factor, ct, tmp_path / f"{factor}{dtype}{suffix}", dtype=dtype
        )
        fraction = read_mask(path, ct)
        assert fraction.dtype == np.float32 and np.array_equal(fraction, metal)
    parts = np.where(metal, np.linspace(0.1, 1, metal.size).reshape(metal.shape), 0)
    path = write_array_like(parts, ct, tmp_path / f"parts{suffix}", dtype="float32")
    assert np.array_equal(read_mask(path, ct), parts.astype(np.float32))


def test_other_storage_orders_of_the_same_voxels(
    tmp_path: Path, ct: CTVolume, metal: np.ndarray
) -> None:
    stored, matrix = to_storage(metal, ct)
    for number, (order, flips) in enumerate(
        itertools.product(itertools.permutations(range(3)), itertools.product((0, 1), repeat=3))
    ):
        array, affine = stored, matrix.copy()
        for axis in range(3):
            if flips[axis]:
                column = 2 - axis
                affine[:3, 3] += (array.shape[axis] - 1) * affine[:3, column]
                affine[:3, column] *= -1
                array = np.flip(array, axis)
        columns = [2 - order[2 - column] for column in range(3)]
        affine = np.column_stack([affine[:, columns], affine[:, 3]])
        path = tmp_path / f"{number}.nrrd"
        sitk.WriteImage(image_from_array(array.transpose(order), affine), str(path))
        assert np.array_equal(read_mask(path, ct), metal)


def written(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    sitk.WriteImage(image_from_array(array, affine), str(path))
    return path


def test_another_geometry_names_what_differs(
    tmp_path: Path, ct: CTVolume, metal: np.ndarray
) -> None:
    path = tmp_path / "m.nrrd"
    same = ct.ijk_to_ras
    longer = np.concatenate([metal, metal[-1:]])
    longer[-1, 4:8] = 1
    with pytest.raises(InputError, match=r"size 40 x 32 x 6 instead of 40 x 32 x 5;.*resample"):
        read_mask(written(path, longer, same), ct)
    wide = same @ np.diag([1.1, 1, 1, 1])
    with pytest.raises(
        InputError, match=r"spacing 0\.88 x 0\.9 x 3 instead of 0\.8 x 0\.9 x 3 mm;"
    ):
        read_mask(written(path, metal, wide), ct)
    moved = same.copy()
    moved[0, 3] += 0.5
    with pytest.raises(
        InputError, match=r"origin \([^)]*\) instead of \([^)]*\) mm RAS;"
    ) as raised:
        read_mask(written(path, metal, moved), ct)
    assert "spacing" not in str(raised.value) and "direction" not in str(raised.value)
    turned = same.copy()
    turned[:3, :3] = Rotation.from_euler("z", 2, degrees=True).as_matrix() @ same[:3, :3]
    with pytest.raises(InputError, match=r"direction turned by (1\.9|2)") as raised:
        read_mask(written(path, metal, turned), ct)
    assert "spacing" not in str(raised.value) and "origin" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_rounding_in_a_header_is_no_other_geometry(ct: CTVolume, metal: np.ndarray) -> None:
    rounded = ct.ijk_to_ras.astype(np.float32).astype(np.float64)
    rounded[:3, 3] = np.round(rounded[:3, 3], 3)
    assert geometry_difference(metal.shape, rounded, ct.hu.shape, ct.ijk_to_ras) == ""


def test_what_is_no_mask(tmp_path: Path, ct: CTVolume, metal: np.ndarray) -> None:
    def refused(array: np.ndarray) -> str:
        path = write_array_like(array, ct, tmp_path / "m.nrrd", overwrite=True)
        with pytest.raises(InputError) as raised:
            read_mask(path, ct)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "mask is empty" in refused(metal * 0)
    assert "are not a mask" in refused(ct.hu)
    assert "neither labels nor a fraction" in refused(metal * np.float32(2.5))
    assert "inverted" in refused(1 - metal)
    hole = written(tmp_path / "nan.nrrd", np.where(metal, np.float32(np.nan), 0), ct.ijk_to_ras)
    for path, reason in (
        (tmp_path / "nowhere.nrrd", "no such file"),
        (hole, "NaN"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(InputError, match=reason):
            read_mask(path, ct)
