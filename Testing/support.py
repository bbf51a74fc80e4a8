"""What several test files share."""

from __future__ import annotations

import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from MetalArtifactReductionLib.volume import CTVolume

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

HANG_S = 600.0
"""After so long something is taken to hang; no test expects anything to be quicker."""


def until(happened: Callable[[], object]) -> None:
    """Look until it has happened."""
    end = time.monotonic() + HANG_S
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def running(pid: int) -> bool:
    """Alive, and not only waiting for somebody to ask how it ended."""
    from MetalArtifactReductionLib.files.leftovers import process_alive

    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return sys.platform != "linux" and process_alive(pid)


def shared_data(name: str) -> Path:
    """Path of a real CT beside the checkout; skips the test where it is absent."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"real CT {name} is not beside the checkout")
    return path


def packed_ct(name: str) -> CTVolume:
    """A CT of ``packed`` beside the checkout, RAS axes; skips the test where it is absent."""
    pytest.importorskip("jpeg_ls", exc_type=ImportError)
    path = shared_data(f"packed/{name}.npz")
    reader = runpy.run_path(str(path.parent / "read_ct_pack.py"))["read_ct_pack"]
    hu, spacing_zyx, origin, direction = reader(path)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(direction, (3, 3)) * spacing_zyx[::-1]
    matrix[:3, 3] = origin
    return CTVolume(hu, np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix)


@contextmanager
def peak_memory_mb() -> Iterator[Callable[[], float]]:
    """Within the block: by how many MB this process has grown at most since its beginning."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("only Linux tells the peak of a part of a process's life")

    def resident_mb(field: str) -> float:
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mb("VmRSS")
    yield lambda: resident_mb("VmHWM") - before
