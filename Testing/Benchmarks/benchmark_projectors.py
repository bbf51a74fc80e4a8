"""Our projector beside scikit-image, astra and RTK: time, error against ellipses, adjointness.

    pip install -r Testing/Benchmarks/requirements.txt
    python Testing/Benchmarks/benchmark_projectors.py [--rounds 5] [--threads 2]

512 x 512 pixels, 720 views x 736 bins, parallel beam, on the CPU. The candidates take turns within
each round, so that a machine whose speed drifts slows all of them alike; medians are printed.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from analytic import head_phantom, rasterize, relative_error, sinogram
from MetalArtifactReductionLib.tomography import (
    FilteredBackProjection,
    ImageGrid,
    ParallelGeometry,
    ParallelProjector,
)

N, VIEWS, BINS = 512, 720, 736
GRID = ImageGrid(N, N, (1.0, 1.0))
GEOMETRY = ParallelGeometry(VIEWS, BINS, 1.0)
PHANTOM = head_phantom(N / 2)


@dataclass
class Candidate:
    """One projector; times are divided by ``slices``."""

    name: str
    forward: Callable[[], np.ndarray]
    back: Callable[[], np.ndarray]
    fbp: Callable[[], np.ndarray] | None
    slices: int = 1
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)  # x, y, shift of the bins
    adjoint_gap: float | None = None


def exact(bins: int, centre: tuple[float, float, float], turned: int, flip: bool, samples: int = 8):
    """Exact bin averages about another rotation centre and orientation."""
    theta = GEOMETRY.angles_rad[:, None] + turned * np.pi / 2
    s = np.arange(bins) - (bins - 1) / 2 + centre[2]
    s = s[None, :] + centre[0] * np.cos(theta) + centre[1] * np.sin(theta)
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    result = np.mean([sinogram(PHANTOM, theta, s + d) for d in offsets], axis=0)
    return result[:, ::-1] if flip else result


def sinogram_error(ours: np.ndarray, centre: tuple[float, float, float]) -> float:
    """Relative error in the orientation that the library uses."""
    return min(
        relative_error(ours, exact(ours.shape[1], centre, turned, flip))
        for turned in range(4)
        for flip in (False, True)
    )


def gap(forward: Callable, back: Callable, image: np.ndarray, sino: np.ndarray) -> float:
    """``|<A x, y> - <x, A' y>| / (|A x| |y|)`` in float64."""
    ax, aty = np.asarray(forward(image), np.float64), np.asarray(back(sino), np.float64)
    return abs((ax * sino).sum() - (image * aty).sum()) / (
        np.linalg.norm(ax) * np.linalg.norm(sino)
    )


def ours(image: np.ndarray, slices: int) -> Candidate:
    projector = ParallelProjector(GRID, GEOMETRY)
    reconstruct = FilteredBackProjection(projector)
    images = torch.from_numpy(image)[None].repeat(slices, 1, 1)
    sino = projector(images)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, N, N)).astype(np.float32)
    y = rng.normal(size=(1, VIEWS, BINS)).astype(np.float32)
    return Candidate(
        f"this project, {slices} slice{'s' * (slices > 1)}",
        lambda: projector(images).numpy(),
        lambda: projector.adjoint(sino).numpy(),
        lambda: reconstruct(sino).numpy(),
        slices,
        adjoint_gap=gap(
            lambda a: projector(torch.from_numpy(a)),
            lambda b: projector.adjoint(torch.from_numpy(b)),
            x,
            y,
        ),
    )


def scikit_image(image: np.ndarray) -> Candidate:
    from skimage.transform import iradon, radon

    theta = np.rad2deg(GEOMETRY.angles_rad)
    sino = radon(image, theta, circle=True)
    return Candidate(
        "scikit-image",
        lambda: radon(image, theta, circle=True).T,
        lambda: iradon(sino, theta, filter_name=None, circle=True),
        lambda: iradon(sino, theta, filter_name="ramp", circle=True),
        centre=(0.5, -0.5, -0.5),  # it rotates about pixel n / 2
    )


def astra_linear(image: np.ndarray) -> Candidate:
    import astra

    volume = astra.create_vol_geom(N, N)
    detector = astra.create_proj_geom("parallel", 1.0, BINS, GEOMETRY.angles_rad)
    projector = astra.create_projector("linear", detector, volume)
    operator = astra.OpTomo(projector)
    sino = (operator @ image.ravel()).reshape(VIEWS, BINS)
    rng = np.random.default_rng(0)
    x, y = (
        rng.normal(size=N * N).astype(np.float32),
        rng.normal(size=VIEWS * BINS).astype(np.float32),
    )
    return Candidate(
        "astra, linear",
        lambda: (operator @ image.ravel()).reshape(VIEWS, BINS),
        lambda: operator.T @ sino.ravel(),
        lambda: operator.reconstruct("FBP", sino),
        adjoint_gap=gap(lambda a: operator @ a, lambda b: operator.T @ b, x, y),
    )


