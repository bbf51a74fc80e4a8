"""Makes ``support`` importable from every test file and gives each process one thread.

Several test processes with several threads each fight for the cores and take three times as long.
"""

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XDG_CONFIG_HOME"] = os.devnull  # nobody's own defaults
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "Benchmarks"), str(HERE / "Experiments")]


@pytest.fixture(autouse=True, scope="session")
def made_once() -> Iterator[None]:
    """Projectors and scanners: many tests look at images of the same grid."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            ("MetalArtifactReductionLib.tomography.reprojection", "ParallelProjector"),
            ("MetalArtifactReductionLib.physics.simulation", "Scanner"),
        ):
            if module in sys.modules:
                made = lru_cache(4)(getattr(sys.modules[module], name))
                patch.setattr(sys.modules[module], name, made)
        yield
