"""Batches and datasets run in the test's own process where the test is not about processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

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
def own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are about processes: batches and datasets start them as they do for users."""
    from MetalArtifactReductionLib.jobs.isolated import run_isolated

    for package in ("MetalArtifactReductionLib.batch", "SimulateImplantsLib.dataset"):
        monkeypatch.setattr(f"{package}.run.run_isolated", run_isolated)
