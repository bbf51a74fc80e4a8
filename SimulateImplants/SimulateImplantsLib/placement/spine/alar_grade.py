"""An S2 alar-iliac screw judged by the image around it and the pelvis' middle plane: by no plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import BoneField, LocalGrid, sample_grid, sample_hu
from ..geometry import Vector, across, unit
from ..sacrum import Midplane, middle_plane
from .grading import ScrewGrade, rings, shaft_samples

_BONE_HU, _FAT_HU = 120.0, -45.0
_ASIDE_MM, _BEHIND_MM, _BEYOND_MM = 48.0, 20.0, 16.0
_RAYS, _ENCLOSED, _REACH_MM = 16, 13, 40.0
"""Soft tissue is marrow where so many rays across the screw end in bone."""
_POCKET_MM3 = 200.0
_GUESSES_MM = (18.0, 32.0)
_ENTRY_MM, _OUTWARDS_DEG, _DOWNWARDS_DEG = (19.0, 30.5), (33.0, 49.0), (13.0, 37.0)
"""From the middle plane, out of it, and down in a patient who lies flat; Chang et al. 2009: 22 mm,
40 degrees; Zhu et al. 2013: 29 mm, 37 outwards, 29 to 35 downwards."""
_SURFACE_MM = 4.5
_OPEN_MM = 12.0
"""The screw is oblique to the sacrum's back and comes out of it so far through its entry."""
_NOTCH_MM, _NOTCH_ALONG_MM = (7.5, 12.5), np.arange(50.0, 82.5, 4.0)
_TOLERANCE_MM = 0.5


def grade_alar_iliac(
    volume: CTVolume, side: str, entry_ras: Vector, target_ras: Vector, diameter_mm: float
) -> ScrewGrade:
    """Measures of one screw; no grade, and a note why, where it cannot be the way of S2AI.

    Graded is what begins at the back of the sacrum as far from the pelvis' middle plane as the
    foramina's lateral border, runs out of that plane and down, and lies just above the sciatic
    notch. A breach is where it leaves bone or comes into fat that bone encloses, as in a foramen.

    :param side: "left" or "right".
    """
    entry, target = np.asarray(entry_ras, float), np.asarray(target_ras, float)
    sign = -1.0 if side == "left" else 1.0
    ahead = unit(target - entry)
    found, plane = _measured(volume, sign, entry, target, diameter_mm)
    if np.isnan(found.mean_hu):
        return found.without("partly outside the CT")
    if plane is None:
        return found.without("the pelvis' middle plane is not told")
    outwards, downwards = -found.convergence_deg, -found.inclination_deg
    aside = sign * float(plane.local(entry)[0])
    for what, value, (low, high), unit_name in (
        ("begins", aside, _ENTRY_MM, "mm from the midline"),
        ("runs", outwards, _OUTWARDS_DEG, "degrees outwards"),
        ("runs", downwards, _DOWNWARDS_DEG, "degrees down"),
    ):
        if not low <= value <= high:
            return found.without(f"{what} {value:.1f} {unit_name}, not {low:g} to {high:g}")
    field, dark = _surroundings(volume, entry, target)
    inside = float((field.at(shaft_samples(entry, target, diameter_mm)) > 0).mean())
    found = found.with_share(inside)
    reason = _unlike(field, entry, ahead)
    if reason:
        return found.without(reason)
    return found.with_breach(*_breach(field, dark, entry, target, diameter_mm, sign))


def _measured(
    volume: CTVolume, sign: float, entry: np.ndarray, target: np.ndarray, diameter_mm: float
) -> tuple[ScrewGrade, Midplane | None]:
    """HU along a screw, NaN where it leaves the CT, and its angles in the pelvis; no grade yet."""
    stations = sample_hu(volume, shaft_samples(entry, target, diameter_mm)).mean(axis=1)
    nothing = float("nan")
    hu = float(stations.mean()), float(stations.min())
    found = ScrewGrade("", nothing, "", nothing, *hu, nothing, nothing)
    try:
        plane = middle_plane(volume, entry, [-sign * mm for mm in _GUESSES_MM])
    except InputError:
        return found, None
    outwards, downwards = plane.angles_deg(unit(target - entry), sign)
    return replace(found, convergence_deg=-outwards, inclination_deg=-downwards), plane


