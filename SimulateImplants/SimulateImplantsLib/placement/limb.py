"""Shafts of long bones (femur, tibia, humerus): plates, external fixators, Kirschner wires.

Spots: "shaft", on the bone's axis; +z along it, cranial; +x lateral.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.bone_plate import BonePlate
from ..implants.external_fixator import ExternalFixator
from ..implants.wires import Wire
from .bone_field import sample_hu
from .geometry import axis_placement
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, coarser, frame

BONE_HU, CORTEX_HU = 300.0, 800.0
_AREA_MM2 = (180.0, 1300.0)
_HOLLOW = 0.7
"""The middle of a shaft's section is darker than so much of its cortex."""
_HALVES_MM = (40.0, 55.0, 70.0, 85.0, 100.0)
_STEP_MM = 10.0
_CENTRE_MM, _SWELLS = 2.0, 1.35
_SKIN_HU = -300.0


@dataclass(frozen=True, eq=False)
class Section:
    """A ring of bone in a slice: centre (RAS) and area (mm2)."""

    centre: np.ndarray
    area: float


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """Every 10 mm along pieces of 80 mm and more that neither bend nor swell.

    :raises InputError: no such piece.
    """
    chains: list[list[Section]] = []
    open_chains: list[list[Section]] = []
    rise = volume.spacing_mm[0]
    for row in sections(volume):
        rest = list(row)
        kept = []
        for chain in open_chains:
            last = chain[-1]
            near = [
                one
                for one in rest
                if np.linalg.norm((one.centre - last.centre)[:2]) < rise + 3.0
                and 1 / _SWELLS < one.area / last.area < _SWELLS
            ]
            if near:
                best = min(near, key=lambda one: float(np.linalg.norm(one.centre - last.centre)))
                chain.append(best)
                rest.remove(best)
                kept.append(chain)
        started = [[one] for one in rest]
        chains += started
        open_chains = kept + started
    spots = [spot for chain in chains for spot in _along(chain)]
    if not spots:
        raise InputError(
            f"no {2 * _HALVES_MM[0]:g} mm of a straight shaft of a long bone in this CT; give a CT "
            "of a limb"
        )
    return tuple(spots)


def sections(volume: CTVolume) -> list[list[Section]]:
    """Ring-shaped sections of bone, slice by slice."""
    coarse = coarser(volume, 1.8)
    hu, to_ras = coarse.hu, coarse.ijk_to_ras
    _, dr, dc = coarse.spacing_mm
    bone = (hu > BONE_HU) & body_mask(hu, coarse.spacing_mm)
    found = []
    for k, mask in enumerate(bone):
        filled = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(mask, 2))[2:-2, 2:-2])
        labels, _ = ndimage.label(ndimage.binary_opening(filled))
        row = []
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            part = labels[box] == number
            area = float(part.sum()) * dr * dc
            edge = any(s.start == 0 or s.stop == n for s, n in zip(box, mask.shape, strict=True))
            if edge or not _AREA_MM2[0] < area < _AREA_MM2[1] or part.mean() < 0.6:
                continue
            depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
            values = hu[k][box]
            cortex = np.percentile(values[part], 90)
            if cortex > CORTEX_HU and values[depth > 0.75 * depth.max()].mean() < _HOLLOW * cortex:
                j, i = np.argwhere(part).mean(axis=0) + [s.start for s in box]
                row.append(Section(to_ras[:3] @ np.array([i, j, k, 1.0]), area))
        found.append(row)
    return found


def _along(chain: list[Section]) -> list[Spot]:
    """Spots of a chain of sections, each as long as it is straight."""
    at = np.array([one.centre for one in chain])
    area = np.array([one.area for one in chain])
    spots: list[Spot] = []
    low, high = sorted((at[0, 2], at[-1, 2]))
    for z in np.arange(low + _HALVES_MM[0], high - _HALVES_MM[0] + 0.5, _STEP_MM):
        longest: Spot | None = None
        for half in (h for h in _HALVES_MM if low <= z - h and z + h <= high):
            near = np.abs(at[:, 2] - z) <= half + 1.0
            longest = _straight(at[near], area[near]) or longest
        spots += [] if longest is None else [longest]
    return spots


def _straight(at: np.ndarray, area: np.ndarray) -> Spot | None:
    """The spot of a piece, None where it bends or swells."""
    centre = at.mean(axis=0)
    axis = np.linalg.svd(at - centre)[2][0]
    axis = axis if axis[2] > 0 else -axis
    along = (at - centre) @ axis
    off = np.linalg.norm(at - centre - np.outer(along, axis), axis=1)
    if off.max() > _CENTRE_MM or area.max() / area.min() > _SWELLS**2:
        return None
    side = "right" if centre[0] > 0 else "left"
    lateral = np.array([1.0 if side == "right" else -1.0, 0.0, 0.0])
    # Sections lie across the slices' axis, not the bone's.
    radius = float(np.sqrt(np.median(area) * abs(axis[2]) / np.pi))
    pose = frame(centre, lateral, np.cross(axis, lateral), axis)
    return Spot("shaft", pose, {"radius": radius, "length": float(np.ptp(along))}, side)


