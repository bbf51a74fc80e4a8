"""Folders of DICOM files that appear whole, and never where they would do harm."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from ..files.leftovers import ASIDE, hidden_folder
from ..files.whole import check_path_free
from .provenance import MODEL


def check_folder_free(folder: Path, sources: Iterable[Path], *, overwrite: bool = False) -> None:
    """Raise where a series cannot or must not be written; to be called before long work.

    :param folder: made by the writer; may exist if it is empty.
    :param sources: files of the source series.
    :param overwrite: allow a folder that holds nothing but an earlier export of this program.
    :raises OutputError: a file, holds other files, the source's own folder, no permission.
    """
    _check_away_from(folder, sources)
    if folder.is_dir() and not folder.is_symlink():
        if any(folder.iterdir()):
            _check_replaceable(folder, overwrite)
    elif os.path.lexists(folder):
        raise OutputError(f"{folder}: is a file or a link; give the name of a new folder")
    _check_parent(folder)


def check_file_free(file: Path, sources: Iterable[Path], *, overwrite: bool = False) -> None:
    """As :func:`check_folder_free` for one DICOM file."""
    sources = list(sources)
    check_path_free(file, inputs=sources, overwrite=overwrite)
    _check_away_from(file.parent, sources, name=file)


@contextmanager
def set_aside(paths: Iterable[Path]) -> Iterator[Callable[[], None]]:
    """Make room for new folders at the last moment; the old ones come back after an error.

    :returns: a function that moves those of ``paths`` that are folders out of the way; once the
        block has ended well they are gone.
    """
    moved: list[tuple[Path, Path]] = []

    def make_room() -> None:
        for path in paths:
            if path.is_dir():
                hidden = hidden_folder(path.absolute().parent, ASIDE)
                moved.append((path.absolute(), hidden / path.absolute().name))
                path.rename(moved[-1][1])

    try:
        yield make_room
    except BaseException:
        for path, old in moved:
            if old.is_dir() and not path.exists():
                old.rename(path)
        raise
    finally:
        for _, old in moved:
            shutil.rmtree(old.parent, ignore_errors=True)


def _check_away_from(folder: Path, sources: Iterable[Path], name: Path | None = None) -> None:
    """Not the folder of a source file, not below one, and not above one."""
    name = name or folder
    target = folder.resolve()
    for home in {Path(source).resolve().parent for source in sources}:
        if target == home or home in target.parents:
            raise OutputError(
                f"{name}: lies in the folder of the source series, which would then hold two"
                " series; choose another folder"
            )
        if name is folder and target in home.parents:
            raise OutputError(f"{name}: holds the source series; choose another folder")


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if not overwrite:
        raise OutputError(
            f"{folder}: the folder is not empty; give the name of a new one, or allow replacing an"
            " earlier export (overwrite=True, --force)"
        )
    foreign = next((file for file in sorted(folder.iterdir()) if not _is_own(file)), None)
    if foreign is not None:
        raise OutputError(
            f"{folder}: holds {foreign.name}, which is no earlier export of this program, so the"
            " folder is not replaced; give the name of a new one"
        )


def _is_own(file: Path) -> bool:
    import pydicom
    from pydicom.errors import InvalidDicomError

    if not file.is_file():
        return False
    try:
        header = pydicom.dcmread(file, specific_tags=["ManufacturerModelName"])
    except (OSError, InvalidDicomError):
        return False
    return bool(header.get("ManufacturerModelName") == MODEL)


def _check_parent(folder: Path) -> None:
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"{folder}: the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: no permission to write in {parent}; choose another folder")
