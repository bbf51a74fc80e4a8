"""NIfTI-1 and NIfTI-2 single files through nibabel, exactly.

ITK returns zeros for a file that was cut short, reports success on a full disk and squeezes the
orientation through a 32-bit quaternion; nibabel does not. By hand remain: which of two orientations
counts (3D Slicer, that is ITK, chooses otherwise than nibabel), the units (nibabel ignores them),
whole-number rescaling (nibabel makes floats of it), the gzip checksum (nibabel stops before it).
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from ..errors import InputError, OutputError
from ..volume import NiftiForms
from .inputs import MOST_UNPACKED
from .several import chosen_phase

_MM_PER_UNIT = {1: 1000.0, 3: 1e-3}  # metres and micrometres; everything else counts as mm
_AGAIN = "copy or download it again"
_CHUNK = 1 << 22
_APART = 0.1  # of the smallest voxel side: a qform is less exact than a sform
_PADDING = 1 << 16  # zero bytes that some writers leave behind the voxels
_FORMS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


@dataclass(frozen=True)
class NiftiImage:
    """What a file holds: ``array (k, j, i)``, ``ijk_to_ras (4, 4)`` and the header's version."""

    array: np.ndarray
    ijk_to_ras: np.ndarray
    version: int
    forms: NiftiForms
    notes: tuple[str, ...] = ()


def read_nifti(path: Path, phase: str | int | None = None) -> NiftiImage:
    """Read a .nii or .nii.gz file.

    :param phase: which volume of a 4-D file, from 1.
    :returns: HU (or labels) with the header's slope and intercept applied, and the geometry.
    :raises InputError: not NIfTI, truncated or corrupted, colour or complex.
    :raises SeveralVolumes: 4-D, and no phase was chosen.
    """
    with path.open("rb") as plain:
        # By content, not by name: browsers and servers unpack .gz without renaming it.
        compressed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        try:
            file: Any = gzip.GzipFile(fileobj=plain) if compressed else plain
            most = path.stat().st_size * (MOST_UNPACKED if compressed else 1)
            return _read(path, file, most, phase)
        except (EOFError, OSError, zlib.error) as error:
            text = str(error).partition("\n")[0]
            raise InputError(f"{path}: truncated or corrupted ({text}); {_AGAIN}") from None


def _read(path: Path, file: Any, most_bytes: int, phase: str | int | None) -> NiftiImage:
    kinds = (nib.Nifti1Image.header_class, nib.Nifti2Image.header_class)
    start = file.read(kinds[1].sizeof_hdr)
    kind: Any = next((one for one in kinds if one.may_contain_header(start)), None)
    if kind is None:
        raise InputError(f"{path}: no NIfTI header (Analyze, truncated or corrupted?); {_AGAIN}")
    # Unchecked: nibabel's checks print warnings, and what matters is checked here.
    header = kind(start[: kind.sizeof_hdr], check=False)
    if bytes(header["magic"])[:2] == b"ni":
        raise InputError(f"{path}: the header of an .hdr/.img pair; convert it to .nii.gz first")
    try:
        fields = _form_fields(header)
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
        affine, notes = _affine(header)
        slope, inter = header.get_slope_inter()
        offset = max(header.get_data_offset(), kind.sizeof_hdr)
        if not 1 <= header["dim"][0] <= 7 or min(shape) < 1:
            raise ValueError(f"size {shape}")
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: the header is corrupted ({error}); export it again") from None
    if any(size > 1 for size in shape[4:]):
        text = " x ".join(map(str, shape))
        raise InputError(f"{path}: {text} is not one 3-D volume; extract a single volume first")
    if dtype.kind not in "iuf":
        label = header.get_value_label("datatype")
        raise InputError(f"{path}: {label} voxels, not Hounsfield units; give the CT itself")
    shape, phases = (*shape[:3], 1, 1)[:3], (*shape, 1, 1, 1)[3]
    before = chosen_phase(path, shape, phases, phase)
    around = before, phases - 1 - before
    array = _voxels(path, file, shape, dtype, offset, most_bytes, around)
    array = array.astype(dtype.newbyteorder("="), copy=False)
    forms = NiftiForms(tuple(map(tuple, affine.tolist())), fields)
    version = kinds.index(kind) + 1
    return NiftiImage(_rescaled(array, slope, inter), affine, version, forms, notes)


def _voxels(
    path: Path,
    file: Any,
    shape: tuple[int, ...],
    dtype: np.dtype,
    offset: int,
    most_bytes: int,
    around: tuple[int, int],
) -> np.ndarray:
    """Exactly the voxels that the header promises, ``(k, j, i)``, and nothing behind them.

    :param around: how many other volumes lie before and behind this one.

    The stream is read to its end, since gzip compares its checksum only there.
    """
    count = 1
    for size in shape:
        count *= int(size)
    needed = offset + (1 + sum(around)) * count * dtype.itemsize
    if needed > most_bytes:
        raise EOFError(f"fewer than {needed} bytes are there")
    file.seek(offset + around[0] * count * dtype.itemsize)
    array = np.empty(count, dtype)
    left = array.data.cast("B")
    while len(left):
        read = file.readinto(left[:_CHUNK])
        if not read:
            raise EOFError(f"{len(left)} of {array.nbytes} bytes of voxels are missing")
        left = left[read:]
    for _ in range(around[1]):
        _skip(file, array.nbytes)
    behind = file.read(_PADDING + 1)
    if len(behind) > _PADDING or behind.strip(b"\0"):
        raise InputError(
            f"{path}: holds more than the {array.nbytes} bytes of voxels that its header promises;"
            " export it again"
        )
    return array.reshape(shape[::-1])


