"""Metal for training: implants as surgeons place them, shapes at random, and both.

Offered to the training through its entry-point group; see
``MetalArtifactReductionLib.training.metal_source``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.training.metal_source import MetalSlices, MetalSource
from MetalArtifactReductionLib.volume import CTVolume

from ..cases.plan_files import metal_of, read_plan
from ..implants.registry import sites
from ..placement.patient import Patient
from ..placement.plan import PlacementPlan
from ..placement.random_shapes import METALS, load_masks, sample_random_plan, shape_fractions
from ..voxels.metal import slices_of, slices_with, voxelize_metal
from .regions import drawn_plan, drawn_rods, patients_in

SHIFT_PIXELS = 2
OTHER_ALLOY = 0.3
MASK_SHARE = 0.5
DRAWN = 24
"""Placements of a CT without plans: each is voxelised once."""


@dataclass(frozen=True, eq=False)
class _Voxels:
    """One plan's implants on a CT's grid, cut to the box that holds them.

    :param corner: slice, row, column of the box.
    :param fractions: material -> float16.
    """

    corner: tuple[int, int, int]
    fractions: dict[str, np.ndarray]


class RealisticMetal:
    """Source ``"realistic"``: implants where surgeons place them, from plans or drawn.

    A plan is voxelised when it is drawn first and kept in memory. Each draw takes some of its
    slices, moves them by up to :data:`SHIFT_PIXELS` and sometimes makes all metal of another alloy.
    A CT without plans gets metal of what is found in it by itself, :data:`DRAWN` placements, half
    of them rods in the thickest bones: neither spine nor hips are found without a click.

    :param plans: folder with ``<CT's name>-<site>-<n>.json``; None without plans.
    """

    def __init__(self, plans: str | None = None) -> None:
        self._folder = None if plans is None else Path(plans)
        if self._folder is not None and not self._folder.is_dir():
            raise InputError(f"{plans}: no such folder of plans; check metal_options.plans")
        self._voxels: dict[tuple[str, Path | int], _Voxels] = {}
        self._patients: dict[str, dict[str, Patient]] = {}

    def draw(
        self, name: str, volume: CTVolume, slices: int, rng: np.random.Generator
    ) -> MetalSlices:
        """See :class:`MetalSource`."""
        files = self._files(name)
        number = int(rng.integers(len(files) or DRAWN))
        voxels = self._voxelised(files[number] if files else number, volume, name)
        present = sum(f.any(axis=(1, 2)) for f in voxels.fractions.values())
        start, rows, cols = voxels.corner
        centre = start + int(rng.choice(np.flatnonzero(present)))
        room = len(volume.hu) - slices
        if room < 0:
            raise InputError(f"{name}: {len(volume.hu)} slices; {slices} are needed")
        first = int(np.clip(centre - rng.integers(1, slices - 1), 0, room))
        alloy = str(rng.choice(METALS)) if rng.random() < OTHER_ALLOY else None
        shift = rng.integers(-SHIFT_PIXELS, SHIFT_PIXELS + 1, 2)
        fractions: dict[str, np.ndarray] = {}
        for material, box in voxels.fractions.items():
            target = alloy if alloy is not None and material in METALS else material
            out = fractions.setdefault(target, np.zeros((slices, *volume.hu.shape[1:]), np.float32))
            low, high = max(first, start), min(first + slices, start + len(box))
            top = int(np.clip(rows + shift[0], 0, volume.hu.shape[1] - box.shape[1]))
            left = int(np.clip(cols + shift[1], 0, volume.hu.shape[2] - box.shape[2]))
            place = (
                slice(low - first, high - first),
                slice(top, top + box.shape[1]),
                slice(left, left + box.shape[2]),
            )
            out[place] += box[low - start : high - start]
        return MetalSlices(first, fractions)

    def _files(self, name: str) -> list[Path]:
        if self._folder is None:
            return []
        return sorted(
            file for site in sites() for file in self._folder.glob(f"{name}-{site}-*.json")
        )

    def _drawn(self, number: int, volume: CTVolume, name: str) -> PlacementPlan:
        """A placement in a CT without plans: the same at every call."""
        seed = zlib.crc32(f"{name}-drawn-{number}.json".encode())
        if name not in self._patients:
            try:
                self._patients[name] = patients_in(volume)
            except InputError:
                self._patients[name] = {}
        found = self._patients[name]
        if number % 2 == 0 and not {"spine", "hip"} & found.keys():
            with suppress(InputError):  # no bone that is thick enough
                return drawn_rods(volume, seed, np.random.default_rng(seed))
        if not found:
            raise InputError(f"{name}: nothing was found to place implants on; use random metal")
        return drawn_plan(found, seed)

    def _voxelised(self, source: Path | int, volume: CTVolume, name: str) -> _Voxels:
        """:param source: a plan's file, or the number of a drawn placement."""
        key = name, source
        if key not in self._voxels:
            if isinstance(source, int):
                plan = self._drawn(source, volume, name)
            else:
                plan = read_plan(source)
            metal = metal_of(plan)
            first, count = slices_with(metal, volume)
            found = voxelize_metal(metal, slices_of(volume, first, count)).fractions
            total = sum(found.values(), np.zeros((count, *volume.hu.shape[1:]), np.float32))
            box = tuple(
                slice(int(at.min()), int(at.max()) + 1)
                for at in (np.flatnonzero(total.any(axis=a)) for a in ((1, 2), (0, 2), (0, 1)))
            )
            corner = (first + box[0].start, box[1].start, box[2].start)
            fractions = {m: f[box].astype(np.float16) for m, f in found.items() if f.any()}
            self._voxels[key] = _Voxels(corner, fractions)
        return self._voxels[key]


