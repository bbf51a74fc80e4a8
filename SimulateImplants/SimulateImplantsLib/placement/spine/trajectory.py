"""A screw along a given axis of a vertebra: where it enters, how long and thick it may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError

from ..bone_field import BoneField
from ..geometry import unit
from .sizes import ScrewSizes
from .vertebra import VertebraFrame

SIDES = ("left", "right")
PEDICLE_MM = 5.0
"""Half the length of a pedicle, about its narrowest place."""
_ARCH_MM = 32.0
"""The back of an arch is no further behind a pedicle."""
_IN_BONE = 0.5, 0.9
"""Share of the shaft's section with which it counts as outside and as inside at its entry."""


@dataclass(frozen=True)
class PedicleTrajectory:
    """A proposed screw (RAS, mm).

    :param entry_ras: where most of the shaft's section is in bone at the back: the screw's origin.
    :param target_ras: the screw's tip.
    :param isthmus_ras: where the pedicle is narrowest, on the axis.
    :param clearance_mm: smallest distance of the axis from the bone's surface (the canal's wall
        included) from the pedicle's back to 5 mm before the tip.
    :param pedicle_width_mm: the shortest chord across the axis in the pedicle.
    :param convergence_deg: towards the midline going forwards, seen from above.
    :param inclination_deg: upwards (positive) against the vertebra's own horizontal plane.
    :param fits: False when no size leaves the margin; the thinnest is given then.
    """

    level: str
    side: str
    entry_ras: np.ndarray
    target_ras: np.ndarray
    isthmus_ras: np.ndarray
    diameter_mm: float
    length_mm: float
    clearance_mm: float
    pedicle_width_mm: float
    convergence_deg: float
    inclination_deg: float
    fits: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def direction(self) -> np.ndarray:
        """Unit vector from entry to tip."""
        return unit(self.target_ras - self.entry_ras)


def screw_angles_deg(frame: VertebraFrame, side: str, direction: np.ndarray) -> tuple[float, float]:
    """Convergence towards the midline and upward inclination of a direction (degrees)."""
    sign = -1.0 if side == "left" else 1.0
    right, anterior, superior = (float(direction @ frame.axes[:, i]) for i in range(3))
    convergence = np.rad2deg(np.arctan2(-sign * right, anterior))
    inclination = np.rad2deg(np.arctan2(superior, np.hypot(right, anterior)))
    return float(convergence), float(inclination)


def share_inside(depth: np.ndarray, spacing_mm: float) -> np.ndarray:
    """1 in bone, 0 outside, and a ramp of two grid steps about its surface."""
    share: np.ndarray = np.clip(0.5 + depth / (2 * spacing_mm), 0, 1)
    return share


