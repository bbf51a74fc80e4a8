"""The jobs of Slicer's scene, polled by its event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import qt
import slicer

from .turns import Turns

POLL_MS = 150


class BackgroundJobs:
    """Makes the scene's queue when it is first wanted, and polls it while there are jobs.

    :param forgetEnded: take a job off the list as soon as it has ended.
    """

    def __init__(self, *, forgetEnded: bool = False) -> None:
        self.onPoll: Callable[[], None] | None = None
        self._forgetEnded = forgetEnded
        self._queue: Any = None
        self._turns = Turns()
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)

    @property
    def queue(self) -> Any:
        """``SceneJobs`` of Slicer's scene."""
        if self._queue is None:
            from MetalArtifactReductionLib.mrml.jobs import SceneJobs

            self._queue = SceneJobs(slicer.mrmlScene)
        return self._queue

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return self._queue is None or bool(self._queue.idle)

    def handles(self) -> list[Any]:
        """Jobs that wait, run, or ended and were not forgotten."""
        return list(self._queue.handles) if self._queue is not None else []

    def forget(self, *handles: Any) -> None:
        """Take ended jobs off the list; those that run are cancelled."""
        for handle in handles:
            self.queue.forget(handle)

    def started(self, handle: Any = None) -> Any:
        """Poll from now on; returns the handle of what was started."""
        self._timer.start()
        return handle

    def poll(self) -> None:
        """See what the jobs did; the timer calls it while there are any."""
        if self._queue is None:
            self._timer.stop()
            return
        for handle in self._queue.poll():
            if handle.faulty:  # an error that the user can mend is said in the panel
                logging.error("%s: %s\n%s", handle.title, handle.error, handle.log)
            if self._forgetEnded:
                self.forget(handle)
        if self.idle:
            self._timer.stop()
        if self.onPoll is not None:
            self.onPoll()
        if self._queue is not None and self._queue.adding and not self._turns.busy:
            self._turns.follow(self._added())

    def _added(self) -> Iterator[None]:
        """The steps in which a job adds its nodes."""
        while self._queue is not None and self._queue.adding:
            self.poll()
            yield

    def close(self) -> None:
        """End every process, remove every temporary file."""
        self._timer.stop()
        self._turns.clear()
        self.onPoll = None
        if self._queue is not None:
            self._queue.close()
            self._queue = None
