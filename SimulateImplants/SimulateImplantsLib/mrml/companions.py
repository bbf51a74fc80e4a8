"""Copy and remove an implant with what hangs on it: its line, its transform, rods through it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from MetalArtifactReductionLib.mrml.transaction import all_or_none, remove_node

from ..implants.cross_link import CrossLink
from ..implants.femoral_head import FemoralHead
from ..implants.rod import Rod
from .folders import folder_of, remove_if_empty
from .lines import add_line
from .nodes import add_implant, set_matrix
from .rods import follow_screws, rods_through, screws_of, set_screws
from .scene_implant import TRANSFORM_REFERENCE, SceneImplant, implant_of_node

DUPLICATE_SHIFT_MM = 15.0


def duplicate(one: SceneImplant, shift_mm: float = DUPLICATE_SHIFT_MM) -> SceneImplant:
    """A copy beside the original, with its own transform and line, free of any rod.

    :param shift_mm: to the patient's left, so that the copy is seen.
    """
    scene = one.scene
    matrix = one.matrix()
    matrix[0, 3] -= shift_mm
    with all_or_none(scene) as added:
        copy = add_implant(
            scene,
            one.implant,
            name=one.name,
            side=one.side,
            level=one.level,
            construct=one.construct,
        )
        added(copy.transform)
        added(copy.model)
        copy.transform.SetAndObserveTransformNodeID(one.transform.GetTransformNodeID())
        set_matrix(copy, matrix)
        if one.line is not None:
            added(add_line(copy))
    return copy


def remove(one: SceneImplant) -> None:
    """Take an implant out of the scene with its transform and line.

    A rod through it follows the screws that are left; with fewer than two it stays as it is.
    """
    scene, model = one.scene, one.model
    rods, folder = rods_through(one), folder_of(scene, model)
    line, transform = one.line, model.GetNodeReference(TRANSFORM_REFERENCE)
    if line is not None and implant_of_node(line) not in (None, one):
        line = None  # a node that was copied elsewhere in Slicer refers to that of its original
    remove_node(scene, model)
    remove_companions(scene, line, transform)
    remove_if_empty(scene, folder)
    for rod in rods:
        release_removed(rod)


def remove_all(implants: Iterable[SceneImplant]) -> None:
    """Remove many implants."""
    for one in to_remove(implants):
        remove(one)


def to_remove(implants: Iterable[SceneImplant]) -> list[SceneImplant]:
    """In the order in which many go: a rod would follow each screw that goes before it.

    Heads before the stems under whose transforms they lie.
    """
    first = {CrossLink.kind: 0, Rod.kind: 1, FemoralHead.kind: 1}
    return sorted(implants, key=lambda one: first.get(one.kind, 2))


def remove_companions(scene: Any, line: Any, transform: Any) -> None:
    """Remove what is left of an implant without its model; a transform in use stays."""
    remove_node(scene, line)
    if transform is not None and not _is_parent(scene, transform):
        remove_node(scene, transform)


def release_removed(rod: SceneImplant) -> None:
    """Let a rod go on without screws that are gone."""
    left = screws_of(rod)
    set_screws(rod, left if len(left) > 1 else [])
    if len(left) > 1:
        follow_screws(rod)


def _is_parent(scene: Any, transform: Any) -> bool:
    """Whether something of the user's still lies under a transform."""
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return any(
        node.IsA("vtkMRMLTransformableNode") and node.GetTransformNodeID() == transform.GetID()
        for node in nodes
    )
