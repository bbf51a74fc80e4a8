"""Milliseconds a case on Dask workers of this machine: linear in their number?

python Testing/Benchmarks/benchmark_dask.py [--cases 500 1000 2000 4000] [--workers 2] [--correct]

A case makes an empty file, so that all the time is that of handing out and hearing back; with
--correct it is three small slices, corrected by linear interpolation into a folder of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from distributed import LocalCluster

from MetalArtifactReductionLib import CTVolume, write_volume
from MetalArtifactReductionLib.batch.case import Case
from MetalArtifactReductionLib.batch.cases import cases_from
from MetalArtifactReductionLib.batch.record import BatchSettings
from MetalArtifactReductionLib.batch.run import run_batch
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


def corrected(folder: Path, count: int, where: Dask) -> int:
    """A batch of them; how many are done."""
    summary = run_batch(tiny_cases(folder, count), BatchSettings(folder / "out"), where)
    return sum(one.status == "done" for one in summary.records)


def touched(folder: Path, count: int, where: Dask) -> int:
    """Empty files; how many are there."""
    (folder / "out").mkdir()
    files = [folder / "out" / str(number) for number in range(count)]
    where(Path.touch, files, lambda file, result: None, folder / "stop")
    return sum(file.exists() for file in files)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--correct", action="store_true")
    options = parser.parse_args()
    run = corrected if options.correct else touched
    print(f"{'done':>7}{'s':>9}{'ms a case':>11}{'CPU ms here':>13}", flush=True)
    with LocalCluster(
        n_workers=options.workers, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        where = Dask(cluster.scheduler_address)
        for count in (options.cases[0], *options.cases):  # the first warms up
            with tempfile.TemporaryDirectory() as name:
                began, busy = time.monotonic(), time.process_time()
                done = run(Path(name), count, where)
                seconds, busy = time.monotonic() - began, time.process_time() - busy
            each, own = 1000 * seconds / count, 1000 * busy / count
            print(f"{done:>7}{seconds:>9.1f}{each:>11.1f}{own:>13.2f}", flush=True)


if __name__ == "__main__":
    main()
