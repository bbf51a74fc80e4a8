"""One piece of long work in a process of its own, driven without waiting: the parent's side.

A :class:`Job` runs one task (see :mod:`.task`) in a new Python process, started by :mod:`.worker`.
Nothing here waits or uses threads: ``poll()`` looks what happened since the last call, and may be
called by a timer of the user interface, or by ``wait()`` in a script (several: :mod:`.queue`)::

    job = Job("MetalArtifactReductionLib.jobs.correction:correct", arguments, {"hu": hu})
    job.wait()
    corrected = job.array("corrected")
    job.close()

Processes end and folders go with their jobs: on ``close()``, when the job is forgotten, when Python
exits, and by the process itself when its parent was killed.
"""

from __future__ import annotations

import enum
import json
import os
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, DeviceError, InputError, MARError, OutputError
from .child_process import kill_tree, start_python
from .process import CLOSING_GRACE_S, JobProcess, clean_up, private_folder, reason_of, tail_of
from .task import EVENTS, INPUTS, LOG, REQUEST, RESULTS, ExitCode, array_file

if TYPE_CHECKING:
    import numpy as np

GRACE_S = 1.5
"""A process that was asked to stop is ended after so long; results count only when complete."""

_KINDS: Mapping[str, type[MARError]] = {
    "InputError": InputError,
    "OutputError": OutputError,
    "DeviceError": DeviceError,
    "Cancelled": Cancelled,
}


class JobFailed(MARError, RuntimeError):
    """The process of a job crashed, was killed, or met a fault of the program."""


