"""Deflated DICOM (PS3.5 A.5), unpacked no further than its own header promises.

pydicom unpacks the whole of such a file, and only then looks what it is.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ..errors import InputError

_CHUNK = 1 << 20
_BESIDE_PIXELS = 1 << 25  # headers, icons, overlays


def check_deflated(path: Path) -> None:
    """Refuse a deflated file that unpacks to more than its header says.

    :raises InputError: it does. Whatever else is wrong with a file is left to its reader.
    """
    with path.open("rb") as file:
        read_preamble(file, force=True)
        meta = read_dataset(file, False, True, stop_when=_behind_group_2)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        left, size, most = file.read(_CHUNK), 0, 0
        while left:
            made = stream.decompress(left, _CHUNK)
            most = most or _BESIDE_PIXELS + _promised(made)
            size += len(made)
            if size > most:
                raise InputError(
                    f"{path}: a deflated file that unpacks to more than {most} bytes, which its"
                    " header does not promise; export it again"
                )
            left = stream.unconsumed_tail or file.read(_CHUNK)


def _behind_group_2(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 2


def _promised(start: bytes) -> int:
    """Bytes of the pixels, by the header that a stream begins with; 0 where it does not say."""

    def pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag.group > 0x28

    try:
        header: Any = read_dataset(io.BytesIO(start), False, True, stop_when=pixels)
        voxels = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
        return voxels * int(header.get("SamplesPerPixel") or 1) * (int(header.BitsAllocated) // 8)
    except Exception:  # whatever a damaged header makes pydicom stumble over
        return 0