def _outside(patient: Patient, spot: Spot, way: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """How far the bone reaches from its axis in a direction, at heights along it (mm)."""
    assert patient.volume is not None
    reach = np.arange(0.5 * spot.size_mm["radius"], 2.0 * spot.size_mm["radius"], 0.25)
    feet = spot.origin + heights[:, None] * spot.matrix[:3, 2]
    hu = sample_hu(patient.volume, feet[:, None] + reach[:, None] * way)
    last = len(reach) - 1 - (hu > BONE_HU)[:, ::-1].argmax(axis=1)
    result: np.ndarray = reach[last]
    return result


def _on_bone(patient: Patient, spot: Spot, way: np.ndarray, length: float) -> np.ndarray:
    """``(4, 4)`` with +y out of the bone, resting on its highest points, +z along its surface."""
    heights = np.linspace(-0.5 * length, 0.5 * length, 13)
    far = _outside(patient, spot, way, heights)
    slope = float(np.polyfit(heights, far, 1)[0])
    z = spot.matrix[:3, 2] + slope * way
    rest = float((far - slope * heights).max())
    return frame(spot.origin + rest * way, np.cross(way, z), way, z)


def _chosen(patient: Patient, rng: np.random.Generator) -> Spot:
    return patient.spots[int(rng.integers(len(patient.spots)))]


def _way(spot: Spot, turn_deg: float) -> np.ndarray:
    """From the bone to the side, turned to the front."""
    x, z = spot.matrix[:3, 0], spot.matrix[:3, 2]
    front = np.cross(z, x)
    front = front if front[1] > 0 else -front
    angle = np.deg2rad(turn_deg)
    result: np.ndarray = np.cos(angle) * x + np.sin(angle) * front
    return result


def draw_plate(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """A plate on the lateral side, its screws through both cortices."""
    spot = _chosen(patient, rng)
    radius = spot.size_mm["radius"]
    broad = radius > 12.0
    pitch = 18.0 if broad else 13.0
    plate = BonePlate(
        holes=int(rng.integers(4, max(4, int(spot.size_mm["length"] / pitch)) + 1)),
        free=int(rng.integers(1, 3)),
        pitch_mm=pitch,
        width_mm=17.5 if broad else 11.0,
        thickness_mm=5.2 if broad else 3.3,
        curvature_mm=float(np.clip(radius, 9.0, 25.0)),
        screw_diameter_mm=5.0 if broad else 3.5,
        screw_length_mm=float(2.0 * np.ceil(radius + 1.0)),
        material=str(rng.choice(["316L", "Ti6Al4V"])),
    )
    pose = _on_bone(patient, spot, _way(spot, float(rng.uniform(-10, 10))), plate.length_mm)
    attributes = {"side": spot.side, "site": spot.name}
    return [PlannedImplant(plate.to_dict(), pose, attributes)]


def draw_fixator(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """Pins from the side in front, the bar's axis 25 to 45 mm off the skin."""
    assert patient.volume is not None
    spot = _chosen(patient, rng)
    radius = spot.size_mm["radius"]
    way = _way(spot, float(rng.uniform(10, 40)))
    reach = np.arange(radius, 160.0, 1.0)
    hu = sample_hu(patient.volume, spot.origin + reach[:, None] * way)
    skin = reach[np.argmax(hu < _SKIN_HU)] if (hu < _SKIN_HU).any() else 90.0
    span = min(spot.size_mm["length"], 140.0)
    pose = _on_bone(patient, spot, way, span)
    fixator = ExternalFixator(
        pin_mm=5.0 if radius > 11.0 else 4.0,
        span_mm=span,
        pair_mm=0.25 * span,
        bone_mm=float(np.ceil(2 * radius + 2.0)),
        bar_mm=float(np.clip(skin - radius + rng.uniform(25.0, 45.0), 30.0, 150.0)),
    )
    attributes = {"side": spot.side, "site": spot.name}
    return [PlannedImplant(fixator.to_dict(), pose, attributes)]


def draw_wires(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """Two crossed Kirschner wires through both cortices."""
    spot = _chosen(patient, rng)
    radius = spot.size_mm["radius"]
    gauge = float(rng.choice([1.6, 2.0, 2.5]))
    made = []
    for side in (-1.0, 1.0):
        across = side * _way(spot, float(rng.uniform(-20, 20)))
        along = across + float(rng.uniform(0.8, 1.3)) * spot.matrix[:3, 2]
        along /= np.linalg.norm(along)
        middle = spot.origin + side * 2.0 * gauge * spot.matrix[:3, 1]
        half = radius / float(along @ across)
        start = middle - (half + float(rng.uniform(4.0, 12.0))) * along
        length = float(np.linalg.norm(middle + (half + 2.0) * along - start))
        wire = Wire(gauge, round(length))
        attributes = {"side": spot.side, "site": spot.name}
        made.append(PlannedImplant(wire.to_dict(), axis_placement(start, middle), attributes))
    return made