def rtk_joseph(image: np.ndarray, slices: int = 4) -> Candidate:
    import itk
    from itk import RTK as rtk

    kind = itk.Image[itk.F, 3]
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    for angle in np.rad2deg(GEOMETRY.angles_rad):
        geometry.AddProjection(1000.0, 0.0, float(angle))  # no detector distance: parallel

    def itk_image(array: np.ndarray) -> object:
        out = itk.image_from_array(np.ascontiguousarray(array, np.float32))
        out.SetOrigin([-(n - 1) / 2 for n in array.shape[::-1]])
        return out

    volume = itk_image(np.repeat(image[:, None, :], slices, axis=1))  # the axis is y
    empty_sinogram = np.zeros((VIEWS, slices, BINS), np.float32)

    def forward() -> np.ndarray:
        f = rtk.JosephForwardProjectionImageFilter[kind, kind].New()
        f.SetGeometry(geometry)
        f.SetInput(0, itk_image(empty_sinogram))
        f.SetInput(1, volume)
        f.Update()
        return itk.array_from_image(f.GetOutput())[:, slices // 2]

    sino = np.repeat(forward()[:, None], slices, axis=1)

    def back() -> np.ndarray:
        f = rtk.JosephBackProjectionImageFilter[kind, kind].New()
        f.SetGeometry(geometry)
        f.SetInput(0, itk_image(np.zeros((N, slices, N), np.float32)))
        f.SetInput(1, itk_image(sino))
        f.Update()
        return itk.array_from_image(f.GetOutput())[:, slices // 2]

    return Candidate("RTK, Joseph", forward, back, None, slices)


def measure(candidates: list[Candidate], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds a slice, the candidates taking turns."""
    seconds: dict[str, dict[str, list[float]]] = {c.name: {} for c in candidates}
    for turn in range(rounds + 1):
        for candidate in candidates:
            for step in ("forward", "back", "fbp"):
                run = getattr(candidate, step)
                if run is None:
                    continue
                start = time.perf_counter()
                run()
                if turn:  # the first turn warms up
                    spent = (time.perf_counter() - start) / candidate.slices
                    seconds[candidate.name].setdefault(step, []).append(spent)
    return {
        name: {step: 1e3 * statistics.median(t) for step, t in steps.items()}
        for name, steps in seconds.items()
    }


def resident_peak_mib() -> float:
    """Peak resident memory of this process (ru_maxrss would count the parent's before exec)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(i for i in status.read_text().splitlines() if i.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_memory(slices: int) -> None:
    """In a process of its own: forward and back for many slices, then the peak."""
    torch.set_num_threads(2)
    before = resident_peak_mib()
    projector = ParallelProjector(GRID, GEOMETRY)
    sino = projector(torch.rand(slices, N, N))
    projector.adjoint(sino)
    peak = resident_peak_mib()
    print(f"{peak:.0f} MiB, of which {before:.0f} MiB are Python and its libraries")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak-memory", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_memory:
        peak_memory(arguments.peak_memory)
        return
    torch.set_num_threads(arguments.threads)
    image = rasterize(PHANTOM, GRID, 16)
    makers = [lambda i: ours(i, 16), lambda i: ours(i, 1), scikit_image, astra_linear, rtk_joseph]
    candidates = []
    for make in makers:
        try:
            candidates.append(make(image))
        except ImportError as missing:
            print(f"left out: {missing}")
    times = measure(candidates, arguments.rounds)
    print(f"\n{N} x {N}, {VIEWS} views x {BINS} bins, {arguments.threads} threads")
    print(f"ms a slice, median of {arguments.rounds} turns\n")
    print("| projector | forward | back | FBP | sinogram error | adjoint gap |")
    print("|---|---|---|---|---|---|")
    for c in candidates:
        result = c.forward()
        error = sinogram_error(result[0] if result.ndim == 3 else result, c.centre)
        fbp = f"{times[c.name]['fbp']:.1f}" if c.fbp else "-"
        adjoint = f"{c.adjoint_gap:.0e}" if c.adjoint_gap is not None else "-"
        print(
            f"| {c.name} | {times[c.name]['forward']:.1f} | {times[c.name]['back']:.1f} "
            f"| {fbp} | {error:.2e} | {adjoint} |"
        )
    mine, others = times[candidates[0].name], [times[c.name] for c in candidates[2:]]
    if others:
        for step in ("forward", "back", "fbp"):
            fastest = min(o[step] for o in others if step in o)
            print(
                f"\n{step}: {fastest / mine[step]:.0f} times faster than the fastest other", end=""
            )
    print("\n\nforward and back of 64 slices, peak memory: ", end="", flush=True)
    subprocess.run([sys.executable, __file__, "--peak-memory", "64"], check=True)


if __name__ == "__main__":
    main()
