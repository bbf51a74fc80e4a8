"""For the tests on MRML scenes: geometry by other means than the code under test; implants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from SimulateImplantsLib import mrml
from SimulateImplantsLib.implants import implant_from_dict

SCREW = {"kind": "pedicle-screw", "preset": "6.5 x 45 mm"}


def rotation(seed: int) -> np.ndarray:
    """A random orthonormal 3 x 3 matrix."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q


def affine(directions: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = directions * spacing_mm
    matrix[:3, 3] = (-123.456789012, 45.678901234, -987.654321098)
    return matrix


def world_position(node: Any, value: float) -> np.ndarray:
    """Where in the world the one voxel with this value lies, by VTK's own means."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = node.GetImageData()
    flat = np.flatnonzero(vtk_to_numpy(image.GetPointData().GetScalars()) == value)
    assert flat.size == 1
    index = image.GetPoint(int(flat[0]))
    to_ras = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(to_ras)
    local = to_ras.MultiplyPoint([*index, 1.0])[:3]
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(local, world)
    return np.array(world)


def place_like(node: Any, other: Any) -> Any:
    """Give a volume node another one's geometry and parent transform."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    other.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveTransformNodeID(other.GetTransformNodeID())
    return node


def slice_view_pixels(scene: Any, layout_name: str, node: Any) -> Callable[..., np.ndarray]:
    """Render a slice view's blended layers; returns ``f(slice, row, col) -> RGBA`` of a voxel.

    The voxel must lie in the plane shown.
    """
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(scene)
    view = scene.GetNodeByID(f"vtkMRMLSliceNode{layout_name}")
    logic.SetSliceNode(view)
    logic.SetSliceCompositeNode(scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{layout_name}"))
    producer = logic.GetImageDataConnection().GetProducer()
    producer.Update()
    image = producer.GetOutputDataObject(0)
    cols, rows, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, cols, -1).astype(int)
    to_ras = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(to_ras)
    from_ras = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(view.GetXYToRAS(), from_ras)

    def pixel(slice_: int, row: int, col: int) -> np.ndarray:
        ras = to_ras.MultiplyPoint((col, row, slice_, 1.0))
        x, y, depth, _ = from_ras.MultiplyPoint(ras)
        assert abs(depth) < 2.0
        return pixels[round(y), round(x)]

    return pixel


def at(right: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = right
    return matrix


def places(scene: Any) -> list[float]:
    return sorted(float(one.matrix()[0, 3]) for one in mrml.implants_of(scene))


def construct(scene: Any) -> tuple[list[Any], Any, Any]:
    """Three screws one above the other, a rod through them, and what keeps them together."""
    link = mrml.ImplantLink(scene)
    name = mrml.new_construct(scene, "spine left")
    screws = []
    for k in range(3):
        matrix = np.eye(4)
        matrix[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # forwards
        matrix[2, 3] = 30.0 * k
        one = mrml.add_implant(scene, implant_from_dict(SCREW), matrix, construct=name)
        mrml.add_line(one)
        one.model.SetAttribute("SimulateImplants.proposed", "1")
        one.model.SetAttribute("SimulateImplants.measured", f'{{"grade": "{k}"}}')
        screws.append(one)
    return screws, mrml.add_rod(scene, screws), link


def facts(scene: Any) -> dict[str, Any]:
    """All of the implants, by name: in which order, what, where, of what they hold."""
    found = {}
    for place, one in enumerate(mrml.implants_of(scene)):
        line = one.line
        ends = () if line is None else range(line.GetNumberOfControlPoints())
        found[one.name] = [
            place,
            {name: one.model.GetAttribute(name) for name in one.model.GetAttributeNames()},
            one.matrix().round(6).tolist(),
            [screw.name for screw in mrml.screws_of(one)],
            [np.round(line.GetNthControlPointPositionWorld(k), 6).tolist() for k in ends],
            one.model.GetPolyData().GetNumberOfPoints(),
            np.round(one.model.GetPolyData().GetBounds(), 6).tolist(),
        ]
    return found
