"""Seconds a case of many tiny cases on Dask workers of this machine: linear in their number?

python Testing/Benchmarks/benchmark_dask.py [--cases 500 1000 2000] [--workers 2]

Every case is three slices, corrected by linear interpolation into a folder of its own. Time
and memory of the process that hands them out are shown beside: both should follow the number.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from MetalArtifactReductionLib import CTVolume, write_volume
from MetalArtifactReductionLib.batch.case import Case
from MetalArtifactReductionLib.batch.cases import cases_from
from MetalArtifactReductionLib.batch.record import BatchSettings
from MetalArtifactReductionLib.batch.run import run_batch
from MetalArtifactReductionLib.commands.dry_run import peak_memory
from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.jobs.dask import Dask


def tiny_cases(folder: Path, count: int) -> list[Case]:
    """Links to one small CT with metal, 48 x 48 pixels of 6 mm."""
    y, x = np.mgrid[:48, :48] - 23.5
    hu = np.where(np.hypot(x, 1.3 * y) < 20, 40.0, -1000.0)[None].repeat(3, axis=0)
    hu[:, 18:21, 27:30] = 8000
    write_volume(
        CTVolume(hu.astype(np.float32), np.diag([6.0, 6.0, 3.0, 1.0])), folder / "ct.nii.gz"
    )
    place = folder / "cases"
    place.mkdir()
    for number in range(count):
        (place / f"case{number:05d}.nii.gz").hardlink_to(folder / "ct.nii.gz")
    return cases_from([str(place)], Case("", Path(), options=CorrectionOptions("li", always=True)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"{'cases':>7}{'s':>9}{'ms a case':>11}{'CPU s here':>12}{'MiB here':>10}", flush=True)
    for count in options.cases:
        with tempfile.TemporaryDirectory() as name:
            cases = tiny_cases(Path(name), count)
            began, busy = time.monotonic(), time.process_time()
            where = Dask(f"local:{options.workers}")
            summary = run_batch(cases, BatchSettings(Path(name) / "out"), where)
            seconds, busy = time.monotonic() - began, time.process_time() - busy
        done = sum(one.status == "done" for one in summary.records)
        memory = (peak_memory() or 0) / 2**20
        print(
            f"{done:>7}{seconds:>9.1f}{1000 * seconds / count:>11.1f}{busy:>12.1f}{memory:>10.0f}"
        )


if __name__ == "__main__":
    main()
