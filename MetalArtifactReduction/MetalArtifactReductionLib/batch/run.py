"""Many cases into one folder: finished ones stay, half ones are done again, broken ones stop none.

::

    OUT/NAME/corrected.nii.gz, metal.nii.gz, case.json ...   a case, whole or not there
    OUT/failed/NAME.json, NAME.txt                           why a case failed, with its traceback
    OUT/summary.csv, summary.html                            a line a case
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError, OutputError
from ..files.leftovers import claimed, clear_leftovers, locked
from ..files.whole import check_name
from ..jobs.interrupt import ended_in_order
from ..jobs.isolated import Executor, run_isolated
from ..progress import Cancel, Progress, report
from .case import Case
from .record import BatchSettings, CaseRecord, fail, record_of
from .summary import counted, write_summary
from .work import run_case


@dataclass(frozen=True)
class BatchSummary:
    """What is in the folder of a batch now, in the order of the cases."""

    records: tuple[CaseRecord, ...]
    earlier: int = 0

    @property
    def failed(self) -> tuple[CaseRecord, ...]:
        """Those that failed."""
        return tuple(record for record in self.records if record.status == "failed")

    def __str__(self) -> str:
        """How many cases ended how."""
        return counted(Counter(record.status for record in self.records))


def open_batch(cases: Sequence[Case], settings: BatchSettings) -> list[CaseRecord]:
    """Make the folder, and see what is there of every case already; before any work.

    :returns: a record a case; ``waiting`` where nothing is there.
    :raises InputError: a method or an option that does not exist, an input that is an output.
    :raises OutputError: the folder cannot be written, or holds something else under a case's name.
    """
    folder = settings.folder
    check_name(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give the name of a folder for the results")
    if not folder.is_dir() and not folder.parent.is_dir():
        raise OutputError(f"{folder}: the folder {folder.parent} does not exist; create it first")
    home = os.path.realpath(folder)
    for case in cases:  # as text: paths would take a third of the time until the first case
        place, read = os.path.realpath(f"{home}/{case.output}"), os.path.realpath(case.input)
        if _is_below(read, place):
            raise OutputError(f"{place}: is the input itself; choose another folder of results")
        if _is_below(place, read) and Path(read).is_dir():
            raise OutputError(f"{folder}: lies in the input {case.given}; choose another folder")
    _check_methods(cases)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror}); choose another folder"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: no permission to write there; choose another folder")
    return [record_of(case, settings) for case in cases]


def run_batch(
    cases: Sequence[Case],
    settings: BatchSettings,
    execute: Executor,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> BatchSummary:
    """Correct every case that is not finished, and write the summary, also after a stop.

    :param execute: where: :func:`in_processes` here, :class:`..jobs.dask.Dask` on a cluster.
    :raises InputError, OutputError: see :func:`open_batch`; another run writes there.
    :raises Cancelled: on request or interrupt; finished cases stay.
    """
    records = {record.case: record for record in open_batch(cases, settings)}
    with locked(settings.folder):
        return _run(cases, records, settings, execute, progress, cancel)


def _run(
    cases: Sequence[Case],
    records: dict[str, CaseRecord],
    settings: BatchSettings,
    execute: Executor,
    progress: Progress | None,
    cancel: Cancel | None,
) -> BatchSummary:
    clear_leftovers(settings.folder, below=True)
    waiting = [case for case in cases if records[case.output].status != "done"]
    for case in waiting:
        records[case.output] = CaseRecord(case.output, case.given, "waiting", case.options.method)
    earlier = len(cases) - len(waiting)

    def done(case: Case, record: CaseRecord | None) -> None:
        if record is None:
            reason = "its process died; probably out of memory: use fewer workers or crop it"
            record = fail(case, settings, reason)
        count[records[case.output].status] -= 1
        count[record.status] += 1
        records[case.output] = record
        report(progress, (count["done"] + count["failed"]) / len(cases), counted(count))

    count = Counter(record.status for record in records.values())
    report(progress, earlier / len(cases), counted(count))
    stop = settings.folder / f".stop-{os.getpid()}"
    try:
        with ended_in_order():
            execute(partial(_work, settings, stop), waiting, done, stop, cancel)
    except (Cancelled, KeyboardInterrupt):
        # One may have become finished without having been heard of.
        for case in waiting:
            found = record_of(case, settings)
            if found.status == "done":
                records[case.output] = found
        number = sum(record.status == "done" for record in records.values())
        raise Cancelled(
            f"stopped; {number} of {len(cases)} cases are finished in {settings.folder}; the same "
            "command does the others"
        ) from None
    finally:
        stop.unlink(missing_ok=True)
        clear_leftovers(settings.folder, below=True)
        write_summary(list(records.values()), settings.folder)
    return BatchSummary(tuple(records.values()), earlier)


def summarize(cases: Sequence[Case], settings: BatchSettings) -> BatchSummary:
    """Write the summary of what is there, and do nothing else."""
    records = tuple(open_batch(cases, settings))
    write_summary(records, settings.folder)
    return BatchSummary(records, sum(record.status == "done" for record in records))


def run_one(
    cases: Sequence[Case],
    index: int,
    settings: BatchSettings,
    *,
    progress: Progress | None = None,
) -> CaseRecord:
    """Correct one case of the list in this process, for schedulers with arrays of jobs.

    No summary is written, since others write at the same time: :func:`summarize` does it at the
    end.

    :param index: from 0.
    :raises InputError: no such case.
    """
    if not 0 <= index < len(cases):
        raise InputError(
            f"case index {index}: the list has {len(cases)} cases, 0 to {len(cases) - 1}"
        )
    case = cases[index]
    record = open_batch([case], settings)[0]
    if record.status == "done":
        return record
    with claimed(settings.folder / case.output.replace("/", "-")):
        return run_case(case, settings, progress=progress)


def in_processes(workers: int) -> Executor:
    """Cases in processes of their own on this machine, which share its cores.

    :param workers: processes at a time. :raises InputError: fewer than 1.
    """
    if workers < 1:
        raise InputError(f"{workers} workers: give 1 or more")
    threads = max(1, _cores() // workers)

    def execute(
        work: Callable[[Any], Any],
        cases: Iterable[Any],
        done: Callable[[Any, Any], None],
        stop: Path,
        cancel: Cancel | None,
    ) -> None:
        run_isolated(work, cases, workers, done, stop, cancel, threads=threads)

    return execute


def _work(settings: BatchSettings, stop: Path, case: Case) -> CaseRecord:
    return run_case(case, settings, cancel=stop.exists)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _check_methods(cases: Sequence[Case]) -> None:
    from ..methods.registry import create_method, require_method

    chosen = {id(case.options): case.options for case in cases}  # most share one
    for one in {str(options): options for options in chosen.values()}.values():
        entry = require_method(one.method)
        if one.method_options or entry.weights == one.method:
            create_method(one.method, **one.method_options)  # needs torch, which takes seconds


def _cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
