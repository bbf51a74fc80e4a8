"""Implants and random shapes together as fractions of a CT's voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.progress import Cancel, Progress
from MetalArtifactReductionLib.volume import CTVolume

from ..placement.random_shapes import shape_fractions
from .voxelize import PlacedImplant, voxelize

_DRAWS = 20


@dataclass(frozen=True, eq=False)
class Metal:
    """What is put into a patient.

    :param implants: closed surfaces and their places.
    :param shapes: random metal that is no implant, see ``placement.random_shapes``.
    """

    implants: Sequence[PlacedImplant] = ()
    shapes: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, eq=False)
class MetalVoxels:
    """The same on a CT's grid.

    :param fractions: material -> float32 ``(slices, rows, cols)``, together at most 1.
    :param labels: uint16, 1-based number of what takes the largest share of a voxel that is
        metal by half or more; else 0.
    :param volumes_mm3: by name, in the order of the labels; overlap counted for its owner only.
    :param warnings: one line each, for the user.
    """

    fractions: dict[str, np.ndarray]
    labels: np.ndarray
    volumes_mm3: dict[str, float]
    warnings: tuple[str, ...]

    def metal_fraction(self) -> np.ndarray:
        """Sum over the metals: without PEEK, polyethylene, bone cement."""
        total = np.zeros(self.labels.shape, np.float32)
        for name, fraction in self.fractions.items():
            if material(name).is_metal:
                total += fraction
        return total


def voxelize_metal(
    metal: Metal,
    volume: CTVolume,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> MetalVoxels:
    """Fractions and labels; where a shape meets an implant the implant stays.

    :raises InputError: no metal, an implant or every shape outside the CT.
    """
    if not metal.implants and not metal.shapes:
        raise InputError("there is no metal: no implant and no shape")
    fractions: dict[str, np.ndarray] = {}
    labels = np.zeros(volume.hu.shape, np.uint16)
    volumes: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    if metal.implants:
        voxels = voxelize(metal.implants, volume, labels=True, progress=progress, cancel=cancel)
        assert voxels.labels is not None
        fractions, labels = voxels.fractions, voxels.labels
        volumes, warnings = dict(voxels.volumes_mm3), voxels.warnings
    taken = np.zeros(volume.hu.shape, np.float32)
    for fraction in fractions.values():
        taken += fraction
    voxel_mm3 = abs(float(np.linalg.det(volume.ijk_to_ras[:3, :3])))
    for number, shape in enumerate(metal.shapes, start=1):
        own = np.zeros(0, np.float32)
        for name, fraction in shape_fractions([shape], volume).items():
            own = np.minimum(fraction, 1.0 - taken)
            fractions[name] = fractions[name] + own if name in fractions else own
            taken += own
            labels[own >= 0.5] = len(volumes) + 1
        volumes[f"{shape['type']} {number}"] = float(own.sum(dtype=np.float64)) * voxel_mm3
    if not any(fraction.any() for fraction in fractions.values()):
        raise InputError("every shape lies outside the CT; give the CT that they were drawn for")
    return MetalVoxels(fractions, labels, volumes, warnings)


def slices_of(volume: CTVolume, first: int, count: int) -> CTVolume:
    """Some slices of a volume; every voxel stays where it is."""
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += first * matrix[:3, 2]
    return replace(volume, hu=volume.hu[first : first + count].copy(), ijk_to_ras=matrix)


def slices_with(metal: Metal, volume: CTVolume, margin: int = 0) -> tuple[int, int]:
    """First slice and number of slices that metal reaches, with a margin, within the volume.

    :raises InputError: all of it lies above or below the volume.
    """
    low, high = _reaches(metal, volume).T
    count = len(volume.hu)
    first = max(int(np.floor(min(low) + 0.5)) - margin, 0)
    last = min(int(np.ceil(max(high) - 0.5)) + margin, count - 1)
    if last < 0 or first >= count or first > last:
        raise InputError(
            f"all metal lies outside the CT: it reaches from slice {min(low):.0f} to "
            f"{max(high):.0f}, and the CT has {count}"
        )
    return first, last - first + 1


def some_slices(
    metal: Metal, volume: CTVolume, count: int, rng: np.random.Generator
) -> tuple[int, Metal]:
    """A run of ``count`` slices about a place where there is metal, drawn by chance.

    :returns: its first slice, and the metal that lies in it.
    :raises InputError: none was found with metal in it.
    """
    reaches = _reaches(metal, volume)
    top = len(volume.hu) - 1
    metallic = [*map(_has_metal, metal.implants), *(True for _ in metal.shapes)]
    there = np.flatnonzero((reaches[:, 1] > 0) & (reaches[:, 0] < top) & metallic)
    for _ in range(_DRAWS if len(there) else 0):
        low, high = np.clip(reaches[rng.choice(there)], 0, top)
        middle = round(low + (high - low) * rng.uniform(0.2, 0.8))  # there is little at the ends
        first = int(np.clip(middle - count // 2, 0, max(0, len(volume.hu) - count)))
        # What reaches only a tenth of a voxel into the run is not in it.
        run = slice(first - 0.4, first + count - 0.6)
        inside = (reaches[:, 1] > run.start) & (reaches[:, 0] < run.stop)
        kept = Metal(
            [
                one
                for one, near in zip(metal.implants, inside, strict=False)
                if near and _lies_in(one, volume, run)
            ],
            [
                one
                for one, near in zip(metal.shapes, inside[len(metal.implants) :], strict=True)
                if near
            ],
        )
        if kept.shapes or any(map(_has_metal, kept.implants)):
            return first, kept
    raise InputError(f"no {count} slices with metal found in {_DRAWS} draws; take more slices")


def cut_aside(metal: Metal, volume: CTVolume) -> tuple[str, ...]:
    """One line for each implant that leaves a volume's rows or columns within its slices."""
    size = np.array(volume.hu.shape[:0:-1])
    run = slice(-0.4, len(volume.hu) - 0.6)
    told = []
    for number, placed in enumerate(metal.implants, start=1):
        across = _across(placed, volume, run)
        if len(across) and ((across < -0.5).any() or (across > size - 0.5).any()):
            name = placed.name or f"{placed.implant.kind} {number}"
            told.append(
                f"{name}: leaves the CT sideways and is cut off there; move the implant, or use a "
                "CT that covers it"
            )
    return tuple(told)


