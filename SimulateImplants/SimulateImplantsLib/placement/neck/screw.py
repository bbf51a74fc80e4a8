"""Screws for cervical lateral masses, in what a section of neck shows.

As Magerl's technique is usually told: entry 1 mm medial and cranial of the middle of the mass's
back, about 25 degrees outwards, upwards as the facet joints rise; here the tip stays short of the
ventral cortex. Joints rise differently, and are not seen in usual slices: a short screw in the
middle that rises by 40 degrees keeps clear of those of 35 to 55.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError

from ..bone_field import BoneField
from ..geometry import unit
from ..spine.sizes import steps
from .pillar import NeckSection

DIAMETER_MM = 3.5
LENGTHS_MM = steps(10.0, 16.0, 2.0)
_ENTRY_SHIFT_MM = 1.0
"""Medial and cranial of the mass's middle."""
_OUTWARDS_DEG, _CRANIAL_DEG = 25.0, 40.0
_OUTWARDS_TRIED, _CRANIAL_TRIED = np.arange(20.0, 30.1, 2.5), np.arange(30.0, 50.1, 5.0)
_SHIFTS_MM = np.arange(-1.5, 1.6, 0.75)
_VENTRAL_MM = 0.5
"""Bone that goes on further before the pillar is of the pedicle or about the transverse foramen."""
_MARGIN_MM, _TIP_MM, _ENOUGH_MM = 0.25, 0.7, 1.0
_TAPER, _TIP_SHARE = 0.9, 0.35
"""Length of the tip in diameters, and thickness of its end."""
_UNUSUAL_DEG, _UNUSUAL_MM, _LONGER = 0.03, 0.2, 0.1
"""Cost of a degree and a millimetre off the usual, and gain of a millimetre of length (mm)."""
_ENTRY_MM = 3.0
"""Of the way from the entry, where a thread comes out of the back of every mass."""
_BEHIND_MM = 3.5
_WAY_MM = np.arange(-6.0, 24.0, 0.4)


@dataclass(frozen=True)
class LateralMass:
    """A mass and its proposed screw (RAS, mm).

    :param entry_ras: on the back of the mass; ``target_ras`` the tip.
    :param up: along the canal (unit).
    """

    level: str
    side: str
    entry_ras: np.ndarray
    target_ras: np.ndarray
    length_mm: float
    up: np.ndarray
    diameter_mm: float = DIAMETER_MM

    @property
    def direction(self) -> np.ndarray:
        """Unit vector from entry to tip."""
        return unit(self.target_ras - self.entry_ras)


def mass_field(section: NeckSection, side: str, mask: np.ndarray | None) -> BoneField:
    """Depths in one mass alone: in its pillar, between its ends (RAS).

    :param mask: on the section's grid, what is labelled as this vertebra.
    :raises InputError: the CT ends within the mass.
    """
    pillar = section.pillars[side]
    _, y, z = section.coordinates()
    lower, upper = pillar.ends(y[:, None])
    between = (z > lower) & (z < upper) & (y[:, None] < pillar.front + _VENTRAL_MM)
    if np.isnan(section.hu[pillar.section[..., None] & between]).any():
        raise InputError(
            "the CT ends within this lateral mass; leave it out, or use a CT that shows all of it"
        )
    # The footprint of what goes on along the pillar, and the edges that waver about it.
    near = ndimage.binary_dilation(pillar.section, iterations=3)[..., None]
    own = section.bone & near & between
    return BoneField.from_inside(own if mask is None else own & mask, section.grid)


def mass_screw(section: NeckSection, side: str, field: BoneField, level: str) -> LateralMass:
    """The screw of one mass: the usual one, moved and turned a little where that gains room.

    :raises InputError: no screw of the shortest size has room.
    """
    pillar, frame = section.pillars[side], section.frame
    back = _back(section, side, field)
    out, up, right, high = (
        m.ravel()
        for m in np.meshgrid(_OUTWARDS_TRIED, _CRANIAL_TRIED, _SHIFTS_MM, _SHIFTS_MM, indexing="ij")
    )
    ahead = np.stack(
        [pillar.sign * np.tan(np.deg2rad(out)), np.ones_like(out), np.tan(np.deg2rad(up))], axis=1
    )
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    start = back + np.stack([right, np.zeros_like(right), high], axis=1)
    depth = field.at(frame.to_ras(start[:, None] + _WAY_MM[:, None] * ahead[:, None]))
    # From behind the back of the mass on; what lies deeper than its first bone counts.
    entered = _WAY_MM[np.argmax(depth > 0, axis=1)]
    way = _WAY_MM - entered[:, None]
    unusual = _UNUSUAL_DEG * (np.abs(out - _OUTWARDS_DEG) + np.abs(up - _CRANIAL_DEG))
    unusual = unusual + _UNUSUAL_MM * np.hypot(right, high)
    best, found = -np.inf, None
    for length in LENGTHS_MM:
        free = depth - _radius_along(way, length)
        room = np.where((way > _ENTRY_MM) & (way < length + _TIP_MM), free, np.inf).min(axis=1)
        score = np.minimum(room, _ENOUGH_MM) + _LONGER * length - unusual
        score[room < _MARGIN_MM] = -np.inf
        i = int(np.argmax(score))
        if score[i] > best:
            best, found = float(score[i]), (i, length)
    if found is None:
        raise InputError(
            f"no room for a {DIAMETER_MM:g} x {min(LENGTHS_MM):g} mm screw in the lateral mass"
        )
    i, length = found
    entry = frame.to_ras(start[i] + entered[i] * ahead[i])
    way_ras = frame.axes @ ahead[i]
    behind = np.rint(section.grid.to_index(entry - _BEHIND_MM * way_ras)).astype(int)
    if section.bone[tuple(behind)]:
        raise InputError("its back is not seen: bone lies behind the entry")
    tip = entry + length * way_ras
    return LateralMass(level, side, entry, tip, length, frame.axes[:, 2])


def _radius_along(way_mm: np.ndarray, length_mm: float) -> np.ndarray:
    """Of the thread; towards the tip it gets thinner."""
    left = np.clip((length_mm - way_mm) / (_TAPER * DIAMETER_MM), 0.0, 1.0)
    result: np.ndarray = 0.5 * DIAMETER_MM * (_TIP_SHARE + (1.0 - _TIP_SHARE) * left)
    return result


def _back(section: NeckSection, side: str, field: BoneField) -> np.ndarray:
    """The usual entry (frame): by the middle of the mass's back, a little medial and cranial.

    :raises InputError: no bone there.
    """
    pillar = section.pillars[side]
    y = np.arange(pillar.back - 6.0, pillar.front, 0.3)
    middle = 0.5 * np.add(*pillar.ends(y)) + _ENTRY_SHIFT_MM
    x = np.full_like(y, pillar.sign * (pillar.middle - _ENTRY_SHIFT_MM))
    row = np.stack([x, y, middle], axis=1)
    bone = np.flatnonzero(field.at(section.frame.to_ras(row)) > 0)
    if len(bone) == 0:
        raise InputError("no bone at the back of the lateral mass")
    result: np.ndarray = row[bone[0]]
    return result
