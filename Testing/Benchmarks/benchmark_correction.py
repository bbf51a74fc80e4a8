"""Seconds and memory of correcting 512 x 512 x 100 with metal in every slice.

    python Testing/Benchmarks/benchmark_correction.py [--slices 100] [--threads 2] [--batch 8] \
        [--device cpu] [--method li --method nmar ...] [--float32]

Prints a table of the methods, linear interpolation and NMAR if none is named: seconds of computing
(from the volume in memory to the corrected volume in memory, finding the metal apart), milliseconds
a slice, and by how much the process's memory rose above what the volume itself and the libraries
took before. ``--float32``: every method once more with the image prior's network in float32, as on
processors without fast bfloat16, each after its row.
"""

from __future__ import annotations

import argparse
import threading
import time
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.methods.image_prior import inpainter
from MetalArtifactReductionLib.volume import CTVolume


def pelvis(slices: int, size: int = 512) -> CTVolume:
    """An elliptic body with two hips; one is a prosthesis. Each slice has its own noise."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    hu = np.where((x / 220) ** 2 + (y / 150) ** 2 <= 1, -100.0, -1000.0)
    hu[(x / 200) ** 2 + (y / 130) ** 2 <= 1] = 50.0
    for side in (-110, 110):
        hu[np.hypot(x - side, y) <= 30] = 900.0
        hu[np.hypot(x - side, y) <= 22] = 250.0
    hu[np.hypot(x + 110, y) <= 16] = 3071.0
    angle = np.arctan2(y, x + 110)
    streaks = 60 * np.sin(20 * angle) * ((hu > -500) & (hu < 3000))
    rng = np.random.default_rng(0)
    volume = np.empty((slices, size, size), np.float32)
    for layer in volume:
        layer[...] = np.minimum(hu + streaks + rng.normal(0, 10, hu.shape), 3071.0)
    return CTVolume(volume, np.diag([0.8, 0.8, 2.0, 1.0]))


class PeakMemory:
    """Highest resident memory in MiB while the block runs, by polling; 0 where it is unknown."""

    def __enter__(self) -> PeakMemory:
        self.start = self.peak = resident_mib()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, resident_mib())


def resident_mib() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--method", action="append", help="name or file of weights; repeatable")
    parser.add_argument("--float32", action="store_true", help="the image prior in float32, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    volume = pelvis(options.slices)
    start = time.perf_counter()
    found = segment_metal(volume)
    seconds = time.perf_counter() - start
    print(f"512 x 512 x {options.slices}, metal in {found.slices.size} slices, ", end="")
    print(f"{options.threads} threads, {options.device}, {options.batch} slices at once")
    print(f"finding the metal: {seconds:.1f} s\n")
    print("| method | seconds | ms a slice | peak above the volume, MiB | peak in all, MiB |")
    print("| ------ | ------: | ---------: | -------------------------: | ---------------: |")
    few = CTVolume(volume.hu[:2], volume.ijk_to_ras)
    for method, fast in product(options.method or ("li", "nmar"), (True, False)):
        if not fast and not options.float32:
            continue
        own = nullcontext() if fast else patch.object(inpainter, "fast_bfloat16", lambda _: False)
        with own:
            # the first use of each operation is slower
            correct_volume(few, found.fraction[:2], method, device=options.device)
            with PeakMemory() as memory:
                cpu, start = time.process_time(), time.perf_counter()
                correct_volume(
                    volume,
                    found.fraction,
                    method,
                    batch_slices=options.batch,
                    device=options.device,
                )
                seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(
            f"| {method}{'' if fast else ', float32'} | {seconds:.1f} | "
            f"{1000 * seconds / options.slices:.0f} | {memory.peak - memory.start:.0f} | "
            f"{memory.peak:.0f} |  <!-- CPU seconds {cpu:.1f} -->"
        )


if __name__ == "__main__":
    main()