def _surroundings(
    volume: CTVolume, entry: np.ndarray, target: np.ndarray
) -> tuple[BoneField, BoneField]:
    """Depth in bone with its marrow, and in fat that bone encloses, about a screw."""
    z = unit(target - entry)
    up = across((0.0, 0.0, 1.0), z)
    length = float(np.linalg.norm(target - entry))
    low = np.array([-_ASIDE_MM, -_ASIDE_MM, -_BEHIND_MM])
    high = np.array([_ASIDE_MM, _ASIDE_MM, length + _BEYOND_MM])
    grid = LocalGrid.spanning(entry, np.stack([np.cross(z, up), up, z], axis=1), low, high, 1.0)
    hu = np.nan_to_num(sample_grid(volume, grid), nan=-1000.0)
    bone = ndimage.binary_closing(hu > _BONE_HU)
    enclosed = _ends(bone) >= _ENCLOSED
    fat = enclosed & ~bone & (ndimage.gaussian_filter(hu, 1.2) < _FAT_HU)
    whole = bone | enclosed
    whole |= ~_without_pockets(~whole, 2 * _POCKET_MM3)
    dark = _without_pockets(fat, _POCKET_MM3)
    return BoneField.from_inside(whole, grid), BoneField.from_inside(dark, grid)


def _without_pockets(values: np.ndarray, mm3: float) -> np.ndarray:
    labels, _ = ndimage.label(values)
    large = np.bincount(labels.ravel()) >= mm3
    large[0] = False
    result: np.ndarray = large[labels]
    return result


def _ends(bone: np.ndarray) -> np.ndarray:
    """How many rays across the last axis end in bone, within reach."""
    hits = np.zeros(bone.shape, np.uint8)
    for angle in np.arange(_RAYS) * 2 * np.pi / _RAYS:
        way, reached, done = np.array([np.cos(angle), np.sin(angle)]), bone.copy(), 1
        while done < _REACH_MM:
            far = min(done, int(_REACH_MM) - done)
            reached |= _moved(reached, np.rint(far * way).astype(int))
            done += done
        hits += reached
    return hits


def _moved(values: np.ndarray, step: np.ndarray) -> np.ndarray:
    """What lies a step further on the first two axes; false beyond them."""
    out = np.zeros_like(values)
    ahead = tuple(slice(max(n, 0), values.shape[k] + min(n, 0)) for k, n in enumerate(step))
    here = tuple(slice(max(-n, 0), values.shape[k] + min(-n, 0)) for k, n in enumerate(step))
    out[here] = values[ahead]
    return out


def _unlike(field: BoneField, entry: np.ndarray, ahead: np.ndarray) -> str:
    """Why it does not begin at the sacrum's back or lie above the notch; "" where it does."""
    s = np.arange(-_BEHIND_MM, 15.0, 1.0)
    bone = field.at(entry + s[:, None] * ahead) > 0
    if bone[s < -5.0].mean() > 0.3:
        return "does not start at the back of the bone"
    begins = s[bone & (s > -6.0)]
    if not len(begins) or abs(begins[0]) > _SURFACE_MM:
        return "does not start at the surface of the bone"
    down = -field.grid.axes[:, 1]
    below = np.arange(0.0, 39.0)
    axis = entry + _NOTCH_ALONG_MM[:, None, None] * ahead
    outside = field.at(axis + below[:, None] * down) <= 0
    above = float(np.where(outside.any(axis=1), outside.argmax(axis=1), below[-1]).min())
    if not _NOTCH_MM[0] <= above <= _NOTCH_MM[1]:
        low, high = _NOTCH_MM
        return f"lies {above:g} mm above the sciatic notch, not {low:g} to {high:g}"
    return ""


def _breach(
    field: BoneField,
    dark: BoneField,
    entry: np.ndarray,
    target: np.ndarray,
    diameter: float,
    sign: float,
) -> tuple[float, str]:
    """How far and where the thread is outside the bone, or in a foramen."""
    surface, s = rings(entry, target, 0.5 * diameter)
    outside = -field.at(surface)
    outside[s < _OPEN_MM] = -np.inf
    outside = np.maximum(outside, dark.at(surface))
    station, angle = np.unravel_index(int(np.argmax(outside)), outside.shape)
    worst = float(outside[station, angle])
    if worst <= _TOLERANCE_MM:
        return 0.0, ""
    axis = entry + s[station] * unit(target - entry)
    offset = field.grid.axes.T @ (surface[station, angle] - axis)
    if s[station] > s[-1] - 3.0 and float(field.at(axis)) < 0:
        return worst, "anterior"
    if abs(offset[0]) >= abs(offset[1]):
        return worst, "lateral" if offset[0] * sign > 0 else "medial"
    return worst, "superior" if offset[1] > 0 else "inferior"
