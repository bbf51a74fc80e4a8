"""NIfTI-1 and NIfTI-2 single files, exactly.

ITK's own reader returns zeros for a file that was cut short and its writer reports success on a
full disk; both also squeeze the orientation through a quaternion of 32-bit numbers. Here the
affine goes from and to the header unchanged and every missing byte is an error.

Source: the NIfTI-1 and NIfTI-2 headers, https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from .errors import InputError, OutputError

_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_COLOUR_OR_COMPLEX = {32: "complex", 128: "RGB", 1792: "complex", 2304: "RGBA"}
_MM_PER_UNIT = {1: 1000.0, 3: 1e-3}  # metres and micrometres; everything else counts as mm
_GZIP_LEVEL = 2  # noisy CT hardly gets smaller with more, but takes several times longer
_CHUNK = 1 << 24


def _layout(version: int) -> np.dtype[Any]:
    """The header fields used here, by name; the rest stays zero."""
    real, size, itemsize = ("f4", "i2", 348) if version == 1 else ("f8", "i8", 540)
    where: dict[str, tuple[object, int, int]] = {  # type, offset in NIfTI-1, in NIfTI-2
        "sizeof_hdr": ("i4", 0, 0),
        "dim": ((size, 8), 40, 16),
        "datatype": ("i2", 70, 12),
        "bitpix": ("i2", 72, 14),
        "pixdim": ((real, 8), 76, 104),
        "vox_offset": ("f4" if version == 1 else "i8", 108, 168),
        "scl_slope": (real, 112, 176),
        "scl_inter": (real, 116, 184),
        "xyzt_units": ("u1" if version == 1 else "i4", 123, 500),
        "qform_code": ("i2" if version == 1 else "i4", 252, 344),
        "sform_code": ("i2" if version == 1 else "i4", 254, 348),
        "quatern": ((real, 3), 256, 352),
        "qoffset": ((real, 3), 268, 376),
        "srow": ((real, (3, 4)), 280, 400),
        "magic": ("S4" if version == 1 else "S8", 344, 4),
    }
    layout: Any = {
        "names": list(where),
        "formats": [row[0] for row in where.values()],
        "offsets": [row[version] for row in where.values()],
        "itemsize": itemsize,
    }
    return np.dtype(layout)


@dataclass(frozen=True)
class NiftiImage:
    """What a file holds: ``array (k, j, i)``, ``ijk_to_ras (4, 4)`` and the header's version."""

    array: np.ndarray
    ijk_to_ras: np.ndarray
    version: int


