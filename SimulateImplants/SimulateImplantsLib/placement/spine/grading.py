"""How good a screw's place is: breach, grade, bone along it, angles, collisions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import BoneField, sample_hu
from ..geometry import Vector, across, unit
from .trajectory import screw_angles_deg
from .vertebra import VertebraFrame

_ANGLES = 32
_STEP_MM = 0.5
_TOLERANCE_MM = 0.25
"""Less than the error of a surface sampled every 0.8 mm: no breach."""


@dataclass(frozen=True)
class ScrewGrade:
    """Quality of one pedicle screw.

    :param grade: Gertzbein and Robbins 1990 (Spine 15:11): A no breach, B under 2 mm, C under 4,
        D under 6, E 6 mm and more.
    :param breach_mm: how far the thread comes out of the vertebra, from the pedicle to the tip.
    :param breach_direction: "medial" (into the canal), "lateral", "superior", "inferior" or
        "anterior"; empty without a breach.
    :param share_in_bone: of the shaft's volume, entry to tip.
    :param mean_hu, min_hu: over the shaft's cross-sections along its length (NaN without a CT).
    :param convergence_deg: towards the midline going forwards.
    :param inclination_deg: upwards against the vertebra's horizontal plane.
    :param note: why it is not graded.
    """

    grade: str
    breach_mm: float
    breach_direction: str
    share_in_bone: float
    mean_hu: float
    min_hu: float
    convergence_deg: float
    inclination_deg: float
    note: str = ""

    def without(self, reason: str) -> ScrewGrade:
        """Not graded, and why."""
        return replace(self, grade="", note=f"{reason}: not graded")

    def with_share(self, share_in_bone: float) -> ScrewGrade:
        """With that share of the shaft in bone."""
        return replace(self, share_in_bone=share_in_bone)

    def with_breach(self, breach_mm: float, direction: str) -> ScrewGrade:
        """Graded by a breach."""
        grade = gertzbein_robbins(breach_mm)
        return replace(self, grade=grade, breach_mm=breach_mm, breach_direction=direction)


def gertzbein_robbins(breach_mm: float) -> str:
    """Letter of a breach: A 0, B below 2, C below 4, D below 6, E 6 mm and more."""
    if breach_mm <= 0:
        return "A"
    for letter, limit in (("B", 2.0), ("C", 4.0), ("D", 6.0)):
        if breach_mm < limit:
            return letter
    return "E"


def rings(entry: np.ndarray, target: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of the shaft's surface ``(stations, angles, 3)`` and stations (mm from the entry)."""
    z = unit(target - entry)
    u = across((0.0, 0.0, 1.0), z)
    v = np.cross(z, u)
    length = float(np.linalg.norm(target - entry))
    s = np.linspace(0, length, max(int(length / _STEP_MM) + 1, 2))
    phi = np.arange(_ANGLES) * 2 * np.pi / _ANGLES
    circle = np.cos(phi)[:, None] * u + np.sin(phi)[:, None] * v
    return entry + s[:, None, None] * z + radius * circle[None], s


def _direction_name(
    frame: VertebraFrame, side: str, point: np.ndarray, axis_point: np.ndarray, at_tip: bool
) -> str:
    offset = frame.axes.T @ (point - axis_point)
    if at_tip:
        return "anterior"
    sign = -1.0 if side == "left" else 1.0
    aside, up = -sign * float(offset[0]), float(offset[2])
    if abs(aside) >= abs(up):
        return "medial" if aside > 0 else "lateral"
    return "superior" if up > 0 else "inferior"


def breach(
    field: BoneField,
    frame: VertebraFrame,
    side: str,
    entry_ras: Vector,
    target_ras: Vector,
    diameter_mm: float,
) -> tuple[float, str]:
    """How far and where the shaft leaves the vertebra (mm, direction).

    Judged from the back of the pedicle to the tip: behind it every screw comes out of the bone,
    through its entry.
    """
    entry, target = np.asarray(entry_ras, float), np.asarray(target_ras, float)
    surface, s = rings(entry, target, 0.5 * diameter_mm)
    axis = entry + s[:, None] * unit(target - entry)
    back = float(frame.local(frame.canal)[1]) - 0.25 * frame.canal_radius_mm
    judged = frame.local(axis)[:, 1] > back
    if not judged.any():
        judged[-1] = True
    outside = np.where(judged[:, None], -field.at(surface), -np.inf)
    station, angle = np.unravel_index(int(np.argmax(outside)), outside.shape)
    worst = float(outside[station, angle])
    if worst <= _TOLERANCE_MM:
        return 0.0, ""
    forward = float(frame.local(axis[station])[1])
    at_tip = forward > 0.25 * frame.body_depth_mm and float(field.at(axis[station])) < 0
    name = _direction_name(frame, side, surface[station, angle], axis[station], at_tip)
    return worst, name


def shaft_samples(entry: np.ndarray, target: np.ndarray, diameter: float) -> np.ndarray:
    """Points filling the shaft evenly: ``(stations, points, 3)``, equal areas a ring."""
    axis = np.stack([entry, target])
    shells = [rings(axis[0], axis[1], 0.5 * diameter * np.sqrt((k + 0.5) / 3))[0] for k in range(3)]
    return np.concatenate(shells, axis=1)


def grade_screw(
    field: BoneField,
    frame: VertebraFrame,
    side: str,
    entry_ras: Vector,
    target_ras: Vector,
    diameter_mm: float,
    volume: CTVolume | None = None,
) -> ScrewGrade:
    """All measures of one screw.

    :param field: of :func:`pedicle.vertebra_field` (the vertebra alone).
    :param entry_ras: the shaft's origin; ``target_ras`` its tip.
    :param volume: the CT without the screw, for HU.
    """
    entry, target = np.asarray(entry_ras, float), np.asarray(target_ras, float)
    worst, direction = breach(field, frame, side, entry, target, diameter_mm)
    inside = shaft_samples(entry, target, diameter_mm)
    mean_hu = min_hu = float("nan")
    if volume is not None:
        hu = sample_hu(volume, inside)
        if np.isfinite(hu).any():
            stations = np.nanmean(np.where(np.isfinite(hu), hu, -1000.0), axis=1)
            mean_hu, min_hu = float(stations.mean()), float(stations.min())
    convergence, inclination = screw_angles_deg(frame, side, unit(target - entry))
    return ScrewGrade(
        grade=gertzbein_robbins(worst),
        breach_mm=worst,
        breach_direction=direction,
        share_in_bone=float((field.at(inside) > 0).mean()),
        mean_hu=mean_hu,
        min_hu=min_hu,
        convergence_deg=convergence,
        inclination_deg=inclination,
    )
