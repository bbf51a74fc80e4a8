"""Batches and datasets run in the test's own process where the test is not about processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_support import ct_hu, write_image
from MetalArtifactReductionLib.progress import check_cancelled


def _run_here(
    work: Callable[[Any], Any],
    jobs: Iterable[Any],
    _workers: int,
    done: Callable[[Any, Any], None],
    _stop: object,
    cancel: Any = None,
    **_options: object,
) -> None:
    for job in jobs:
        check_cancelled(cancel)
        done(job, work(job))


@pytest.fixture(autouse=True, scope="module")
def in_this_process() -> Iterator[None]:
    """Starting a process for each takes longer than its work."""
    with pytest.MonkeyPatch.context() as patch:
        for package in ("MetalArtifactReductionLib.batch", "SimulateImplantsLib.dataset"):
            patch.setattr(f"{package}.run.run_isolated", _run_here)
        yield


@pytest.fixture
def own_processes(forked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are about processes: batches and datasets start them as they do for users."""
    from MetalArtifactReductionLib.jobs.isolated import run_isolated

    for package in ("MetalArtifactReductionLib.batch", "SimulateImplantsLib.dataset"):
        monkeypatch.setattr(f"{package}.run.run_isolated", run_isolated)


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Two CTs of one name in two folders, one without metal, and one that is no CT."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "ct.nii.gz", ct_hu())
    write_image(tmp_path / "clean.nrrd", ct_hu(metal=False))
    (tmp_path / "broken.nii").write_text("no image\n" * 100)
    return tmp_path
