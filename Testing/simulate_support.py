"""A small clean CT, a quick scanner, and jobs for processes of their own."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from cli_support import write_image
from support import until

SHAPE = (12, 96, 96)
SPACING_MM = (2.0, 2.0, 3.0)  # column, row, slice
GEOMETRY = np.eye(4)
GEOMETRY[:3, :3] = Rotation.from_euler("zyx", (0.06, -0.04, 0.05)).as_matrix() * SPACING_MM
GEOMETRY[:3, 3] = (-96.5, -94.0, 820.25)

FAST = {"views": 90, "bins": 250, "bin_mm": 2.0, "energies": 2, "samples_per_bin": 1}
QUICK = [part for name, value in FAST.items() for part in ("--set", f"{name}={value}")]
"""A coarse scanner that sees the whole image and takes a tenth of a second a slice."""


def clean_hu(seed: int = 0) -> np.ndarray:
    """``SHAPE``, int16: a body with fat, two bones 44 mm thick and noise, in air."""
    row, col = np.mgrid[: SHAPE[1], : SHAPE[2]]
    body = np.hypot((row - 48) / 30, (col - 48) / 42)
    hu = np.full(SHAPE, -1000.0)
    hu[:, body < 1] = -90
    hu[:, body < 0.9] = 40
    for x in (28, 68):
        hu[:, np.hypot(row - 50, col - x) < 11] = 500
    return np.rint(hu + np.random.default_rng(seed).normal(0, 8, SHAPE)).astype(np.int16)


def clean_ct(path: Path, seed: int = 0) -> Path:
    """The clean CT as a file."""
    return write_image(path, clean_hu(seed), GEOMETRY)


def ras(slice_: float, row: float, col: float) -> tuple[float, float, float]:
    """Centre of a voxel, or a point between."""
    r, a, s = (GEOMETRY @ (col, row, slice_, 1.0))[:3]
    return float(r), float(a), float(s)


def at(slice_: float, row: float, col: float) -> str:
    """The same as the command line takes it."""
    return ",".join(f"{value:.6f}" for value in ras(slice_, row, col))


def die_at_two(folder: Path, job: int) -> int:
    """Work that kills its process at job 2, while job 3 runs, and otherwise squares."""
    started = folder / "3"
    if job == 2:
        until(started.exists)
        os._exit(9)
    if job == 3 and not started.exists():
        started.touch()
        threading.Event().wait()  # for its end, as job 2 takes it along
    return job * job


def wait_for_stop(stop: Path, job: int) -> int:
    """Work that ends only when it is told to."""
    (stop.parent / f"started-{job}").touch()
    until(stop.exists)
    (stop.parent / f"told-{job}").touch()
    return -1
