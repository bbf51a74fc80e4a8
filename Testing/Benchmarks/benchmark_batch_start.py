"""CPU seconds until the first case of a long list begins, and until its summary is written.

python Testing/Benchmarks/benchmark_batch_start.py [--cases 2500 5000 10000 20000]

The list is read, its folder is opened, and no case is corrected; then the same with every case
finished before, as when a run goes on. Twice the cases should take twice as long.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from MetalArtifactReductionLib.batch.case import Case
from MetalArtifactReductionLib.batch.cases import cases_from
from MetalArtifactReductionLib.batch.record import MARKER, BatchSettings, CaseRecord
from MetalArtifactReductionLib.batch.run import run_batch

WANTED_S = 5.0
"""For 20,000 cases."""


def make_list(folder: Path, count: int) -> Path:
    """Patients' folders with a file each, all of one name, and a CSV that lists them."""
    for number in range(count):
        place = folder / f"patient{number}"
        place.mkdir()
        (place / "ct.nii.gz").touch()
    names = "\n".join(f"patient{number}/ct.nii.gz" for number in range(count))
    path = folder / "cases.csv"
    path.write_text(f"input\n{names}\n")
    return path


def finish(cases: Sequence[Case], settings: BatchSettings) -> None:
    """As if every case had been corrected."""
    for case in cases:
        place = settings.folder / case.output
        place.mkdir()
        record = CaseRecord(case.output, case.given, "done", case.options.method, 1.0, 100)
        kept = {"settings": settings.kept_with(case), "record": asdict(record)}
        (place / MARKER).write_text(json.dumps(kept))


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """What it took, and what it gave."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def measured(count: int) -> tuple[float, float, float, float]:
    """Seconds to read a list, to begin, to begin again where all is done, and for the summary."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = make_list(folder, count)
        settings = BatchSettings(folder / "out")
        reading, cases = seconds(lambda: cases_from([str(listed)], Case("", Path())))

        began = [0.0]

        def execute(_work: Any, _cases: Any, *_: Any) -> None:
            began[0] = time.process_time()

        start = time.process_time()
        run_batch(cases, settings, execute)
        first, summary = began[0] - start, time.process_time() - began[0]
        finish(cases, settings)
        start = time.process_time()
        run_batch(cases, settings, execute)
        return reading, first, began[0] - start, summary


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[2500, 5000, 10_000, 20_000])
    names = ("list read", "begins", "begins again", "summary")
    print(f"{'cases':>7}" + "".join(f"{name:>14}" for name in names) + "  s", flush=True)
    for count in parser.parse_args().cases:
        found = measured(count)
        begun = found[0] + max(found[1:3])
        verdict = "" if begun < WANTED_S else f", more than {WANTED_S:g} s"
        print(f"{count:>7}" + "".join(f"{one:14.2f}" for one in found) + verdict, flush=True)


if __name__ == "__main__":
    main()
