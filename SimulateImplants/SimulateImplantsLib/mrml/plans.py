"""Placement plans as editable nodes, and nodes as plans."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.transaction import all_of, all_or_none

from ..implants.cross_link import CrossLink
from ..implants.femoral_head import FemoralHead
from ..implants.hip_stem import HipStem
from ..implants.pedicle_screw import PedicleScrew
from ..implants.rod import Rod
from ..implants.user_mesh import UserMesh
from ..placement.plan import PlacementPlan, PlannedImplant
from .lines import add_line, can_have_line
from .nodes import add_implant, new_construct, set_matrix
from .rods import OVERHANG, follow_screws, rods_of, set_rods, set_screws
from .scene_implant import CONSTRUCT, ORDER, SceneImplant, implants_of

SEAT_TOLERANCE_MM = 1.0
"""A rod that passes the seat of a screw this closely is held by it."""


def add_plan(scene: Any, plan: PlacementPlan, *, like: Any = None) -> list[SceneImplant]:
    """Put a plan into the scene: implants with their lines, rods that follow their screws.

    :param plan: of a proposal, a sampler or a file; placements in the RAS of ``like``.
    :param like: the CT's volume node, see :func:`add_implant`.
    :returns: in the order of the plan; handles and lines are hidden, see ``show_handles_of``.
    :raises InputError: an implant that cannot be made; nothing is added then.
    """
    made: list[SceneImplant] = all_of(plan_in_steps(scene, plan, like=like))
    return made


def plan_in_steps(
    scene: Any,
    plan: PlacementPlan,
    *,
    like: Any = None,
    kept: Mapping[int, SceneImplant] | None = None,
) -> Generator[None, None, list[SceneImplant]]:
    """:func:`add_plan` with pauses, in which a user interface answers.

    :param kept: index in the plan -> what is there already and takes the place of that implant;
        rods are led through it.
    """
    kept = kept or {}
    made: list[SceneImplant] = []
    constructs: dict[str, str] = {}
    implants = [item.make() for item in plan.implants]
    with all_or_none(scene) as added:
        for index, (item, implant) in enumerate(zip(plan.implants, implants, strict=True)):
            name = str(item.attributes.get("construct") or "")
            if name and name not in constructs:
                constructs[name] = new_construct(scene, name)
            order = item.attributes.get("order")
            if index in kept:
                one = kept[index]
                one.model.SetAttribute(CONSTRUCT, constructs.get(name, ""))
                one.model.SetAttribute(ORDER, str(order or 0))
                made.append(one)
                continue
            one = add_implant(
                scene,
                implant,
                item.matrix,
                side=str(item.attributes.get("side") or ""),
                level=str(item.attributes.get("level") or ""),
                order=None if order is None else int(order),
                construct=constructs.get(name, ""),
                like=like,
                handles=False,
            )
            added(one.transform)
            added(one.model)
            yield
            if one.kind != Rod.kind and can_have_line(one.implant):
                added(add_line(one))
            made.append(one)
            yield
        for one in made:
            if one.kind == Rod.kind:
                _hold(one, made, list(kept.values()))
                yield
            elif one.kind == FemoralHead.kind:
                _put_on_stem(one, made)
                yield
        for one, item in zip(made, plan.implants, strict=True):
            if one.kind == CrossLink.kind:
                names = [constructs.get(str(name)) for name in item.attributes.get("joins", ())]
                rods = [rod for rod in made if rod.kind == Rod.kind and rod.construct in names]
                if len(rods) == 2:
                    set_rods(one, *rods)
    return made


def plan_of(scene: Any, relative_to: Any = None) -> PlacementPlan:
    """The implants of a scene as a plan, for files, grading and the command line.

    :param relative_to: the CT's volume node, see :meth:`SceneImplant.matrix`.
    :raises InputError: there is none, or one is the user's own surface, which only a scene keeps.
    """
    chosen = implants_of(scene)
    if not chosen:
        raise InputError("there is no implant in the scene: add or propose one first")
    for one in chosen:
        if one.kind == UserMesh.kind:
            raise InputError(f"'{one.name}' is a surface of your own: save the scene instead")
    return PlacementPlan(tuple(planned(one, relative_to) for one in chosen))


def planned(one: SceneImplant, relative_to: Any = None) -> PlannedImplant:
    """One implant of the scene as data."""
    attributes: dict[str, Any] = {"order": one.order}
    for key, value in (("side", one.side), ("level", one.level), ("construct", one.construct)):
        if value:
            attributes[key] = value
    if one.kind == CrossLink.kind:
        attributes["joins"] = [rod.construct for rod in rods_of(one)]
    return PlannedImplant(one.implant.to_dict(), one.matrix(relative_to), attributes)


def _put_on_stem(head: SceneImplant, others: list[SceneImplant]) -> None:
    """A femoral head sits on the stem of its construct and moves with it."""
    for one in others:
        if one.kind == HipStem.kind and one.construct and one.construct == head.construct:
            place = head.matrix()
            head.transform.SetAndObserveTransformNodeID(one.transform.GetID())
            set_matrix(head, place)
            return


def _hold(rod: SceneImplant, others: list[SceneImplant], kept: list[SceneImplant]) -> None:
    """Let a rod follow the screws of its construct whose seats it passes, and the kept ones."""
    implant = rod.implant
    if not isinstance(implant, Rod) or not implant.path_mm or not rod.construct:
        return
    path = np.array(implant.path_mm)
    to_rod = np.linalg.inv(rod.matrix())
    held = []
    for one in others:
        screw = one.implant
        if not isinstance(screw, PedicleScrew) or one.construct != rod.construct:
            continue
        seat = screw.rod_seat().transformed(to_rod @ one.matrix()).position
        gaps = np.linalg.norm(path - seat, axis=1)
        if gaps.min() < SEAT_TOLERANCE_MM or one in kept:
            held.append((int(np.argmin(gaps)), one))
    if len(held) < 2:
        return
    held.sort(key=lambda pair: pair[0])
    set_screws(rod, [one for _, one in held])
    first, last = held[0][0], held[-1][0]
    overhang = np.linalg.norm(path[first] - path[0]) if first else 0.0
    if last < len(path) - 1:
        overhang = max(overhang, np.linalg.norm(path[-1] - path[last]))
    rod.model.SetAttribute(OVERHANG, repr(float(overhang)))
    if any(one in kept for _, one in held):
        with suppress(InputError):  # said in the rod's problem
            follow_screws(rod)
