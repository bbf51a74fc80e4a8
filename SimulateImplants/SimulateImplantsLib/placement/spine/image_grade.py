"""A pedicle screw judged by the image around it and the patient's axes: by no plan, no mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import (
    SCREW_MM,
    BoneField,
    LocalGrid,
    in_sections,
    sample_grid,
    sample_hu,
    without_holes,
)
from ..geometry import Vector, across, unit
from .grading import ScrewGrade, rings, shaft_samples
from .locate import local_threshold

_STEP_MM = 1.0
_ASIDE_MM, _ABOVE_MM, _BEYOND_MM = 36.0, 22.0, 24.0
_FORWARD, _UPRIGHT = 0.7, 0.6
"""Least part of a screw's direction that runs forward, and largest that runs along the patient."""
_TOLERANCE_MM = 0.5
_LEAST_CANAL_MM, _MOST_CANAL_MM, _WALL_MM = 8.0, 36.0, 15.0
_PEDICLE_MM, _BODY_MM2 = 12.0, 380.0
_ILIAC_BACK_MM, _ILIAC_SHARE, _ILIAC_REACH_MM = 15.0, 0.8, (50.0, 50.0)
_MASS_FORWARD, _MASS_BACK_MM, _MASS_SHARE, _MASS_BREACH_MM = 0.35, 5.0, 0.6, 1.0
_THIN_MM = 1.0
"""Slices in which facet joints may be seen, but nothing here was ever tested on them."""
_CORTEX_HU, _CORTEX_MM = 320.0, 18.0
"""Brightest within that reach of an iliac way, the median over directions: 400 HU and more in
ilia, 240 at most in a kidney or liver with contrast medium."""


@dataclass(frozen=True)
class _Surroundings:
    """Bone about a screw in its own frame: x right, y up, z along it from the entry (mm)."""

    field: BoneField
    area: np.ndarray
    """Of the bone about the axis in the section at each step, mm2; 0 where it holds none."""
    s: np.ndarray

    @property
    def bone(self) -> np.ndarray:
        """On the grid of the field."""
        inside: np.ndarray = self.field.depth > 0
        return inside


def runs_forward(entry_ras: Vector, target_ras: Vector) -> bool:
    """Whether a screw's direction is one of the patient's pedicles: by the axes of RAS alone."""
    d = unit(np.asarray(target_ras, float) - np.asarray(entry_ras, float))
    return bool(d[1] >= _FORWARD and abs(d[2]) <= _UPRIGHT)


def grade_in_image(
    volume: CTVolume, side: str, entry_ras: Vector, target_ras: Vector, diameter_mm: float
) -> ScrewGrade:
    """Measures of one screw; no grade, and a note why, where the image shows no pedicle about it.

    A screw is graded when it runs forward, starts at the back of the bone, has the canal beside it
    on its medial side where the bone is narrowest, and ends in a wider bone, the body. Bone is
    parted from soft tissue at a threshold of its own, from the HU about its tip; what a section
    across the screw encloses is bone.

    :param side: "left" or "right".
    """
    entry, target = np.asarray(entry_ras, float), np.asarray(target_ras, float)
    medial = 1.0 if side == "left" else -1.0
    found = _measured(volume, medial, entry, target, diameter_mm)
    if not runs_forward(entry, target):
        return found.without("does not run forward through a pedicle")
    if np.isnan(found.mean_hu):
        return found.without("partly outside the CT")
    about = _surroundings(volume, entry, target)
    inside = float((about.field.at(shaft_samples(entry, target, diameter_mm)) > 0).mean())
    found = found.with_share(inside)
    length = float(np.linalg.norm(target - entry))
    isthmus = _isthmus(about, length, medial)
    reason = _unlike_a_pedicle(about, isthmus, length)
    if reason or isthmus is None:
        return found.without(reason)
    return found.with_breach(*_breach(about, entry, target, diameter_mm, isthmus, medial))


