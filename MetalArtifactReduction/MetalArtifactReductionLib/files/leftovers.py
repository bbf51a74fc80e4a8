"""What runs leave behind when they are killed, and what keeps two of them apart."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import OutputError, shown

_HIDDEN = ".mar-"
ASIDE = f"{_HIDDEN}old-"
"""How hidden folders begin that hold what was there before: it comes back after a kill."""

LOCK = ".mar-lock"


def process_alive(pid: int) -> bool:
    """Whether a process runs."""
    if os.name == "nt":
        import ctypes

        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
        synchronize, timeout = 0x00100000, 0x00000102
        handle = kernel.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == timeout)
        finally:
            kernel.CloseHandle(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def own_prefix(kind: str = _HIDDEN) -> str:
    """How the names of hidden folders of this process begin."""
    return f"{kind}{_host()}-{os.getpid()}-"


_PARENTS: set[Path] = set()
"""Where this process has made hidden folders: for whoever has to end it at once."""


def hidden_folder(parent: Path, kind: str = _HIDDEN) -> Path:
    """A new hidden folder; those of runs that were killed on this machine go, or come back.

    :param kind: how its name begins.
    """
    clear_leftovers(parent)
    _PARENTS.add(parent.absolute())
    return Path(tempfile.mkdtemp(prefix=own_prefix(kind), dir=parent))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A :func:`hidden_folder` in the system's place for temporary files, for as long as a block."""
    folder = hidden_folder(Path(tempfile.gettempdir()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_own() -> None:
    """As :func:`clear_leftovers` for this process itself, just before it ends."""
    for parent in _PARENTS:
        for path in parent.glob(f"{_HIDDEN}*"):
            if path.name.startswith((own_prefix(), own_prefix(ASIDE))):
                _clear(path)
    for lock in tuple(_HELD):
        _remove(lock)


def clear_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove hidden folders and locks that processes left when they were killed.

    Folders of processes of other machines stay: whether those run cannot be seen.

    :param below: in its subfolders too.
    """
    for path in (folder.rglob if below else folder.glob)(f"{_HIDDEN}*"):
        if path.name.startswith(LOCK):
            _clear_lock(path)
            continue
        host, _, pid = path.name.rpartition("-")[0].rpartition("-")
        if host.rpartition("-")[2] != _host() or not pid.isdecimal() or process_alive(int(pid)):
            continue
        _clear(path)


def _clear_lock(path: Path) -> None:
    """Remove a lock that nobody holds."""
    with contextlib.suppress(OSError), path.open("a") as file:
        if _lock(file.fileno()) and _is_still(path, file.fileno()):
            _remove(path)


def _clear(path: Path) -> None:
    if path.name.startswith(ASIDE):
        for old in path.iterdir():
            if not os.path.lexists(path.parent / old.name):
                old.rename(path.parent / old.name)
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of a folder while this one writes into it.

    The system lets go of the lock with the process, however that ends.

    :raises OutputError: another run holds it; says which.
    """
    with _held(folder / LOCK, folder, "writes into it"):
        yield


@contextmanager
def claimed(*outputs: Path) -> Iterator[None]:
    """As :func:`locked` for outputs that are to be made, files or folders."""
    with contextlib.ExitStack() as stack:
        for path in outputs:
            name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
            stack.enter_context(_held(path.absolute().parent / f"{LOCK}-{name}", path, "makes it"))
        yield


@contextmanager
def _held(lock: Path, what: Path, does: str) -> Iterator[None]:
    """Hold a file that says who does something with ``what``."""
    try:
        file = _taken(lock)
    except FileNotFoundError:
        raise OutputError(
            f"{what}: the folder {what.parent} does not exist; create it first"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{what}: cannot be written ({error.strerror}); choose another folder"
        ) from None
    with file:
        if file.tell():
            file.seek(0)
            raise OutputError(
                f"{what}: another run {does} ({shown(file.read(), 200)}); wait for its end, or"
                " give another name"
            )
        _HELD.add(lock)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        try:
            json.dump({"process": os.getpid(), "host": _host(), "since": started}, file)
            file.flush()
            yield
        finally:
            _HELD.discard(lock)
            _remove(lock)


def _taken(lock: Path) -> IO[str]:
    """The file with its lock, emptied; or without, where another run has it, at its end."""
    while True:
        file = lock.open("a+", encoding="utf-8")
        if not _lock(file.fileno()):
            file.seek(0, os.SEEK_END)
            if file.tell():
                return file
        elif _is_still(lock, file.fileno()):  # and not of a run that has just removed it
            file.seek(0)
            file.truncate()
            return file
        file.close()
        time.sleep(0.02)


_HELD: set[Path] = set()
"""Locks of this process: for whoever has to end it at once."""


def _remove(lock: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps a file that is open; the next run clears it
        lock.unlink(missing_ok=True)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _lock(descriptor: int) -> bool:
    """Take the lock of an open file; False where another process has it."""
    try:
        if os.name == "nt":
            import msvcrt

            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # the locked byte cannot be read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # file systems without locks: there nothing can be kept apart
        return os.name != "nt"
    return True


def _host() -> str:
    return "".join(c for c in socket.gethostname() if c.isalnum())[:32] or "host"


def leave_with_the_parent() -> None:
    """End this process once the one that started it has ended; for a thread of its own."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
