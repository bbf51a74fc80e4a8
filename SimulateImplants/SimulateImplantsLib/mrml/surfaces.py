"""How an implant looks: surface with normals, colours by material, handles."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from MetalArtifactReductionLib.mrml.display import one_change
from MetalArtifactReductionLib.mrml.namespace import slicer_classes

from ..implants.base import Implant
from ..implants.mesh import Mesh, join
from ..implants.user_mesh import UserMesh
from .scene_implant import SceneImplant, implants_of

_COLORS: dict[str, tuple[float, float, float]] = {
    "Ti6Al4V": (0.66, 0.70, 0.76),
    "cp-Ti": (0.70, 0.72, 0.74),
    "CoCrMo": (0.82, 0.84, 0.90),
    "316L": (0.76, 0.78, 0.80),
    "tantalum": (0.45, 0.48, 0.58),
    "PEEK": (0.86, 0.78, 0.62),
    "UHMWPE": (0.96, 0.96, 0.92),
    "bone-cement": (0.62, 0.80, 0.62),
}
_OTHER_COLOR = (0.80, 0.75, 0.45)
_FEATURE_ANGLE_DEG = 35.0
_COLOR_ARRAY = "MaterialColor"


def material_color(material: str) -> tuple[float, float, float]:
    """RGB, 0..1, that tells materials apart in the views."""
    return _COLORS.get(material, _OTHER_COLOR)


def display_surface(implant: Implant) -> Any:
    """A new ``vtkPolyData`` of the implant with normals; several materials bring their colours.

    Sharp edges are split for shading; welding the points gives the closed surface again.
    """
    import vtk

    copy = vtk.vtkPolyData()
    surface = (
        _with_normals(implant) if isinstance(implant, UserMesh) else _cached_with_normals(implant)
    )
    copy.DeepCopy(surface)
    return copy


def show_surface(model: Any, implant: Implant) -> None:
    """Give a model node the implant's surface and colour."""
    model.SetAndObservePolyData(display_surface(implant))
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    with one_change(display):  # every view looks again at each change that is told
        display.SetColor(*material_color(implant.material))
        several = model.GetPolyData().GetPointData().GetArray(_COLOR_ARRAY) is not None
        if several:
            display.SetActiveScalarName(_COLOR_ARRAY)
            display.SetScalarRangeFlag(slicer_classes().vtkMRMLDisplayNode.UseDirectMapping)
        display.SetScalarVisibility(several)


_HANDLES_PERCENT = 8.0
"""Size of the handles in a view; Slicer's own 15 cover a vertebra."""


def set_up_display(model: Any) -> None:
    """Metallic surface, outline in the slice views."""
    model.CreateDefaultDisplayNodes()
    display = model.GetDisplayNode()
    with one_change(display):
        display.SetVisibility2D(True)
        display.SetSliceIntersectionThickness(2)
        display.SetAmbient(0.15)
        display.SetDiffuse(0.85)
        display.SetSpecular(0.5)
        display.SetPower(25)


def _add_handles(transform: Any) -> Any:
    """For moving and turning, not for scaling; still hidden."""
    transform.CreateDefaultDisplayNodes()
    handles = transform.GetDisplayNode()
    with one_change(handles):
        handles.SetEditorScalingEnabled(False)
        handles.SetEditorTranslationEnabled(True)
        handles.SetEditorRotationEnabled(True)
        if hasattr(handles, "SetEditorScalingSliceEnabled"):  # Slicer 5.8 and later
            handles.SetEditorScalingSliceEnabled(False)
            handles.SetEditorTranslationSliceEnabled(True)
            handles.SetEditorRotationSliceEnabled(True)
            handles.SetInteractionScalePercent(_HANDLES_PERCENT)
    return handles


def show_handles(one: SceneImplant, visible: bool) -> None:
    """Show or hide the handles in 3-D and slice views, and the line that drives a screw."""
    handles = one.transform.GetDisplayNode()
    if handles is None and visible:
        handles = _add_handles(one.transform)
    if handles is not None:
        with one_change(handles):
            handles.SetEditorVisibility(visible)
            handles.SetEditorSliceIntersectionVisibility(visible)
    if one.line is not None and one.line.GetDisplayNode() is not None:
        one.line.GetDisplayNode().SetVisibility(visible)


def show_handles_of(scene: Any, chosen: Iterable[SceneImplant]) -> None:
    """Handles for these implants only: a construct with all of its handles is unreadable."""
    ids = {one.model.GetID() for one in chosen}
    for one in implants_of(scene):
        show_handles(one, one.model.GetID() in ids)


@lru_cache(maxsize=64)
def _cached_with_normals(implant: Implant) -> Any:
    return _with_normals(implant)


def _with_normals(implant: Implant) -> Any:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    parts = implant.parts()
    polydata = join(*(part.mesh for part in parts)).to_polydata()
    if len({part.material for part in parts}) > 1:
        colors = np.concatenate([_rgb(part.mesh, part.material) for part in parts])
        array = numpy_to_vtk(colors, deep=True)
        array.SetName(_COLOR_ARRAY)
        polydata.GetPointData().SetScalars(array)
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputData(polydata)
    normals.SetFeatureAngle(_FEATURE_ANGLE_DEG)
    normals.ConsistencyOff()  # every part is closed and oriented already
    normals.AutoOrientNormalsOff()
    normals.Update()
    return normals.GetOutput()


def _rgb(mesh: Mesh, material: str) -> np.ndarray:
    color = np.round(255 * np.array(material_color(material))).astype(np.uint8)
    return np.tile(color, (len(mesh.points), 1))
