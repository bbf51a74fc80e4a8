"""Volumes, masks and maps: files in, files out.

Whatever the storage order of a file, its volume has the acquisition axis first; on writing the
storage order and orientation of the source come back, so that a round trip changes nothing.
"""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError, OutputError
from ..volume import (
    CTVolume,
    VolumeSource,
    acquisition_axes,
    permuted_affine,
    shear_deg,
    to_storage,
    volume_from_storage,
)
from ..volume_checks import check_is_ct
from .whole import check_path_free, written_whole

FORMATS = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
}
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_DETACHED_DATA = {".nhdr": (".raw", ".raw.gz"), ".mhd": (".raw", ".zraw")}
_SHEAR_LIMIT_DEG = 0.01  # below that a NIfTI quaternion still puts every corner where it was
_GRID_TOLERANCE = 0.01  # of the smallest voxel side, at the worst corner of the volume
_INVERTED_ABOVE = 0.5  # no implant fills half a CT


def suffix_of(path: Path) -> str:
    """The extension in lower case; ``.nii.gz`` counts as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def read_volume(
    path: str | PathLike[str], *, series: str | int | None = None, check: bool = True
) -> CTVolume:
    """Read a CT volume.

    :param path: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, one DICOM file, or a folder of DICOM
        files (in any order, also in subfolders).
    :param series: which series of a folder with several: its SeriesInstanceUID, number or
        description.
    :param check: refuse what is not CT in Hounsfield units (see ``check_is_ct``).
    :returns: float32 HU, acquisition axis first; 64-bit values lose what float32 cannot hold.
    :raises InputError: in one line, what is wrong with which value and what to do.
    """
    path = Path(path)
    _check_readable(path)
    try:
        if _is_dicom(path):
            from .dicom import read_dicom

            volume = read_dicom(path, series)
        else:
            array, ijk_to_ras, name, files = _read_array(path)
            tilt = shear_deg(ijk_to_ras)
            sheared = (f"axes {tilt:.2f} deg from orthogonal (gantry tilt)",)
            source = VolumeSource(
                path.absolute(),
                name,
                array.dtype.name,
                files=tuple(file.resolve() for file in files),
                warnings=sheared if tilt > _SHEAR_LIMIT_DEG else (),
            )
            volume = volume_from_storage(array, ijk_to_ras, source)
    except MemoryError:
        raise InputError(
            f"{path}: does not fit into memory; close other programs or crop the volume"
        ) from None
    if check:
        check_is_ct(volume)
    return volume


def write_volume(
    volume: CTVolume,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    dtype: str | None = None,
) -> Path:
    """Write a volume in the storage order, orientation and voxel type of its source.

    Values are rounded and limited to an integer type; float32 where the source is unknown.

    :param path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd in a folder that exists.
    :param overwrite: replace a file that exists; never the volume's own source.
    :param dtype: numpy name of another voxel type.
    :returns: the path written. The file is there complete, or not at all.
    :raises OutputError: exists, is the source, no permission, no such folder, disk full, NaN.
    """
    source = volume.source or VolumeSource()
    target = dtype or source.dtype
    return write_array_like(volume.hu, volume, path, dtype=target, overwrite=overwrite)


def write_array_like(
    array: np.ndarray,
    volume: CTVolume,
    path: str | PathLike[str],
    *,
    dtype: str | np.dtype | type | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a mask, fraction or map that lies on a volume's grid, stored as the volume is.

    :param array: ``(slices, rows, cols)``, the shape of ``volume.hu``.
    :param dtype: voxel type on disk; the array's own where None (bool becomes uint8).
    :returns: the path written.
    :raises OutputError: as :func:`write_volume`.
    """
    path = Path(path)
    check_output(volume, path, overwrite=overwrite)
    target = np.dtype(dtype if dtype is not None else array.dtype)
    target = np.dtype({"bool": "uint8", "float16": "float32"}.get(target.name, target))
    stored, ijk_to_ras = to_storage(array, volume)
    data = _converted(stored, target, path)
    version = 2 if volume.source is not None and volume.source.format == "nifti2" else 1
    with written_whole(path, overwrite=overwrite) as temporary:
        if FORMATS[suffix_of(path)] == "nifti":
            from .nifti import write_nifti

            write_nifti(temporary, data, ijk_to_ras, version)
        else:
            from .itk import write_itk_file

            write_itk_file(temporary, data, ijk_to_ras)
    return path


