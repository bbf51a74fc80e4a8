"""What runs leave behind when they are killed, and what keeps two of them apart."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def clear_own() -> None:
    """As :func:`clear_leftovers` for this process itself, just before it ends."""
    for parent in _PARENTS:
        for path in parent.glob(f"{_HIDDEN}*"):
            if path.name.startswith((own_prefix(), own_prefix(ASIDE))):
                _clear(path)


def clear_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove hidden folders that processes of this machine left when they were killed.

    :param below: in its subfolders too.
    """
    for path in (folder.rglob if below else folder.glob)(f"{_HIDDEN}*"):
        host, _, pid = path.name.rpartition("-")[0].rpartition("-")
        if host.rpartition("-")[2] != _host() or not pid.isdecimal() or process_alive(int(pid)):
            continue
        _clear(path)


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
    path = folder / LOCK
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("a+", encoding="utf-8"))
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written ({error.strerror}); choose another folder"
            ) from None
        # The file may be that of a run which has just removed it at its end.
        if not _lock(file.fileno()) or not _is_still(path, file.fileno()):
            file.seek(0)
            raise OutputError(
                f"{folder}: another run writes into it ({shown(file.read(), 200)}); wait for its"
                " end, or give another folder"
            )
        file.truncate(0)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        json.dump({"process": os.getpid(), "host": _host(), "since": started}, file)
        file.flush()
        stack.callback(path.unlink, missing_ok=True)
        yield


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
