"""Slice views along and across an implant."""

from __future__ import annotations

from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.display import one_change
from MetalArtifactReductionLib.mrml.volumes import vtk_matrix

from ..placement.geometry import across
from .scene_implant import SceneImplant

PLANES = ("along", "along-vertical", "across")
"""Through the axis, as axial as it goes; through the axis, square to that; square to the axis."""

MARGIN_MM = 40.0
"""Around an implant: the bone that it lies in."""

_LEFT, _ANTERIOR, _SUPERIOR = np.array([[-1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])


def slice_to_ras(placement: np.ndarray, plane: str = "along", at_mm: float = 0.0) -> np.ndarray:
    """The slice plane of an implant, turned as radiologists look at patients.

    Head or front is up, the patient's left (in sagittal-like planes the back) is on the right.

    :param placement: implant frame -> RAS, ``(4, 4)``; the implant's axis is its +z.
    :param plane: one of :data:`PLANES`.
    :param at_mm: point of the axis in the middle of the view, from the implant's origin.
    :returns: ``(4, 4)``; columns are the view's right, up, normal, and its middle.
    :raises InputError: unknown plane.
    """
    if plane not in PLANES:
        raise InputError(f"no slice plane '{plane}': choose one of {', '.join(PLANES)}")
    axis = placement[:3, 2] / np.linalg.norm(placement[:3, 2])
    # The plane along the axis that is nearest to axial; of an upright axis, nearest to coronal.
    level = across(_LEFT, axis)
    upright = np.cross(axis, level)
    normal = {"along": upright, "along-vertical": level, "across": axis}[plane]
    dominant = int(np.argmax(np.abs(normal)))
    normal = normal if normal[dominant] > 0 else -normal
    wanted_up = _ANTERIOR if dominant == 2 else _SUPERIOR
    first = across(wanted_up, normal) if plane == "across" else axis
    second = np.cross(normal, first)
    wanted_right = -_ANTERIOR if dominant == 0 else _LEFT
    up, right = first, second
    if abs(float(second @ wanted_up)) > abs(float(first @ wanted_up)):
        up, right = second, first
    up = up if up @ wanted_up >= 0 else -up
    right = right if right @ wanted_right >= 0 else -right
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, up, normal], axis=1)
    matrix[:3, 3] = placement[:3, 3] + at_mm * axis
    return matrix


def show_plane(slice_node: Any, one: SceneImplant, plane: str) -> None:
    """A plane of an implant, with the whole of it.

    :param slice_node: ``vtkMRMLSliceNode``. :param plane: one of :data:`PLANES`.
    """
    size_mm = float(getattr(one.implant, "length_mm", 0.0)) + 2 * MARGIN_MM
    columns, rows, _ = slice_node.GetDimensions()
    mm = size_mm / max(min(columns, rows), 1)
    with one_change(slice_node):
        slice_node.SetXYZOrigin(0.0, 0.0, 0.0)
        slice_node.SetFieldOfView(mm * columns, mm * rows, slice_node.GetFieldOfView()[2])
        show_aligned(slice_node, one, plane)


def show_aligned(
    slice_node: Any, one: SceneImplant, plane: str = "along", at_mm: float | None = None
) -> None:
    """Turn a slice view to an implant.

    :param slice_node: ``vtkMRMLSliceNode``.
    :param at_mm: see :func:`slice_to_ras`; None is the middle of a screw, else the origin.
    """
    if at_mm is None:
        at_mm = 0.5 * float(getattr(one.implant, "length_mm", 0.0)) if one.line else 0.0
    matrix = slice_to_ras(one.matrix(), plane, at_mm)
    slice_node.GetSliceToRAS().DeepCopy(vtk_matrix(matrix))
    slice_node.UpdateMatrices()