def _ring_clearance(
    field: BoneField, points: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the surface, and width of the bone, at points of an axis (mm).

    The least of 24 rays across the axis, and the least of the 12 chords that they make, after the
    median of three rays side by side and of five points in a row: no single ray decides. Finer
    than the depth at the point itself, which the grid rounds off along the middle of a thin bone.
    """
    u = unit(np.cross(direction, field.grid.axes[:, 2]))
    v = np.cross(direction, u)
    phi = np.arange(24) * 2 * np.pi / 24
    rays = np.cos(phi)[:, None] * u + np.sin(phi)[:, None] * v
    r = np.arange(0.0, 14.01, 0.4)
    depth = field.at(points[:, None, None, :] + r[:, None] * rays[:, None, :])
    inside = share_inside(np.minimum.accumulate(depth, axis=2), field.grid.spacing_mm)
    crossing = 0.4 * (inside.sum(axis=2) - 0.5 * inside[..., 0])
    crossing = ndimage.median_filter(crossing, (1, 3), mode="wrap")
    crossing = ndimage.median_filter(crossing, (5, 1), mode="nearest")
    chords = crossing[:, :12] + crossing[:, 12:]
    return crossing.min(axis=1), chords.min(axis=1)


def _reach(field: BoneField, start: np.ndarray, direction: np.ndarray, limit_mm: float) -> float:
    """How far the axis stays in bone from ``start`` (gaps of under 1 mm are crossed)."""
    s = np.arange(0.0, limit_mm, 0.2)
    inside = field.at(start + s[:, None] * direction) > 0
    outside = np.flatnonzero(~ndimage.binary_closing(np.pad(inside, 6), iterations=2)[6:-6])
    return float(s[outside[0]]) if len(outside) else limit_mm


def _shaft_reach(
    field: BoneField, start: np.ndarray, direction: np.ndarray, radius_mm: float
) -> float:
    """How far a shaft stays in bone behind the pedicle.

    Where most of its section leaves the bone, and the facet behind a joint that the image hardly
    shows counts in part: the first place under a share moves by a facet's thickness with the
    least change of the threshold.
    """
    s = np.arange(PEDICLE_MM, _ARCH_MM, 0.4)
    phi = np.arange(12) * np.pi / 6
    u = unit(np.cross(direction, field.grid.axes[:, 2]))
    ring = np.cos(phi)[:, None] * u + np.sin(phi)[:, None] * np.cross(direction, u)
    disc = np.concatenate([radius_mm * r * ring for r in np.sqrt([1 / 6, 1 / 2, 5 / 6])])
    depth = field.at(start + s[:, None, None] * direction + disc)
    inside = share_inside(depth, field.grid.spacing_mm).mean(axis=1)
    least = np.minimum.accumulate(ndimage.uniform_filter1d(inside, 5, mode="nearest"))
    none, whole = _IN_BONE
    return PEDICLE_MM + 0.4 * float(np.clip((least - none) / (whole - none), 0, 1).sum())


def narrowest(field: BoneField, entry: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The point of a drawn axis where the pedicle around it is narrowest (RAS).

    :param entry: about where the screw begins.
    :raises InputError: no bone along the axis.
    """
    direction = unit(direction)
    s = np.arange(-10.0, 60.0, 0.4)
    points = np.asarray(entry, float) + s[:, None] * direction
    runs, count = ndimage.label(field.at(points) > 0)
    if count == 0:
        raise InputError("no bone along the screw; move its line")
    # The body with its pedicle is by far the longest piece of bone that an axis crosses.
    longest = 1 + int(np.argmax(np.bincount(runs)[1:]))
    within = points[runs == longest]
    # The very back of the bone is thin, too, and further on comes the body.
    steps = len(within)
    pedicle = within[min(10, steps // 4) : max(min(55, steps // 2), 1)]
    nearest, _ = _ring_clearance(field, pedicle, direction)
    found: np.ndarray = pedicle[int(np.argmin(nearest))]
    return found


def _first(s: np.ndarray, where: np.ndarray) -> float:
    """The first value where something holds, infinity where nothing does."""
    return float(s[where][0]) if where.any() else np.inf


def _diameter(
    sizes: ScrewSizes, clearance_mm: float, width_mm: float, level: str, name: str
) -> tuple[float, tuple[str, ...]]:
    """The thickest screw, and a warning where even the thinnest is too thick."""
    diameter = sizes.diameter(width_mm, clearance_mm, level)
    if diameter is not None:
        return diameter, ()
    thinnest = min(sizes.diameters_mm)
    return thinnest, (
        f"{name}: pedicle of {width_mm:.1f} mm is too small for any screw with its margin; "
        f"none is placed (the thinnest has {thinnest:g} mm)",
    )


def _length(sizes: ScrewSizes, room_mm: float, name: str) -> tuple[float, tuple[str, ...]]:
    """The longest screw, and a warning where even the shortest is too long."""
    length = sizes.length(room_mm)
    if length is not None:
        return length, ()
    shortest = min(sizes.lengths_mm)
    return shortest, (
        f"{name}: only {room_mm:.0f} mm of bone along the axis; none is placed (the "
        f"shortest has {shortest:g} mm)",
    )


def trajectory_along(
    field: BoneField,
    frame: VertebraFrame,
    side: str,
    through: np.ndarray,
    direction: np.ndarray,
    sizes: ScrewSizes,
) -> PedicleTrajectory:
    """Entry, length and diameter for a given axis.

    :raises InputError: the axis does not run through bone.
    """
    direction = unit(direction)
    name = f"{frame.level or 'vertebra'} {side}"
    back = _reach(field, through, -direction, _ARCH_MM)
    front = _reach(field, through, direction, 60.0)
    s = np.arange(-back, front, 0.4)
    depths = field.at(through + s[:, None] * direction)
    # Behind the pedicle the thread lies in the articular pillar, whose back it enters through:
    # no clearance is asked for there.
    begin = min(max(-PEDICLE_MM - 0.5, 4.0 - back), 0.0)
    stations = np.flatnonzero((s >= begin) & (s <= PEDICLE_MM))
    if len(stations) == 0:
        raise InputError(
            f"{name}: no bone along the pedicle's axis; check the click, or lower the bone "
            "threshold"
        )
    nearest, chords = _ring_clearance(field, through + s[stations, None] * direction, direction)
    narrow = int(stations[np.argmin(nearest)])
    pedicle, width = float(nearest.min()), float(chords.min())
    diameter, narrow_pedicle = _diameter(sizes, pedicle, width, frame.level, name)
    behind = _shaft_reach(field, through, -direction, 0.5 * diameter)
    entry = through - behind * direction
    # Screws of both sides must not meet at the midline.
    aside = frame.local(through + s[:, None] * direction)[:, 0] * (-1.0 if side == "left" else 1.0)
    # In the body the thread may not reach the surface; its tapered tip may come nearer.
    ahead = min(
        front,
        _first(s, (s > PEDICLE_MM) & (depths < 0.5 * diameter)) + 5.0,
        _first(s, aside < 0.5 * diameter) + sizes.tip_margin_mm,
    )
    length, little_bone = _length(sizes, behind + ahead, name)
    used = (s >= begin) & (s <= max(length - behind - 5.0, begin + 1.0))
    clearance = float(depths[used].min())
    convergence, inclination = screw_angles_deg(frame, side, direction)
    return PedicleTrajectory(
        level=frame.level,
        side=side,
        entry_ras=entry,
        target_ras=entry + direction * length,
        isthmus_ras=through + s[narrow] * direction,
        diameter_mm=diameter,
        length_mm=length,
        clearance_mm=clearance,
        pedicle_width_mm=width,
        convergence_deg=convergence,
        inclination_deg=inclination,
        fits=not (narrow_pedicle or little_bone),
        warnings=(*narrow_pedicle, *little_bone),
    )
