"""Turns, fills and arranges Slicer's views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import qt
import slicer
import vtk

from MetalArtifactReductionLib.mrml import apply_window, results_of
from MetalArtifactReductionLib.mrml.display import layers_in_steps, one_change
from MetalArtifactReductionLib.mrml.layout import fill_views, slice_nodes
from SimulateImplantsLib.mrml import PLANES, show_plane

_ESCAPE = "SimulateImplantsEscape"
FROM_BEHIND = ("pedicle-screw", "lateral-mass-screw")
LEAST_FIELD_MM = 100.0
RESULTS = ("corrupted", "ideal", "reference")


def align(one: Any) -> Iterator[None]:
    """Turn the slice views to an implant, one a step: along it, along and upright, across."""
    manager = slicer.app.layoutManager()
    for name, plane in zip(("Red", "Yellow", "Green"), PLANES, strict=True):
        show_plane(manager.sliceWidget(name).mrmlSliceNode(), one, plane)
        yield
    lookAt([one.model])


def fit(volume: Any) -> None:
    """A volume, whole, in every slice view."""
    slicer.util.setSliceViewerLayers(background=volume, fit=True)


def straighten(implants: Sequence[Any] = ()) -> Iterator[None]:
    """Slice views as Slicer has them at its start, one a step; they cut the first implant."""
    for node in slice_nodes(slicer.mrmlScene, own=False):
        with one_change(node):
            node.SetOrientationToDefault()
            slicer.app.applicationLogic().GetSliceLogic(node).FitSliceToBackground()
            if implants:
                node.JumpSliceByOffsetting(*_middle(implants[:1]))
        yield


def bringIntoView(implants: Sequence[Any], ct: Any) -> Iterator[None]:
    """Slice views that cut no implant cut the first one's middle, a view a step."""
    bounds = [_bounds([one.model]) for one in implants]
    for node in slice_nodes(slicer.mrmlScene):
        to_ras = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        normal, origin = to_ras[:3, 2], to_ras[:3, 3]
        if implants and not any(_cut(box, normal, origin) for box in bounds):
            node.JumpSliceByOffsetting(*_middle(implants[:1], ct))
            yield


def _cut(bounds: Sequence[float], normal: Any, origin: Any) -> bool:
    """Whether a plane goes through a box."""
    corners = product(*zip(bounds[::2], bounds[1::2], strict=True))
    away = [normal @ (corner - origin) for corner in corners]
    return min(away) <= 0.0 <= max(away)


def _middle(implants: Sequence[Any], ct: Any = None) -> list[float]:
    """RAS of the middle of them all, or of their part in the CT: a stem may be longer than that."""
    middle = [0.0] * 3
    box = vtk.vtkBoundingBox(_bounds([one.model for one in implants]))
    if ct is not None and box.Intersects(vtk.vtkBoundingBox(_bounds([ct]))):
        box.IntersectBox(vtk.vtkBoundingBox(_bounds([ct])))
    box.GetCenter(middle)
    return middle


def showPlaced(implants: Sequence[Any], ct: Any) -> Iterator[None]:
    """Look at implants, a view a step; slices cut the first one's middle and hold them all.

    Screws of the back are seen from behind, as their surgeon does.
    """
    if not implants:
        return
    models = [one.model for one in implants]
    size = vtk.vtkBoundingBox(_bounds(models)).GetDiagonalLength()
    for node in slice_nodes(slicer.mrmlScene):
        yield
        with one_change(node):
            node.JumpSliceByCentering(*_middle(implants))
            node.JumpSliceByOffsetting(*_middle(implants[:1], ct))
            _closer(node, max(LEAST_FIELD_MM, 1.5 * size))
    yield
    behind = any(one.kind in FROM_BEHIND for one in implants)
    lookAt(models, fromBehind=behind)


def _closer(node: Any, mm: float) -> None:
    """A slice view that shows no more than this."""
    width, height, depth = node.GetFieldOfView()
    scale = mm / min(width, height)
    if scale < 1:
        node.SetFieldOfView(scale * width, scale * height, depth)


def lookAt(nodes: Sequence[Any], fromBehind: bool = False) -> None:
    """Fill the 3-D view with nodes, seen from the front or from behind."""
    fill_views(slicer.mrmlScene, _bounds(nodes), (0.0, -1.0 if fromBehind else 1.0, 0.0))


def _bounds(nodes: Sequence[Any]) -> list[float]:
    """Of all of them together, RAS."""
    box, bounds = vtk.vtkBoundingBox(), [0.0] * 6
    for node in nodes:
        node.GetRASBounds(bounds)
        box.AddBounds(bounds)
    box.GetBounds(bounds)
    return bounds


def setDisplay(ct: Any, shown: str, window: str) -> Iterator[None]:
    """Show the CT or the newest result of a role in one window, a slice view a step."""
    results = [node for role in RESULTS for node in results_of(slicer.mrmlScene, ct, role)]
    for node in [ct, *results]:
        apply_window(node, window)
    yield
    found = results_of(slicer.mrmlScene, ct, shown) if shown in RESULTS else [ct]
    if found:
        yield from layers_in_steps(slicer.mrmlScene, found[-1])


def centre() -> Any:
    """RAS of the middle of the red slice view, mm."""
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    matrix = red.GetSliceToRAS() if red else vtk.vtkMatrix4x4()
    return slicer.util.arrayFromVTKMatrix(matrix)[:3, 3]


def startPlacing(markups: Any, persistent: bool) -> None:
    """Let the mouse place control points of a markups node, until Escape."""
    window = slicer.util.mainWindow()
    if not slicer.util.findChildren(window, name=_ESCAPE):  # two of one key cancel each other
        escape = qt.QShortcut(qt.QKeySequence("Esc"), window)
        escape.objectName = _ESCAPE
        escape.connect("activated()", stopPlacing)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    selection.SetReferenceActivePlaceNodeClassName(markups.GetClassName())
    selection.SetActivePlaceNodeID(markups.GetID())
    interaction.SetPlaceModePersistence(1 if persistent else 0)
    interaction.SetCurrentInteractionMode(interaction.Place)


def stopPlacing() -> None:
    """The mouse moves and turns views again."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    for escape in slicer.util.findChildren(slicer.util.mainWindow(), name=_ESCAPE):
        escape.deleteLater()
