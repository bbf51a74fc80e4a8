"""NRRD and MetaImage files through SimpleITK, with the checks that ITK leaves out.

ITK reads a compressed NRRD or MetaImage file whose bytes were damaged without a word, so the
compressed stream is checked (length and checksum) before ITK sees it.
"""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CHUNK = 1 << 18
_HEADER_LIMIT = 1 << 16
_COMPRESSION_LEVEL = 2


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's own warnings off the user's terminal; the setting is put back afterwards."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def image_from_array(array: np.ndarray, ijk_to_ras: np.ndarray) -> Any:
    """A SimpleITK image from ``array (k, j, i)`` and its affine (RAS in, LPS inside)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    lps = LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def affine_of(image: Any) -> np.ndarray:
    """``(4, 4)`` from ``(i, j, k, 1)`` to RAS of a three-dimensional SimpleITK image."""
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ lps


def first_line(error: Exception) -> str:
    """The telling line of an ITK exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@dataclass(frozen=True)
class _Payload:
    """Where the voxels of a file are."""

    path: Path
    offset: int
    encoding: str  # "raw", "gzip", "bzip2" or "zlib"
    stored: int | None = None  # bytes in the file, where the header tells


def read_itk_file(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[Path, ...]]:
    """Read a .nrrd, .nhdr, .mha or .mhd file.

    :returns: ``array (k, j, i)`` in the type of the file, ``ijk_to_ras (4, 4)``, files read.
    :raises InputError: truncated or corrupted, colour or vector, not three-dimensional.
    """
    payload = _payload(path)
    if payload is not None and not payload.path.is_file():
        raise InputError(f"{path}: its data file {payload.path} is missing; put it beside it")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet_itk():
        try:
            reader.ReadImageInformation()
            _check_layout(path, reader)
            if payload is not None:
                _check_payload(path, payload, _bytes_of(reader))
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(
                f"{path}: truncated or corrupted ({first_line(error)}); export it again"
            ) from None
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    elif image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    files = (path,) if payload is None or payload.path == path else (path, payload.path)
    return sitk.GetArrayFromImage(image), affine_of(image), files


def _check_layout(path: Path, reader: Any) -> None:
    """Only one scalar volume can be CT."""
    components = reader.GetNumberOfComponents()
    if components > 1 or "vector" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(
            f"{path}: {components} components a voxel (colour, vectors or several segments),"
            " not Hounsfield units; give the CT itself"
        )
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{path}: complex voxels, not Hounsfield units; give the CT itself")
    size = reader.GetSize()
    if len(size) not in (2, 3) and not (len(size) == 4 and size[3] == 1):
        text = " x ".join(map(str, size))
        raise InputError(f"{path}: {text} is not one 3-D volume; extract a single volume first")


def _bytes_of(reader: Any) -> int:
    """What the voxels of a scalar image occupy, says its header."""
    voxel = sitk.Image(1, 1, reader.GetPixelID())
    return math.prod(reader.GetSize()) * int(voxel.GetSizeOfPixelComponent())


def _header_fields(path: Path, separator: str) -> tuple[dict[str, str], int]:
    """The text header as ``{field: value}``, lower-case fields, and where it ends."""
    with path.open("rb") as file:
        head = file.read(_HEADER_LIMIT)
    fields: dict[str, str] = {}
    position = 0
    while position < len(head):
        end = head.find(b"\n", position)
        end = len(head) if end < 0 else end
        line = head[position:end].decode("utf-8", "surrogateescape").strip()
        position = end + 1
        if separator == ":" and not line:  # NRRD: the blank line ends the header
            break
        name, found, value = line.partition(separator)
        if found and not line.startswith("#"):
            fields[name.strip().lower()] = value.lstrip("=").strip()
        if separator == "=" and name.strip().lower() == "elementdatafile":
            break
    return fields, position


def _payload(path: Path) -> _Payload | None:
    """Read from the header where the data are; None for the rarer layouts, left to ITK."""
    try:
        is_nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
        return _nrrd_payload(path) if is_nrrd else _meta_payload(path)
    except (KeyError, ValueError):
        return None


def _nrrd_payload(path: Path) -> _Payload | None:
    """http://teem.sourceforge.net/nrrd/format.html"""
    fields, end = _header_fields(path, ":")
    name = fields.get("data file", fields.get("datafile"))
    if name is not None and ("%" in name or name.upper().startswith("LIST")):
        return None
    if {"byte skip", "byteskip", "line skip", "lineskip"} & fields.keys():
        return None
    encoding = {"gz": "gzip", "bz2": "bzip2"}.get(fields["encoding"], fields["encoding"])
    if encoding not in ("raw", "gzip", "bzip2"):
        return None
    return _Payload(path.parent / name if name else path, 0 if name else end, encoding)


def _meta_payload(path: Path) -> _Payload | None:
    """https://docs.itk.org: MetaIO."""
    fields, end = _header_fields(path, "=")
    name = fields["elementdatafile"]
    if "%" in name or name.upper().startswith("LIST") or int(fields.get("headersize", "0")):
        return None
    if fields.get("binarydata", "True").lower() != "true":
        return None
    local = name.upper() == "LOCAL"
    compressed = fields.get("compresseddata", "False").lower() == "true"
    size = fields.get("compresseddatasize")
    return _Payload(
        path if local else path.parent / name,
        end if local else 0,
        "zlib" if compressed else "raw",
        int(size) if compressed and size else None,
    )


def _check_payload(path: Path, payload: _Payload, expected: int) -> None:
    """Raise unless every voxel is there and a compressed stream's checksum is right.

    :param expected: bytes after decompression.
    """
    found = payload.path.stat().st_size - payload.offset
    wanted = payload.stored or (expected if payload.encoding == "raw" else 0)
    if found >= wanted and payload.encoding != "raw":
        found, wanted = _decompressed_bytes(path, payload), expected
    if found < wanted:
        raise InputError(
            f"{path}: truncated, {found} of {wanted} bytes are there; copy or download it again"
        )


def _decompressed_bytes(path: Path, payload: _Payload) -> int:
    """Decompress without keeping anything: only this finds damaged bytes."""
    total = 0
    stream: Any = (
        bz2.BZ2Decompressor()
        if payload.encoding == "bzip2"
        else zlib.decompressobj(zlib.MAX_WBITS | 32)
    )
    try:
        with payload.path.open("rb") as file:
            file.seek(payload.offset)
            while not stream.eof:
                data = file.read(_CHUNK)
                if not data:
                    raise OSError(f"the stream ends early, after {total} bytes of voxels")
                total += len(stream.decompress(data))
    except (zlib.error, OSError) as error:
        raise InputError(f"{path}: corrupted ({error}); copy or download it again") from None
    return total


def write_itk_file(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """Write a .nrrd, .nhdr, .mha or .mhd file, compressed.

    :param array: ``(k, j, i)``.
    :param ijk_to_ras: ``(4, 4)``; may be sheared, both formats hold it.
    :raises OSError: with what ITK says when it cannot write.
    """
    image = image_from_array(array, ijk_to_ras)
    with quiet_itk():
        try:
            sitk.WriteImage(image, str(path), True, _COMPRESSION_LEVEL)
        except RuntimeError as error:
            raise OSError(first_line(error)) from None
