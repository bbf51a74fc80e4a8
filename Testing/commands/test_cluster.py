"""``mar correct --dask``: the list of a batch on a cluster of two workers in processes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import assert_refused, ct_hu, run, stored, write_image
from MetalArtifactReductionLib.batch import dask

pytest.importorskip("distributed", reason="Dask is not installed (pip install '.[cluster]')")

METHOD = ("--method", "li", "--quiet")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
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
    monkeypatch.setattr(dask, "on_dask", partial(dask.on_dask, timeout_s=0.5))
    write_image(tmp_path / "a.nii.gz", ct_hu())
    write_image(tmp_path / "b.nii.gz", ct_hu())
    outcome = run(
        capfd,
        *("correct", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "out", *METHOD),
        *("--dask", "tcp://127.0.0.1:9"),
    )
    assert_refused(outcome, "no Dask scheduler answers at 'tcp://127.0.0.1:9'", "dask scheduler")
