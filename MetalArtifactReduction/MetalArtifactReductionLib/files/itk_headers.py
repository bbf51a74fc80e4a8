"""Headers of NRRD and MetaImage, checked before ITK's readers see the file.

ITK reads a compressed file whose bytes were damaged without a word, puts the name of a data file
through ``printf``, and allocates whatever a header claims. So the header's numbers are checked
first, and the voxels' stream is read to its end: length and checksum, and no byte more than the
header promises.
"""

from __future__ import annotations

import bz2
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError

_CHUNK = 1 << 16
_HEADER_LIMIT = 1 << 16
_PADDING = 1 << 16  # zero bytes that some writers leave behind the voxels
_MOST_AXES = 4
_MOST_COMPONENTS = 1 << 16
_PATTERN = re.compile(r"[^%]*%0?\d{0,2}d[^%]*")  # the only thing that may be put through printf
_ORDINALS = ("first", "second", "third", "fourth")
_EXPORT = "export it again"
_COPY = "copy or download it again"


def is_sequence(path: Path) -> bool:
    """Whether the components of a voxel are volumes, as 3D Slicer stores sequences in NRRD."""
    if path.suffix.lower() not in (".nrrd", ".nhdr"):
        return False
    fields = _fields(path, ":")[0]
    kinds = fields.get("kinds", "").lower().split()
    segments = any(name.startswith("segment0_") for name in fields)
    return not segments and not {"list", "time"}.isdisjoint(kinds)


@dataclass(frozen=True)
class Payload:
    """Where the voxels of a file are."""

    path: Path
    offset: int
    encoding: str  # "raw", "gzip", "bzip2" or "zlib"
    stored: int | None = None  # bytes in the file, where the header tells


def header_payload(path: Path) -> Payload | None:
    """Where the header says the voxels are; None for the rarer layouts, left to ITK.

    :raises InputError: a header that no reader should be given.
    """
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        return _nrrd_payload(path)
    return _meta_payload(path)


def _fields(path: Path, separator: str) -> tuple[dict[str, str], int]:
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


def _nrrd_payload(path: Path) -> Payload | None:
    """http://teem.sourceforge.net/nrrd/format.html"""
    fields, end = _fields(path, ":")
    axes = _whole(path, fields, "dimension", 1, _MOST_AXES)
    sizes = _sizes(path, fields, "sizes", axes)
    spacings = [v for v in fields.get("spacings", "").split() if v.lower() != "nan"]
    _check_spacings(path, spacings)
    vectors = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    if len(vectors) not in (0, axes):
        raise InputError(f"{path}: {len(vectors)} space directions of {axes} axes; {_EXPORT}")
    lengths = [_length(path, vector) for vector in vectors if vector != "none"]
    _check_spacings(path, [f"{length:g}" for length in lengths])
    origin = fields.get("space origin")
    if origin is not None:
        _length(path, origin)
    name = fields.get("data file", fields.get("datafile"))
    if name is not None and "%" in name and not _PATTERN.fullmatch(name):
        raise InputError(f"{path}: data file {name[:60]!r} is no pattern of a name; {_EXPORT}")
    skips = {"byte skip", "byteskip", "line skip", "lineskip"} & fields.keys()
    for skip in skips:
        _whole(path, fields, skip, -1, 1 << 40)
    encoding = fields.get("encoding", "").lower()
    encoding = {"gz": "gzip", "bz2": "bzip2"}.get(encoding, encoding)
    if encoding not in ("raw", "gzip", "bzip2"):
        if encoding not in ("txt", "text", "ascii", "hex"):
            raise InputError(f"{path}: encoding {encoding[:40]!r} of NRRD is unknown; {_EXPORT}")
        _check_claim(path, sizes, path.stat().st_size)  # a byte of text a voxel, at least
        return None
    many = name is not None and ("%" in name or name.upper().startswith("LIST"))
    if many or skips:
        if encoding != "raw":
            raise InputError(
                f"{path}: compressed voxels in several files or behind skipped bytes cannot be"
                " verified; export it as one .nrrd"
            )
        return None
    return Payload(path.parent / name if name else path, 0 if name else end, encoding)


