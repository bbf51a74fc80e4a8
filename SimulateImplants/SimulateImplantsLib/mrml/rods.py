"""Rods that follow their screws, and cross-links between rods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ..implants.cross_link import CrossLink
from ..implants.pedicle_screw import PedicleScrew, RodSeat
from ..implants.rod import Rod
from ..placement.spine.construct import link_rods
from .nodes import add_implant, set_implant, set_matrix
from .scene_implant import (
    PREFIX,
    PROBLEM,
    RODS_REFERENCE,
    SCREWS_REFERENCE,
    SceneImplant,
    implants_of,
)

OVERHANG = PREFIX + "overhang_mm"
"""Attribute of a rod: how far it reaches beyond its first and last screw."""

SEEN_MM, SEEN_DEG = 0.05, 0.5
SAME_MM = 0.01


def add_rod(
    scene: Any,
    screws: Sequence[SceneImplant],
    *,
    diameter_mm: float = 5.5,
    material: str = "Ti6Al4V",
    overhang_mm: float = 10.0,
    name: str = "",
    like: Any = None,
) -> SceneImplant:
    """A rod through the heads of screws, which turn to it; it follows when they move.

    :param screws: two or more pedicle screws, in any order: they are taken along their longest
        extent.
    :param like: see :func:`add_implant`.
    :raises InputError: fewer than two screws, not screws, or seats that no rod can follow.
    """
    others = [one.name for one in screws if not isinstance(one.implant, PedicleScrew)]
    if others:
        raise InputError(f"a rod holds pedicle screws: '{others[0]}' is none; select screws only")
    ordered = along_spine(screws)
    turned, rod = fitted(
        [_screw(one) for one in ordered],
        [one.matrix(like) for one in ordered],
        diameter_mm,
        material,
        overhang_mm,
    )
    sides = {one.side for one in ordered}
    constructs = {one.construct for one in ordered}
    side = sides.pop() if len(sides) == 1 else ""
    added = add_implant(
        scene,
        rod,
        name=name or " ".join(word for word in (side, "rod") if word),
        side=side,
        construct=constructs.pop() if len(constructs) == 1 else "",
        like=like,
        handles=False,
    )
    added.model.SetAttribute(OVERHANG, repr(float(overhang_mm)))
    set_screws(added, ordered)
    _show_facing(ordered, turned)
    return added


def screws_of(rod: SceneImplant) -> list[SceneImplant]:
    """The screws of a rod that are still in the scene, in order along it."""
    count = rod.model.GetNumberOfNodeReferences(SCREWS_REFERENCE)
    nodes = [rod.model.GetNthNodeReference(SCREWS_REFERENCE, index) for index in range(count)]
    return [SceneImplant(node) for node in nodes if node is not None]


def set_screws(rod: SceneImplant, screws: Sequence[SceneImplant]) -> None:
    """Replace the screws that a rod follows; with none it keeps its shape and is free."""
    rod.model.RemoveNodeReferenceIDs(SCREWS_REFERENCE)
    for index, screw in enumerate(screws):
        rod.model.SetNthNodeReferenceID(SCREWS_REFERENCE, index, screw.model.GetID())


def rods_through(screw: SceneImplant) -> list[SceneImplant]:
    """The rods that hold a screw."""
    if screw.scene is None:
        return []
    return [
        rod
        for rod in implants_of(screw.scene, Rod.kind)
        if any(one.model.GetID() == screw.model.GetID() for one in screws_of(rod))
    ]


def follow_screws(rod: SceneImplant) -> bool:
    """Lead a rod through the heads of its screws where they are now; the heads turn to it.

    :returns: whether the rod has screws to follow.
    :raises InputError: no rod can follow the screws (too close, too sharp a bend); the rod stays
        as it was and says so in its ``problem``.
    """
    screws = screws_of(rod)
    if len(screws) < 2:
        return False
    now = rod.implant
    assert isinstance(now, Rod)
    overhang = float(rod.model.GetAttribute(OVERHANG) or 10.0)
    to_rod = np.linalg.inv(rod.matrix())
    try:
        turned, wanted = fitted(
            [_screw(one) for one in screws],
            [to_rod @ one.matrix() for one in screws],
            now.diameter_mm,
            now.material,
            overhang,
        )
    except InputError as error:
        rod.model.SetAttribute(PROBLEM, str(error))
        raise
    _show_facing(screws, turned)
    if rod.problem or not _same_rod(now, wanted):
        set_implant(rod, wanted)
    return True


def fitted(
    screws: Sequence[PedicleScrew],
    placements: Sequence[np.ndarray],
    diameter_mm: float,
    material: str,
    overhang_mm: float,
) -> tuple[list[PedicleScrew], Rod]:
    """Screws with their heads turned to a rod, and the rod through them.

    A head that turns moves its seat, which bends the rod: two rounds settle it, since a head turns
    about a ball only a few mm below the rod.

    :param placements: screw frame -> the rod's frame, ``(4, 4)`` each.
    :raises InputError: see :meth:`Rod.through`.
    """
    turned = [replace(screw, rod_diameter_mm=diameter_mm) for screw in screws]
    for _ in range(2):
        directions = _directions(_seats(turned, placements))
        turned = [
            screw.facing(placement[:3, :3].T @ direction)
            for screw, placement, direction in zip(turned, placements, directions, strict=True)
        ]
    rod = Rod.through(_seats(turned, placements), diameter_mm, overhang_mm, material)
    return turned, rod


def along_spine(screws: Sequence[SceneImplant]) -> list[SceneImplant]:
    """Screws from one end of their row to the other, the upper end first.

    :raises InputError: fewer than two.
    """
    if len(screws) < 2:
        raise InputError(f"a rod needs two or more screws, {len(screws)} selected")
    heads = np.array([one.matrix()[:3, 3] for one in screws])
    _, _, axes = np.linalg.svd(heads - heads.mean(axis=0))
    axis = axes[0] if axes[0][2] >= 0 else -axes[0]
    return [screws[int(index)] for index in np.argsort(-(heads @ axis), kind="stable")]


def add_cross_link(
    scene: Any, first: SceneImplant, second: SceneImplant, *, like: Any = None
) -> SceneImplant:
    """A cross-link between two rods, clear of their screws; it follows when they move.

    :param first: a rod; the link lies on the side away from the bone.
    :param like: see :func:`add_implant`.
    :raises InputError: not two rods, of two diameters, or too close or too far apart.
    """
    link, placement = _link_between(first, second, like)
    construct = first.construct if first.construct == second.construct else ""
    added = add_implant(scene, link, placement, construct=construct, like=like, handles=False)
    set_rods(added, first, second)
    return added


def set_rods(link: SceneImplant, first: SceneImplant, second: SceneImplant) -> None:
    """The two rods that a cross-link follows."""
    for index, rod in enumerate((first, second)):
        link.model.SetNthNodeReferenceID(RODS_REFERENCE, index, rod.model.GetID())


def rods_of(link: SceneImplant) -> list[SceneImplant]:
    """The rods of a cross-link that are still in the scene."""
    nodes = [link.model.GetNthNodeReference(RODS_REFERENCE, index) for index in range(2)]
    return [SceneImplant(node) for node in nodes if node is not None]


def links_between(rod: SceneImplant) -> list[SceneImplant]:
    """The cross-links that hold a rod."""
    if rod.scene is None:
        return []
    return [one for one in implants_of(rod.scene, CrossLink.kind) if joined(one, rod)]


def follow_rods(link: SceneImplant) -> bool:
    """Bring a cross-link to where its two rods are now.

    :returns: whether it has two rods to follow.
    :raises InputError: see :func:`add_cross_link`; it stays as it was and says so.
    """
    rods = rods_of(link)
    if len(rods) < 2:
        return False
    try:
        wanted, placement = _link_between(rods[0], rods[1], None)
    except InputError as error:
        link.model.SetAttribute(PROBLEM, str(error))
        raise
    if wanted != link.implant or link.problem:
        set_implant(link, wanted)
    set_matrix(link, placement)
    return True


def joined(one: SceneImplant, other: SceneImplant) -> bool:
    """Whether one of them holds the other: a rod its screws, a cross-link its rods."""
    for holder, held in ((one, other), (other, one)):
        for role in (SCREWS_REFERENCE, RODS_REFERENCE):
            count = holder.model.GetNumberOfNodeReferences(role)
            ids = (holder.model.GetNthNodeReferenceID(role, index) for index in range(count))
            if held.model.GetID() in ids:
                return True
    return False


def _link_between(
    first: SceneImplant, second: SceneImplant, like: Any
) -> tuple[CrossLink, np.ndarray]:
    lines, diameters = [], []
    for one in (first, second):
        rod = one.implant
        if not isinstance(rod, Rod):
            raise InputError(f"a cross-link ties two rods: '{one.name}' is a {one.kind}")
        line, _ = rod.centre_line()
        matrix = one.matrix(like)
        lines.append(line @ matrix[:3, :3].T + matrix[:3, 3])
        diameters.append(rod.diameter_mm)
    seats = [seat for one in (first, second) for seat in _held(one, like)]
    up = np.mean([seat.up for seat in seats], axis=0) if seats else np.array([0.0, -1.0, 0.0])
    return link_rods(lines, [seat.position for seat in seats], up, diameters, first.material)


def _held(rod: SceneImplant, like: Any) -> list[RodSeat]:
    """The seats of the screws of a rod."""
    return [_screw(screw).rod_seat().transformed(screw.matrix(like)) for screw in screws_of(rod)]


def _screw(one: SceneImplant) -> PedicleScrew:
    implant = one.implant
    if not isinstance(implant, PedicleScrew):
        raise InputError(f"'{one.name}' is a {one.kind}, not a pedicle screw")
    return implant


def _seats(screws: Sequence[PedicleScrew], placements: Sequence[np.ndarray]) -> list[RodSeat]:
    return [
        screw.rod_seat().transformed(placement)
        for screw, placement in zip(screws, placements, strict=True)
    ]


def _directions(seats: Sequence[RodSeat]) -> np.ndarray:
    """Tangent of the rod at each of its seats."""
    line, tangent = Rod.through(seats, overhang_mm=0.0).centre_line()
    nearest = [int(np.argmin(np.linalg.norm(line - seat.position, axis=1))) for seat in seats]
    return tangent[nearest]


def _show_facing(screws: Sequence[SceneImplant], turned: Sequence[PedicleScrew]) -> None:
    """Turn the heads in the scene; turns too small to be seen are not worth a new surface."""
    for one, wanted in zip(screws, turned, strict=True):
        now = _screw(one)
        before, after = now.rod_seat(), wanted.rod_seat()
        moved = float(np.linalg.norm(after.position - before.position))
        along = abs(float(after.direction @ before.direction))  # a slot has no sense
        same_rod = wanted.rod_diameter_mm == now.rod_diameter_mm
        if not same_rod or moved > SEEN_MM or along < np.cos(np.deg2rad(SEEN_DEG)):
            set_implant(one, wanted)


def _same_rod(one: Rod, other: Rod) -> bool:
    """Whether two rods are the same but for the fit's tolerance: a construct moved as a whole."""
    first, second = np.array(one.path_mm), np.array(other.path_mm)
    return (
        (one.diameter_mm, one.material) == (other.diameter_mm, other.material)
        and first.shape == second.shape
        and bool(np.allclose(first, second, rtol=0, atol=SAME_MM))
    )
