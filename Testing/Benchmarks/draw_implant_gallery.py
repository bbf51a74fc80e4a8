"""A contact sheet of implants on real CTs: each shape, and the slices where it was placed.

    python Testing/Benchmarks/draw_implant_gallery.py CT [CT ...] --output gallery.png [--seed 1]

One row a procedure that finds its site by itself in one of the CTs: the first implant seen from
the front, then four axial slices with the metal in colour, and its grade.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.files.whole import written_whole
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.cases.plan_files import metal_of
from SimulateImplantsLib.cases.plan_quality import plan_quality
from SimulateImplantsLib.dataset.regions import patients_in
from SimulateImplantsLib.implants import procedures
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.plan import PlacementPlan, PlannedImplant
from SimulateImplantsLib.placement.procedures import sampled_plan
from SimulateImplantsLib.voxels.metal import slices_of, slices_with, voxelize_metal
from SimulateImplantsLib.voxels.voxelize import PlacedImplant, voxelize

TILE, SLICES = 240, 4
WINDOW_HU = (-200.0, 2200.0)
METAL = np.array([1.0, 0.35, 0.15])


def shape(item: PlannedImplant) -> Image.Image:
    """The implant alone, seen along +y, shaded by depth and slope."""
    implant = item.make()
    low, high = implant.mesh().bounds_mm
    step = float((high - low).max()) / (TILE - 20)
    size = np.ceil((high - low) / step).astype(int) + 3
    matrix = np.diag([step, step, step, 1.0])
    matrix[:3, 3] = low - step
    grid = CTVolume(np.zeros(size[::-1], np.float32), matrix)
    solid = voxelize([PlacedImplant(implant)], grid).total() > 0.3
    depth = np.where(solid.any(axis=1), solid.argmax(axis=1), np.nan)[::-1]
    down, right = np.gradient(depth)
    light = 1.0 / np.sqrt(1.0 + np.nan_to_num(down - right) ** 2)
    grey = np.where(np.isfinite(depth), 60 + 190 * light, 20).astype(np.uint8)
    tile = Image.new("L", (TILE, TILE), 20)
    tile.paste(Image.fromarray(grey), ((TILE - grey.shape[1]) // 2, (TILE - grey.shape[0]) // 2))
    return tile.convert("RGB")


def placed(plan: PlacementPlan, volume: CTVolume) -> list[Image.Image]:
    """Axial slices through the metal, cut to where it lies."""
    metal = metal_of(plan)
    first, count = slices_with(metal, volume)
    cut = slices_of(volume, first, count)
    fraction = sum(voxelize_metal(metal, cut).fractions.values(), np.zeros(cut.hu.shape))
    at = np.argwhere(fraction.max(axis=0) > 0.02)
    centre = at.mean(axis=0).astype(int)
    half = max(round(30.0 / volume.spacing_mm[1]), int(1.15 * np.abs(at - centre).max()) + 4)
    filled = np.flatnonzero(fraction.max(axis=(1, 2)) > 0.02)
    tiles = []
    for k in filled[np.linspace(0, len(filled) - 1, SLICES + 2).round().astype(int)[1:-1]]:
        low, high = WINDOW_HU
        grey = np.clip((cut.hu[k] - low) / (high - low), 0, 1)[..., None]
        share = np.clip(fraction[k], 0, 1)[..., None]
        picture = np.pad(grey * (1 - share) + METAL * share, ((half, half), (half, half), (0, 0)))
        picture = picture[centre[0] : centre[0] + 2 * half, centre[1] : centre[1] + 2 * half]
        tiles.append(Image.fromarray((255 * picture).astype(np.uint8)).resize((TILE, TILE)))
    return tiles


def rows_of(path: Path, seed: int, done: set[str]) -> list[Image.Image]:
    """Rows of the procedures that a CT allows and that were not drawn yet."""
    volume = read_volume(path)
    rows = []
    for site, patient in patients_in(volume).items():
        for name, procedure in procedures(site).items():
            if name in done:
                continue
            try:
                plan = sampled_plan(patient, name, seed)
            except InputError as error:
                print(f"{path.name}: {name}: {error}")
                continue
            done.add(name)
            grades = [row.grade or "not graded" for row in plan_quality(plan, Anatomy(volume))]
            row = Image.new("RGB", ((SLICES + 1) * TILE, TILE))
            for i, tile in enumerate([shape(plan.implants[0]), *placed(plan, volume)]):
                row.paste(tile, (i * TILE, 0))
            text = f"{procedure.label}: {', '.join(grades)}\n{path.name.partition('.')[0]}"
            ImageDraw.Draw(row).text((6, 4), text, fill=(255, 255, 160))
            rows.append(row)
            print(f"{path.name}: {name}: {', '.join(grades)}")
    return rows


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cts", type=Path, nargs="+", metavar="CT")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    done: set[str] = set()
    rows = [row for path in options.cts for row in rows_of(path, options.seed, done)]
    sheet = Image.new("RGB", (rows[0].width, TILE * len(rows)))
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * TILE))
    with written_whole(options.output, overwrite=True) as temporary:
        sheet.save(temporary, format="PNG")


if __name__ == "__main__":
    main()
