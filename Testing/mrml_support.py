"""Geometry for the tests on MRML scenes, by means other than the code under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


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
