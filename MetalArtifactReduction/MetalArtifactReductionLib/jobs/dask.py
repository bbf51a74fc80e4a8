"""Jobs on a cluster, through Dask: whatever scheduler the site has, or processes of this machine.

The workers need this package, of the same version, and see the same files under the same paths.
They stop when the file that asks them to appears; a job whose worker died is tried again elsewhere
by Dask, a few times.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from .. import __version__
from ..errors import DeviceError, InputError
from ..progress import Cancel, check_cancelled

Job = TypeVar("Job")
Result = TypeVar("Result")

_POLL_S = 0.2
_STOPPING_S = 60.0


class Dask:
    """Runs jobs on the workers of a Dask scheduler; called as :func:`.isolated.run_isolated` is.

    :param scheduler: its address (``tcp://host:8786``), the file that ``dask scheduler
        --scheduler-file`` wrote, or ``local:N`` for ``N`` processes that it starts here.
    :param timeout_s: how long to wait for its answer.
    :raises InputError: Dask is not installed here, or ``local:`` without a number.
    """

    def __init__(self, scheduler: str, *, timeout_s: float = 15.0) -> None:
        if importlib.util.find_spec("distributed") is None:
            raise InputError("Dask is not installed here: run `pip install distributed`")
        if scheduler.startswith("local:") and not re.fullmatch(r"local:[1-9]\d*", scheduler):
            raise InputError(f"{scheduler!r}: say how many processes, for example local:4")
        self.scheduler, self._timeout_s = scheduler, timeout_s

    def __call__(
        self,
        work: Callable[[Job], Result],
        jobs: Iterable[Job],
        done: Callable[[Job, Result | None], None],
        stop: Path,
        cancel: Cancel | None = None,
    ) -> None:
        """Run ``work(job)`` for every job; arguments as of :func:`.isolated.run_isolated`.

        :raises DeviceError: no scheduler answers, or a worker has another version of this package.
        :raises Cancelled: on request.
        """
        listed = list(jobs)
        if listed:
            # As the current one, since waiting for futures looks for it.
            with self._client() as client, client.as_current():
                _run(client, work, listed, done, stop, cancel)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        from distributed import Client, LocalCluster

        if self.scheduler.startswith("local:"):
            with _deaf_to_interrupts():
                cluster = LocalCluster(
                    n_workers=int(self.scheduler.removeprefix("local:")),
                    threads_per_worker=1,
                    dashboard_address=None,
                    silence_logs=logging.ERROR,  # of workers that take their time to end
                )
            with cluster, Client(cluster, set_as_default=False) as client:
                yield client
            return
        file = "://" not in self.scheduler and Path(self.scheduler).is_file()
        where = {"scheduler_file" if file else "address": self.scheduler}
        try:
            client = Client(**where, timeout=self._timeout_s, set_as_default=False)
        except (OSError, asyncio.TimeoutError, ValueError) as error:
            raise DeviceError(
                f"no Dask scheduler answers at {self.scheduler!r} ({type(error).__name__}): start "
                "one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
            ) from None
        with client:
            yield client


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started here leave Ctrl-C to this one, which tells them to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run(
    client: Any,
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    done: Callable[[Job, Result | None], None],
    stop: Path,
    cancel: Cancel | None,
) -> None:
    from distributed import as_completed

    same = pickle.dumps(work)
    packed = [pickle.dumps(job) for job in jobs]
    futures = client.map(_of_version(__version__), [same] * len(jobs), packed, pure=False)
    flying = dict(zip(futures, jobs, strict=True))
    del futures  # the scheduler forgets what nothing here holds any more
    try:
        ended = as_completed(list(flying))
        while flying:
            check_cancelled(cancel)
            batch = ended.next_batch(block=False)
            if not batch:
                time.sleep(_POLL_S)
            for future in batch:
                done(flying.pop(future), _result(future))
    except BaseException:
        stop.touch()
        client.cancel([future for future in flying if not future.done()])
        _wait_for_workers(client, _STOPPING_S)
        raise


def _of_version(version: str) -> Callable[[bytes, bytes], tuple[str, Any]]:
    """What a worker runs: a function of its own, so that it is sent whole and not by its name,
    which another version may not have.
    """

    def run(work: bytes, job: bytes) -> tuple[str, Any]:
        import pickle

        try:
            from MetalArtifactReductionLib import __version__ as there
        except ImportError:
            there = "none"
        if there != version:
            return there, None
        return there, pickle.loads(work)(pickle.loads(job))

    return run


def _result(future: Any) -> Any:
    """What a job gave, or None where its workers died; a fault of the workers themselves is one.

    :raises DeviceError: the workers cannot run this package.
    """
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        return None
    if error is not None:
        raise DeviceError(
            f"a Dask worker cannot run a case ({type(error).__name__}: {error}): install this "
            f"package, version {__version__}, and its requirements on the workers"
        ) from None
    version, result = future.result()
    if version != __version__:
        raise DeviceError(
            f"a Dask worker has version {version} of this package, here is {__version__}: install "
            f"{__version__} on the workers and start them again"
        )
    return result


def _wait_for_workers(client: Any, seconds: float) -> None:
    """Until no worker runs a job any more, as the file tells them to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(client.processing().values()):
        time.sleep(_POLL_S)