class JobState(enum.Enum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job:
    """One task in a process of its own.

    :ivar state: a :class:`JobState`. :ivar fraction: 0..1. :ivar message: what it does now.
    :ivar remaining_s: seconds left, None while unknown.
    :ivar error: for the user, one line: why it failed or was cancelled; else "".
    :ivar remedy: the end of that line, see :class:`..errors.MARError`.
    :ivar log: what the process wrote to its error stream, with the traceback.
    :ivar values: what the task gave back, plain values.
    :ivar when_cancelled: the error of one that is cancelled while it runs.
    """

    def __init__(
        self,
        task: str,
        arguments: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        title: str = "",
        folder: Path | None = None,
        grace_s: float = GRACE_S,
        on_progress: Callable[[Job], None] | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> None:
        """Write the inputs to a private folder; the process waits for :meth:`start`.

        :param task: ``"package.module:function"``, a :data:`.task.Task`.
        :param arguments: plain values for it, as JSON knows them. :param arrays: arrays for it.
        :param folder: where to make the private folder; the system's place for temporary files if
            None.
        :param on_progress, on_end: called by :meth:`poll` with the job; ``on_end`` once.
        :raises OutputError: the disk is full or closed to us.
        """
        self.title = title or task
        self.state = JobState.WAITING
        self.fraction, self.message = 0.0, ""
        self.remaining_s: float | None = None
        self.error, self.remedy, self.log = "", "", ""
        self.when_cancelled = "cancelled on request; nothing was written"
        self.values: Mapping[str, Any] = {}
        self._kind: type[MARError] = JobFailed
        self._task, self._grace_s = task, grace_s
        self._on_progress, self._on_end = on_progress, on_end
        self._cancel_asked: float | None = None
        self._started = self._ended = 0.0
        self._read, self._last_line = 0, b""
        self._own = JobProcess(private_folder(folder), min(grace_s, CLOSING_GRACE_S))
        self._finalizer = weakref.finalize(self, clean_up, self._own)
        try:
            self._write_request(arguments or {}, arrays or {})
        except OSError as error:
            self._finalizer()
            raise OutputError(
                f"{self.folder.parent}: temporary files cannot be written "
                f"({error.strerror or error}); free space, or set the environment variable TMPDIR "
                "(on Windows TEMP) to a folder on another disk"
            ) from None

    @property
    def folder(self) -> Path:
        """The private folder; gone after :meth:`close`."""
        return self._own.folder

    @property
    def ended(self) -> bool:
        """Neither waiting nor running any more."""
        return self.state not in (JobState.WAITING, JobState.RUNNING)

    @property
    def done(self) -> bool:
        """Ended well."""
        return self.state is JobState.DONE

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        if not self._started:
            return 0.0
        return (self._ended or time.monotonic()) - self._started

    def start(self) -> None:
        """Start the process; what goes wrong with that ends the job as failed."""
        if self.state is not JobState.WAITING:
            return
        self.state, self._started = JobState.RUNNING, time.monotonic()
        try:
            with (
                (self.folder / EVENTS).open("wb") as out,
                (self.folder / LOG).open("wb") as err,
            ):
                self._own.process = start_python(
                    ["-m", f"{__package__}.worker", str(self.folder)],
                    packages=[__name__.split(".")[0], self._task.split(".")[0].split(":")[0]],
                    folder=self.folder,
                    out=out,
                    err=err,
                )
        except (OSError, ImportError, MARError) as error:
            kind = type(error) if isinstance(error, MARError) else JobFailed
            self._end(JobState.FAILED, f"the process cannot be started: {error}", kind)

    def poll(self) -> JobState:
        """See what happened, without waiting; calls the callbacks."""
        process = self._own.process
        if self.state is not JobState.RUNNING or process is None:
            return self.state
        code = process.poll()
        moved = self._read_events()
        if code is not None:
            self._judge(code)
        elif self._cancel_asked is not None and (
            time.monotonic() - self._cancel_asked > self._grace_s
        ):
            kill_tree(process)
            self._judge(process.returncode)
        elif moved and self._on_progress is not None:
            self._on_progress(self)
        return self.state

    def cancel(self) -> None:
        """Ask it to stop; returns at once. It is ended if it does not within the grace time."""
        if self.state is JobState.WAITING:
            self._end(JobState.CANCELLED, "cancelled before it began", Cancelled)
        elif self.state is JobState.RUNNING and self._cancel_asked is None:
            self._cancel_asked = time.monotonic()
            self.message = "cancelling"
            self._own.ask_to_stop()

    def wait(self, timeout_s: float | None = None, *, every_s: float = 0.05) -> JobState:
        """Start it if need be and poll until it has ended, or the time is over."""
        self.start()
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.ended and (until is None or time.monotonic() < until):
            self.poll()
            if not self.ended:
                time.sleep(every_s)
        return self.state

    def raise_for_error(self) -> None:
        """Raise what ended it: the error of the task, :class:`Cancelled` or :class:`JobFailed`."""
        if self.state in (JobState.FAILED, JobState.CANCELLED):
            raise self._kind(self.error)

    def array(self, name: str, *, mapped: bool = False) -> np.ndarray:
        """A result, loaded; only once the job is done, and before it is closed.

        :param mapped: from its file, which must be let go of before the job is closed.
        """
        import numpy as np

        loaded: np.ndarray = np.load(
            array_file(self.folder, RESULTS, name),
            mmap_mode="r" if mapped else None,
            allow_pickle=False,
        )
        return loaded

    def close(self) -> None:
        """End the process if it still runs, and remove the folder."""
        if not self.ended:
            self._cancel_asked = self._cancel_asked or time.monotonic()
            self._own.ask_to_stop()
        self._finalizer()
        if not self.ended:
            self._end(JobState.CANCELLED, self.when_cancelled, Cancelled)

    def _write_request(
        self, arguments: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> None:
        import numpy as np

        (self.folder / INPUTS).mkdir()
        for name, array in arrays.items():
            np.save(array_file(self.folder, INPUTS, name), array, allow_pickle=False)
        request = {
            "task": self._task,
            "arguments": dict(arguments),
            "arrays": list(arrays),
            "parent": os.getpid(),
        }
        (self.folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")

    def _read_events(self) -> bool:
        """Take in the lines that are complete; whether there was progress."""
        try:
            with (self.folder / EVENTS).open("rb") as file:
                file.seek(self._read)
                *lines, rest = file.read().split(b"\n")
                self._read = file.tell() - len(rest)
        except OSError:
            return False
        moved = False
        for line in lines:
            event = json.loads(line)
            if event["event"] != "progress":
                self._last_line = line
            elif self._cancel_asked is None:
                self.fraction, self.message = event["fraction"], event["message"]
                self.remaining_s = event["remaining_s"]
                moved = True
        return moved

    def _judge(self, code: int) -> None:
        """The process has ended: how?"""
        self._read_events()
        last = json.loads(self._last_line) if self._last_line else {}
        if self._cancel_asked is not None or last.get("kind") == "Cancelled":
            self._end(JobState.CANCELLED, self.when_cancelled, Cancelled)
        elif code == ExitCode.DONE and last.get("event") == "done":
            self.values, self.fraction, self.remaining_s = last["values"], 1.0, 0.0
            self._end(JobState.DONE, "", JobFailed)
        else:
            reason = last.get("reason") or reason_of(code, self.folder)
            self.remedy = last.get("remedy", "")
            self._end(JobState.FAILED, reason, _KINDS.get(last.get("kind", ""), JobFailed))

    def _end(self, state: JobState, error: str, kind: type[MARError]) -> None:
        self.log = tail_of(self.folder / LOG)
        self.error, self._kind = error, kind
        self._ended = time.monotonic()
        if self._started and self._own.process is not None:
            self._own.sweep()
        self.state = state
        if self._on_end is not None:
            self._on_end(self)
