"""Zip archives of a study, unpacked where they do no harm and no more than they promise."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from ..errors import InputError, printable
from .leftovers import hidden_folder

_MOST_FILES = 200_000
_MOST_RATIO = 200  # CT compresses 2 to 10 times; a bomb a thousand times and more
_ALWAYS_FINE = 1 << 28
_CHUNK = 1 << 20


def unpacked(path: Path) -> Path:
    """A folder with the files of a .zip, which goes when this process ends.

    :raises InputError: damaged, encrypted, or larger than a study or the disk can be.
    """
    when = path.stat()
    return _unpacked(path.absolute(), when.st_mtime_ns, when.st_size)


@lru_cache(maxsize=8)
def _unpacked(path: Path, _when: int, _size: int) -> Path:
    try:
        folder = hidden_folder(Path(tempfile.gettempdir()))
    except OSError as error:
        raise InputError(
            f"{path}: no folder to unpack it to ({error.strerror or error}); set the environment"
            " variable TMPDIR (on Windows TEMP), or unpack it yourself"
        ) from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    unpack(path, folder)
    return folder


def unpack(path: Path, folder: Path) -> None:
    """Unpack a .zip below a folder.

    :raises InputError: as :func:`unpacked`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [one for one in archive.infolist() if not _is_left_out(one)]
            _check_bounds(path, entries, path.stat().st_size)
            for entry in entries:
                _extract(archive, entry, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        what = (
            "encrypted" if "password" in str(error) else f"damaged ({printable(str(error))[:120]})"
        )
        raise InputError(f"{path}: {what}; unpack it yourself and give the folder") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: cannot be unpacked ({reason}); unpack it yourself and give the folder"
        ) from None


def _is_left_out(entry: zipfile.ZipInfo) -> bool:
    return entry.is_dir() or entry.filename.startswith("__MACOSX/")


def _check_bounds(path: Path, entries: list[zipfile.ZipInfo], size: int) -> None:
    total = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_FILES:
        raise InputError(f"{path}: {len(entries)} files in one archive; unpack one study of it")
    if total > max(_ALWAYS_FINE, _MOST_RATIO * size):
        raise InputError(
            f"{path}: {size} bytes that claim to become {total}; no CT compresses so, unpack it"
            " yourself if you trust it"
        )
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if total > free:
        raise InputError(
            f"{path}: {total} bytes unpacked, {free} are free in {tempfile.gettempdir()}; unpack it"
            " where there is room"
        )


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """One file below the folder, whatever its name says, and no longer than it promised."""
    parts = [part for part in Path(entry.filename).parts if part not in ("..", "/", "\\")]
    place = folder.joinpath(*(part[:200].replace("\\", "_").replace(":", "_") for part in parts))
    place.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as source, place.open("wb") as target:
        while data := source.read(_CHUNK):
            left -= len(data)
            if left < 0:
                raise zipfile.BadZipFile(f"{entry.filename}: longer than it says")
            target.write(data)
    if left:
        raise zipfile.BadZipFile(f"{entry.filename}: shorter than it says")
