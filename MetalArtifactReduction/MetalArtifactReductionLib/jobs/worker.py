"""The child side of a job: ``python -m MetalArtifactReductionLib.jobs.worker FOLDER``.

Runs one task of the folder (see :mod:`.task`), tells its progress as JSON lines on the standard
output, and ends early when a line or the end comes on the standard input, when the file ``cancel``
appears, or when the process that started it has gone; then it removes the folder too.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import Cancelled, MARError
from ..files.leftovers import process_alive
from ..progress import check_cancelled
from .task import (
    CANCEL,
    INPUTS,
    NO_MEMORY,
    REQUEST,
    RESULTS,
    UNFINISHED,
    ExitCode,
    TaskRequest,
    TaskResult,
    array_file,
    disk_full,
)

_WATCH_S = 0.2
_REPORT_S = 0.1
ORPHAN_GRACE_S = 5.0
"""A task whose parent has gone and that does not ask for cancel is ended after so long."""


def main(arguments: list[str] | None = None) -> int:
    """Run the task in a folder; returns one of :class:`.task.ExitCode`."""
    folder = Path((arguments or sys.argv[1:])[0])
    events = _Events()
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    watch = _Watch(folder, request["parent"])
    try:
        code = _run(request, folder, events, watch)
    finally:
        if watch.orphan:
            _remove(folder)
    return code


def _run(request: Mapping[str, Any], folder: Path, events: _Events, watch: _Watch) -> int:
    """The task, with every way it can end told as an event and an exit code."""
    try:
        result = _call(request, folder, events, watch)
        _save(result, folder)
        check_cancelled(watch.asked)
        events.write(event="done", values=dict(result.values))
        return ExitCode.DONE
    except Cancelled as error:
        return events.end(ExitCode.CANCELLED, error, "Cancelled")
    except MemoryError as error:
        traceback.print_exc()
        return events.end(ExitCode.NO_MEMORY, error, "JobFailed", NO_MEMORY)
    except MARError as error:
        traceback.print_exc()
        return events.end(ExitCode.REFUSED, error, type(error).__name__)
    except OSError as error:
        traceback.print_exc()
        if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
            return events.end(ExitCode.DISK_FULL, error, "OutputError", disk_full(folder))
        return events.end(ExitCode.FAULT, error, "JobFailed")
    except Exception as error:
        traceback.print_exc()
        return events.end(ExitCode.FAULT, error, "JobFailed")


def _call(request: Mapping[str, Any], folder: Path, events: _Events, watch: _Watch) -> TaskResult:
    import numpy as np

    module, name = request["task"].split(":")
    arrays = {
        name: np.load(array_file(folder, INPUTS, name), mmap_mode="r", allow_pickle=False)
        for name in request["arrays"]
    }
    function = getattr(import_module(module), name)
    result: TaskResult = function(
        TaskRequest(request["arguments"], arrays, events.progress, watch.asked)
    )
    return result


def _save(result: TaskResult, folder: Path) -> None:
    """All arrays, or none of them."""
    import numpy as np

    unfinished = folder / UNFINISHED
    unfinished.mkdir()
    try:
        for name, array in result.arrays.items():
            np.save(array_file(folder, UNFINISHED, name), array, allow_pickle=False)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)  # room for the last words
        # numpy says that fewer bytes were written than asked for, and not why.
        if error.errno is None:
            raise OSError(errno.ENOSPC, str(error)) from error
        raise
    unfinished.rename(folder / RESULTS)


class _Events:
    """JSON lines on what was the standard output; whatever else is printed goes to the log."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)
        self._begun: tuple[float, float] | None = None
        self._told = -1.0

    def write(self, **event: Any) -> None:
        """One line; a disk that is full loses it."""
        try:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
        except OSError:
            traceback.print_exc()

    def end(self, code: ExitCode, error: BaseException, kind: str, reason: str = "") -> int:
        """The last line: why there is no result."""
        text = reason or " ".join(str(error).split()) or type(error).__name__
        if kind == "JobFailed" and not reason:
            text = f"{type(error).__name__}: {text}"
        remedy = error.remedy if isinstance(error, MARError) else ""
        self.write(event="ended", kind=kind, reason=text, remedy=remedy)
        return code

    def progress(self, fraction: float, message: str) -> None:
        """As a library function reports it; at most ten lines a second."""
        now = time.monotonic()
        self._begun = self._begun or (now, fraction)
        if now - self._told < _REPORT_S and fraction < 1.0:
            return
        self._told = now
        start, first = self._begun
        gained = fraction - first
        known = gained > 0.02 and now - start > 0.5
        remaining = (now - start) / gained * (1.0 - fraction) if known else None
        self.write(event="progress", fraction=fraction, message=message, remaining_s=remaining)


class _Watch:
    """Looks for the wish to stop, in a thread of its own.

    :ivar orphan: the process that started this one has gone.
    """

    def __init__(self, folder: Path, parent: int) -> None:
        self.orphan = False
        self._stop = threading.Event()
        self._folder, self._parent = folder, parent
        threading.Thread(target=self._look, daemon=True).start()

    def asked(self) -> bool:
        """Whether to give up."""
        return self._stop.is_set()

    def _look(self) -> None:
        heard = _stdin()
        while not self.orphan:
            said = heard()
            if said == "line" or (self._folder / CANCEL).exists():
                self._stop.set()
            ended = said == "end" and not self._stop.is_set()
            self.orphan = ended or not process_alive(self._parent) or not self._folder.exists()
            time.sleep(_WATCH_S)
        self._stop.set()
        time.sleep(ORPHAN_GRACE_S)
        _remove(self._folder)
        if hasattr(os, "killpg") and os.getpgrp() in (os.getpid(), os.getppid()):
            os.killpg(0, signal.SIGKILL)  # what the task started, and the launcher
        os._exit(ExitCode.CANCELLED)


def _stdin() -> Callable[[], str]:
    """A function that says without waiting what came on standard input: "", "line" or "end".

    Nobody may wait in a read: on Windows that would hold up whatever else looks at the standard
    handles, the import of numpy among them.
    """
    if os.name == "nt":
        import ctypes
        import msvcrt

        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(0))  # type: ignore[attr-defined,unused-ignore]

        def peek() -> str:
            there = ctypes.c_ulong(0)
            if not kernel.PeekNamedPipe(handle, None, 0, None, ctypes.byref(there), None):
                return "end"
            return "line" if there.value else ""

        return peek

    import select

    def read() -> str:
        try:
            if not select.select([0], [], [], 0)[0]:
                return ""
            return "line" if os.read(0, 1024) else "end"
        except (OSError, ValueError):
            return "end"

    return read


def _remove(folder: Path) -> None:
    os.chdir(tempfile.gettempdir())  # Windows keeps the folder that a process stands in
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
