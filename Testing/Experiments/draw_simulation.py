"""Draw a simulated case beside its clean CT: clean, placed, voxelised, simulated.

    python Testing/Experiments/draw_simulation.py CT PLAN.json CASE OUTPUT.png \\
        --axial 46 --crop 190,370,150,362 --sagittal 283 --long-crop 62,126,190,370

``PLAN.json`` is of ``mar place``, ``CASE`` the folder of ``mar simulate``. A crop is first and last
row, first and last column of the picture; long pictures have the head up.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection

from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.cases.plan_files import metal_of, read_plan
from SimulateImplantsLib.voxels.voxelize import PlacedImplant

TITLES = ("clean CT", "placed", "voxelised", "simulated")
METAL = (1.0, 0.72, 0.0)
LOWEST_HU, HIGHEST_HU = -600, 1400


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("ct", "plan", "case", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--axial", type=int, required=True, metavar="SLICE")
    other = parser.add_mutually_exclusive_group(required=True)
    other.add_argument("--sagittal", type=int, metavar="COLUMN")
    other.add_argument("--coronal", type=int, metavar="ROW")
    for name in ("--crop", "--long-crop"):
        parser.add_argument(name, type=lambda text: [int(v) for v in text.split(",")])
    parser.add_argument("--height", type=float, default=7.0, help="of the picture, inches")
    return parser.parse_args()


def stored(case: Path, name: str) -> np.ndarray:
    (path,) = case.glob(f"{name}.*")
    return read_volume(path, check=False).hu


def cut(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A slice as it is looked at; ``axis`` 0 axial, 1 coronal, 2 sagittal."""
    plane = np.take(array, index, axis=axis)
    return plane if axis == 0 else plane[::-1]


def outlines(placed: PlacedImplant, volume: CTVolume, axis: int, index: int) -> np.ndarray:
    """Where a surface meets a slice: segments ``(n, 2, 2)`` in the picture's columns and rows."""
    to_ijk = np.linalg.inv(volume.ijk_to_ras) @ placed.placement
    mesh = placed.implant.mesh()
    points = mesh.points @ to_ijk[:3, :3].T + to_ijk[:3, 3]
    triangles = points[mesh.triangles]
    height = triangles[:, :, 2 - axis] - index
    found = []
    for corners, h in zip(triangles, height, strict=True):
        if h.min() < 0 < h.max():
            ends = [
                corners[a] + h[a] / (h[a] - h[b]) * (corners[b] - corners[a])
                for a, b in ((0, 1), (1, 2), (2, 0))
                if h[a] * h[b] < 0
            ]
            if len(ends) == 2:
                found.append(ends)
    segments = np.array(found).reshape(-1, 2, 3)
    across = segments[..., 1] if axis == 2 else segments[..., 0]
    down = segments[..., 1] if axis == 0 else volume.hu.shape[0] - 1 - segments[..., 2]
    return np.stack([across, down], axis=-1)


def draw_row(axes: Any, case: Any, axis: int, index: int, crop: list[int] | None) -> None:
    volume, implants, fraction, corrupted = case
    spacing = volume.spacing_mm
    aspect = (spacing[1] / spacing[2], spacing[0] / spacing[2], spacing[0] / spacing[1])[axis]
    clean = cut(volume.hu, axis, index)
    metal = np.zeros((*clean.shape, 4))
    metal[..., :3], metal[..., 3] = METAL, cut(fraction, axis, index)
    top, bottom, left, right = crop or [0, clean.shape[0], 0, clean.shape[1]]
    for number, ax in enumerate(axes):
        image = cut(corrupted, axis, index) if number == 3 else clean
        ax.imshow(image, cmap="gray", vmin=LOWEST_HU, vmax=HIGHEST_HU, aspect=aspect)
        if number == 1:
            for placed in implants:
                lines = outlines(placed, volume, axis, index)
                ax.add_collection(LineCollection(list(lines), colors=[METAL], linewidths=0.9))
        if number == 2:
            ax.imshow(metal, aspect=aspect, interpolation="nearest")
        ax.set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))
        ax.axis("off")


def main() -> None:
    given = arguments()
    volume = read_volume(given.ct)
    implants = metal_of(read_plan(given.plan)).implants
    case = (volume, implants, stored(given.case, "metal-fraction"), stored(given.case, "corrupted"))
    figure, axes = plt.subplots(
        2, 4, figsize=(13, given.height), facecolor="black", layout="constrained"
    )
    draw_row(axes[0], case, 0, given.axial, given.crop)
    axis, index = (2, given.sagittal) if given.sagittal is not None else (1, given.coronal)
    draw_row(axes[1], case, axis, index, given.long_crop)
    for ax, title in zip(axes[0], TITLES, strict=True):
        ax.set_title(title, color="white")
    figure.savefig(given.output, dpi=90)


if __name__ == "__main__":
    main()
