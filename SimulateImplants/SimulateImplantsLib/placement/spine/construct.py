"""Screws of a side joined by a rod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ...implants import implant_from_dict
from ...implants.cross_link import CrossLink
from ...implants.pedicle_screw import PedicleScrew, RodSeat
from ...implants.rod import Rod
from ..geometry import axis_placement, unit
from ..plan import PlannedImplant
from .levels import level_index
from .trajectory import PedicleTrajectory

if TYPE_CHECKING:
    from ..neck.screw import LateralMass

ROD_DIAMETERS_MM = (4.75, 5.5, 6.0, 6.35)
_TAKEN_UP_MM = 1.0
"""Between a rod and the middle of a slot: the set screw draws it in."""
_LINK_ROOM_MM = 22.0
"""Between the seats of two screws: their heads and a cross-link's hook."""


def planned_screw(
    trajectory: PedicleTrajectory | LateralMass,
    up: np.ndarray | None = None,
    family: type[PedicleScrew] = PedicleScrew,
    **parameters: Any,
) -> PlannedImplant:
    """A pedicle screw, or one of a like family, on its trajectory.

    :param up: direction of the rod (RAS), which the slot follows; superior when None.
    :param parameters: more of the screw, such as ``material``.
    """
    screw = family(diameter_mm=trajectory.diameter_mm, length_mm=trajectory.length_mm, **parameters)
    matrix = axis_placement(trajectory.entry_ras, trajectory.target_ras, up)
    return PlannedImplant(
        screw.to_dict(), matrix, {"side": trajectory.side, "level": trajectory.level}
    )


def along_the_spine(screws: Sequence[PlannedImplant]) -> list[PlannedImplant]:
    """Screws from the head down: by level where all have one, else along their own line."""
    levels = [level_index(str(item.attributes.get("level", ""))) for item in screws]
    if all(np.isfinite(levels)) and len(set(levels)) == len(levels):
        return [screws[i] for i in np.argsort(levels)]
    origins = np.array([item.matrix[:3, 3] for item in screws])
    _, _, axes = np.linalg.svd(origins - origins.mean(axis=0))
    axis = axes[0] if axes[0][2] >= 0 else -axes[0]
    return [screws[i] for i in np.argsort(-(origins @ axis))]


def _seat(item: PlannedImplant, screw: PedicleScrew) -> RodSeat:
    return screw.rod_seat().transformed(item.matrix)


def rod_construct(
    screws: Sequence[PlannedImplant],
    *,
    rod_diameter_mm: float = 5.5,
    overhang_mm: float = 6.0,
    material: str = "Ti6Al4V",
    construct: str = "",
) -> list[PlannedImplant]:
    """The screws of one side with their heads turned to a rod through all of them, and the rod.

    The heads turn by at most 30 degrees; the rod runs through the seats in order from the head
    down. Where it would bend too sharply it is bent through beside them instead: each screw that
    it misses by more than 1 mm says by how much ("rod_aside_mm" among its attributes).

    :return: screws in that order ("order" 0, 1, ... among their attributes), then the rod.
    :raises InputError: fewer than two screws, or none but pedicle screws can be joined.
    """
    if len(screws) < 2:
        raise InputError(f"a rod needs two or more screws on a side, {len(screws)} given")
    ordered = along_the_spine(screws)
    made: list[PedicleScrew] = []
    for item in ordered:
        screw = implant_from_dict({**item.implant, "rod_diameter_mm": rod_diameter_mm})
        if not isinstance(screw, PedicleScrew):
            raise InputError(f"a rod joins polyaxial screws, not {item.kind}")
        made.append(screw)
    for _ in range(3):
        seats = _seats(ordered, made)
        line, tangent = _bent(seats, rod_diameter_mm, overhang_mm, material).centre_line()
        for i, item in enumerate(ordered):
            nearest = int(np.argmin(np.linalg.norm(line - seats[i], axis=1)))
            made[i] = made[i].facing(item.matrix[:3, :3].T @ tangent[nearest])
    final = _seats(ordered, made)
    rod = _bent(final, rod_diameter_mm, overhang_mm, material)
    line = _dense(rod.centre_line()[0])
    aside = np.linalg.norm(line[:, None] - final, axis=2).min(axis=0)
    side = ordered[0].attributes.get("side", "")
    name = construct or f"spine {side}".strip()
    out = [
        PlannedImplant(
            screw.to_dict(),
            item.matrix,
            {**item.attributes, "order": i, "construct": name}
            | ({"rod_aside_mm": round(float(aside[i]), 1)} if aside[i] > _TAKEN_UP_MM else {}),
        )
        for i, (item, screw) in enumerate(zip(ordered, made, strict=True))
    ]
    levels = [str(item.attributes.get("level", "")) for item in ordered]
    attributes: Mapping[str, Any] = {
        "side": side,
        "level": f"{levels[0]}-{levels[-1]}",
        "construct": name,
        "order": len(out),
    }
    return [*out, PlannedImplant(rod.to_dict(), np.eye(4), attributes)]


def _seats(items: Sequence[PlannedImplant], screws: Sequence[PedicleScrew]) -> np.ndarray:
    """Where the screws hold a rod, RAS ``(n, 3)``."""
    return np.array([_seat(item, s).position for item, s in zip(items, screws, strict=True)])


