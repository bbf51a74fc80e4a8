"""Add implants to a scene and change them."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.transaction import all_or_none
from MetalArtifactReductionLib.mrml.volumes import numpy_matrix, require_linear_parent, vtk_matrix

from ..implants import implant_from_dict
from ..implants.base import Implant
from ..implants.registry import entry_of
from ..implants.user_mesh import UserMesh
from ..placement.geometry import axis_placement
from .folders import place_in_construct
from .scene_implant import (
    CONSTRUCT,
    GIVEN_NAME,
    IMPLANT_REFERENCE,
    KIND,
    LEVEL,
    MATERIAL,
    ORDER,
    PARAMETERS,
    PROBLEM,
    SIDE,
    TRANSFORM_REFERENCE,
    SceneImplant,
    construct_number,
    free_name,
    implants_of,
)
from .surfaces import set_up_display, show_handles, show_surface

RIGID_TOLERANCE = 1e-4


def add_implant(
    scene: Any,
    implant: Implant,
    placement: np.ndarray | None = None,
    *,
    name: str = "",
    side: str = "",
    level: str = "",
    order: int | None = None,
    construct: str = "",
    like: Any = None,
    handles: bool = True,
    transform: Any = None,
) -> SceneImplant:
    """Put an implant into the scene as editable nodes.

    :param placement: rigid ``(4, 4)``, implant frame -> RAS of ``like``, mm; identity if None.
    :param name: for the user; made unique in the scene.
    :param side: "left", "right" or "".
    :param level: vertebral level, or "".
    :param order: position within the construct, from 0; the next if None.
    :param construct: see :func:`new_construct`; "" for a single implant.
    :param like: the CT's volume node: the implant goes under the same parent transform, so that
        both stay together. None is the world.
    :param handles: show the handles.
    :param transform: a linear one of the scene that places it, as it is, instead of a new one.
    :raises InputError: the placement is not rigid, a side that is none.
    """
    if side not in ("", "left", "right"):
        raise InputError(f"side '{side}' of an implant is neither 'left' nor 'right'")
    matrix = require_rigid(np.eye(4) if placement is None else placement)
    if like is not None:
        require_linear_parent(like)
    if order is None:
        same = [one.order for one in implants_of(scene) if one.construct == construct]
        order = max(same, default=-1) + 1
    name = name or usual_name(implant.kind, level, side)
    with all_or_none(scene) as added:
        if transform is None:
            transform = added(_new_transform(scene, f"{name} placement", matrix, like))

        model = _new_node(scene, "vtkMRMLModelNode", name)
        # Complete before it is added: observers of the scene see an implant, never half of one.
        _describe(model, implant)
        values = {SIDE: side, LEVEL: level, ORDER: str(order), CONSTRUCT: construct}
        values[GIVEN_NAME] = model.GetName()
        for attribute, value in values.items():
            model.SetAttribute(attribute, value)
        model.SetAndObserveTransformNodeID(transform.GetID())
        model.SetNodeReferenceID(TRANSFORM_REFERENCE, transform.GetID())
        model = added(scene.AddNode(model))
        transform.SetNodeReferenceID(IMPLANT_REFERENCE, model.GetID())
        show_surface(model, implant)
        set_up_display(model)
        one = SceneImplant(model)
        show_handles(one, handles)
        place_in_construct(scene, construct, like, [model, transform])
    return one


def usual_name(kind: str, level: str = "", side: str = "") -> str:
    """What an implant is called that nobody gave a name: "L4 left pedicle screw"."""
    if level == "S2AI":  # through the ala, not a pedicle
        kind = kind.removeprefix("pedicle-")
    return " ".join(word for word in (level, side, kind.replace("-", " ")) if word)


def rename(one: SceneImplant, name: str) -> None:
    """Call an implant, its transform and its line by a name, or the next that is free."""
    if one.name != name:
        one.model.SetName("")  # its own is free, too
        name = free_name(one.scene, name)
    for node, ends in ((one.model, ""), (one.transform, " placement"), (one.line, " entry-target")):
        if node is not None and node.GetName() != name + ends:
            node.SetName(free_name(one.scene, name + ends))


def named_by_user(one: SceneImplant) -> bool:
    """Whether the user gave it the name that it has."""
    return one.model.GetAttribute(GIVEN_NAME) not in (None, one.name)


def placement_at(implant: Implant, point: np.ndarray) -> np.ndarray:
    """Where a single implant starts, for the user to move it: upright, screws pointing forwards.

    :param point: RAS, mm: the implant's origin.
    :returns: ``(4, 4)``, implant frame -> RAS.
    """
    forwards = entry_of(implant.kind).forwards
    axis = np.array([0.0, 1.0, 0.0] if forwards else [0.0, 0.0, 1.0])
    # +x is medial in hip implants: to the patient's right on the left side.
    right = np.array([-1.0 if getattr(implant, "side", "left") == "right" else 1.0, 0.0, 0.0])
    start = np.asarray(point, dtype=float)
    up = np.array([0.0, 0.0, 1.0])
    return axis_placement(start, start + axis, up if forwards else right)


def set_implant(one: SceneImplant, implant: Implant) -> None:
    """Replace what an implant is, keeping its placement, side, level and references.

    :raises InputError: another family; add a new implant for that.
    """
    if implant.kind != one.kind:
        raise InputError(
            f"'{one.name}' is a {one.kind} and cannot become a {implant.kind}: add a new implant"
        )
    _describe(one.model, implant)
    show_surface(one.model, implant)


def change_parameters(one: SceneImplant, **changes: Any) -> Implant:
    """Change single parameters (``length_mm=50``) and show the result.

    :returns: the implant as it is now.
    :raises InputError: no such parameter, or a value out of its range; nothing is changed then.
    """
    implant = one.implant
    known = {item.name for item in fields(implant)}  # type: ignore[arg-type]
    for name in changes:
        if name not in known:
            raise InputError(f"a {implant.kind} has no parameter '{name}': choose another")
    if isinstance(implant, UserMesh):
        changed: Implant = replace(implant, path="", scale=1.0, **changes)
    else:
        changed = implant_from_dict(implant.to_dict() | changes)
    if changed != implant:
        set_implant(one, changed)
    return changed


def set_matrix(one: SceneImplant, placement: np.ndarray, relative_to: Any = None) -> None:
    """Place an implant.

    :param placement: rigid ``(4, 4)``, implant frame -> RAS of ``relative_to``.
    :param relative_to: a volume node; None is the world.
    :raises InputError: not rigid, or a non-linear transform in between.
    """
    matrix = require_rigid(placement)
    transform = one.transform
    now = one.matrix(relative_to)
    # to parent = (parent <- reference) placement, and now = (reference <- parent) to parent.
    import vtk

    to_parent = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToParent(to_parent)
    parent_from_reference = numpy_matrix(to_parent) @ np.linalg.inv(now)
    transform.SetMatrixTransformToParent(vtk_matrix(parent_from_reference @ matrix))


def new_construct(scene: Any, name: str = "") -> str:
    """A label that no construct in the scene has: the next number and a name for people.

    :param name: a number that it has from an earlier scene makes room for the new one.
    """
    numbers = (construct_number(one.construct) for one in implants_of(scene))
    if construct_number(name):
        name = name.partition(" ")[2]
    return f"{max(numbers, default=0) + 1} {name}".strip()


def require_rigid(placement: np.ndarray) -> np.ndarray:
    """The matrix as float64, once it is sure to move and turn (or mirror) only.

    :raises InputError: it scales, shears, or is no ``(4, 4)`` of finite numbers.
    """
    matrix = np.asarray(placement, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError("the placement of an implant has to be a 4 x 4 matrix of finite numbers")
    turn = matrix[:3, :3]
    if np.abs(turn.T @ turn - np.eye(3)).max() > RIGID_TOLERANCE:
        scale = float(np.linalg.norm(turn, axis=0).max())
        raise InputError(
            f"the placement of an implant scales or shears (largest axis {scale:.3f}): implants "
            "have fixed sizes; take out the scaling"
        )
    return matrix


def _new_node(scene: Any, kind: str, name: str) -> Any:
    """A node that is not in the scene yet, with a name that is free there."""
    node = scene.CreateNodeByClass(kind)
    node.UnRegister(None)  # Python holds its own reference
    node.SetName(free_name(scene, name))
    return node


def _new_transform(scene: Any, name: str, matrix: np.ndarray, like: Any) -> Any:
    transform = _new_node(scene, "vtkMRMLLinearTransformNode", name)
    transform.SetMatrixTransformToParent(vtk_matrix(matrix))
    if like is not None:
        transform.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    return scene.AddNode(transform)


def _describe(model: Any, implant: Implant) -> None:
    """Write kind, parameters and material."""
    if isinstance(implant, UserMesh):
        values = {
            "kind": implant.kind,
            "material": implant.material,
            "allow_self_intersection": implant.allow_self_intersection,
            "source": implant.path,
        }
    else:
        values = implant.to_dict()
    model.SetAttribute(KIND, implant.kind)
    model.SetAttribute(PARAMETERS, json.dumps(values, sort_keys=True))
    model.SetAttribute(MATERIAL, implant.material)
    model.SetAttribute(PROBLEM, "")