def grade_in_ilium(
    volume: CTVolume, side: str, entry_ras: Vector, target_ras: Vector, diameter_mm: float
) -> ScrewGrade:
    """The same of an iliac screw: to the front, outwards and down, in bone all along."""
    entry, target = np.asarray(entry_ras, float), np.asarray(target_ras, float)
    medial = 1.0 if side == "left" else -1.0
    found = _measured(volume, medial, entry, target, diameter_mm)
    d = unit(target - entry)
    if d[1] < 0.4 or medial * d[0] > 0 or d[2] > 0:
        return found.without("does not run forward, outwards and down")
    if np.isnan(found.mean_hu):
        return found.without("partly outside the CT")
    about = _surroundings(volume, entry, target, _ILIAC_REACH_MM)
    inside = float((about.field.at(shaft_samples(entry, target, diameter_mm)) > 0).mean())
    found = found.with_share(inside)
    if inside < _ILIAC_SHARE:
        return found.without(f"only {100 * inside:.0f} % of it is in bone")
    if not has_cortex(volume, entry, d):
        return found.without("no cortex lies about it")
    return found.with_breach(*_breach(about, entry, target, diameter_mm, _ILIAC_BACK_MM, medial))


def grade_in_lateral_mass(
    volume: CTVolume, side: str, entry_ras: Vector, target_ras: Vector, diameter_mm: float
) -> ScrewGrade:
    """The same of a screw in a cervical lateral mass: "poor" where it leaves the bone, or none.

    Poor is what lies mostly outside of bone, or comes out of it into the canal, in front, where the
    vertebral artery runs, or beside. Facet joints cannot be told in usual slices: no other screw
    is graded.
    """
    entry, target = np.asarray(entry_ras, float), np.asarray(target_ras, float)
    medial = 1.0 if side == "left" else -1.0
    found = _measured(volume, medial, entry, target, diameter_mm)
    if unit(target - entry)[1] < _MASS_FORWARD:
        return found.without("does not run forward")
    if np.isnan(found.mean_hu):
        return found.without("partly outside the CT")
    about = _surroundings(volume, entry, target)
    inside = float((about.field.at(shaft_samples(entry, target, diameter_mm)) > 0).mean())
    breach_mm, _ = _breach(about, entry, target, diameter_mm, _MASS_BACK_MM, medial)
    found = found.with_share(inside)
    if inside < _MASS_SHARE or breach_mm > _MASS_BREACH_MM:
        return replace(found, grade="poor", breach_mm=breach_mm)
    mm = max(volume.spacing_mm)
    joints = f"cannot be told in slices of {mm:.2g} mm" if mm > _THIN_MM else "are not judged"
    return found.without(f"facet joints {joints}; check by eye on the sagittal plane")


def has_cortex(volume: CTVolume, start: np.ndarray, way: np.ndarray) -> bool:
    """Whether a way of 60 mm lies in cortex, as in an ilium, and not in a bright organ."""
    s, away = np.arange(10.0, 61.0, 2.0), np.arange(0.0, _CORTEX_MM)
    up = across((0.0, 0.0, 1.0), way)
    angle = np.arange(16)[:, None] * np.pi / 8
    rays = away[:, None] * (np.cos(angle) * up + np.sin(angle) * np.cross(way, up))[:, None]
    hu = np.nan_to_num(sample_hu(volume, start + s[:, None, None, None] * way + rays), nan=-1000.0)
    return bool(np.median(hu.max(axis=2)) > _CORTEX_HU)


def _measured(
    volume: CTVolume, medial: float, entry: np.ndarray, target: np.ndarray, diameter_mm: float
) -> ScrewGrade:
    """HU along a screw, NaN where it leaves the CT, and its angles; no grade yet."""
    d = unit(target - entry)
    stations = sample_hu(volume, shaft_samples(entry, target, diameter_mm)).mean(axis=1)
    return ScrewGrade(
        grade="",
        breach_mm=float("nan"),
        breach_direction="",
        share_in_bone=float("nan"),
        mean_hu=float(stations.mean()),
        min_hu=float(stations.min()),
        convergence_deg=float(np.rad2deg(np.arctan2(medial * d[0], d[1]))),
        inclination_deg=float(np.rad2deg(np.arcsin(np.clip(d[2], -1, 1)))),
    )