def _has_metal(placed: PlacedImplant) -> bool:
    """A catheter or a liner has none."""
    return any(material(part.material).is_metal for part in placed.implant.parts())


def _lies_in(placed: PlacedImplant, volume: CTVolume, run: slice) -> bool:
    """Whether what lies of an implant between two slice coordinates is within rows and columns."""
    across = _across(placed, volume, run)
    size = np.array(volume.hu.shape[:0:-1])
    return bool(
        len(across) and (across.max(axis=0) > 0).all() and (across.min(axis=0) < size - 1).all()
    )


def _across(placed: PlacedImplant, volume: CTVolume, run: slice) -> np.ndarray:
    """Columns and rows ``(n, 2)`` of an implant's surface between two slice coordinates."""
    mesh = placed.implant.mesh()
    matrix = np.linalg.inv(volume.ijk_to_ras) @ placed.placement
    points = mesh.points @ matrix[:3, :3].T + matrix[:3, 3]
    begin, end = points[mesh.triangles], points[np.roll(mesh.triangles, -1, axis=1)]
    begin, end = begin.reshape(-1, 3), end.reshape(-1, 3)
    step = end - begin
    with np.errstate(divide="ignore", invalid="ignore"):  # edges within a slice
        cuts = (np.array([run.start, run.stop])[:, None] - begin[:, 2]) / step[:, 2]
    cuts = np.clip(np.nan_to_num(cuts, nan=0.0), 0.0, 1.0)
    ends = begin + cuts[..., None] * step
    here = (ends[..., 2] > run.start - 1e-6) & (ends[..., 2] < run.stop + 1e-6)
    result: np.ndarray = ends[here][:, :2]
    return result


def _reaches(metal: Metal, volume: CTVolume) -> np.ndarray:
    """Lowest and highest slice coordinate of each implant, then of each shape, ``(n, 2)``."""
    to_ijk = np.linalg.inv(volume.ijk_to_ras)
    along = to_ijk[2, :3]
    found = []
    for placed in metal.implants:
        points = placed.implant.mesh().points @ (along @ placed.placement[:3, :3])
        start = along @ placed.placement[:3, 3] + to_ijk[2, 3]
        found.append((start + points.min(), start + points.max()))
    for shape in metal.shapes:
        centre = along @ np.asarray(shape["centre_ras"], float) + to_ijk[2, 3]
        reach = _reach(shape, along)
        found.append((centre - reach, centre + reach))
    return np.array(found)


def _reach(shape: Mapping[str, Any], along: np.ndarray) -> float:
    """Farthest that a shape goes from its centre, measured by the linear form ``along``."""
    if shape["type"] == "mask":
        across = 0.5 * np.sqrt(2.0) * float(shape["width_mm"]) * np.hypot(along[0], along[1])
        return float(across + 0.5 * float(shape["height_mm"]) * abs(along[2]))
    a = np.asarray(shape["axes"], float).T @ along
    if shape["type"] == "ellipsoid":
        return float(np.linalg.norm(np.asarray(shape["radii_mm"], float) * a))
    side = float(shape["radius_mm"]) * np.hypot(a[0], a[1])
    return float(side + 0.5 * float(shape["length_mm"]) * abs(a[2]))
