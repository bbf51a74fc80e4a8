"""How well a hip's implants sit: from the CT about each and the patient's axes, whoever planned it.

The native femoral head is found anew about the implant; canal and neck are seen along rays square
to its axis. Limits, good and acceptable: a cup 40 (SD 10) degrees inclined and 15 (SD 10)
anteverted (Lewinnek et al. 1978, J Bone Joint Surg 60-A:217), leg length within 10 mm (Lecerf et
al. 2009, Orthop Traumatol Surg Res 95:210), a lag screw's tip-apex distance of 25 mm (Baumgaertner
et al. 1995, J Bone Joint Surg 77-A:1058); the others are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume

from ...implants.acetabular_cup import AcetabularCup
from ...implants.base import Implant
from ...implants.dual_mobility_cup import DualMobilityCup
from ...implants.hip_stem import HipStem
from ...implants.nail import CephalomedullaryNail
from ...implants.resurfacing_head import ResurfacingHead
from ..anatomy import Anatomy
from ..bone_field import sample_hu
from ..collision import surface_points
from .cup_screws import in_bone
from .measure import native_head
from .shaft import first_crossing
from .sphere import ray_directions

_IN_HEAD_MM, _SAME_MM = 12.0, 2.0
"""A point so near to a known head's centre, or to one that was asked before, has the same head."""
_TIP_MM = 14.0
"""From a lag screw's tip to the head's middle."""
_ANGLES = np.arange(24) * 2 * np.pi / 24
_CANAL_MM, _NECK_MM = np.arange(0.0, 16.5, 0.5), np.arange(0.0, 20.5, 0.5)
_CONTRAST_HU, _WALL_SHARE = 150.0, 0.7
_STATION_MM, _LEAST_SEEN_MM, _LEAST_SHARE = 4.0, 30.0, 0.4
_BONE_HU, _WALL_MM, _DOME = 200.0, 8.0, 0.75


@dataclass(frozen=True)
class Check:
    """A measure that should be small.

    :param good, acceptable: the largest values of either grade.
    """

    what: str
    value: float
    good: float
    acceptable: float
    unit: str = "mm"


def hip_grade(implant: Implant, matrix: np.ndarray, anatomy: Anatomy) -> tuple[str, str]:
    """Grade "good", "acceptable" or "poor", and why not good; "" where the CT does not show it.

    :param matrix: implant frame to RAS.
    """
    if isinstance(implant, HipStem):
        checks, note = _stem(implant, matrix, anatomy)
    elif isinstance(implant, (AcetabularCup, DualMobilityCup)):
        checks, note = _cup(implant, matrix, anatomy)
    elif isinstance(implant, ResurfacingHead):
        checks, note = _resurfacing(implant, matrix, anatomy)
    elif isinstance(implant, CephalomedullaryNail):
        checks, note = _nail(implant, matrix, anatomy)
    else:
        return "", ""
    return ("", f"{note}: not graded") if note else _verdict(checks)


def joint_changes_mm(implant: Implant, matrix: np.ndarray, anatomy: Anatomy) -> tuple[float, float]:
    """What an implant adds to the leg's length and to the offset against the native head.

    The leg gains what a head rises on its femur and loses what a cup rises in the pelvis; the
    offset gains what a head leaves the shaft and a cup moves to the side (Lecerf et al. 2009). NaN
    of other families, and where no native head is seen.
    """
    is_cup = isinstance(implant, (AcetabularCup, DualMobilityCup))
    if isinstance(implant, HipStem):
        centre = (matrix @ np.append(implant.head_centre_mm(), 1.0))[:3]
        longer, wider = matrix[:3, 2], matrix[:3, 0]
    elif is_cup or isinstance(implant, ResurfacingHead):
        centre = matrix[:3, 3]
        medial = np.array([np.sign(matrix[0, 2]) * (-1.0 if is_cup else 1.0), 0.0, 0.0])
        longer, wider = np.array([0.0, 0.0, 1.0]), medial
    else:
        return float("nan"), float("nan")
    native = _native_head(anatomy, centre, _side(wider))
    if native is None:
        return float("nan"), float("nan")
    sign = -1.0 if is_cup else 1.0
    return sign * float((centre - native[0]) @ longer), sign * float((centre - native[0]) @ wider)


def _native_head(anatomy: Anatomy, near: np.ndarray, side: str) -> tuple[np.ndarray, float] | None:
    """Centre and radius of the native head about a RAS point, by the CT alone; searched once."""
    for known, asked, found in anatomy.heads:
        in_it = found is not None and np.linalg.norm(found[0] - near) < _IN_HEAD_MM
        if known == side and (in_it or np.linalg.norm(asked - near) < _SAME_MM):
            return found
    found = native_head(anatomy.volume, near, side)
    anatomy.heads.append((side, near, found))
    return found


