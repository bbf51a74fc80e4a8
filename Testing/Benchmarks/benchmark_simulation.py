"""Time of the artifact simulation: seconds a slice, by step, for fan and parallel beam.

    python Testing/Benchmarks/benchmark_simulation.py [--rounds 5] [--threads 2] [--device cpu]

One 512 x 512 slice of a pelvis-like phantom with two cobalt-chromium heads and two titanium cups,
scanned with and without metal (the reference that evaluations need), 12 energies. The presets
take turns within each round; medians are printed, then the least for a volume of eight slices.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from MetalArtifactReductionLib.physics.acquisition import PRESETS
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.physics.noise import standard_normals
from MetalArtifactReductionLib.physics.scanner import Scanner
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.physics.slice_models import physics_slice
from MetalArtifactReductionLib.tomography import ImageGrid
from MetalArtifactReductionLib.volume import CTVolume

SIZE, PIXEL_MM = 512, 0.8
SCANS = ("reference", "parallel")
MATERIALS = [material("CoCrMo"), material("Ti6Al4V")]


def phantom(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """HU ``(rows, cols)`` and fractions ``(2, rows, cols)``."""
    y, x = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * PIXEL_MM
    hu = np.full((SIZE, SIZE), -1000.0, np.float32)
    hu[(x / 185) ** 2 + (y / 125) ** 2 < 1] = -90.0
    hu[(x / 165) ** 2 + (y / 105) ** 2 < 1] = 40.0
    fractions = np.zeros((2, SIZE, SIZE), np.float32)
    for centre in (-85.0, 85.0):
        r = np.hypot(x - centre, y)
        hu[r < 34] = 400.0
        fractions[0][r < 16] = 1.0
        fractions[1][(r > 21) & (r < 25)] = 1.0
    return torch.from_numpy(hu).to(device), torch.from_numpy(fractions).to(device)


def timed(step: Callable[[], object], device: torch.device) -> float:
    """Seconds that a step takes."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def steps(scanner: Scanner) -> dict[str, Callable[[], object]]:
    """The parts of a slice, each on ready-made input, and the whole."""
    hu, fractions = phantom(scanner.device)
    left = 1.0 - fractions.sum(dim=0)
    shares = torch.stack([torch.ones_like(left), left])
    normals = standard_normals(0, 0, (2, *scanner.cells.sinogram_shape))
    tissue_mm = scanner.tissue_paths(hu, shares)
    implant_mm = scanner.implant_paths(fractions)
    without = scanner.transmitted(tissue_mm[0])
    both = physics_slice(scanner, hu, fractions, MATERIALS, normals, True).sinograms

    def whole() -> torch.Tensor:
        numbers = standard_normals(0, 0, (2, *scanner.cells.sinogram_shape))
        scan = physics_slice(scanner, hu, fractions, MATERIALS, numbers, True)
        return scanner.reconstruct(scan.sinograms).cpu()

    return {
        "paths in tissue": lambda: scanner.tissue_paths(hu, shares),
        "paths in implants": lambda: scanner.implant_paths(fractions),
        "spectrum": lambda: (
            scanner.transmitted(tissue_mm[0]),
            scanner.transmitted_with_implants(without, tissue_mm[1], implant_mm, MATERIALS),
        ),
        "noise, corrections": lambda: (
            standard_normals(0, 0, (2, *scanner.cells.sinogram_shape)),
            scanner.line_integrals(without, normals),
            scanner.line_integrals(without, normals),
        ),
        "reconstruction": lambda: scanner.reconstruct(both),
        "whole slice": whole,
    }


def volumes_of_eight(rounds: int, device: str) -> dict[str, tuple[float, float]]:
    """Least seconds, by the clock and of all the processor's cores, for eight slices by preset."""
    hu, fractions = (np.asarray(x)[..., None, :, :] for x in phantom(torch.device("cpu")))
    volume = CTVolume(np.repeat(hu, 8, axis=-3), np.diag([PIXEL_MM, PIXEL_MM, 2.0, 1.0]))
    implants = {m.name: np.repeat(f, 8, axis=0) for m, f in zip(MATERIALS, fractions, strict=True)}
    found = {}
    for name in SCANS:
        taken = []
        for _ in range(rounds + 1):
            start = time.perf_counter(), time.process_time()
            simulate_volume(volume, implants, PRESETS[name], device=device)
            taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        found[name] = min(t[0] for t in taken[1:]), min(t[1] for t in taken[1:])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    grid = ImageGrid(SIZE, SIZE, (PIXEL_MM, PIXEL_MM))
    scanners, set_up = {}, {}
    for name in SCANS:
        start = time.perf_counter()
        scanners[name] = Scanner(grid, PRESETS[name], arguments.device)
        set_up[name] = time.perf_counter() - start
    tasks = {name: steps(scanner) for name, scanner in scanners.items()}
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds + 1):
        for name, parts in tasks.items():
            for part, step in parts.items():
                taken.setdefault((name, part), []).append(timed(step, scanners[name].device))
    print(f"{SIZE} x {SIZE}, 12 energies, {arguments.device}, {arguments.threads} threads\n")
    heads = [
        f"{name} ({s.cells.sinogram_shape[0]} x {s.cells.sinogram_shape[1]})"
        for name, s in scanners.items()
    ]
    print("| seconds a slice | " + " | ".join(heads) + " |")
    print("|---|" + "---|" * len(SCANS))
    for part in tasks[SCANS[0]]:
        medians = [statistics.median(taken[name, part][1:]) for name in SCANS]
        print(f"| {part} | " + " | ".join(f"{m:.3f}" for m in medians) + " |")
    print("| set-up, once | " + " | ".join(f"{set_up[name]:.1f}" for name in SCANS) + " |")
    eight = volumes_of_eight(arguments.rounds, arguments.device)
    for what, k in (("eight slices, least", 0), ("the same, processor", 1)):
        print(f"| {what} | " + " | ".join(f"{eight[name][k]:.2f}" for name in SCANS) + " |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of the process {peak:.1f} GiB")


if __name__ == "__main__":
    main()
