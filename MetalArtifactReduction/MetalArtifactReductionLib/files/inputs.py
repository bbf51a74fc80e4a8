"""A file of the user's, before anything opens it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import InputError

MOST_UNPACKED = 1040
"""Bytes, or voxels of a CT, that a compressed byte may become: neither deflate nor DICOM's lossless
schemes reach that, so a larger claim is a lie that must not be allocated."""

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_readable(path: Path, *, folder: bool = False) -> None:
    """Refuse at once what cannot be read, and what would keep its reader waiting for ever.

    :param folder: whether a folder will do too.
    :raises InputError: no such file, a dangling link, no permission, empty, a pipe or a device.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        what = "the link leads nowhere" if path.is_symlink() else "no such file or folder"
        raise InputError(f"{path}: {what}; check the name") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to look there; copy it") from None
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a NUL byte
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: no usable name of a file ({reason}); check it") from None
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise InputError(f"{path}: is {name}, not a file; save the data to a file first")
    if stat.S_ISDIR(mode):
        if not folder:
            raise InputError(f"{path}: is a folder; give a file in it")
        if not os.access(path, os.R_OK | os.X_OK):
            raise InputError(f"{path}: no permission to read it; change its permissions or copy it")
        return
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it; change its permissions or copy it")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); copy or download it again")


def is_file(path: Path) -> bool:
    """Whether there is a file; also of a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a NUL byte
        return False


def looks_like_dicom(path: Path) -> bool:
    """Whether a file begins like DICOM, with or without the preamble of today's files."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    if start[128:] == b"DICM":
        return True
    # An element of the first groups, numbered below 0x100; then a VR of two capitals, or a length
    # below 64 KiB. Little endian: where no preamble is, nothing else was in use.
    if start[:2] not in (b"\x02\0", b"\x08\0") or start[3:4] != b"\0" or len(start) < 8:
        return False
    return (start[4:6].isalpha() and start[4:6].isupper()) or start[6:8] == b"\0\0"
