"""Images made with SimpleITK, and volumes stored otherwise, without the code under test."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from MetalArtifactReductionLib.volume import CTVolume

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")

OBLIQUE = Rotation.from_euler("zyx", (0.31, -0.17, 0.23)).as_matrix()

DIRECTIONS = {
    "axial": np.eye(3),
    "axial, flipped": np.diag([-1.0, -1.0, 1.0]),
    "axial, feet first, left-handed": np.diag([1.0, 1.0, -1.0]),
    "sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "oblique": OBLIQUE,
    "oblique sagittal": OBLIQUE @ np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
}


def ct_values(shape: tuple[int, int, int], dtype: str = "int16") -> np.ndarray:
    rng = np.random.default_rng(11)
    values = rng.integers(-1024, 3072, shape)
    return (values + (rng.random(shape) if dtype.startswith("f") else 0)).astype(dtype)


def image(array: np.ndarray, directions: np.ndarray | None = None) -> sitk.Image:
    made = sitk.GetImageFromArray(array)
    made.SetDirection((np.eye(3) if directions is None else directions).ravel().tolist())
    made.SetSpacing((0.712345678, 0.9, 2.5))
    made.SetOrigin((-123.456789, 169.4, -880.123456))
    return made


def points(made: sitk.Image) -> np.ndarray:
    """Where corners and centre are in the patient, says SimpleITK (LPS)."""
    size = np.array(made.GetSize()) - 1
    corners = [[int(n) for n in size * bits] for bits in np.ndindex(2, 2, 2)]
    return np.array([made.TransformIndexToPhysicalPoint(corner) for corner in corners])


def one_line(raised: pytest.ExceptionInfo[Exception]) -> str:
    text = str(raised.value)
    assert "\n" not in text and text
    return text


def stored_as(volume: CTVolume, order: tuple[int, ...], signs: tuple[int, ...]) -> CTVolume:
    """The same patient in another storage: by plain index arithmetic on voxels and affine."""
    hu = volume.hu.transpose(order)[tuple(slice(None, None, s) for s in signs)]
    affine = np.eye(4)
    affine[:3, 3] = volume.ijk_to_ras[:3, 3]
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        column = volume.ijk_to_ras[:3, 2 - old]
        affine[:3, 2 - new] = sign * column
        if sign < 0:
            affine[:3, 3] += (hu.shape[new] - 1) * column
    return CTVolume(np.ascontiguousarray(hu), affine)
