"""Teeth of a CT, and what dentists leave in them.

A tooth's spot: origin in the middle of the biting surface, +z away from the root, +x along the
arch, +y to the cheek.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.dental import Braces, Bridge, Crown, DentalImplant, Filling
from .bone_field import sample_hu
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, frame

ENAMEL_HU = 1700.0
"""Mean of a ball of about 3 mm; the densest cortex of a jaw stays below it."""
_BLUR_MM = 1.2
_APART_MM = 4.0
_CUSPS_MM = 8.0
_FRONT_MM = 11.0
_CROWN_MM = 8.5
_FEWEST = 5
_ARCH_MM = (25.0, 90.0)


@dataclass(frozen=True, eq=False)
class _Seed:
    """The brightest point of a crown. ``lower``: the root points down."""

    at: np.ndarray
    hu: float
    lower: bool


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """Teeth with their crowns in the CT, jaw by jaw along the arch.

    :raises InputError: none, or too few to make out an arch.
    """
    seeds = _seeds(volume)
    spots = [s for lower in (True, False) for s in _arch(volume, seeds, lower)]
    if len(spots) < _FEWEST:
        raise InputError(
            f"{len(spots)} teeth with enamel above {ENAMEL_HU:g} HU make no arch; give a CT of the "
            "jaws with slices of 3 mm or less"
        )
    return tuple(spots)


def _seeds(volume: CTVolume) -> list[_Seed]:
    spacing = np.array(volume.spacing_mm)
    hot = volume.hu > ENAMEL_HU
    boxes = ndimage.find_objects(hot.astype(np.uint8))
    if not boxes or boxes[0] is None:
        return []
    margin = np.ceil(5.0 / spacing).astype(int)
    box = tuple(
        slice(max(b.start - m, 0), b.stop + m) for b, m in zip(boxes[0], margin, strict=True)
    )
    smooth = ndimage.gaussian_filter(volume.hu[box], _BLUR_MM / spacing)
    size = np.maximum(1, np.round(2 * _APART_MM / spacing / 2)).astype(int) | 1
    peak = (ndimage.maximum_filter(smooth, size=size) == smooth) & (smooth > ENAMEL_HU)
    index = np.argwhere(peak)
    start = np.array([b.start for b in box])
    edge = np.array(volume.hu.shape) - 1
    found: list[tuple[np.ndarray, float]] = []
    for kji in sorted(index, key=lambda p: -smooth[tuple(p)]):
        if (kji + start)[0] in (0, edge[0]):
            continue  # cut by the end of the CT
        ras = volume.ijk_to_ras[:3] @ np.append((kji + start)[::-1], 1.0)
        if all(np.linalg.norm(ras - other) > _APART_MM for other, _ in found):
            found.append((ras, float(smooth[tuple(kji)])))
    return [_Seed(at, hu, _is_lower(volume, at, [p for p, _ in found])) for at, hu in found]


def _is_lower(volume: CTVolume, at: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """Whether the root is below: no other crown there, and dentine or bone that goes on."""
    for other in others:
        off = other - at
        if np.hypot(off[0], off[1]) < 5.5 and 4.5 < abs(off[2]) < 14:
            return bool(off[2] > 0)
    ring = np.array([(0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)], float)
    depth = np.arange(5.0, 15.0)
    away = np.stack(
        [
            np.broadcast_to(ring[:, :1], (5, 10)),
            np.broadcast_to(ring[:, 1:], (5, 10)),
            np.broadcast_to(depth, (5, 10)),
        ],
        axis=-1,
    )
    up, down = (np.nanmean(sample_hu(volume, at + away * [1, 1, sign])) for sign in (1, -1))
    return bool(down > up)


def _arch(volume: CTVolume, seeds: Sequence[_Seed], lower: bool) -> list[Spot]:
    """One jaw's teeth in order from the patient's right to the left."""
    own = [seed for seed in seeds if seed.lower == lower]
    if len(own) < 3:
        return []
    at = np.array([seed.at for seed in own])
    # From a point inside the arch, between its ends: teeth in order of the angle.
    middle = np.array([np.median(at[:, 0]), at[:, 1].min()])
    own = _one_a_tooth(own, middle)
    at = np.array([seed.at for seed in own])
    order = np.argsort(np.arctan2(at[:, 1] - middle[1] + 8.0, at[:, 0] - middle[0]))
    at, own = at[order], [own[i] for i in order]
    width = float(np.ptp(at[:, 0]))
    if not _ARCH_MM[0] <= max(width, float(np.ptp(at[:, 1]))) <= _ARCH_MM[1]:
        return []
    gaps = np.linalg.norm(np.diff(at[:, :2], axis=0), axis=1)
    spots = []
    for i, seed in enumerate(own):
        beside = [g for g in gaps[max(i - 1, 0) : i + 1] if g < 14.0]
        along = at[min(i + 1, len(at) - 1)] - at[max(i - 1, 0)]
        along[2] = 0.0
        outward = np.append(seed.at[:2] - middle + [0.0, 8.0], 0.0)
        up = np.array([0.0, 0.0, 1.0 if lower else -1.0])
        pose = frame(seed.at, along, outward, up)
        spots.append(_measured(volume, seed, pose, min(beside, default=8.0), lower))
    return spots


def _one_a_tooth(seeds: Sequence[_Seed], middle: np.ndarray) -> list[_Seed]:
    """Cusps towards cheek and tongue of one tooth made one: apart across the arch, not along it."""
    kept: list[_Seed] = []
    for seed in seeds:
        for i, other in enumerate(kept):
            off = seed.at - other.at
            outward = 0.5 * (seed.at + other.at)[:2] - middle + [0.0, 8.0]
            across = abs(off[:2] @ outward) / np.linalg.norm(outward)
            if np.linalg.norm(off) < _CUSPS_MM and across > 0.7 * np.hypot(off[0], off[1]):
                kept[i] = _Seed(0.5 * (seed.at + other.at), min(seed.hu, other.hu), seed.lower)
                break
        else:
            kept.append(seed)
    return kept


def _measured(volume: CTVolume, seed: _Seed, pose: np.ndarray, gap: float, lower: bool) -> Spot:
    """The biting surface above a crown's brightest point, and the crown's size."""
    half = 0.5 * seed.hu
    pose = pose.copy()
    reach = {}
    for axis in (1, 0, 1):  # the brightest point may be a cusp: to the middle of the section
        ends = []
        for sign in (-1.0, 1.0):
            steps = np.arange(0.25, 6.5, 0.25)
            line = pose[:3, 3] + sign * steps[:, None] * pose[:3, axis]
            dark = np.flatnonzero(sample_hu(volume, line) < half)
            end = steps[dark[0]] if len(dark) else 6.5
            ends.append(min(end, 0.75 * gap) if axis == 0 else end)
        pose[:3, 3] += 0.5 * (ends[1] - ends[0]) * pose[:3, axis]
        reach[axis] = ends[0] + ends[1]
    steps = np.arange(0.0, 7.01, 0.25)
    cross = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)], float)
    shifts = np.array([[*c, s] for s in steps for c in cross])
    profile = sample_hu(volume, pose[:3, 3] + shifts @ pose[:3, :3].T)
    profile = np.nan_to_num(profile.reshape(len(steps), 5).mean(axis=1), nan=-1000.0)
    below = np.flatnonzero(profile < half)
    # Where the other jaw's tooth touches, the surface is the darkest place between the two.
    top = steps[below[0]] if len(below) else steps[int(np.argmin(profile[:20]))]
    pose[:3, 3] += float(np.clip(top, 1.0, 6.0)) * pose[:3, 2]
    width = float(np.clip(min(reach[0], gap), 4.5, 11.5))
    depth = float(np.clip(reach[1], 5.0, 12.0))
    name = "lower tooth" if lower else "upper tooth"
    side = "left" if seed.at[0] < 0 else "right"
    return Spot(name, pose, {"width": width, "depth": depth}, side)


def _jaws(patient: Patient) -> list[list[Spot]]:
    """Spots by jaw, in order."""
    names = sorted({spot.name for spot in patient.spots})
    return [[spot for spot in patient.spots if spot.name == name] for name in names]


def _back(patient: Patient) -> list[Spot]:
    """Molars and premolars, or all where only some were clicked."""
    back = []
    for jaw in _jaws(patient):
        front = max(float(spot.origin[1]) for spot in jaw)
        back += [spot for spot in jaw if spot.origin[1] < front - _FRONT_MM]
    return back or list(patient.spots)


def _some(rng: np.random.Generator, spots: Sequence[Spot], most: int) -> list[Spot]:
    count = min(len(spots), int(rng.integers(1, most + 1)))
    return [spots[i] for i in sorted(rng.choice(len(spots), count, replace=False))]


def draw_fillings(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One to six back teeth filled with amalgam, some with gold."""
    made = []
    for spot in _some(rng, _back(patient), 6):
        w, d = spot.size_mm["width"], spot.size_mm["depth"]
        filling = Filling(
            width_mm=float(w * rng.uniform(0.45, 0.8)),
            depth_mm=float(d * rng.uniform(0.25, 0.5)),
            height_mm=float(rng.uniform(2.0, 3.5)),
            material="gold-alloy" if rng.random() < 0.2 else "amalgam",
        )
        made.append(spot.planned(filling, (0.0, 0.0, -0.2)))
    return made


