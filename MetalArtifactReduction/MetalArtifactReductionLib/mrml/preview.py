"""One slice of a volume node: taken out to be corrected, and shown beside the original."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..jobs.preview import MARGIN_SLICES
from ..volume import CTVolume, VolumeSource, to_storage, volume_from_storage
from .hierarchy import mark_result
from .volumes import (
    ijk_to_ras,
    image_data,
    node_from_volume,
    require_scalar_volume,
    storage_axes,
    voxel_array,
    vtk_matrix,
)


def slice_at(volume_node: Any, world: tuple[float, float, float]) -> int:
    """Index of the axial slice that is nearest to a point of the world, RAS in mm."""
    own = [0.0, 0.0, 0.0]
    volume_node.TransformPointFromWorld(world, own)
    axis = storage_axes(volume_node)[0]
    place = np.linalg.solve(ijk_to_ras(volume_node), [*own, 1.0])[2 - axis]
    return int(np.clip(round(place), 0, voxel_array(volume_node).shape[axis] - 1))


def slab_of(volume_node: Any, index: int, margin: int = MARGIN_SLICES) -> tuple[CTVolume, int]:
    """A slice and its neighbours, and the slice's index among them; the rest is not read.

    :raises InputError: no scalar volume.
    """
    require_scalar_volume(volume_node)
    stored, matrix = voxel_array(volume_node), ijk_to_ras(volume_node)
    axis = storage_axes(volume_node)[0]
    first = max(index - margin, 0)
    part = np.take(stored, range(first, min(index + margin + 1, stored.shape[axis])), axis)
    corner = np.array([0.0, 0.0, 0.0, 1.0])
    corner[2 - axis] = first
    matrix[:, 3] = matrix @ corner
    source = VolumeSource(dtype=stored.dtype.name)
    return volume_from_storage(part, matrix, source), index - first


def put_preview(scene: Any, volume_node: Any, index: int, hu: np.ndarray, into: Any = None) -> Any:
    """A corrected slice as a volume node that is neither listed nor saved.

    :param hu: ``(rows, cols)``. :param into: an earlier one, to be replaced.
    """
    grid = slab_of(volume_node, index, 0)[0].with_hu(hu[None])
    if into is None:
        into = node_from_volume(scene, grid, f"Preview {volume_node.GetName()}", like=volume_node)
        into.SetHideFromEditors(True)
        into.SetSaveWithScene(False)
        mark_result(into, "preview", volume_node)
        return into
    stored, matrix = to_storage(grid.hu, grid)
    into.SetIJKToRASMatrix(vtk_matrix(matrix))
    into.SetAndObserveImageData(image_data(stored.astype(np.float32, copy=False)))
    return into
