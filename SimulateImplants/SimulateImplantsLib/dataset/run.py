"""Runs a dataset: what is finished stays, what is half done is done again, what fails is logged."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from MetalArtifactReductionLib.errors import Cancelled, InputError, OutputError
from MetalArtifactReductionLib.files.leftovers import clear_leftovers, locked
from MetalArtifactReductionLib.files.tables import cell
from MetalArtifactReductionLib.files.whole import check_new_folder, written_whole
from MetalArtifactReductionLib.jobs.interrupt import ended_in_order
from MetalArtifactReductionLib.jobs.isolated import Executor, run_isolated
from MetalArtifactReductionLib.progress import Cancel, Progress, report

from ..cases.records import read_json
from .plan import MARKER, CaseResult, DatasetPlan, case_folder, draw_case, make_case, order_by_ct

SETTINGS, LOG = "dataset.json", "cases.csv"
_STOP = ".stop"
_OPTIONS = {"most_slices": "--slices", "margin_slices": "--margin"}
"""What users call a setting of another name."""
_COLUMNS = [item.name for item in fields(CaseResult)]


@dataclass(frozen=True)
class DatasetSummary:
    """What a run did.

    :param made: cases made now. :param there: cases that were finished before.
    :param failed: with their reasons.
    """

    made: int
    there: int
    failed: tuple[CaseResult, ...]


def open_dataset(plan: DatasetPlan, folder: Path) -> None:
    """Make the folder of a dataset with its settings, or make sure that it is this dataset's.

    :raises InputError: a CT or a segmentation that does not exist.
    :raises OutputError: the folder holds something else, or a dataset of other settings.
    """
    for source in plan.sources:
        source.check()
    _open_folder(plan, folder)


def run_dataset(
    plan: DatasetPlan,
    folder: Path,
    cases: int,
    *,
    workers: int = 1,
    execute: Executor | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> DatasetSummary:
    """Make cases 0 to ``cases - 1`` that are not there yet, each in a folder ``case-00000``.

    The folder also gets ``dataset.json``, the settings, and ``cases.csv``, one line a case with
    why it failed. More cases can be added later; other settings need another folder.

    :param folder: new, empty, or an earlier run's with the same settings.
    :param workers: processes at a time; the cases do not depend on it.
    :param execute: elsewhere, for example :class:`MetalArtifactReductionLib.jobs.dask.Dask`.
    :raises InputError, OutputError: see :func:`open_dataset`.
    :raises Cancelled: on request; finished cases stay.
    """
    if cases < 1 or workers < 1:
        raise InputError(f"{cases} cases by {workers} processes: both must be 1 or more")
    open_dataset(plan, folder)
    with locked(folder):
        return _run(plan, folder, cases, execute or _here(workers), progress, cancel)


def _run(
    plan: DatasetPlan,
    folder: Path,
    cases: int,
    execute: Executor,
    progress: Progress | None,
    cancel: Cancel | None,
) -> DatasetSummary:
    _clear_halves(folder)
    waiting = [i for i in range(cases) if not (case_folder(folder, i) / MARKER).exists()]
    there = cases - len(waiting)
    log = _Log(folder / LOG)
    results: list[CaseResult] = []
    count: Counter[str] = Counter()

    def done(index: int, result: CaseResult | None) -> None:
        if result is None:
            draw = draw_case(plan, index)
            result = CaseResult(
                index,
                "failed",
                draw.kind,
                plan.sources[draw.source].path.name,
                reason="its process died; probably out of memory: use fewer workers",
            )
        if result.status in ("done", "failed"):
            log.add(result)
        results.append(result)
        count[result.status] += 1
        failed = count["failed"]
        report(
            progress,
            (there + len(results)) / cases,
            f"{there + len(results) - failed} of {cases} cases"
            + f", {failed} failed" * bool(failed),
        )

    report(progress, there / cases, f"{there} of {cases} cases")
    try:
        with ended_in_order():
            place = folder.absolute()  # workers stand elsewhere
            work = partial(make_case, plan.anywhere(), place, place / _STOP)
            execute(work, order_by_ct(plan, waiting), done, place / _STOP, cancel)
    except (Cancelled, KeyboardInterrupt):
        finished = there + sum(r.status == "done" for r in results)
        raise Cancelled(
            f"stopped; {finished} of {cases} cases are finished in {folder}; the same command "
            "makes the others"
        ) from None
    finally:
        _clear_halves(folder)
        log.tidy()
    made = sum(result.status in ("done", "there") for result in results)
    failed = sorted((r for r in results if r.status == "failed"), key=lambda r: r.index)
    return DatasetSummary(made, there, tuple(failed))


def _here(workers: int) -> Executor:
    def execute(
        work: Callable[[Any], Any],
        jobs: Iterable[Any],
        done: Callable[[Any, Any], None],
        stop: Path,
        cancel: Cancel | None,
    ) -> None:
        run_isolated(work, jobs, workers, done, stop, cancel)

    return execute


def _open_folder(plan: DatasetPlan, folder: Path) -> None:
    settings = plan.settings()
    known = folder / SETTINGS
    if not known.exists():
        check_new_folder(folder)
        folder.mkdir(exist_ok=True)
        with written_whole(known) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    try:
        before: Any = read_json(known, "the settings that a dataset wrote")
    except InputError as error:
        raise OutputError(f"{error}; or give a new folder") from None
    before = before if isinstance(before, dict) else {}
    different = sorted(
        key for key in settings.keys() | before.keys() if settings.get(key) != before.get(key)
    )
    if different:
        key = different[0]
        name = _OPTIONS.get(key, key)
        begun, now = (
            f"without {name}" if value is None else f"with {name} {json.dumps(value)}"
            for value in (before.get(key), settings.get(key))
        )
        raise OutputError(
            f"{folder}: was begun {begun}, not {now}; go on with the same settings, or give a new"
            " folder"
        )


def _clear_halves(folder: Path) -> None:
    """Remove what a killed run left: hidden folders, and cases without their marker."""
    (folder / _STOP).unlink(missing_ok=True)
    clear_leftovers(folder)
    for path in (*folder.glob(".case-*"), *folder.glob("case-*")):
        if path.is_dir() and not (path / MARKER).exists():
            shutil.rmtree(path, ignore_errors=True)


class _Log:
    """``cases.csv``: a line as soon as a case has ended; the last one of a case counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            self._write([])

    def add(self, result: CaseResult) -> None:
        """Append one case."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            row = {key: cell(value) for key, value in asdict(result).items()}
            csv.DictWriter(file, _COLUMNS).writerow(row)

    def tidy(self) -> None:
        """One line a case, in order."""
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = {row["index"]: row for row in csv.DictReader(file) if row.get("status")}
        self._write(sorted(rows.values(), key=lambda row: int(row["index"])))

    def _write(self, rows: list[dict[str, str]]) -> None:
        with (
            written_whole(self.path, overwrite=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
