"""Jobs in processes of their own: none of them can end the run, whatever happens to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from ..files.leftovers import leave_with_the_parent
from ..progress import Cancel, check_cancelled

Job = TypeVar("Job")
Result = TypeVar("Result")
Executor = Callable[
    [Callable[[Any], Any], Iterable[Any], Callable[[Any, Any], None], Path, "Cancel | None"], None
]
"""Runs ``work(job)`` for all jobs, as :func:`run_isolated` does, wherever."""

_POLL_S = 0.2
_GRACE_S = 1.0


def run_isolated(
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    workers: int,
    done: Callable[[Job, Result | None], None],
    stop: Path,
    cancel: Cancel | None = None,
    *,
    threads: int = 1,
) -> None:
    """Run ``work(job)`` for every job, several at a time.

    When a process dies (out of memory, a crash in a library) all jobs that were running are lost;
    they run again one by one, and the one that kills its process again gets no result.

    :param work: importable by name, its arguments and results can be pickled; jobs that run long
        ask ``stop.exists()`` whether to give up.
    :param workers: processes at a time.
    :param done: called here, with each job as it ends; without a result where its process died.
    :param stop: a file that does not exist; made for as long as it takes the processes to stop,
        after an exception here, ``cancel`` or the user's interrupt.
    :param threads: of each process for its arithmetic.
    :raises Cancelled: on request.
    """
    waiting, suspects = deque(jobs), deque[Job]()
    while waiting or suspects:
        alone = bool(suspects)
        queue, size = (suspects, 1) if alone else (waiting, workers)
        flying: dict[Future[Result], Job] = {}
        try:
            _run_pool(work, queue, size, flying, done, stop, cancel, threads)
        except BrokenProcessPool:
            lost = list(flying.values())
            if len(lost) == 1:
                done(lost[0], None)
            suspects.extend(lost if len(lost) > 1 else ())


def _run_pool(
    work: Callable[[Job], Result],
    queue: deque[Job],
    size: int,
    flying: dict[Future[Result], Job],
    done: Callable[[Job, Result | None], None],
    stop: Path,
    cancel: Cancel | None,
    threads: int,
) -> None:
    """Until the queue is empty, or a process dies; ``flying`` then holds what it may have been."""
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        size, mp_context=context, initializer=_prepare, initargs=(threads,)
    ) as pool:
        try:
            while queue or flying:
                while queue and len(flying) < size:
                    flying[pool.submit(work, queue[0])] = queue[0]
                    queue.popleft()
                check_cancelled(cancel)
                ended, _ = wait(flying, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in ended:
                    result = future.result()
                    done(flying.pop(future), result)
        except BrokenProcessPool:
            raise
        except BaseException:
            stop.touch()
            pool.shutdown(wait=False, cancel_futures=True)
            _end(set(multiprocessing.active_children()) - before)
            stop.unlink(missing_ok=True)
            raise


def _end(processes: Iterable[BaseProcess]) -> None:
    """Let processes stop by themselves, for a moment; what they write appears whole or not."""
    until = time.monotonic() + _GRACE_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()


def _prepare(threads: int) -> None:
    """In each new process: the parent hears the user's interrupt, and threads are bounded.

    A pool's processes wait for ever for a parent that was killed, so they watch it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=leave_with_the_parent, daemon=True).start()
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)  # read when a job imports it
    if "torch" in sys.modules:  # by the user's own script
        sys.modules["torch"].set_num_threads(threads)