def _bent(seats: np.ndarray, diameter_mm: float, overhang_mm: float, material: str) -> Rod:
    """The rod nearest to the seats that can be bent: smoothed until its radius is permitted.

    Points p minimise |p - seats|^2 + w |second differences of p|^2; with w the rod gets straight.
    """
    bend = np.diff(np.eye(len(seats)), 2, axis=0)
    for weight in (0.0, *np.geomspace(0.02, 2e4, 25)):
        eased = np.linalg.solve(np.eye(len(seats)) + weight * bend.T @ bend, seats)
        try:
            return Rod.through(list(eased), diameter_mm, overhang_mm, material)
        except InputError:
            continue
    middle, (_, _, axes) = seats.mean(axis=0), np.linalg.svd(seats - seats.mean(axis=0))
    along = (seats - middle) @ axes[0]
    reach = max(float(np.ptp(along)), 4 * diameter_mm)
    way = axes[0] if along[-1] > along[0] else -axes[0]
    ends = [middle - 0.5 * reach * way, middle + 0.5 * reach * way]
    return Rod.through(ends, diameter_mm, overhang_mm, material)


def _dense(line: np.ndarray) -> np.ndarray:
    """Points 0.25 mm apart or less along a polyline."""
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    fine = np.linspace(0, at[-1], int(at[-1] / 0.25) + 2)
    return np.stack([np.interp(fine, at, line[:, k]) for k in range(3)], axis=1)


def bent_elsewhere(items: Sequence[PlannedImplant]) -> list[str]:
    """What a user should know of heads that the rod misses."""
    return [
        f"{item.attributes['level']} {item.attributes['side']}: the rod cannot be bent through "
        f"this head; it passes {item.attributes['rod_aside_mm']:g} mm beside"
        for item in items
        if "rod_aside_mm" in item.attributes
    ]


def cross_link(
    left: Sequence[PlannedImplant], right: Sequence[PlannedImplant], material: str = "Ti6Al4V"
) -> PlannedImplant:
    """A cross-link between the rods of two sides, between their screws' heads.

    :param left, right: of :func:`rod_construct`.
    :raises InputError: a side without a rod, rods of two diameters, too close or too far apart.
    """
    lines, seats, ups, diameters, joins = [], [], [], [], []
    for side in (left, right):
        rods = [item for item in side if item.kind == Rod.kind]
        if len(rods) != 1:
            raise InputError("a cross-link ties the rods of two sides: each needs one")
        rod = rods[0].make()
        assert isinstance(rod, Rod)
        lines.append(_moved(rod.centre_line()[0], rods[0].matrix))
        diameters.append(rod.diameter_mm)
        joins.append(rods[0].attributes.get("construct", ""))
        for item in side:
            screw = item.make()
            if isinstance(screw, PedicleScrew):
                seat = _seat(item, screw)
                seats.append(seat.position)
                ups.append(seat.up)
    link, matrix = link_rods(lines, seats, np.mean(ups, axis=0), diameters, material)
    return PlannedImplant(link.to_dict(), matrix, {"construct": "cross-link", "joins": joins})


def link_rods(
    lines: Sequence[np.ndarray],
    seats: Sequence[np.ndarray],
    up: np.ndarray,
    diameters_mm: Sequence[float],
    material: str,
) -> tuple[CrossLink, np.ndarray]:
    """A cross-link for two rods and its placement, clear of the screws' heads.

    :param lines: points ``(n, 3)`` along the axis of either rod.
    :param seats: where screws hold them. :param up: away from the bone.
    :raises InputError: rods of two diameters, or too close or too far apart.
    """
    if diameters_mm[0] != diameters_mm[1]:
        raise InputError(
            f"a cross-link holds rods of one diameter, not of {diameters_mm[0]:g} and "
            f"{diameters_mm[1]:g} mm"
        )
    along = unit(lines[0][-1] - lines[0][0])
    height = _free_height(lines[0] @ along, np.array([seat @ along for seat in seats]))
    return CrossLink.between(
        _at_height(lines[0], height, along),
        _at_height(lines[1], height, along),
        along,
        up=up,
        rod_diameter_mm=diameters_mm[0],
        material=material,
    )


def _free_height(line: np.ndarray, seats: np.ndarray) -> float:
    """The middle of a gap between seats, wide enough and as near the rod's middle as there is."""
    middle = 0.5 * float(line.min() + line.max())
    ends = np.sort(seats)
    gaps = np.diff(ends)
    if not len(gaps):
        return middle
    centres = 0.5 * (ends[1:] + ends[:-1])
    wide = gaps >= min(_LINK_ROOM_MM, float(gaps.max()))
    return float(centres[wide][np.argmin(np.abs(centres[wide] - middle))])


def _at_height(line: np.ndarray, height: float, along: np.ndarray) -> np.ndarray:
    """The point of a polyline at a height in a direction; its nearer end if it ends before."""
    heights = line @ along
    order = np.argsort(heights)
    return np.array([np.interp(height, heights[order], line[order, axis]) for axis in range(3)])


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    result: np.ndarray = points @ matrix[:3, :3].T + matrix[:3, 3]
    return result


def rod_direction(items: Sequence[PlannedImplant]) -> np.ndarray:
    """Upwards along the screws of a side (RAS, unit)."""
    ordered = along_the_spine(items)
    return unit(ordered[0].matrix[:3, 3] - ordered[-1].matrix[:3, 3])