def check_output(volume: CTVolume, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Raise now what :func:`write_volume` would raise later; to be called before long work.

    :raises OutputError: see :func:`write_volume`.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        raise OutputError(f"{path}: cannot write {suffix!r}; end the name in {', '.join(FORMATS)}")
    source = volume.source or VolumeSource()
    check_path_free(
        path,
        inputs=(*source.files, *((source.path,) if source.path else ())),
        companions=[path.with_suffix(data) for data in _DETACHED_DATA.get(suffix, ())],
        overwrite=overwrite,
    )
    if source.dicom is not None and source.dicom.uneven_mm:
        raise OutputError(
            f"{path}: the slices are unevenly spaced, which no grid holds; write DICOM (a name that"
            " ends in /, or --dicom), or resample the series first"
        )
    tilt = shear_deg(volume.ijk_to_ras)
    if FORMATS[suffix] == "nifti" and tilt > _SHEAR_LIMIT_DEG:
        raise OutputError(
            f"{path}: axes {tilt:.2f} deg from orthogonal (gantry tilt) cannot be kept in NIfTI;"
            " write .nrrd or .mha"
        )


def read_mask(path: str | PathLike[str], like: CTVolume) -> np.ndarray:
    """Read a metal mask that lies on the grid of a volume.

    A mask may be stored in another axis order or flipped (as converters do) as long as its voxels
    are the volume's voxels. Whole numbers are labels: every label but 0 is metal. Values between 0
    and 1 are the fraction of metal.

    :param path: a file in one of the formats of :func:`read_volume` but DICOM.
    :param like: the CT.
    :returns: float32 fraction 0..1, ``(slices, rows, cols)``.
    :raises InputError: another geometry (named, with both values), not a mask, or empty.
    """
    path = Path(path)
    _check_readable(path)
    if _is_dicom(path):
        raise InputError(f"{path}: DICOM cannot be a mask; export the mask as .nii.gz or .nrrd")
    array, ijk_to_ras, _, _ = _read_array(path)
    return _fraction(on_grid(path, array, ijk_to_ras, like), path)


def read_labels(path: str | PathLike[str], like: CTVolume) -> np.ndarray:
    """Read a label volume that lies on the grid of a CT, with the labels as they are.

    :param path: as in :func:`read_mask`.
    :param like: the CT.
    :returns: whole numbers of the file's own type (int32 where that was a float), of any sign,
        ``(slices, rows, cols)``.
    :raises InputError: another geometry, or values that are no labels.
    """
    path = Path(path)
    _check_readable(path)
    if _is_dicom(path):
        raise InputError(f"{path}: DICOM cannot be labels; export them as .nii.gz or .nrrd")
    array, ijk_to_ras, _, _ = _read_array(path)
    labels = on_grid(path, array, ijk_to_ras, like)
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or not (labels == np.rint(labels)).all():
            raise InputError(f"{path}: broken values are no labels; give whole numbers 0, 1, 2 ...")
        labels = labels.astype(np.int32)
    return np.ascontiguousarray(labels)


def on_grid(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray, like: CTVolume) -> np.ndarray:
    """An array ``(k, j, i)`` permuted and flipped onto a volume's grid.

    :param path: named in the error.
    :raises InputError: its voxels are not the volume's voxels.
    """
    axes = acquisition_axes(ijk_to_ras)
    array, ijk_to_ras = array.transpose(axes), permuted_affine(ijk_to_ras, axes)
    # Which way does each axis of the mask run in the volume?
    signs = np.sign(np.diag(np.linalg.inv(like.ijk_to_ras[:3, :3]) @ ijk_to_ras[:3, :3]))
    for column, sign in enumerate(signs):
        if sign < 0:
            axis = 2 - column
            ijk_to_ras = ijk_to_ras.copy()
            ijk_to_ras[:3, 3] += (array.shape[axis] - 1) * ijk_to_ras[:3, column]
            ijk_to_ras[:3, column] *= -1
            array = np.flip(array, axis)
    difference = geometry_difference(array.shape, ijk_to_ras, like.hu.shape, like.ijk_to_ras)
    if difference:
        raise InputError(
            f"{path}: the mask's geometry is not the volume's: {difference};"
            " resample it to the volume first (3D Slicer: export it with the CT as reference)"
        )
    return array


def geometry_difference(
    shape: tuple[int, ...], ijk_to_ras: np.ndarray, other_shape: tuple[int, ...], other: np.ndarray
) -> str:
    """What differs between two grids, with both values; empty where they are the same.

    Two grids are the same if no corner is displaced by more than 1 % of the smallest voxel side.

    :param shape: ``(slices, rows, cols)``; reported as columns x rows x slices.
    """

    def listed(values: np.ndarray | tuple[int, ...], separator: str = " x ") -> str:
        return separator.join(f"{value:.6g}" for value in values)

    if tuple(shape) != tuple(other_shape):
        return f"size {listed(shape[::-1])} instead of {listed(other_shape[::-1])}"
    sides, other_sides = (np.linalg.norm(m[:3, :3], axis=0) for m in (ijk_to_ras, other))
    extent = np.asarray(shape[::-1]) - 1
    tolerance_mm = _GRID_TOLERANCE * float(other_sides.min())
    corners = np.array([[*(extent * bits), 1.0] for bits in np.ndindex(2, 2, 2)])
    displaced = np.linalg.norm(corners @ (ijk_to_ras - other).T, axis=1).max()
    if displaced <= tolerance_mm:
        return ""
    found = []
    if (np.abs(sides - other_sides) * np.maximum(extent, 1)).max() > tolerance_mm / 3:
        found.append(f"spacing {listed(sides)} instead of {listed(other_sides)} mm")
    if np.linalg.norm(ijk_to_ras[:3, 3] - other[:3, 3]) > tolerance_mm / 3:
        found.append(
            f"origin ({listed(ijk_to_ras[:3, 3], ', ')}) instead of"
            f" ({listed(other[:3, 3], ', ')}) mm RAS"
        )
    turned = np.abs(ijk_to_ras[:3, :3] / sides - other[:3, :3] / other_sides).max()
    if turned * float((extent * other_sides).max()) > tolerance_mm / 3:
        cosine = np.clip((ijk_to_ras[:3, :3] / sides * other[:3, :3] / other_sides).sum(0), -1, 1)
        found.append(f"direction turned by {np.degrees(np.arccos(cosine)).max():.4g} deg")
    return ", ".join(found) or f"corners displaced by {displaced:.4g} mm"


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


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the name")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise InputError(f"{path}: no permission to read it; change its permissions or copy it")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); copy or download it again")


