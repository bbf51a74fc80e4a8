"""``mar correct`` for many volumes: its options, and what is told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import printable
from ..files.several import EACH
from .messages import LOG, note, progress_bar
from .options import PART_OPTIONS, add_dask, chosen_options, count

if TYPE_CHECKING:
    from ..batch.case import Case
    from ..batch.record import BatchSettings
    from ..batch.run import BatchSummary

EVERY_SERIES = "all"
"""For ``--series``: a case for each CT series of a folder."""

SOME_FAILED = 1
"""Exit code where at least one case failed."""

FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha")


def add_batch_options(parser: argparse.ArgumentParser) -> None:
    """What only makes sense for many volumes."""
    group = parser.add_argument_group(
        "many volumes",
        "Several INPUTs, a folder of volumes or of folders (every CT series in it is a case), or a "
        "CSV file of cases (columns input, output, mask, series, acquisition, hu_offset, method, "
        "threshold, segmentation, reconstruction; all but the first can be left out) go into the "
        "folder OUTPUT: a folder a case, and summary.csv and summary.html with a line a case. The "
        "same command goes on after a stop. Exit code 1: some cases failed, see the summary.",
    )
    group.add_argument(
        "--workers", type=count, metavar="N", help="cases at a time, in processes (default: 1)"
    )
    group.add_argument(
        "--format", choices=FORMATS, metavar="SUFFIX", help=f"{', '.join(FORMATS)} (as the input)"
    )
    group.add_argument(
        "--with-change-map", action="store_true", help="write every case's change map too"
    )
    group.add_argument(
        "--with-expected-error",
        action="store_true",
        help="write every case's expected error too; all methods must know it",
    )
    add_dask(group)
    group.add_argument(
        "--case-index",
        type=int,
        metavar="I",
        help="only case I of the list, from 0, for arrays of jobs (Slurm); writes no summary",
    )
    group.add_argument(
        "--summary", action="store_true", help="only write the summary of what is there"
    )


def is_batch(options: argparse.Namespace) -> bool:
    """Whether the arguments name many volumes rather than one."""
    from ..batch.cases import volumes_in
    from ..batch.lists import WORKBOOKS
    from ..batch.names import SUFFIXES

    lists = (".csv", *WORKBOOKS)
    if len(options.inputs) > 1 or options.inputs[0].lower().endswith(lists):
        return True
    if asked_for(options) or options.series == EVERY_SERIES or options.acquisition == EACH:
        return True
    folder = Path(options.inputs[0])
    if options.output.lower().endswith(SUFFIXES) or not folder.is_dir():
        return False
    found = volumes_in(folder, Path(options.output))
    if len(found) == 1 and any(entry.is_file() for entry in folder.iterdir()):
        return found[0].is_file()  # one DICOM series below a folder with a stray file is one volume
    return found != [folder]


def asked_for(options: argparse.Namespace) -> list[str]:
    """The options for many volumes that were given."""
    names = (
        "workers",
        "format",
        "with_change_map",
        "with_expected_error",
        "dask",
        "case_index",
        "summary",
    )
    return [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(options, name) not in (None, False)
    ]


_OF_ONE = {
    "change_map": "give --with-change-map",
    "expected_error": "give --with-expected-error",
    "metal": "every case's metal is written anyway",
    "mask": "give the masks in a CSV of cases, column mask",
    "series": "give the series in a CSV of cases, column series",
    **dict.fromkeys(PART_OPTIONS, "correct that volume by itself, or give its mask"),
    "acquisition": "give the acquisition in a CSV of cases, column acquisition, or each",
}
"""Options of a single volume, and what a batch has instead."""


def _refuse_options_of_one(options: argparse.Namespace) -> None:
    from ..errors import InputError

    for name, remedy in _OF_ONE.items():
        if getattr(options, name) not in (None, EVERY_SERIES, EACH):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} {getattr(options, name)}: is for one volume; {remedy}")


def correct_many(options: argparse.Namespace) -> int:
    """Run the batch; returns the exit code."""
    from ..batch.case import Case
    from ..batch.cases import cases_from
    from ..batch.names import SUFFIXES
    from ..batch.run import in_processes, run_batch, summarize
    from ..errors import InputError, OutputError
    from ..jobs.dask import Dask
    from ..methods.registry import require_expected_error

    _refuse_options_of_one(options)
    if options.output.lower().endswith(SUFFIXES):
        raise OutputError(
            f"{options.output}: many volumes need a folder, not one file; give the name of a folder"
        )
    if options.dask and options.workers:
        raise InputError("--workers is for this machine; on a cluster Dask has its own workers")
    folder = Path(options.output)
    # Only a device of one name can be missing; to look for it takes seconds.
    chosen_here = not options.dask and options.device not in ("auto", "cpu")
    defaults = Case(
        "",
        Path(),
        acquisition=options.acquisition,
        hu_offset=options.hu_offset,
        assume_ct=options.assume_ct,
        options=chosen_options(options, settled=chosen_here).anywhere(),
    )
    passed_by: list[Path] = []
    cases = cases_from(options.inputs, defaults, leave_out=folder, passed_by=passed_by)
    if passed_by:
        more = f" and {len(passed_by) - 1} more" if len(passed_by) > 1 else ""
        told = f"{passed_by[0]}{more}: not looked into, beside volumes; give it as an INPUT of its"
        note([f"{told} own if it holds CTs"])
    settings = _settings(options, folder)
    if settings.expected_error:
        for method in sorted({case.options.method for case in cases}):
            require_expected_error(method)
    if options.dry_run:
        return _tell_dry_run(cases, settings, options)
    if options.summary:
        return _tell(summarize(cases, settings), settings, options)
    if options.case_index is not None:
        return _one(cases, settings, options)
    execute = Dask(options.dask) if options.dask else in_processes(options.workers or 1)
    with progress_bar("correcting", options.quiet) as progress:
        summary = run_batch(cases, settings, execute, progress=progress)
    return _tell(summary, settings, options)


def _settings(options: argparse.Namespace, folder: Path) -> BatchSettings:
    from ..batch.record import BatchSettings
    from ..errors import InputError

    if options.dicom and options.format:
        raise InputError(f"--format {options.format} is for files; leave it out with --dicom")
    if options.dicom and options.with_expected_error:
        raise InputError("--with-expected-error is for files; leave it out with --dicom")
    return BatchSettings(
        folder.absolute(),
        suffix=options.format,
        dicom=options.dicom,
        change_map=options.with_change_map,
        expected_error=options.with_expected_error,
        force=options.force,
    )


def _tell_dry_run(cases: list[Case], settings: BatchSettings, options: argparse.Namespace) -> int:
    from ..batch.record import record_of
    from .dry_run import batch_cost, told

    left = [case for case in cases if record_of(case, settings).status != "done"]
    if options.case_index is not None:
        left = cases[options.case_index : options.case_index + 1]
    methods = ", ".join(sorted({case.options.method for case in left}))
    lines = [f"would correct {len(left)} of {len(cases)} cases into {settings.folder} ({methods})"]
    told(*lines, *([batch_cost(left, options.workers or 1)] if left else []))
    return 0


def _one(cases: list[Case], settings: BatchSettings, options: argparse.Namespace) -> int:
    from ..batch.run import run_one
    from .records import BatchRecord, printed

    with progress_bar("correcting", options.quiet) as progress:
        record = run_one(cases, options.case_index, settings, progress=progress)
    if record.status == "failed":
        LOG.error("%s: %s", record.case, record.reason)
    if options.json:
        print(printed(BatchRecord(str(settings.folder), [record])))
    elif record.status != "failed":
        print(printable(f"{settings.folder / record.case}: {record.status}"))
    return SOME_FAILED if record.status == "failed" else 0


def _tell(summary: BatchSummary, settings: BatchSettings, options: argparse.Namespace) -> int:
    from ..batch.summary import HTML_NAME
    from .records import BatchRecord, printed

    for record in summary.failed:
        LOG.error("%s: %s", record.case, record.reason)
    if options.json:
        print(printed(BatchRecord(str(settings.folder), list(summary.records))))
        return SOME_FAILED if summary.failed else 0
    before = f", {summary.earlier} of them from before" if summary.earlier else ""
    print(printable(f"{summary}{before}: {settings.folder / HTML_NAME}"))
    return SOME_FAILED if summary.failed else 0
