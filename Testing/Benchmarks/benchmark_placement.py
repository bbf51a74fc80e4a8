"""How near proposed screws come to the true pedicle axes of procedural spines: a table.

    python Testing/Benchmarks/benchmark_placement.py [--seeds 201 202 203 204 205 206] [--clicks]

Every seed is another patient; in turn supine, with scoliosis in thick slices, and turned in an
oblique volume. L1 to L5, both sides.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from SimulateImplantsLib.phantoms import Phantom, lumbar_spine_phantom
from SimulateImplantsLib.placement import propose_screws, propose_screws_from_clicks
from SimulateImplantsLib.placement.geometry import angle_deg
from SimulateImplantsLib.placement.spine.propose import SpineProposal

LEVELS = ["L1", "L2", "L3", "L4", "L5"]
KINDS: tuple[tuple[str, tuple[float, float, float], tuple[int, int, int], dict[str, Any]], ...] = (
    ("supine", (1.5, 1.2, 1.2), (140, 140, 140), {}),
    ("scoliosis, 3 mm slices", (3.0, 1.1, 1.1), (72, 150, 150), {"scoliosis_deg": 30.0}),
    (
        "turned, oblique volume",
        (1.6, 1.4, 1.4),
        (140, 140, 140),
        {"patient_rotation_deg": (20, -25, 130), "grid_rotation_deg": (8, 5, -12)},
    ),
)
LARGEST_MM, LARGEST_DEG = 2.0, 5.0


def errors(phantom: Phantom, proposal: SpineProposal) -> np.ndarray:
    """Distance (mm) in the plane of the isthmus and angle (deg), a row a screw."""
    truths = {(t.level, t.side): t for t in phantom.truth.pedicles}
    rows = []
    for screw in proposal.trajectories():
        truth = truths[screw.level, screw.side]
        along = (truth.isthmus_ras - screw.entry_ras) @ truth.direction
        point = screw.entry_ras + screw.direction * along / (screw.direction @ truth.direction)
        distance = float(np.linalg.norm(point - truth.isthmus_ras))
        rows.append((distance, angle_deg(screw.direction, truth.direction)))
    return np.array(rows).reshape(-1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(201, 207)))
    parser.add_argument("--clicks", action="store_true", help="one in each body, not labels")
    options = parser.parse_args()
    title = f"within {LARGEST_MM:g} mm, {LARGEST_DEG:g} deg"
    print(f"| seed | patient | {title} | worst | mean | s |\n|---|---|---:|---:|---:|---:|")
    found = []
    for seed in options.seeds:
        name, spacing, shape, changes = KINDS[seed % len(KINDS)]
        phantom = lumbar_spine_phantom(seed, spacing, shape, **changes)
        began = time.perf_counter()
        if options.clicks:
            points = {v.level: v.centre_ras for v in phantom.truth.vertebrae if v.level in LEVELS}
            one = errors(phantom, propose_screws_from_clicks(phantom.volume, points))
        else:
            one = errors(phantom, propose_screws(phantom.labels, phantom.volume, levels=LEVELS))
        seconds = time.perf_counter() - began
        found.append(one)
        print(f"| {seed} | {name} | {row(one)} | {seconds:.1f} |", flush=True)
    print(f"| all | | {row(np.concatenate(found))} | |")


def row(found: np.ndarray) -> str:
    good = int(((found[:, 0] < LARGEST_MM) & (found[:, 1] < LARGEST_DEG)).sum())
    worst, mean = found.max(axis=0), found.mean(axis=0)
    return (
        f"{good} of {len(found)} | "
        f"{worst[0]:.2f} mm, {worst[1]:.1f} deg | {mean[0]:.2f} mm, {mean[1]:.1f} deg"
    )


if __name__ == "__main__":
    main()
