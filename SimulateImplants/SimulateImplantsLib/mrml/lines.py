"""A Markups line, entry to target, that drives a screw, and follows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.transaction import all_or_none

from ..implants import parameter_ranges
from ..implants.base import Implant
from ..implants.registry import entry_of
from ..implants.rod import Rod
from ..placement.geometry import axis_placement
from .folders import place_in_construct
from .nodes import change_parameters, set_matrix
from .scene_implant import IMPLANT_REFERENCE, LINE_REFERENCE, SceneImplant, free_name

ENTRY, TARGET = 0, 1
LINE_COLOR = (0.25, 0.85, 0.35)
_SAME_MM = 1e-3


def can_have_line(implant: Implant) -> bool:
    """Whether entry and target say everything about where the implant lies."""
    return entry_of(implant.kind).along_line and not (isinstance(implant, Rod) and implant.path_mm)


def add_line(one: SceneImplant) -> Any:
    """Give an implant its line; an existing one is returned as it is.

    :returns: ``vtkMRMLMarkupsLineNode``, control point 0 the entry, 1 the target.
    :raises InputError: the implant does not lie along a line.
    """
    if one.line is not None:
        return one.line
    if not can_have_line(one.implant):
        raise InputError(f"'{one.name}' ({one.kind}) has no entry and target: move its handles")
    scene = one.scene
    with all_or_none(scene) as added:
        line = scene.CreateNodeByClass("vtkMRMLMarkupsLineNode")
        line.UnRegister(None)
        line.SetName(free_name(scene, f"{one.name} entry-target"))
        # Beside the implant's transform, not under it: the line drives that transform.
        line.SetAndObserveTransformNodeID(one.transform.GetTransformNodeID())
        line.SetNodeReferenceID(IMPLANT_REFERENCE, one.model.GetID())
        line = added(scene.AddNode(line))
        line.CreateDefaultDisplayNodes()
        display = line.GetDisplayNode()
        before = display.StartModify()
        display.SetColor(*LINE_COLOR)
        display.SetSelectedColor(*LINE_COLOR)
        display.SetPropertiesLabelVisibility(False)
        display.SetPointLabelsVisibility(False)
        display.SetGlyphScale(2.0)
        handles = one.transform.GetDisplayNode()
        display.SetVisibility(handles is not None and bool(handles.GetEditorVisibility()))
        display.EndModify(before)
        one.model.SetNodeReferenceID(LINE_REFERENCE, line.GetID())
        update_line(one)
        place_in_construct(scene, one.construct, None, [line])
    return line


def update_line(one: SceneImplant) -> bool:
    """Put the line where its implant is.

    :returns: whether the line was moved.
    """
    line = one.line
    if line is None:
        return False
    length = float(getattr(one.implant, "length_mm"))  # noqa: B009 - not every family has one
    matrix = one.matrix()
    entry = matrix[:3, 3]
    wanted = [entry, entry + length * matrix[:3, 2]]
    if line.GetNumberOfDefinedControlPoints() == 2:
        now = [np.array(line.GetNthControlPointPositionWorld(i)) for i in (ENTRY, TARGET)]
        if max(float(np.linalg.norm(a - b)) for a, b in zip(now, wanted, strict=True)) < _SAME_MM:
            return False
    if line.GetNumberOfControlPoints() != 2:
        line.RemoveAllControlPoints()
        for label, point in zip(("entry", "target"), wanted, strict=True):
            line.AddControlPointWorld(*point)
            line.SetNthControlPointLabel(line.GetNumberOfControlPoints() - 1, label)
        return True
    for index, point in zip((ENTRY, TARGET), wanted, strict=True):
        line.SetNthControlPointPositionWorld(index, *point)
    return True


def update_from_line(one: SceneImplant, *, snap: bool = True) -> bool:
    """Put an implant where its line is: entry and direction exactly, length to a real size.

    The implant keeps its turn about its own axis as nearly as the new direction allows.

    :param snap: take the length to the step of its range (5 mm for screws); False keeps it within
        its range only. The line itself stays: :func:`update_line` brings its target to the tip.
    :returns: whether anything was changed; False while the line is still being drawn.
    """
    line = one.line
    if line is None or line.GetNumberOfDefinedControlPoints() < 2:
        return False
    entry, target = (np.array(line.GetNthControlPointPositionWorld(i)) for i in (ENTRY, TARGET))
    distance = float(np.linalg.norm(target - entry))
    if distance < 1.0:  # no direction while both points are on top of each other
        return False
    before = one.matrix()
    after = axis_placement(entry, target, before[:3, 0])
    if np.linalg.det(before[:3, :3]) < 0:
        after[:3, 1] *= -1.0
    length = nearest_length(one.kind, distance, snap=snap)
    same_length = length == getattr(one.implant, "length_mm")  # noqa: B009
    if same_length and np.allclose(before, after, rtol=0, atol=1e-6):
        return False
    set_matrix(one, after)
    if not same_length:
        change_parameters(one, length_mm=length)
    return True


def nearest_length(kind: str, length_mm: float, *, snap: bool = True) -> float:
    """The length of a family nearest to ``length_mm``: within its range and, snapped, on a step."""
    limits = parameter_ranges(kind)["length_mm"]
    if snap:
        length_mm = round(length_mm / limits.step) * limits.step
    return float(min(max(length_mm, limits.minimum), limits.maximum))
