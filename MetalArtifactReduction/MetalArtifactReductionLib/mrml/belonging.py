"""Which metal and which result belong to a CT: nothing of another scan may be used for it."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from .hierarchy import INPUT_REFERENCE, results_of
from .namespace import slicer_classes
from .volumes import ijk_to_ras, numpy_matrix, transform_between, voxel_array

_GRID_TOLERANCE_MM = 1e-3


def metal_problem(metal: Any, volume_node: Any) -> str:
    """Why a segmentation cannot be the metal of a CT, in one line; "" if it can.

    Metal that was drawn on a copy is accepted while both images agree.

    :param metal: ``vtkMRMLSegmentationNode``.
    """
    drawn_on = metal.GetNodeReference(INPUT_REFERENCE) or metal.GetNodeReference(
        metal.GetReferenceImageGeometryReferenceRole()
    )
    name, ct = metal.GetName(), volume_node.GetName()
    if drawn_on is volume_node:
        if _in_its_place(metal, volume_node):
            return ""
        return (
            f"'{name}' does not lie where it was drawn in '{ct}', one of them was moved: put both "
            "under the same transform, or propose the metal again"
        )
    if drawn_on is not None and drawn_on.GetImageData() is not None:
        other = drawn_on.GetName()
        if not _same_grid(_grid_of(drawn_on), _grid_of(volume_node)):
            return (
                f"'{name}' was drawn on '{other}', which lies on another grid than '{ct}': "
                "propose the metal of this CT, or choose its own segmentation"
            )
        if not np.array_equal(voxel_array(drawn_on), voxel_array(volume_node)):
            return (
                f"'{name}' was drawn on '{other}', whose image differs from '{ct}': "
                "propose the metal of this CT, or choose its own segmentation"
            )
        return ""
    grid = _reference_grid(metal)
    if grid is not None and not _same_grid(grid, _grid_of(volume_node, world=False)):
        return (
            f"'{name}' lies on another grid than '{ct}': set this CT as its source geometry in "
            "the Segmentations module, or choose its own segmentation"
        )
    return ""


def metal_for(scene: Any, volume_node: Any, chosen: Any) -> Any:
    """The chosen segmentation if it fits a CT; else the newest metal found in it, or None."""
    if chosen is not None and not metal_problem(chosen, volume_node):
        return chosen
    found = results_of(scene, volume_node, "metal")
    return found[-1] if found else None


def result_for(scene: Any, volume_node: Any, chosen: Any) -> Any:
    """The chosen result if it was made from a CT; else the CT's newest, or None."""
    found = results_of(scene, volume_node, "corrected")
    return chosen if chosen in found else found[-1] if found else None


def _grid_of(node: Any, *, world: bool = True) -> tuple[tuple[int, ...], np.ndarray]:
    return voxel_array(node).shape, ijk_to_ras(node, world=world)


def _same_grid(
    one: tuple[tuple[int, ...], np.ndarray], other: tuple[tuple[int, ...], np.ndarray]
) -> bool:
    return one[0] == other[0] and np.allclose(one[1], other[1], rtol=0, atol=_GRID_TOLERANCE_MM)


def _in_its_place(metal: Any, volume_node: Any) -> bool:
    """Whether the grid that metal is drawn in still covers its CT, to within a voxel."""
    grid = _reference_grid(metal)
    if grid is None:
        return True
    to_volume, corners = transform_between(metal, volume_node), []
    for shape, affine in (grid, _grid_of(volume_node, world=False)):
        ends = product(*((-0.5, size - 0.5) for size in reversed(shape)))
        corners.append(np.array([affine @ [*end, 1.0] for end in ends])[:, :3])
    moved = [to_volume.TransformPoint(corner) for corner in corners[0]]
    apart_mm = np.linalg.norm(moved - corners[1], axis=1)
    return bool(apart_mm.max() <= max(volume_node.GetSpacing()))


def _reference_grid(metal: Any) -> tuple[tuple[int, ...], np.ndarray] | None:
    """The grid that a segmentation is drawn in; None where it has surfaces only."""
    slicer = slicer_classes()
    converter = slicer.vtkSegmentationConverter
    text = metal.GetSegmentation().GetConversionParameter(
        converter.GetReferenceImageGeometryParameterName()
    )
    image = slicer.vtkOrientedImageData()
    if not text or not converter.DeserializeImageGeometry(text, image, False):
        return None
    import vtk

    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine = numpy_matrix(matrix)
    affine[:, 3] = affine @ np.array([*image.GetExtent()[::2], 1.0])
    return tuple(reversed(image.GetDimensions())), affine