def draw_crowns(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One to four crowned teeth."""
    made = []
    for spot in _some(rng, list(patient.spots), 4):
        material, wall = (
            ("gold-alloy", 0.8), ("CoCrMo", 0.4), ("zirconia", 1.0), ("gold-alloy", 0.4)
        )[int(rng.integers(4))]  # fmt: skip
        w, d = spot.size_mm["width"], spot.size_mm["depth"]
        crown = Crown(
            width_mm=w + 0.3,
            depth_mm=d + 0.3,
            height_mm=float(np.clip(rng.normal(7.0, 0.7), 5.5, 9.0)),
            wall_mm=wall,
            top_mm=1.4 * wall,
            material=material,
        )
        made.append(spot.planned(crown, (0.0, 0.0, 0.2)))
    return made


def draw_bridge(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """Three or four neighbouring teeth under one bridge."""
    runs = []
    for jaw in _jaws(patient):
        for count in (3, 4):
            for first in range(len(jaw) - count + 1):
                run = jaw[first : first + count]
                gaps = np.linalg.norm(np.diff([s.origin for s in run], axis=0), axis=1)
                if gaps.max() < 16.0 and gaps.min() > 3.5:
                    runs.append(run)
    if not runs:
        raise InputError("no three neighbouring teeth for a bridge; place crowns instead")
    run = runs[int(rng.integers(len(runs)))]
    base = run[1]
    inverse = np.linalg.inv(base.matrix)
    path = np.array([inverse[:3] @ np.append(s.origin, 1.0) for s in run])
    if path[-1, 0] < path[0, 0]:
        path = path[::-1]
    bridge = Bridge(
        path_mm=tuple(map(tuple, path.tolist())),
        depth_mm=float(np.mean([s.size_mm["depth"] for s in run])),
        height_mm=float(rng.uniform(6.0, 8.0)),
        wall_mm=float(rng.uniform(0.5, 1.2)),
        material=str(rng.choice(["CoCrMo", "gold-alloy", "zirconia"])),
    )
    return [base.planned(bridge, (0.0, 0.0, 0.2))]


def draw_implants(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One to three teeth, no neighbours, replaced by implants with crowns."""
    made: list[PlannedImplant] = []
    for spot in _some(rng, list(patient.spots), 3):
        if any(np.linalg.norm(spot.origin - m.matrix[:3, 3]) < 16.0 for m in made):
            continue
        width = float(np.clip(spot.size_mm["width"], 5.5, 12.0))
        implant = DentalImplant(
            diameter_mm=float(np.clip(rng.choice([3.3, 3.75, 4.1, 4.8]), 3.0, width - 1.5)),
            length_mm=float(rng.choice([8.0, 10.0, 12.0])),
            crown_width_mm=width,
            crown_height_mm=7.0,
            crown_material=str(rng.choice(["zirconia", "gold-alloy", "CoCrMo"])),
        )
        made.append(_along_root(patient, spot).planned(implant))
    return made


def _along_root(patient: Patient, spot: Spot) -> Spot:
    """The frame where the root enters the bone, tilted to cheek or tongue as the bone goes."""
    assert patient.volume is not None
    depth = np.arange(1.0, 12.0)
    around = np.array([(0, 0), (1.5, 0), (-1.5, 0), (0, 1.5), (0, -1.5)], float)
    best, chosen = -np.inf, spot.matrix
    for tilt in np.deg2rad(np.arange(-40.0, 41.0, 5.0)):
        turn = np.eye(4)
        turn[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
        turn[2, 3] = -_CROWN_MM
        pose = spot.matrix @ turn
        shaft = np.array([[*a, -d] for a in around for d in depth])
        hu = sample_hu(patient.volume, shaft @ pose[:3, :3].T + pose[:3, 3])
        score = float(np.nan_to_num(np.clip(hu, 0.0, 800.0)).mean()) - 100 * abs(tilt)
        if score > best:
            best, chosen = score, pose
    return replace(spot, matrix=chosen)


def draw_braces(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """Brackets on all but the hindmost teeth of one jaw or both."""
    jaws = [jaw for jaw in _jaws(patient) if len(jaw) >= 4]
    if not jaws:
        raise InputError("fewer than four neighbouring teeth: no braces")
    chosen = jaws if rng.random() < 0.6 else [jaws[int(rng.integers(len(jaws)))]]
    nitinol = bool(rng.random() < 0.5)
    made = []
    for jaw in chosen:
        base = jaw[len(jaw) // 2]
        inverse = np.linalg.inv(base.matrix)
        path: list[np.ndarray] = []
        for spot in jaw:
            local = np.array([0.0, 0.5 * spot.size_mm["depth"] - 0.2, -3.5, 1.0])
            point = inverse[:3] @ spot.matrix @ local
            if not path or 4.0 <= np.linalg.norm(point - path[-1]) <= 38.0:
                path.append(point)
        braces = Braces(
            path_mm=tuple((float(p[0]), float(p[1]), float(p[2])) for p in path),
            wire_mm=float(rng.choice([0.41, 0.46, 0.56])),
            wire_material="nitinol" if nitinol else "316L",
        )
        made.append(base.planned(braces))
    return made
