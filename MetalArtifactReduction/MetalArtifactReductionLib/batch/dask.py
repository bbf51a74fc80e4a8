"""The cases of a batch on a cluster, through Dask: whatever scheduler the site has.

The workers need this package and see the same files under the same paths. They stop when the file
that asks them to appears; a case whose worker died is tried again elsewhere by Dask, a few times.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeviceError, InputError
from ..progress import Cancel, check_cancelled

if TYPE_CHECKING:
    from .case import Case
    from .record import CaseRecord
    from .run import Done, Executor

_POLL_S = 0.5
_STOPPING_S = 60.0


def on_dask(scheduler: str, *, timeout_s: float = 15.0) -> Executor:
    """Cases on the workers of a Dask scheduler that runs already.

    :param scheduler: its address (``tcp://host:8786``), or the file that ``dask scheduler
        --scheduler-file`` wrote.
    :param timeout_s: how long to wait for its answer.
    :raises InputError: Dask is not installed here.
    """
    if importlib.util.find_spec("distributed") is None:
        raise InputError("Dask is not installed here: run `pip install distributed`")

    def execute(
        work: Callable[[Case], CaseRecord],
        cases: Sequence[Case],
        done: Done,
        stop: Path,
        cancel: Cancel | None,
    ) -> None:
        if cases:
            # As the current one, since waiting for futures looks for it.
            with _client(scheduler, timeout_s) as client, client.as_current():
                _run(client, work, cases, done, stop, cancel)

    return execute


def _client(scheduler: str, timeout_s: float) -> Any:
    from distributed import Client

    try:
        if "://" not in scheduler and Path(scheduler).is_file():
            return Client(scheduler_file=scheduler, timeout=timeout_s, set_as_default=False)
        return Client(scheduler, timeout=timeout_s, set_as_default=False)
    except (OSError, asyncio.TimeoutError, ValueError) as error:
        raise DeviceError(
            f"no Dask scheduler answers at {scheduler!r} ({type(error).__name__}): start one with "
            "`dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
        ) from None


def _run(
    client: Any,
    work: Callable[[Case], CaseRecord],
    cases: Sequence[Case],
    done: Done,
    stop: Path,
    cancel: Cancel | None,
) -> None:
    from distributed import wait

    flying = {client.submit(work, case, pure=False): case for case in cases}
    try:
        while flying:
            check_cancelled(cancel)
            try:
                wait(list(flying), timeout=_POLL_S, return_when="FIRST_COMPLETED")
            except asyncio.TimeoutError:  # no TimeoutError before Python 3.11
                continue
            for future in [one for one in flying if one.done()]:
                done(flying.pop(future), _record(future))
    except BaseException:
        stop.touch()
        running = [future for future in flying if not future.done()]
        client.cancel(running)  # what has not begun does not
        _wait_for_workers(client, _STOPPING_S)
        raise


def _record(future: Any) -> CaseRecord | None:
    """What a case gave, or None where its workers died; a fault of the workers themselves is one.

    :raises DeviceError: the workers cannot run this package.
    """
    from distributed import KilledWorker

    error = future.exception()
    if error is None:
        record: CaseRecord = future.result()
        return record
    if isinstance(error, KilledWorker):
        return None
    raise DeviceError(
        f"a Dask worker cannot run a case ({type(error).__name__}: {error}): install the same "
        "version of this package on the workers"
    ) from None


def _wait_for_workers(client: Any, seconds: float) -> None:
    """Until no worker runs a case any more, as the file tells them to stop."""
    import time

    until = time.monotonic() + seconds
    while time.monotonic() < until and any(client.processing().values()):
        time.sleep(_POLL_S)
