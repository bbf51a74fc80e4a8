"""NIfTI headers as they come: lenient where ITK is, one line where nothing can be made of them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.files.nifti import read_nifti, write_nifti

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("zyx", (0.4, -0.2, 0.1)).as_matrix() * (0.7, 0.8, -2.5)
OBLIQUE[:3, 3] = (-101.25, 33.5, 870.125)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(5).integers(-1024, 3071, (6, 7, 8)).astype(np.int16)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("version", [1, 2])
def test_every_type_comes_back(tmp_path: Path, dtype: str, version: int) -> None:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        array = np.random.default_rng(1).normal(0, 1e3, (3, 4, 5)).astype(kind)
    else:
        limits = np.iinfo(kind)
        array = np.full((3, 4, 5), limits.min, kind)
        array[1] = limits.max
    write_nifti(tmp_path / "a.nii.gz", array, OBLIQUE, version)
    image = read_nifti(tmp_path / "a.nii.gz")
    assert image.array.dtype == kind and np.array_equal(image.array, array)
    assert image.version == version
    assert np.abs(image.ijk_to_ras - OBLIQUE).max() < (1e-12 if version == 2 else 6e-5)


def test_what_the_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"40000.*write \.nrrd"):
        write_nifti(tmp_path / "long.nii", np.zeros((2, 2, 40000), np.int16), np.eye(4))
    with pytest.raises(OutputError, match=r"float16.*write \.nrrd"):
        write_nifti(tmp_path / "half.nii", np.zeros((2, 2, 2), np.float16), np.eye(4))
    assert list(tmp_path.iterdir()) == []


def test_qform_with_the_signs_and_zeros_that_itk_takes(tmp_path: Path, array: np.ndarray) -> None:
    write_nifti(tmp_path / "a.nii", array, OBLIQUE)
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<h", raw, 254, 0)  # no sform
    for handed in (0.0, -1.0, 2.0):
        struct.pack_into("<4f", raw, 76, handed, 0.7, 0.8, 2.5)
        path = tmp_path / "q.nii"
        path.write_bytes(raw)
        itk = sitk.ReadImage(str(path))
        corner = np.array(itk.TransformIndexToPhysicalPoint((7, 6, 5))) * (-1, -1, 1)
        assert read_nifti(path).ijk_to_ras @ (7, 6, 5, 1) == pytest.approx([*corner, 1], abs=1e-3)


def test_a_compressed_file_by_another_name_and_the_reverse(
    tmp_path: Path, array: np.ndarray
) -> None:
    write_nifti(tmp_path / "a.nii", array, OBLIQUE)
    write_nifti(tmp_path / "b.nii.gz", array, OBLIQUE)
    (tmp_path / "a.nii").rename(tmp_path / "plain.nii.gz")
    (tmp_path / "b.nii.gz").rename(tmp_path / "packed.nii")
    for name in ("plain.nii.gz", "packed.nii"):
        assert np.array_equal(read_nifti(tmp_path / name).array, array)


@pytest.mark.parametrize("damage", ["voxel", "checksum", "length"])
def test_a_wrong_checksum_is_noticed(tmp_path: Path, array: np.ndarray, damage: str) -> None:
    """Even where the compressed stream itself stays readable."""
    path = tmp_path / "a.nii.gz"
    write_nifti(tmp_path / "a.nii", array, OBLIQUE)
    packed = bytearray(gzip.compress((tmp_path / "a.nii").read_bytes(), 0))  # stored as it is
    packed[{"voxel": len(packed) // 2, "checksum": -8, "length": -4}[damage]] ^= 1
    path.write_bytes(packed)
    with pytest.raises(InputError, match="corrupted"):
        read_nifti(path)


def test_rescaling(tmp_path: Path, array: np.ndarray) -> None:
    write_nifti(tmp_path / "a.nii", array, OBLIQUE)
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    for slope, inter, dtype in (
        (0.0, 7.0, "int16"),  # no rescaling, says the format
        (float("nan"), 0.0, "int16"),
        (1.0, -24.0, "int16"),
        (100.0, 0.0, "int32"),
        (0.5, -1000.0, "float32"),
    ):
        struct.pack_into("<2f", raw, 112, slope, inter)
        (tmp_path / "s.nii").write_bytes(raw)
        expected = array * slope + inter if slope > 0 else array
        found = read_nifti(tmp_path / "s.nii").array
        assert found.dtype == dtype and np.array_equal(found, expected)


@pytest.mark.parametrize("version", [1, 2])
def test_a_damaged_header_is_read_or_refused_in_one_line(
    tmp_path: Path, array: np.ndarray, version: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.nii"
    write_nifti(path, array, OBLIQUE, version)
    raw = path.read_bytes()
    rng = np.random.default_rng(version)
    refused = 0
    for _ in range(400):
        damaged = bytearray(raw)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(0, 352)] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            image = read_nifti(path)
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            refused += 1
        else:
            assert image.array.ndim == 3 and image.array.nbytes <= 8 * len(raw)
            assert np.isfinite(np.linalg.inv(image.ijk_to_ras)).all()
    assert 10 < refused < 390
    assert capfd.readouterr().err == ""