def _surroundings(
    volume: CTVolume,
    entry: np.ndarray,
    target: np.ndarray,
    reach_mm: tuple[float, float] = (_ASIDE_MM, _ABOVE_MM),
) -> _Surroundings:
    z = unit(target - entry)
    up = across((0.0, 0.0, 1.0), z)
    axes = np.stack([np.cross(z, up), up, z], axis=1)
    length = float(np.linalg.norm(target - entry))
    aside, above = reach_mm
    low = np.array([-aside, -above, -_BEYOND_MM])
    high = np.array([aside, above, length + _BEYOND_MM])
    grid = LocalGrid.spanning(entry, axes, low, high, _STEP_MM)
    hu = np.nan_to_num(sample_grid(volume, grid), nan=-1000.0)
    s = low[2] + _STEP_MM * np.arange(grid.shape[2])
    middle = (int(aside), int(above))
    tip = hu[
        middle[0] - 6 : middle[0] + 7, middle[1] - 6 : middle[1] + 7, np.abs(s - length + 7) < 8
    ]
    bone = hu > local_threshold(tip)
    closed = ndimage.binary_closing(np.pad(bone, 2), iterations=1)[2:-2, 2:-2, 2:-2] | bone
    bone = without_holes(closed, 2)
    labels, _ = ndimage.label(bone, in_sections(2))
    area = ((labels == labels[middle]) & bone).sum(axis=(0, 1)) * _STEP_MM**2
    return _Surroundings(BoneField.from_inside(bone, grid, SCREW_MM), area, s)


def _isthmus(about: _Surroundings, length: float, medial: float) -> float | None:
    """Where along the screw the bone is narrowest beside the canal (mm from the entry)."""
    x, y = int(_ASIDE_MM), int(_ABOVE_MM)
    rows = about.bone[:, y - 4 : y + 5]
    rays = (rows[x:] if medial > 0 else rows[x::-1]).transpose(2, 1, 0)
    first = np.flatnonzero((about.s >= 5.0) & (about.s <= 0.7 * length))
    beside = np.array([np.mean([_canal_on(ray) for ray in rays[k]]) for k in first])
    beside = ndimage.uniform_filter1d(beside, 3)
    if beside.max() < 0.5:
        return None
    here = first[beside > 0.5 * beside.max()]
    here = here[about.s[here] >= about.s[here[-1]] - _PEDICLE_MM]  # behind it lies the arch
    smooth = ndimage.median_filter(about.area, 3)[here]
    return float(about.s[here[np.argmin(smooth)]])


def _unlike_a_pedicle(about: _Surroundings, isthmus: float | None, length: float) -> str:
    """Why the bone about the screw is no pedicle that leads into a body; "" where it is."""
    behind = (about.s < -12.0) & (about.s > -_BEYOND_MM)
    if (about.area[behind] > 0).mean() > 0.6:
        return "does not start at the back of the bone"
    if isthmus is None:
        return "no canal is seen beside it on its medial side"
    tip = (about.s > length - 12.0) & (about.s <= length)
    if np.median(about.area[tip]) < _BODY_MM2:
        return "its tip is in no vertebral body"
    return ""


def _canal_on(ray: np.ndarray) -> bool:
    """Bone (or a breached wall), then soft tissue as wide as a canal, then bone again."""
    runs = np.flatnonzero(np.diff(np.concatenate([[1], ray.astype(int), [1]])))
    for start, stop in zip(runs[::2], runs[1::2], strict=False):
        wide = (stop - start) * _STEP_MM
        if start * _STEP_MM <= _WALL_MM and wide >= _LEAST_CANAL_MM:
            return bool(wide <= _MOST_CANAL_MM and stop < len(ray))
    return False


def _breach(
    about: _Surroundings,
    entry: np.ndarray,
    target: np.ndarray,
    diameter: float,
    isthmus: float,
    medial: float,
) -> tuple[float, str]:
    """How far and where the thread is outside the bone, from the pedicle's back to the tip.

    Through its entry every screw comes out of the bone: what counts begins where it first is all
    in bone, or before the isthmus.
    """
    surface, s = rings(entry, target, 0.5 * diameter)
    outside = -about.field.at(surface)
    entered = s[(outside.max(axis=1) <= 0) & (s < isthmus)]
    begin = min(isthmus, entered[0] if len(entered) else max(isthmus - 5.0, 0.0))
    outside[s < begin] = -np.inf
    station, angle = np.unravel_index(int(np.argmax(outside)), outside.shape)
    worst = float(outside[station, angle])
    if worst <= _TOLERANCE_MM:
        return 0.0, ""
    axis = entry + s[station] * unit(target - entry)
    offset = about.field.grid.axes.T @ (surface[station, angle] - axis)
    if s[station] > s[-1] - 3.0 and float(about.field.at(axis)) < 0:
        return worst, "anterior"
    if abs(offset[0]) >= abs(offset[1]):
        return worst, "medial" if offset[0] * medial > 0 else "lateral"
    return worst, "superior" if offset[1] > 0 else "inferior"