def _verdict(checks: Sequence[Check]) -> tuple[str, str]:
    off = [check for check in checks if not check.value <= check.good]
    note = "; ".join(f"{c.what} {c.value:.1f} {c.unit}, not {c.good:g} at most" for c in off)
    if any(not check.value <= check.acceptable for check in off):
        return "poor", note
    return ("acceptable" if off else "good"), note


_Found = tuple[list[Check], str]


def _stem(stem: HipStem, matrix: np.ndarray, anatomy: Anatomy) -> _Found:
    centre = (matrix @ np.append(stem.head_centre_mm(), 1.0))[:3]
    native = _native_head(anatomy, centre, _side(matrix[:3, 0]))
    if native is None:
        return [], "no femoral head is seen at its own"
    heights = np.arange(-0.35, -0.97, -_STATION_MM / stem.length_mm) * stem.length_mm
    axis = np.stack([0 * heights, 0 * heights, heights], axis=1)
    in_canal = _in_canal(surface_points(stem.mesh()), axis, matrix, anatomy.volume)
    away = float(np.linalg.norm(centre - native[0]))
    return _with_canal([Check("head's centre from the native one", away, 6.0, 10.0)], in_canal)


def _nail(nail: CephalomedullaryNail, matrix: np.ndarray, anatomy: Anatomy) -> _Found:
    turn, lag = matrix[:3, :3], matrix[:3, :3] @ nail.lag_axis
    tip = (matrix @ np.append(nail.lag_tip_mm, 1.0))[:3]
    native = _native_head(anatomy, tip - _TIP_MM * lag, _side(turn[:, 0]))
    if native is None:
        return [], "no femoral head is seen about its lag screw"
    mesh = next(part.mesh for part in nail.parts() if part.name == "nail")
    axis = nail.axis_points(np.arange(-55.0, mesh.points[:, 2].min() + 4.0, -_STATION_MM))
    in_canal = _in_canal(surface_points(mesh), axis, matrix, anatomy.volume)
    centre, radius = native
    up, front = np.cross(turn[:, 1], lag), turn[:, 1]
    gap = centre + radius * lag - tip
    along = float(gap @ lag)
    apex = float(np.hypot(along, gap @ up) + np.hypot(along, gap @ front))
    beside = float(np.linalg.norm(gap - along * lag))
    depth = radius - float(np.linalg.norm(tip - centre))
    checks = [
        Check("tip-apex distance", apex, 25.0, 30.0),
        Check("lag screw from the head's middle", beside, 6.0, 9.0),
        Check("lag screw's tip nearer to the surface than 10 mm by", 10 - depth, 6.0, 8.0),
    ]
    return _with_canal(checks, in_canal)


def _with_canal(checks: list[Check], in_canal: list[Check] | None) -> _Found:
    """What is poor already needs no shaft."""
    if in_canal is None and _verdict(checks)[0] != "poor":
        return [], "the CT shows too little of the shaft about it"
    return [*checks, *(in_canal or [])], ""


def _side(medial: np.ndarray) -> str:
    return "right" if medial[0] < 0 else "left"


def _cup(cup: AcetabularCup | DualMobilityCup, matrix: np.ndarray, anatomy: Anatomy) -> _Found:
    centre, opening = matrix[:3, 3], matrix[:3, 2]
    native = _native_head(anatomy, centre, _side(-opening))
    if native is None:
        return [], "no femoral head is seen in it"
    away = float(np.linalg.norm(centre - native[0]))
    inclination = float(np.rad2deg(np.arctan2(abs(opening[0]), -opening[2])))
    version = float(np.rad2deg(np.arcsin(np.clip(opening[1], -1.0, 1.0))))
    wider = cup.diameter_mm - 2 * native[1]
    rays = ray_directions(600)
    dome = rays[rays @ opening < -_DOME]
    reach = 0.5 * cup.diameter_mm + np.arange(0, _WALL_MM, 0.5)
    behind = sample_hu(anatomy.volume, centre + reach[:, None, None] * dome)
    bare = 100 * float((np.nan_to_num(behind, nan=-1000.0).max(axis=0) < _BONE_HU).mean())
    out = 0.0
    if isinstance(cup, AcetabularCup):
        lies = [
            in_bone(cup, matrix, anatomy.volume, n, cup.screw_length_mm) for n in range(cup.screws)
        ]
        out = 100 * max((float(1 - one.mean()) for one in lies), default=0.0)
    return [
        Check("centre from the native one", away, 6.0, 10.0),
        Check("screw outside the ilium:", out, 15.0, 30.0, "%"),
        Check(f"inclination {inclination:.0f}: off 40 by", abs(inclination - 40), 10, 15, "deg"),
        Check(f"anteversion {version:.0f}: off 15 by", abs(version - 15), 10, 15, "deg"),
        Check(f"{wider:.0f} mm wider than the head: off 6 by", abs(wider - 6), 4.0, 7.0),
        Check("dome without bone behind:", bare, 20.0, 40.0, "%"),
    ], ""


