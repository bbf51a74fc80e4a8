"""The parts that a metal segmentation is made of, whoever drew it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from .segmentations import mask_in_box
from .volumes import ijk_to_ras, storage_axes, voxel_array


@dataclass(frozen=True)
class MetalPart:
    """One connected part.

    :param number: 1, 2, ... by falling volume.
    :param volume_mm3: of its voxels.
    :param highest_hu: brightest voxel of the CT in it.
    :param slices: first and last slice, counted from 0.
    :param centre_ras: centre of mass in the world, mm.
    """

    number: int
    volume_mm3: float
    highest_hu: float
    slices: tuple[int, int]
    centre_ras: tuple[float, float, float]


def metal_parts(segmentation: Any, volume_node: Any) -> tuple[MetalPart, ...]:
    """The connected parts (26 neighbours) of all segments, on the grid of the CT.

    :param segmentation: ``vtkMRMLSegmentationNode``.
    :param volume_node: the CT.
    :raises InputError: nothing segmented, or nothing inside the volume.
    """
    mask, crop = mask_in_box(segmentation, volume_node)
    axes = storage_axes(volume_node)
    hu = voxel_array(volume_node).transpose(axes)
    to_world = ijk_to_ras(volume_node, world=True)
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    voxel_mm3 = abs(float(np.linalg.det(to_world[:3, :3])))
    parts = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == label
        first = [b.start + c.start for b, c in zip(box, crop, strict=True)]
        whole = tuple(slice(f, f + n) for f, n in zip(first, inside.shape, strict=True))
        centre = [float(n.mean()) + f for n, f in zip(np.nonzero(inside), first, strict=True)]
        stored = np.array(centre)[np.argsort(axes)]  # (k, j, i) as the node stores them
        world = to_world @ np.array([*stored[::-1], 1.0])
        parts.append(
            MetalPart(
                number=0,
                volume_mm3=float(inside.sum()) * voxel_mm3,
                highest_hu=float(hu[whole][inside].max()),
                slices=(whole[0].start, whole[0].stop - 1),
                centre_ras=(float(world[0]), float(world[1]), float(world[2])),
            )
        )
    parts.sort(key=lambda part: -part.volume_mm3)
    return tuple(
        MetalPart(n, p.volume_mm3, p.highest_hu, p.slices, p.centre_ras)
        for n, p in enumerate(parts, start=1)
    )