def _meta_payload(path: Path) -> Payload | None:
    """https://docs.itk.org: MetaIO."""
    fields, end = _fields(path, "=")
    axes = _whole(path, fields, "ndims", 2, _MOST_AXES)
    sizes = _sizes(path, fields, "dimsize", axes)
    for keyword in ("elementspacing", "elementsize"):
        _check_spacings(path, fields.get(keyword, "").split())
    for keyword in ("offset", "origin", "position", "transformmatrix", "orientation", "rotation"):
        for value in fields.get(keyword, "").split():
            _number(path, keyword, value)
    if "elementnumberofchannels" in fields:
        _whole(path, fields, "elementnumberofchannels", 1, _MOST_COMPONENTS)
    skipped = 0
    if "headersize" in fields:
        skipped = _whole(path, fields, "headersize", -1, 1 << 40)
    name = fields.get("elementdatafile", "")
    if not name:
        raise InputError(f"{path}: its header names no ElementDataFile; {_EXPORT}")
    many = name.upper().startswith("LIST")
    if "%" in name and not many and not _PATTERN.fullmatch(name.split()[0]):
        raise InputError(f"{path}: ElementDataFile {name[:60]!r} is no name of a file; {_EXPORT}")
    if many or "%" in name or skipped:
        return None
    local = name.upper() == "LOCAL"
    place = path if local else path.parent / name
    if fields.get("binarydata", "True").lower() != "true":
        _check_claim(path, sizes, path.stat().st_size)
        return None
    compressed = fields.get("compresseddata", "False").lower() == "true"
    size = None
    if compressed and "compresseddatasize" in fields:
        size = _whole(path, fields, "compresseddatasize", 0, 1 << 50) or None
    return Payload(place, end if local else 0, "zlib" if compressed else "raw", size)


def _whole(path: Path, fields: dict[str, str], name: str, least: int, most: int) -> int:
    text = fields.get(name, "")
    if not re.fullmatch(r"[+-]?\d{1,18}", text) or not least <= int(text) <= most:
        raise InputError(
            f"{path}: {name} is {text[:40]!r}, but {least} to {most} is possible; {_EXPORT}"
        )
    return int(text)


def _sizes(path: Path, fields: dict[str, str], name: str, axes: int) -> list[int]:
    words = fields.get(name, "").split()
    if len(words) != axes or not all(re.fullmatch(r"\d{1,9}", w) and int(w) for w in words):
        raise InputError(
            f"{path}: {name} is {fields.get(name, '')[:60]!r}, not {axes} whole numbers of voxels;"
            f" {_EXPORT}"
        )
    return [int(word) for word in words]


def _check_spacings(path: Path, words: list[str]) -> None:
    for ordinal, word in zip(_ORDINALS, words, strict=False):
        if _number(path, "spacing", word) == 0:
            raise InputError(
                f"{path}: the {ordinal} spacing is 0; put the distance in mm into its header"
            )


def _number(path: Path, name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: {name} {word[:40]!r} is no finite number; {_EXPORT}")
    return value


def _length(path: Path, vector: str) -> float:
    words = vector.strip().strip("()").split(",")
    return math.hypot(*(_number(path, "space directions or origin", word) for word in words))


def _check_claim(path: Path, sizes: list[int], most: int) -> None:
    if math.prod(sizes) > most:
        raise InputError(f"{path}: truncated, fewer than {math.prod(sizes)} voxels; {_COPY}")


def check_payload(path: Path, payload: Payload, expected: int) -> None:
    """Raise unless every voxel is there, nothing else is, and a compressed stream's sum is right.

    :param expected: bytes after decompression.
    """
    found = payload.path.stat().st_size - payload.offset
    if payload.encoding == "raw":
        if found >= expected:
            _check_behind(path, payload, expected, found)
        wanted = expected
    else:
        wanted = payload.stored or 0
        if found >= wanted:
            found, wanted = _decompressed_bytes(path, payload, expected), expected
    if found < wanted:
        raise InputError(f"{path}: truncated, {found} of {wanted} bytes are there; {_COPY}")
    if found > wanted and payload.encoding != "raw":
        raise _more(path, expected)


def _more(path: Path, expected: int) -> InputError:
    return InputError(
        f"{path}: holds more than the {expected} bytes of voxels that its header promises;"
        f" {_EXPORT}"
    )


def _check_behind(path: Path, payload: Payload, expected: int, found: int) -> None:
    with payload.path.open("rb") as file:
        file.seek(payload.offset + expected)
        if found - expected > _PADDING or file.read().strip(b"\0\r\n"):
            raise _more(path, expected)


def _decompressed_bytes(path: Path, payload: Payload, expected: int) -> int:
    """Decompress without keeping anything: only this finds damaged bytes."""
    total = 0
    try:
        with payload.path.open("rb") as file:
            file.seek(payload.offset)
            stream, data = _decompressor(payload.encoding), b""
            while total <= expected:
                if stream.eof:
                    data = stream.unused_data or file.read(_CHUNK)
                    if payload.encoding == "zlib" or not data.startswith((b"\x1f\x8b", b"BZh")):
                        break
                    stream = _decompressor(payload.encoding)
                elif not (data := data or file.read(_CHUNK)):
                    raise OSError(f"the stream ends early, after {total} bytes of voxels")
                made = stream.decompress(data, expected + 1 - total)
                total += len(made)
                data = b"" if payload.encoding == "bzip2" else stream.unconsumed_tail
    except (zlib.error, OSError, EOFError) as error:
        raise InputError(f"{path}: corrupted ({error}); {_COPY}") from None
    return total


def _decompressor(encoding: str) -> Any:
    if encoding == "bzip2":
        return bz2.BZ2Decompressor()
    return zlib.decompressobj(zlib.MAX_WBITS | 32)
