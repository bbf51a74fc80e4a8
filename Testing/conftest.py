"""Makes ``support`` importable from every test file and gives each process one thread.

Several test processes with several threads each fight for the cores and take three times as long.
Large arrays come and go by the thousand: processes keep their memory, in large pages.
"""

import gc
import multiprocessing
import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

for library in ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ.setdefault(library, "1")
os.environ.setdefault(
    "GLIBC_TUNABLES",
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:"
    "glibc.malloc.trim_threshold=2147483648",
)
os.environ["XDG_CONFIG_HOME"] = os.devnull  # nobody's own defaults
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "Benchmarks"), str(HERE / "Experiments")]


gc.disable()


def pytest_collection_finish() -> None:
    """What is loaded stays: to look through it for garbage again and again takes seconds."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def folder_of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """For ``support.once``."""
    own = tmp_path_factory.getbasetemp()
    os.environ["MADE_ONCE"] = str(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests whose processes would each load torch, and make blocks that nobody asks for."""
    from support import fork_instead_of_spawn

    monkeypatch.setattr("MetalArtifactReductionLib.training.block_workers.AHEAD", 1)
    monkeypatch.setattr(multiprocessing, "get_context", fork_instead_of_spawn())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For trainings that are read as figures: drawing takes longer than their steps."""
    record = "MetalArtifactReductionLib.training.record"
    monkeypatch.setattr(f"{record}.draw_curves", lambda *_: None)
    monkeypatch.setattr(f"{record}.Record._picture", lambda *_: None)


@pytest.fixture
def forked_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what a job brings; ``jobs`` has those of its process."""
    from support import ForkedJob

    monkeypatch.setattr("MetalArtifactReductionLib.jobs.job.start_python", ForkedJob)


@pytest.fixture(autouse=True, scope="session")
def projectors_made_once() -> Iterator[None]:
    """Many tests correct images of the same grid."""
    module = sys.modules.get("MetalArtifactReductionLib.tomography.reprojection")
    with pytest.MonkeyPatch.context() as patch:
        if module is not None:
            patch.setattr(module, "ParallelProjector", lru_cache(4)(module.ParallelProjector))
        yield


@pytest.fixture(autouse=True, scope="session")
def opinions_asked_once() -> Iterator[None]:
    """Many tests correct the same slices by one method after the other."""
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules.get("MetalArtifactReductionLib.correction.artifact_strength")
        if module is not None:
            from support import opinion_asked_once

            ask = opinion_asked_once(module.SecondOpinion.__call__)
            patch.setattr(module.SecondOpinion, "__call__", ask)
        yield


@pytest.fixture(autouse=True, scope="session")
def bones_measured_once(folder_of_all_processes: None) -> Iterator[None]:
    """Many tests place implants in the same bones."""
    from support import asked_once

    with pytest.MonkeyPatch.context() as patch:
        for name, *functions in (
            ("patient", "measure_hip"),
            ("spine.propose", "_model", "locate_bodies"),
        ):
            module = sys.modules.get(f"SimulateImplantsLib.placement.{name}")
            for function in functions if module else ():
                patch.setattr(module, function, asked_once(getattr(module, function)))
        yield
