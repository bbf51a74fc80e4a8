"""Outputs appear whole or not at all, and never on top of an input."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import OutputError, shown
from .leftovers import hidden_folder


def check_path_free(
    path: str | PathLike[str],
    *,
    inputs: Iterable[str | PathLike[str]] = (),
    companions: Iterable[str | PathLike[str]] = (),
    overwrite: bool = False,
) -> None:
    """Raise where a file cannot or must not be written; to be called before long work.

    :param inputs: files that must stay as they are, whatever links lead to them.
    :param companions: files written together with ``path`` (the data beside a header).
    :param overwrite: whether files that exist may be replaced.
    :raises OutputError: no such folder, no permission, an input, or exists already.
    """
    path = Path(path)
    check_name(path)
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: no permission to write in {path.parent}; choose another folder")
    targets = [path, *map(Path, companions)]
    if any(_same_file(target, Path(read)) for read in inputs for target in targets):
        raise OutputError(f"{path}: is the input itself; choose another name for the output")
    for target in targets:
        if not overwrite and os.path.lexists(target):
            raise OutputError(
                f"{target}: exists already; choose another name or allow overwriting"
                " (overwrite=True, --force)"
            )


@contextmanager
def written_whole(path: str | PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Write ``path`` through a temporary file of the same name in a hidden folder beside it.

    Everything made in that folder moves into place together once the block ends well, ``path``
    itself last; after an exception nothing is left behind.

    :returns: the path to write to inside the ``with`` block.
    :raises OutputError: no permission, disk full, or a file appeared there meanwhile.
    """
    path = Path(path)
    with moved_at_once() as now, _written_whole(path, overwrite, now) as temporary:
        yield temporary


@contextmanager
def _written_whole(path: Path, overwrite: bool, now: Callable[[], None]) -> Iterator[Path]:
    temporary: Path | None = None
    try:
        temporary = hidden_folder(path.parent)
        yield temporary / path.name
        now()
        # The header last: it must never be there without its data.
        made = sorted(temporary.iterdir(), key=lambda file: file.name == path.name)
        for file in made:
            if not overwrite and os.path.lexists(path.parent / file.name):
                raise OutputError(f"{path.parent / file.name}: appeared meanwhile; not overwritten")
        for file in made:
            file.replace(path.parent / file.name)
    except OutputError:
        raise
    except OSError as error:
        raise _not_written(path, error) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def written_together(
    paths: Sequence[str | PathLike[str]], *, overwrite: bool = False
) -> Iterator[dict[Path, Path]]:
    """As :func:`written_whole` for several files: they appear one after the other at the end.

    None appears before all are complete. Only if the last step, a rename within the folder, failed
    for one of them would some be there and others not.

    :returns: for each path where to write it inside the ``with`` block.
    :raises OutputError: as :func:`written_whole`, with the path itself in the message.
    """
    with moved_at_once() as now, ExitStack() as stack:
        places = {
            path: stack.enter_context(written_whole(path, overwrite=overwrite))
            for path in map(Path, paths)
        }
        try:
            yield places
            now()
        except OutputError as error:
            text = str(error)
            for path, place in places.items():
                text = text.replace(str(place), str(path))
            raise OutputError(text) from None


@contextmanager
def moved_at_once() -> Iterator[Callable[[], None]]:
    """A block whose end, from a call of what it gives, no Ctrl-C divides: it comes afterwards.

    :raises KeyboardInterrupt: after the block, if it came; says that the outputs are complete.
    """
    before: Any = None
    asked = False

    def ask(_number: int, _frame: object) -> None:
        nonlocal asked
        asked = True

    def now() -> None:
        nonlocal before
        # None: a handler that is not Python's, which could not be put back.
        if before is None and threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if before is not None:
                signal.signal(signal.SIGINT, ask)

    try:
        yield now
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
    if asked and callable(before):
        try:
            before(signal.SIGINT, None)  # also that of a block around this one
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the outputs are complete") from None


def check_new_folder(path: Path) -> None:
    """Raise where :func:`new_folder` could not make it; to be called before long work.

    :raises OutputError: a file, not empty, no permission, or no folder to make it in.
    """
    check_name(path)
    if path.is_dir():
        if any(path.iterdir()):
            raise OutputError(f"{path}: the folder is not empty; give the name of a new one")
    elif os.path.lexists(path):
        raise OutputError(f"{path}: is a file; give the name of a new folder")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"{path}: the folder {parent} does not exist; create it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: no permission to write in {parent}; choose another folder")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a hidden folder beside ``path`` that becomes ``path`` once the block ends well.

    :returns: the folder to write to inside the ``with`` block.
    :raises OutputError: as :func:`check_new_folder`, or the disk is full; nothing is left behind.
    """
    check_new_folder(path)
    with moved_at_once() as now, _new_folder(path, now) as made:
        yield made


@contextmanager
def _new_folder(path: Path, now: Callable[[], None]) -> Iterator[Path]:
    target = path.absolute()
    hidden: Path | None = None
    try:
        hidden = hidden_folder(target.parent)
        # One level down, since mkdtemp's own folder is closed to everybody else.
        made = hidden / target.name
        made.mkdir()
        yield made
        now()
        if target.is_dir():
            target.rmdir()  # empty, as was checked; Windows does not replace folders
        made.rename(target)
    except OutputError as error:
        text = str(error)
        if hidden is not None:
            text = text.replace(str(hidden / target.name), str(path))
        raise OutputError(text) from None
    except OSError as error:
        raise _not_written(path, error) from None
    finally:
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)


def _not_written(path: Path, error: OSError) -> OutputError:
    if isinstance(error, PermissionError):
        return OutputError(f"{path}: no permission to write there; choose another folder")
    return OutputError(
        f"{path}: could not be written ({error.strerror or error}); free space or choose another "
        "disk"
    )


def check_name(path: Path) -> None:
    """Refuse a name that no file can have: too long, through a file or a loop of links, with NUL.

    :raises OutputError: says why.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{shown(str(path), 200)}: no usable name of a file ({reason}); give another"
        ) from None


def _same_file(first: Path, second: Path) -> bool:
    """The same file on disk, through links of either kind too."""
    try:
        return first.samefile(second)
    except OSError:
        return first.absolute() == second.absolute()
