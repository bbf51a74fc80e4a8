"""Slice views on the metal: the slice with most of it, and a margin for its streaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .display import one_change
from .segmentations import mask_in_box
from .volumes import ijk_to_ras, storage_axes

MARGIN_MM = 60.0
"""Around the metal: streaks are strongest there."""


@dataclass(frozen=True)
class Place:
    """What a slice view should show.

    :param centre_ras: in the world, mm. :param size_mm: of the shorter side of the view.
    """

    centre_ras: tuple[float, float, float]
    size_mm: float


def most_metal(segmentation: Any, volume_node: Any) -> Place:
    """The middle of the metal in the axial slice that holds most of it, and its extent there.

    :param segmentation: ``vtkMRMLSegmentationNode``. :param volume_node: its CT.
    :raises InputError: nothing segmented, or nothing inside the volume.
    """
    metal, (slices, *box) = mask_in_box(segmentation, volume_node)
    most = int(np.argmax(np.count_nonzero(metal, axis=(1, 2))))
    k = slices.start + most
    corners = [
        (side.start + i.min(), side.start + i.max())
        for side, i in zip(box, np.nonzero(metal[most]), strict=True)
    ]
    as_stored = np.argsort(storage_axes(volume_node))
    first, last = (
        (ijk_to_ras(volume_node, world=True) @ [*np.array([k, *ends])[as_stored][::-1], 1.0])[:3]
        for ends in zip(*corners, strict=True)
    )
    right, front, top = ((first + last) / 2).tolist()
    return Place((right, front, top), float(np.abs(last - first).max()) + 2 * MARGIN_MM)


def zoom(slice_nodes: Iterable[Any], place: Place) -> None:
    """Show a place in slice views, all at one scale."""
    for node in slice_nodes:
        columns, rows, _ = node.GetDimensions()
        mm = place.size_mm / max(min(columns, rows), 1)
        with one_change(node):
            node.SetXYZOrigin(0.0, 0.0, 0.0)
            node.SetFieldOfView(mm * columns, mm * rows, node.GetFieldOfView()[2])
            node.JumpSliceByCentering(*place.centre_ras)