def _resurfacing(head: ResurfacingHead, matrix: np.ndarray, anatomy: Anatomy) -> _Found:
    centre, neck = matrix[:3, 3], matrix[:3, 2]
    native = _native_head(anatomy, centre, _side(neck))
    if native is None:
        return [], "no femoral head is seen in it"
    below = np.arange(native[1] + 1.0, native[1] + 12.0, 2.0)
    hu = _rays(anatomy.volume, centre - below[:, None] * neck, matrix[:3, :2], _NECK_MM)
    if not np.isfinite(hu).all():
        return [], "the CT does not show the neck"
    wall = _NECK_MM[hu.argmax(axis=-1)]
    return [
        Check("centre from the native one", float(np.linalg.norm(centre - native[0])), 4.0, 7.0),
        Check("wider or narrower than the head by", abs(head.diameter_mm - 2 * native[1]), 4, 6),
        Check("pin from the neck's middle", float(np.median(_off_centre(wall))), 5.0, 7.0),
    ], ""


def _rays(volume: CTVolume, axis: np.ndarray, across: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """HU ``(stations, angles, radii)`` about points of an axis; ``across`` holds two directions."""
    ways = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1) @ across.T
    points = axis[:, None, None] + radii[:, None] * ways[:, None]
    return sample_hu(volume, points)


def _off_centre(wall: np.ndarray) -> np.ndarray:
    """How far the middle of walls ``(stations, angles)`` lies from where they are measured."""
    filled = np.where(np.isfinite(wall), wall, np.nanmean(wall, axis=1, keepdims=True))
    way = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    result: np.ndarray = 2 * np.linalg.norm(filled @ way / len(_ANGLES), axis=1)
    return result


def _in_canal(
    surface: np.ndarray, axis: np.ndarray, matrix: np.ndarray, volume: CTVolume
) -> list[Check] | None:
    """Checks of a shaft in the medullary canal; None where too little of it is in the CT.

    :param surface, axis: ``(n, 3)`` and stations ``(m, 3)`` in the implant's frame, whose z runs
        along the canal.
    """
    place = axis @ matrix[:3, :3].T + matrix[:3, 3]
    hu = _rays(volume, place, matrix[:3, :2], _CANAL_MM)
    seen = np.isfinite(hu).mean(axis=(1, 2)) > 0.9
    if seen.sum() * _STATION_MM < _LEAST_SEEN_MM or seen.mean() < _LEAST_SHARE:
        return None
    walls, reached = [], []
    for profile, middle in zip(np.nan_to_num(hu[seen], nan=-1000.0), axis[seen], strict=True):
        marrow, peak = np.median(profile[:, :8]), np.percentile(profile.max(axis=1), 60)
        wall = first_crossing(profile, _CANAL_MM, 0.5 * (marrow + peak))
        if peak < marrow + _CONTRAST_HU or np.isfinite(wall).mean() < _WALL_SHARE:
            wall = np.zeros_like(wall)
        walls.append(wall)
        reached.append(_outline(surface, middle))
    wall, out = np.array(walls), np.array(reached)
    off = np.where((wall > 0).any(axis=1), _off_centre(wall), _CANAL_MM[-1])
    beyond = np.nan_to_num(out - wall, nan=-1.0)
    return [
        Check("beyond the canal's wall", float(np.percentile(beyond, 90)), 2.0, 3.5),
        Check("axis from the canal's middle", float(np.percentile(off, 75)), 3.0, 5.0),
    ]


def _outline(surface: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """How far a surface reaches from a point of its axis in each direction."""
    near = surface[np.abs(surface[:, 2] - middle[2]) < 0.5 * _STATION_MM] - middle
    bins = np.rint(np.arctan2(near[:, 1], near[:, 0]) / _ANGLES[1]).astype(int) % len(_ANGLES)
    out = np.zeros(len(_ANGLES))
    np.maximum.at(out, bins, np.linalg.norm(near[:, :2], axis=1))
    return out