class RandomMetal:
    """Source ``"random"``: one to four shapes at random places in the body.

    :param shapes: an ``.npz`` of outlines, half of the time; made-up bodies otherwise, and always
        when it is not given.
    """

    def __init__(self, shapes: str | None = None) -> None:
        self._masks = None if shapes is None else load_masks(shapes)

    def draw(
        self, name: str, volume: CTVolume, slices: int, rng: np.random.Generator
    ) -> MetalSlices:
        """See :class:`MetalSource`."""
        if len(volume.hu) < slices:
            raise InputError(f"{name}: {len(volume.hu)} slices; {slices} are needed")
        first = int(rng.integers(0, len(volume.hu) - slices + 1))
        slab = slices_of(volume, first, slices)
        masks = self._masks if rng.random() < MASK_SHARE else None
        for _ in range(20):
            plan = sample_random_plan(slab, int(rng.integers(2**31)), masks)
            fractions = shape_fractions(plan.shapes, slab)
            if any(f[1:-1].any() for f in fractions.values()):
                return MetalSlices(first, fractions)
        raise InputError(f"{name}: no shape could be placed in the slices from {first} on")


class MixedMetal:
    """Source ``"mixed"``: one of several sources each time.

    :param sources: what is drawn from, evenly.
    """

    def __init__(self, sources: Sequence[MetalSource]) -> None:
        self._sources = sources

    def draw(
        self, name: str, volume: CTVolume, slices: int, rng: np.random.Generator
    ) -> MetalSlices:
        """See :class:`MetalSource`."""
        chosen = self._sources[int(rng.integers(len(self._sources)))]
        return chosen.draw(name, volume, slices, rng)


def realistic(plans: str | None = None, shapes: str | None = None) -> MetalSource:
    """Entry point ``"realistic"``; what is for the others is taken and not used."""
    return RealisticMetal(plans)


def random(plans: str | None = None, shapes: str | None = None) -> MetalSource:
    """Entry point ``"random"``."""
    return RandomMetal(shapes)


def mixed(plans: str | None = None, shapes: str | None = None) -> MetalSource:
    """Entry point ``"mixed"``."""
    return MixedMetal((RealisticMetal(plans), RandomMetal(shapes)))
