"""Time, memory and volume error of voxelising a spinal construct; prints a table.

Run: ``python Testing/Benchmarks/benchmark_voxelization.py``. Eight pedicle screws with set screws
and two bent rods in a CT of 512 x 512 x 200, and the error of the volume for a thin screw and a
rod in thick slices, at many angles.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.implants.total_hip import TotalHip
from SimulateImplantsLib.implants.user_mesh import UserMesh
from SimulateImplantsLib.voxels.voxelize import PlacedImplant, Voxelization, voxelize


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> CTVolume:
    """An empty CT (slices, rows, cols) of spacing (col, row, slice) around the origin."""
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = -0.5 * (np.array(shape[::-1]) - 1) * spacing
    return CTVolume(np.zeros(shape, dtype=np.float32), matrix)


def frame(z: np.ndarray, at: tuple[float, float, float]) -> np.ndarray:
    """Placement whose +z runs along ``z``."""
    z = z / np.linalg.norm(z)
    x = np.cross([0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    matrix[:3, 3] = at
    return matrix


def construct() -> list[PlacedImplant]:
    """Four levels, two sides, rods through all heads of a side."""
    placed: list[PlacedImplant] = []
    for side in (-1.0, 1.0):
        seats = []
        for level in range(4):
            along = np.array([-0.25 * side, 1.0, 0.04 * (level - 1.5)])
            at = (18.0 * side, -3.0 * abs(level - 1.5) ** 2, 35.0 * (level - 1.5))
            placement = frame(along, at)
            screw = PedicleScrew(6.5, 45).facing(placement[:3, :3].T @ np.array([0.0, 0.0, 1.0]))
            seats.append(screw.rod_seat().transformed(placement))
            placed.append(PlacedImplant(screw, placement))
        placed.append(PlacedImplant(Rod.through(seats, 5.5)))
    return placed


def timed(placed: list[PlacedImplant], volume: CTVolume) -> tuple[float, Voxelization]:
    """Seconds and result."""
    start = time.perf_counter()
    result = voxelize(placed, volume, labels=True)
    return time.perf_counter() - start, result


def peak_mib() -> float:
    """Largest resident memory of this process so far (Linux), else nan."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    return float(text.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Print the tables."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"CPU cores {os.cpu_count()}{load}")
    print(f"{'case':54s} {'seconds':>8s} {'peak MiB':>9s} {'cm3':>8s}")
    big = (200, 512, 512)
    before = peak_mib()
    for name, placed, spacing in (
        ("8 screws + 2 rods, 0.8 x 0.8 x 1 mm", construct(), (0.8, 0.8, 1.0)),
        ("total hip, 0.8 x 0.8 x 1 mm", [PlacedImplant(TotalHip())], (0.8, 0.8, 1.0)),
        ("8 screws + 2 rods, 0.8 x 0.8 x 3 mm", construct(), (0.8, 0.8, 3.0)),
    ):
        seconds, result = timed(placed, grid(big, spacing))
        volume = sum(result.volumes_mm3.values()) / 1000
        print(f"512 x 512 x 200: {name:37s} {seconds:8.2f} {peak_mib():9.0f} {volume:8.2f}")
    print(f"(of the memory {before:.0f} MiB are the libraries, 200 MiB each volume of 512x512x200)")

    print(f"\n{'volume error, % of the surface volume':54s} {'mean':>8s} {'worst':>8s}")
    rng = np.random.default_rng(1)
    shaft = next(p for p in PedicleScrew(5.0, 45).parts() if p.name == "shaft")
    screw = UserMesh(mesh_mm=shaft.mesh)
    cases = (
        ("5 mm screw, 0.8 x 0.8 x 1 mm", screw, (0.8, 0.8, 1.0)),
        ("5.5 mm rod of 80 mm, 1 x 1 x 3 mm", Rod(5.5, 80), (1.0, 1.0, 3.0)),
    )
    for name, implant, spacing in cases:
        shape = tuple(int(130 / s) for s in spacing[::-1])
        errors = []
        directions = [*np.eye(3) + 1e-9, *rng.normal(size=(17, 3))]
        for direction in directions:
            at = rng.uniform(-1, 1, 3) - 25 * direction / np.linalg.norm(direction)
            placement = frame(direction, tuple(at))
            result = voxelize([PlacedImplant(implant, placement)], grid(shape, spacing))  # type: ignore[arg-type]
            found = float(result.total().sum(dtype=np.float64) * np.prod(spacing))
            errors.append(100 * abs(found / implant.mesh().volume_mm3 - 1))
        print(f"{name + f', {len(errors)} poses':54s} {np.mean(errors):8.3f} {max(errors):8.3f}")


if __name__ == "__main__":
    main()
