"""``--dask`` of corrections, datasets and evaluations, on two workers in processes."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import assert_refused, ct_hu, metal_truth, run, stored, write_image
from MetalArtifactReductionLib import __version__
from MetalArtifactReductionLib.errors import DeviceError
from MetalArtifactReductionLib.jobs import dask
from support import fork_instead_of_spawn

pytest.importorskip("distributed", reason="Dask is not installed (pip install '.[cluster]')")

METHOD = ("--method", "li", "--quiet")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", fork_instead_of_spawn())
        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as made:
            yield made


def test_cases_on_two_workers(
    cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.nii.gz", ct_hu())
    (tmp_path / "broken.nii").write_text("no image\n" * 100)
    cases = tmp_path / "cases.csv"
    cases.write_text("input,method\na.nii.gz,li\nbroken.nii,\nb.nii.gz,nmar\nc.nii.gz,li\n")
    out = tmp_path / "out"
    outcome = run(capfd, "correct", cases, out, *METHOD, "--dask", cluster.scheduler_address)
    assert outcome.code == 1
    assert "3 of 4 cases done, 1 failed" in outcome.out

    with (out / "summary.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a": "done",
        "broken": "failed",
        "b": "done",
        "c": "done",
    }
    assert rows["b"]["method"] == "nmar"

    # The same as without a cluster.
    single = tmp_path / "single.nii.gz"
    assert run(capfd, "correct", tmp_path / "a.nii.gz", single, *METHOD).code == 0
    for case in ("a", "c"):
        np.testing.assert_array_equal(stored(out / case / "corrected.nii.gz"), stored(single))

    # What is finished is not done again, also by another cluster.
    before = (out / "a" / "corrected.nii.gz").stat().st_mtime_ns
    (tmp_path / "broken.nii").unlink()
    write_image(tmp_path / "broken.nii", ct_hu())
    outcome = run(capfd, "correct", cases, out, *METHOD, "--dask", cluster.scheduler_address)
    assert outcome.code == 0
    assert "4 of 4 cases done, 3 of them from before" in outcome.out
    assert (out / "a" / "corrected.nii.gz").stat().st_mtime_ns == before


def test_no_scheduler_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # None will, however long one waits.
    monkeypatch.setattr(dask, "Dask", partial(dask.Dask, timeout_s=0.5))
    write_image(tmp_path / "a.nii.gz", ct_hu())
    write_image(tmp_path / "b.nii.gz", ct_hu())
    outcome = run(
        capfd,
        *("correct", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "out", *METHOD),
        *("--dask", "tcp://127.0.0.1:9"),
    )
    assert_refused(outcome, "no Dask scheduler answers at 'tcp://127.0.0.1:9'", "dask scheduler")


def killed_once(folder: Path, number: int) -> int:
    """Its worker dies in the middle of the first try of every tenth."""
    tried = folder / str(number)
    if number % 10 == 3 and not tried.exists():
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_killed_worker_loses_no_case(cluster: Any, tmp_path: Path) -> None:
    results: dict[int, int | None] = {}
    work = partial(killed_once, tmp_path)
    cluster_of = dask.Dask(cluster.scheduler_address)
    cluster_of(work, range(20), results.__setitem__, tmp_path / "stop")
    assert results == {number: number**2 for number in range(20)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["13", "3"]
    cluster.wait_for_workers(2)


def test_a_worker_of_another_version_is_told(cluster: Any, tmp_path: Path) -> None:
    from distributed import Client

    def become(version: str) -> None:
        import MetalArtifactReductionLib

        MetalArtifactReductionLib.__version__ = version

    with Client(cluster, set_as_default=False) as client:
        client.run(become, "0.0.7")
        try:
            with pytest.raises(DeviceError) as told:
                run_abs = dask.Dask(cluster.scheduler_address)
                run_abs(abs, [-1, -2], lambda job, result: None, tmp_path / "stop")
        finally:
            client.run(become, __version__)
    assert f"version 0.0.7 of this package, here is {__version__}: install" in str(told.value)


def test_local_workers_are_numbered(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "a.nii.gz", ct_hu())
    ask = ("evaluate", tmp_path / "a.nii.gz", "--dask", "local:many")
    assert_refused(run(capfd, *ask), "'local:many': say how many processes", "local:4")


def test_evaluation_comparison_and_dataset_are_the_same_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On workers that are threads, which have loaded all."""
    from distributed import LocalCluster

    ct = write_image(tmp_path / "ct.nii.gz", ct_hu()[4:5])
    truth = write_image(tmp_path / "truth.nii.gz", ct_hu(metal=False)[4:5])
    case = tmp_path / "cases" / "one"
    case.mkdir(parents=True)
    shutil.copy(ct, case / "image.nii.gz"), shutil.copy(truth, case)
    write_image(case / "metal.nii.gz", metal_truth()[4:5].astype(np.uint8))

    def made(name: str, *where: object) -> list[object]:
        out = tmp_path / name
        measured = run(capfd, "evaluate", ct, truth, *where)
        with_truth = run(capfd, "evaluate", ct, truth, "--reference", truth, *where)
        ask = ("compare", case.parent, out, "--method", "li", "--quiet")
        assert run(capfd, *ask, *where).code == 0
        with (out / "cases.csv").open(encoding="utf-8") as file:
            table = [{**row, "seconds": ""} for row in csv.DictReader(file)]
        ask = ("dataset", truth, tmp_path / f"{name}-set", "--cases", 1, "--mix", "random=1")
        assert run(capfd, *ask, "--model", "trace-maximum", "--quiet", *where).code == 0
        (corrupted,) = (tmp_path / f"{name}-set").glob("case-*/corrupted.nii.gz")
        return [measured.out, with_truth.out, table, stored(corrupted).tolist()]

    here = made("here")
    with LocalCluster(processes=False, n_workers=1, dashboard_address=None) as threads:
        assert made("there", "--dask", threads.scheduler_address) == here