def _is_dicom(path: Path) -> bool:
    """A folder, or a file that says so by its name or its first bytes."""
    if path.is_dir() or suffix_of(path) in _DICOM_SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _read_array(path: Path) -> tuple[np.ndarray, np.ndarray, str, tuple[Path, ...]]:
    """``array (k, j, i)``, its affine, the format's name and the files that were read."""
    name = FORMATS.get(suffix_of(path))
    if name is None:
        raise InputError(
            f"{path}: unknown format {suffix_of(path)!r}; give {', '.join(FORMATS)},"
            " a DICOM file or a folder of DICOM files"
        )
    if name == "nifti":
        from .nifti import read_nifti

        image = read_nifti(path)
        return image.array, image.ijk_to_ras, "nifti2" if image.version == 2 else "nifti", (path,)
    from .itk import read_itk_file

    array, ijk_to_ras, files = read_itk_file(path)
    return array, ijk_to_ras, name, files


def _converted(array: np.ndarray, dtype: np.dtype, path: Path) -> np.ndarray:
    """The values as they are stored, rounded and limited where the type is an integer."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise OutputError(f"{path}: the result holds NaN or infinite values; nothing was written")
    if dtype.kind not in "iu" or array.dtype == dtype or array.dtype.kind == "b":
        return array.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    data = np.empty(array.shape, dtype)
    for target, slab in zip(data, array, strict=True):  # slab by slab: the wide copy stays small
        # In float64 the limits of every type up to 32 bits are exact.
        wide = np.rint(slab.astype(np.float64))
        target[...] = np.clip(wide, limits.min, limits.max).astype(dtype)
    return data
