"""NIfTI-1 and NIfTI-2 single files through nibabel, exactly.

ITK returns zeros for a file that was cut short, reports success on a full disk and squeezes the
orientation through a 32-bit quaternion; nibabel does not. By hand remain: which of two orientations
counts (3D Slicer, that is ITK, chooses otherwise than nibabel), the units (nibabel ignores them),
whole-number rescaling (nibabel makes floats of it), the gzip checksum (nibabel stops before it).
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import array_from_file

from ..errors import InputError, OutputError

_MM_PER_UNIT = {1: 1000.0, 3: 1e-3}  # metres and micrometres; everything else counts as mm
_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class NiftiImage:
    """What a file holds: ``array (k, j, i)``, ``ijk_to_ras (4, 4)`` and the header's version."""

    array: np.ndarray
    ijk_to_ras: np.ndarray
    version: int


def read_nifti(path: Path) -> NiftiImage:
    """Read a .nii or .nii.gz file.

    :returns: HU (or labels) with the header's slope and intercept applied, and the geometry.
    :raises InputError: not NIfTI, truncated or corrupted, 4-D, colour or complex.
    """
    with path.open("rb") as plain:
        # By content, not by name: browsers and servers unpack .gz without renaming it.
        compressed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        try:
            file: Any = gzip.GzipFile(fileobj=plain) if compressed else plain
            # No compression reaches 1040:1, so a larger claim is a lie that must not be allocated.
            return _read(path, file, path.stat().st_size * (1040 if compressed else 1))
        except (EOFError, OSError, zlib.error) as error:  # nibabel adds a second line
            text = str(error).partition("\n")[0]
            raise InputError(f"{path}: truncated or corrupted ({text}); {_AGAIN}") from None


def _read(path: Path, file: Any, most_bytes: int) -> NiftiImage:
    kinds = (nib.Nifti1Image.header_class, nib.Nifti2Image.header_class)
    start = file.read(kinds[1].sizeof_hdr)
    kind = next((one for one in kinds if one.may_contain_header(start)), None)
    if kind is None:
        raise InputError(f"{path}: no NIfTI header (Analyze, truncated or corrupted?); {_AGAIN}")
    # Unchecked: nibabel's checks print warnings, and what matters is checked here.
    header = kind(start[: kind.sizeof_hdr], check=False)
    if bytes(header["magic"])[:2] == b"ni":
        raise InputError(f"{path}: the header of an .hdr/.img pair; convert it to .nii.gz first")
    try:
        shape, dtype, affine = header.get_data_shape(), header.get_data_dtype(), _affine(header)
        slope, inter = header.get_slope_inter()
        offset = max(header.get_data_offset(), kind.sizeof_hdr)
        if not 1 <= header["dim"][0] <= 7 or min(shape) < 1:
            raise ValueError(f"size {shape}")
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: the header is corrupted ({error}); export it again") from None
    if any(size > 1 for size in shape[3:]):
        text = " x ".join(map(str, shape))
        raise InputError(f"{path}: {text} is not one 3-D volume; extract a single volume first")
    if dtype.kind not in "iuf":
        label = header.get_value_label("datatype")
        raise InputError(f"{path}: {label} voxels, not Hounsfield units; give the CT itself")
    shape = (*shape[:3], 1, 1)[:3]
    expected = math.prod(shape) * dtype.itemsize
    if expected > most_bytes:
        raise EOFError(f"fewer than {expected} bytes are there")
    array = array_from_file(shape, dtype, file, offset, mmap=False).T
    file.read(1)  # reaches the end of the stream, where gzip compares its checksum
    array = array.astype(dtype.newbyteorder("="), copy=False)
    return NiftiImage(_rescaled(array, slope, inter), affine, kinds.index(kind) + 1)


def _affine(header: Any) -> np.ndarray:
    """As ITK: the sform if in scanner coordinates or alone, else the qform, else axial LPS."""
    pixdim = header["pixdim"]  # nibabel refuses signs and zeros, ITK does not
    pixdim[0] = -1.0 if pixdim[0] < 0 else 1.0
    pixdim[1:4] = np.where(pixdim[1:4] == 0, 1.0, np.abs(pixdim[1:4]))
    qform, sform = int(header["qform_code"]), int(header["sform_code"])
    if sform == 1 or (sform > 0 and qform <= 0):
        affine = header.get_sform()
    elif qform > 0:
        affine = header.get_qform()
    else:
        affine = np.diag([-1.0, -1.0, 1.0, 1.0] * np.append(pixdim[1:4], 1.0))
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ValueError("singular orientation")
    return affine


def _rescaled(array: np.ndarray, slope: float | None, inter: float | None) -> np.ndarray:
    """Stored values to HU; whole-number rescaling keeps whole numbers."""
    if slope is None or inter is None or (slope, inter) == (1.0, 0.0):
        return array
    with np.errstate(all="ignore"):  # what overflows is refused as no HU
        hu = array * np.float64(slope) + inter
        if array.dtype.kind != "f" and slope % 1 == 0 and inter % 1 == 0:
            for limits in (np.iinfo(np.int16), np.iinfo(np.int32)):
                if limits.min <= hu.min() and hu.max() <= limits.max:
                    return hu.astype(limits.dtype)
        return hu.astype(np.float32)


def write_nifti(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray, version: int = 1) -> None:
    """Write a .nii or .nii.gz file, whole or with an exception; the same volume, the same bytes.

    :param array: ``(k, j, i)`` of a NIfTI type.
    :param ijk_to_ras: ``(4, 4)``; becomes the sform as it is and, as a rotation, the qform.
    :param version: 1, or 2 for double precision.
    :raises OutputError: a voxel type or size that the format does not hold.
    """
    made = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    try:
        image = made(array.T, ijk_to_ras, dtype=array.dtype)
    except HeaderDataError as error:
        raise OutputError(f"{path}: NIfTI cannot hold this ({error}); write .nrrd") from None
    image.set_sform(ijk_to_ras, code=1)  # scanner coordinates
    image.set_qform(ijk_to_ras, code=1)
    image.header.set_xyzt_units("mm")
    with nib.openers.ImageOpener(str(path), "wb") as file:
        image.to_stream(file.fobj)