def _skip(file: Any, count: int) -> None:
    """Read on; a seek beyond the end would not be noticed."""
    while count:
        read = len(file.read(min(count, _CHUNK)))
        if not read:
            raise EOFError(f"{count} bytes of voxels are missing")
        count -= read


def _form_fields(header: Any) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """What the header says of place, unread."""
    values = {name: tuple(np.ravel(header[name]).tolist()) for name in _FORMS}
    values["pixdim"] = tuple(header["pixdim"][:4].tolist())
    values["xyzt_units"] = (int(header["xyzt_units"]),)
    return tuple(values.items())


def _affine(header: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """As ITK: the sform if in scanner coordinates or alone, else the qform, else axial LPS.

    :returns: ``(4, 4)`` in mm, and a note where the other one says something else.
    """
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
    unit_mm = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    affine[:3] *= unit_mm
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ValueError("singular orientation")
    if sform <= 0 or qform <= 0:
        return affine, ()
    return affine, _disagreement(header, affine, unit_mm)


def _disagreement(header: Any, affine: np.ndarray, unit_mm: float) -> tuple[str, ...]:
    """A note where sform and qform put a corner of the volume in different places."""
    used, unused = ("sform", "qform") if int(header["sform_code"]) == 1 else ("qform", "sform")
    try:
        other = header.get_qform() if unused == "qform" else header.get_sform()
    except (HeaderDataError, ValueError):
        return ()
    other[:3] *= unit_mm
    extent = np.array((*header.get_data_shape()[:3], 1, 1)[:3]) - 1
    corners = np.array([[*(extent * bits), 1.0] for bits in np.ndindex(2, 2, 2)])
    with np.errstate(over="ignore"):  # a damaged form may hold any number
        apart_mm = float(np.linalg.norm((corners @ (affine - other).T)[:, :3], axis=1).max())
    if not apart_mm > _APART * float(np.linalg.norm(affine[:3, :3], axis=0).min()):
        return ()
    codes = {name: int(header[f"{name}_code"]) for name in (used, unused)}
    return (
        f"sform and qform disagree by up to {apart_mm:.4g} mm: the {used} (code {codes[used]})"
        f" counts, not the {unused} (code {codes[unused]}); both come back as they are",
    )


def _rescaled(array: np.ndarray, slope: float | None, inter: float | None) -> np.ndarray:
    """Stored values to HU; whole-number rescaling keeps whole numbers."""
    if slope is None or inter is None or (slope, inter) == (1.0, 0.0):
        return array
    with np.errstate(all="ignore"):  # what overflows is refused as no HU
        hu = array * np.float64(slope) + inter
        if array.dtype.kind != "f" and slope % 1 == 0 and inter % 1 == 0:
            for limits in (np.iinfo(np.int16), np.iinfo(np.int32)):
                if limits.min <= hu.min() and hu.max() <= limits.max:
                    result: np.ndarray = hu.astype(limits.dtype)
                    return result
        real: np.ndarray = hu.astype(np.float32)
        return real


def write_nifti(
    path: Path,
    array: np.ndarray,
    ijk_to_ras: np.ndarray,
    version: int = 1,
    forms: NiftiForms | None = None,
) -> None:
    """Write a .nii or .nii.gz file, whole or with an exception; the same volume, the same bytes.

    :param array: ``(k, j, i)`` of a NIfTI type.
    :param ijk_to_ras: ``(4, 4)``; becomes the sform as it is and, as a rotation, the qform.
    :param version: 1, or 2 for double precision.
    :param forms: of the source; where its orientation is this one, both come back as they were.
    :raises OutputError: a voxel type or size that the format does not hold.
    """
    made: Any = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    try:
        image = made(array.T, ijk_to_ras, dtype=array.dtype)
    except HeaderDataError as error:
        raise OutputError(f"{path}: NIfTI cannot hold this ({error}); write .nrrd") from None
    image.set_sform(ijk_to_ras, code=1)  # scanner coordinates
    image.set_qform(ijk_to_ras, code=1)
    image.header.set_xyzt_units("mm")
    if forms is not None and np.array_equal(forms.ijk_to_ras, ijk_to_ras):
        kept = dict(forms.fields)
        # Without a form nibabel and ITK would each guess another: ours are the better ones then.
        if max(kept["sform_code"][0], kept["qform_code"][0]) > 0:
            _restore(image.header, kept)
            image = made(array.T, None, header=image.header, dtype=array.dtype)
    with nib.openers.ImageOpener(str(path), "wb") as file:
        image.to_stream(file.fobj)


def _restore(header: Any, kept: dict[str, tuple[float, ...]]) -> None:
    pixdim = header["pixdim"].copy()
    pixdim[:4] = kept.pop("pixdim")
    header["pixdim"] = pixdim
    for name, values in kept.items():
        header[name] = values if len(values) > 1 else values[0]
