"""Which metal and which result belong to a CT: nothing of another scan may be used for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .hierarchy import INPUT_REFERENCE, results_of
from .namespace import slicer_classes
from .volumes import ijk_to_ras, numpy_matrix, voxel_array

_GRID_TOLERANCE_MM = 1e-3


def metal_problem(metal: Any, volume_node: Any) -> str:
    """Why a segmentation cannot be the metal of a CT, in one line; "" if it can.

    Metal that was drawn on a copy is accepted while both images agree.

    :param metal: ``vtkMRMLSegmentationNode``.
    """
    drawn_on = metal.GetNodeReference(INPUT_REFERENCE) or metal.GetNodeReference(
        metal.GetReferenceImageGeometryReferenceRole()
    )
    if drawn_on is volume_node:
        return ""
    name, ct = metal.GetName(), volume_node.GetName()
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
