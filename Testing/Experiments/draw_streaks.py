"""Draw a slice of a simulated case between the clean CT and a slice with real metal.

    python Testing/Experiments/draw_streaks.py CT CASE REAL OUTPUT.png --slice 4 --real-slice 5

``CASE`` is the folder of ``mar simulate``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from MetalArtifactReductionLib.files.volumes import read_volume

LOWEST_HU, HIGHEST_HU = -250, 450


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("ct", "case", "real", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--slice", type=int, required=True)
    parser.add_argument("--real-slice", type=int, required=True)
    given = parser.parse_args()
    (simulated,) = given.case.glob("corrupted.*")
    pictures = (
        ("clean CT", given.ct, given.slice),
        ("simulated", simulated, given.slice),
        ("real metal, another patient", given.real, given.real_slice),
    )
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), facecolor="black", layout="constrained")
    for ax, (title, path, index) in zip(axes, pictures, strict=True):
        volume = read_volume(path)
        _, row_mm, column_mm = volume.spacing_mm
        ax.imshow(
            volume.hu[index],
            cmap="gray",
            vmin=LOWEST_HU,
            vmax=HIGHEST_HU,
            aspect=row_mm / column_mm,
        )
        inside = volume.hu[index] > -300
        rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
        ax.set(xlim=(columns[0], columns[-1]), ylim=(rows[-1], rows[0]))
        ax.set_title(title, color="white")
        ax.axis("off")
    figure.savefig(given.output, dpi=90)


if __name__ == "__main__":
    main()