def _open(path: Path) -> BinaryIO:
    """Open plain or compressed, by content rather than by name."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb")


def _header(path: Path, file: BinaryIO) -> tuple[np.void, int, str]:
    """The header record, its version and its byte order."""
    start = file.read(4)
    for version, length in ((1, 348), (2, 540)):
        order: Literal["<", ">"]
        for order in ("<", ">"):
            if len(start) == 4 and int(np.frombuffer(start, f"{order}i4")[0]) == length:
                raw = start + file.read(length - 4)
                if len(raw) < length:
                    raise _truncated(path, length, len(raw))
                header = np.frombuffer(raw, _layout(version).newbyteorder(order))[0]
                magic = bytes(header["magic"])
                if magic[:3] in (b"ni1", b"ni2"):
                    raise InputError(
                        f"{path}: the header of an .hdr/.img pair; convert it to .nii.gz first"
                    )
                if magic[:3] not in (b"n+1", b"n+2"):
                    raise InputError(
                        f"{path}: an Analyze file without orientation, not NIfTI;"
                        " convert it from the original images again"
                    )
                return header, version, order
    raise InputError(f"{path}: not a NIfTI file or its header is corrupted; export it again")


def _truncated(path: Path, expected: int, found: int) -> InputError:
    return InputError(
        f"{path}: truncated, {found} of {expected} bytes are there; copy or download it again"
    )


def _shape(path: Path, header: np.void) -> tuple[int, int, int]:
    """``(i, j, k)`` of a single scalar volume."""
    dim = [int(n) for n in header["dim"]]
    sizes = dim[1 : dim[0] + 1] if 1 <= dim[0] <= 7 else []
    if not sizes or min(sizes) < 1:
        raise InputError(f"{path}: the header's dimensions {dim} are corrupted; export it again")
    if any(n > 1 for n in sizes[3:]):
        text = " x ".join(map(str, sizes))
        raise InputError(f"{path}: {text} is not one 3-D volume; extract a single volume first")
    i, j, k = (*sizes[:3], 1, 1)[:3]
    return i, j, k


def _affine(path: Path, header: np.void) -> np.ndarray:
    """The orientation that ITK, and so 3D Slicer, takes where the header holds two or none.

    The sform if it is in scanner coordinates or alone, else the qform. Without either, rows run to
    the left and columns to the back as in an axial CT.
    """
    affine = np.eye(4)
    pixdim = header["pixdim"].astype(np.float64)
    sizes = np.where(np.abs(pixdim[1:4]) > 0, np.abs(pixdim[1:4]), 1.0)
    qform, sform = int(header["qform_code"]), int(header["sform_code"])
    if sform == 1 or (sform > 0 and qform <= 0):
        affine[:3] = header["srow"].astype(np.float64)
    elif qform > 0:
        from scipy.spatial.transform import Rotation

        b, c, d = header["quatern"].astype(np.float64)
        a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
        rotation = Rotation.from_quat([b, c, d, a]).as_matrix()
        handed = -1.0 if pixdim[0] < 0 else 1.0
        affine[:3, :3] = rotation * (sizes * [1.0, 1.0, handed])
        affine[:3, 3] = header["qoffset"].astype(np.float64)
    else:
        affine[:3, :3] = np.diag(sizes * [-1.0, -1.0, 1.0])
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise InputError(f"{path}: the orientation in the header is singular; export it again")
    return affine


def _rescale(array: np.ndarray, slope: float, inter: float) -> np.ndarray:
    """Stored values to HU; whole-number rescaling keeps whole numbers."""
    if not np.isfinite(slope) or slope == 0 or (slope, inter) == (1.0, 0.0):
        return array
    inter = inter if np.isfinite(inter) else 0.0
    if array.dtype.kind in "iu" and slope == int(slope) and inter == int(inter):
        hu = array.astype(np.int64) * int(slope) + int(inter)
        limits = np.iinfo(np.int16)
        small = limits.min <= hu.min() and hu.max() <= limits.max
        return hu.astype(np.int16 if small else np.int32)
    return (array * slope + inter).astype(np.float32)


def read_nifti(path: Path) -> NiftiImage:
    """Read a .nii or .nii.gz file.

    :returns: HU (or labels) with the header's slope and intercept applied, and the geometry.
    :raises InputError: not NIfTI, truncated or corrupted, 4-D, colour or complex.
    """
    try:
        with _open(path) as file:
            return _read(path, file)
    except EOFError:
        raise InputError(
            f"{path}: truncated, the compressed data end early; copy or download it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: corrupted ({error}); copy or download it again") from None


def _read(path: Path, file: BinaryIO) -> NiftiImage:
    header, version, order = _header(path, file)
    shape = _shape(path, header)
    code = int(header["datatype"])
    if code in _COLOUR_OR_COMPLEX:
        raise InputError(
            f"{path}: {_COLOUR_OR_COMPLEX[code]} voxels, not Hounsfield units; give the CT itself"
        )
    if code not in _TYPES:
        raise InputError(f"{path}: unknown voxel type {code} in the header; export it again")
    dtype = np.dtype(order + _TYPES[code])
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    # No compression reaches 1040:1, so a larger claim is a lie that must not be allocated.
    ratio = 1040 if isinstance(file, gzip.GzipFile) else 1
    if expected > path.stat().st_size * ratio:
        raise _truncated(path, expected, path.stat().st_size)
    file.seek(max(int(header["vox_offset"]), header.dtype.itemsize))
    array = np.empty(shape[::-1], dtype=dtype)
    buffer = array.reshape(-1).view(np.uint8)
    done = 0
    while done < expected:
        count = cast(Any, file).readinto(buffer[done : done + _CHUNK])
        if not count:
            raise _truncated(path, expected, done)
        done += count
    file.read(1)  # reaches the end of the stream, where gzip compares its checksum
    array = array.astype(dtype.newbyteorder("="), copy=False)
    array = _rescale(array, float(header["scl_slope"]), float(header["scl_inter"]))
    return NiftiImage(array, _affine(path, header), version)


def write_nifti(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray, version: int = 1) -> None:
    """Write a .nii or .nii.gz file, whole or with an exception.

    :param array: ``(k, j, i)`` of a NIfTI type.
    :param ijk_to_ras: ``(4, 4)``; becomes the sform as it is and, as a rotation, the qform.
    :param version: 1, or 2 for a geometry in double precision.
    :raises OutputError: a voxel type or size that the format does not hold.
    """
    from scipy.spatial.transform import Rotation

    codes = {np.dtype(name): code for code, name in _TYPES.items()}
    if array.dtype not in codes or (version == 1 and max(array.shape) > 32767):
        raise OutputError(f"NIfTI cannot hold {array.dtype} voxels of {array.shape}; write .nrrd")
    header = np.zeros((), dtype=_layout(version).newbyteorder("<"))
    sizes = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    rotation = ijk_to_ras[:3, :3] / sizes
    handed = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    quaternion = Rotation.from_matrix(rotation * [1.0, 1.0, handed]).as_quat(canonical=True)
    offset = header.dtype.itemsize + 4  # four zero bytes say that no extension follows
    header["sizeof_hdr"] = header.dtype.itemsize
    header["dim"] = [3, *array.shape[::-1], 1, 1, 1, 1]
    header["datatype"] = codes[array.dtype]
    header["bitpix"] = array.dtype.itemsize * 8
    header["pixdim"] = [handed, *sizes, 0, 0, 0, 0]
    header["vox_offset"] = offset
    header["scl_slope"] = 1.0
    header["xyzt_units"] = 2
    header["qform_code"] = header["sform_code"] = 1  # scanner coordinates
    header["quatern"] = quaternion[:3]
    header["qoffset"] = ijk_to_ras[:3, 3]
    header["srow"] = ijk_to_ras[:3]
    header["magic"] = b"n+1" if version == 1 else b"n+2\x00\r\n\x1a\n"
    with path.open("wb") as plain:
        compress = path.name.lower().endswith(".gz")
        # No name and no time in the stream: the same volume gives the same bytes.
        file = (
            gzip.GzipFile("", "wb", _GZIP_LEVEL, plain, mtime=0)
            if compress
            else cast(gzip.GzipFile, plain)
        )
        file.write(header.tobytes() + bytes(4))
        for slab in array:
            file.write(np.ascontiguousarray(slab, slab.dtype.newbyteorder("<")).tobytes())
        if compress:
            file.close()
