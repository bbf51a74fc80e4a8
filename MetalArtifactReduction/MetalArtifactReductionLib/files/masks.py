"""Masks and labels that lie on the grid of a CT, or on a part of it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..volume import CTVolume
from .grids import on_grid
from .inputs import check_readable
from .surfaces import SURFACE_SUFFIXES, read_surface, voxelised
from .volumes import is_dicom, read_array

_INVERTED_ABOVE = 0.5  # no implant fills half a CT


def read_mask(path: str | PathLike[str], like: CTVolume) -> np.ndarray:
    """Read a metal mask of a volume.

    A mask may be stored in another axis order or flipped (as converters do) as long as its voxels
    are the volume's voxels, or those of a box of it. Whole numbers are labels: every label but 0
    is metal. Values between 0 and 1 are the fraction of metal.

    :param path: a file in one of the formats of :func:`read_volume`; a DICOM segmentation or
        structure set (RTSTRUCT); or the surface of an implant (.stl, .obj, .ply).
    :param like: the CT.
    :returns: float32 fraction 0..1, ``(slices, rows, cols)``.
    :raises InputError: another geometry (named, with both values), not a mask, or empty.
    """
    path = Path(path)
    check_readable(path)
    if path.suffix.lower() in SURFACE_SUFFIXES:
        return _fraction(voxelised(*read_surface(path), path, like), path)
    if is_dicom(path):
        from .dicom_masks import read_dicom_mask

        return _fraction(read_dicom_mask(path, like), path)
    stored = read_array(path, layers=True)
    return _fraction(on_grid(path, stored.array, stored.ijk_to_ras, like, part=True), path)


def read_labels(path: str | PathLike[str], like: CTVolume) -> np.ndarray:
    """Read a label volume that lies on the grid of a CT, with the labels as they are.

    :param path: as in :func:`read_mask`.
    :param like: the CT.
    :returns: whole numbers of the file's own type (int32 where that was a float), of any sign,
        ``(slices, rows, cols)``.
    :raises InputError: another geometry, or values that are no labels.
    """
    path = Path(path)
    check_readable(path)
    if is_dicom(path):
        raise InputError(f"{path}: DICOM cannot be labels; export them as .nii.gz or .nrrd")
    stored = read_array(path)
    labels = on_grid(path, stored.array, stored.ijk_to_ras, like, part=True)
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or not (labels == np.rint(labels)).all():
            raise InputError(f"{path}: broken values are no labels; give whole numbers 0, 1, 2 ...")
        labels = labels.astype(np.int32)
    return np.ascontiguousarray(labels)


def _fraction(array: np.ndarray, path: Path) -> np.ndarray:
    """Labels or fractions as float32 0..1."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path}: the mask holds NaN or infinite values; set them to 0")
    low, high = float(array.min()), float(array.max())
    if low < 0:
        raise InputError(
            f"{path}: values from {low:g} to {high:g} are not a mask; give labels (0, 1, ...)"
            " or a fraction of 0..1"
        )
    if high == 0:
        raise InputError(f"{path}: the mask is empty; mark the metal, or leave the mask out")
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        if high > 1 + 1e-6:
            raise InputError(
                f"{path}: broken values up to {high:g} are neither labels nor a fraction of 0..1;"
                " divide them by their maximum"
            )
        fraction = np.minimum(array, 1).astype(np.float32)
    else:
        fraction = (array > 0).astype(np.float32)
    share = float(fraction.mean(dtype=np.float64))
    if share > _INVERTED_ABOVE:
        raise InputError(
            f"{path}: the mask covers {share:.0%} of the volume, metal never does; is it inverted?"
        )
    return np.ascontiguousarray(fraction)
