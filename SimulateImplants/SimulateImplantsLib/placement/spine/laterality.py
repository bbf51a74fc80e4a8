"""Whether a CT is mirrored, from the side of the spine on which the liver lies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import voxel_box

_STEP_MM = 4.0
_BELOW_MM, _ABOVE_MM = 60.0, 220.0
_ASIDE_MM, _AHEAD_MM = (30.0, 130.0), (-30.0, 130.0)
"""Of the spine: where organs lie."""
_SOFT_HU, _SMOOTH_HU = (20.0, 170.0), 18.0
_DEEP_MM = 16.0
"""So far under the surface of one tissue lie a liver, and little of spleen, kidneys and bowel."""
_LEAST_ML, _CLEAR = 40.0, 0.5


def check_not_mirrored(volume: CTVolume, points: Mapping[str, np.ndarray]) -> None:
    """:raises InputError: the liver lies on the left, so left and right are exchanged.

    Where the CT shows no liver nothing can be told, and nothing is.

    :param points: RAS in the vertebral bodies.
    """
    if points and liver_side(volume, np.array(list(points.values()), float)) < -_CLEAR:
        raise InputError(
            f"{', '.join(points)}: the liver lies to the left of the spine, so the volume seems "
            "mirrored; correct its orientation, or give labels of the vertebrae if the organs do "
            "lie the other way round (situs inversus)"
        )


def liver_side(volume: CTVolume, spine: np.ndarray) -> float:
    """Share of thick solid tissue beside the spine on the right, less that on the left.

    The liver is the thickest organ: what lies more than 16 mm under the surface of smooth soft
    tissue is liver to more than four fifths.

    :param spine: RAS points along it, ``(n, 3)``.
    :returns: -1 to 1; 0 where there are 40 ml or less of such tissue.
    """
    hu, to_ras = _blocks(volume, spine[:, 2].min() - _BELOW_MM, spine[:, 2].max() + _ABOVE_MM)
    if min(hu.shape) < 3:
        return 0.0
    k, j, i = np.meshgrid(*(np.arange(n) for n in hu.shape), indexing="ij", sparse=True)
    x, y, z = (m[0] * i + m[1] * j + m[2] * k + m[3] for m in to_ras[:3])
    bend = int(np.ptp(spine[:, 2]) > 15.0)
    z = np.clip(z, spine[:, 2].min() - 20.0, spine[:, 2].max() + 60.0)
    x = x - np.polyval(np.polyfit(spine[:, 2], spine[:, 0], bend), z)
    y = y - np.polyval(np.polyfit(spine[:, 2], spine[:, 1], bend), z)
    beside = (np.abs(x) > _ASIDE_MM[0]) & (np.abs(x) < _ASIDE_MM[1])
    near = beside & (y > _AHEAD_MM[0]) & (y < _AHEAD_MM[1])
    if not near.any():
        return 0.0
    box = voxel_box(near)  # with the margin that two filters look at
    hu, near, x = hu[box], near[box], np.broadcast_to(x, hu.shape)[box]
    mean = ndimage.uniform_filter(hu, 3)
    again = ndimage.uniform_filter(mean, 3)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(mean * mean, 3) - again**2, 0))
    solid = near & (mean > _SOFT_HU[0]) & (mean < _SOFT_HU[1]) & (spread < _SMOOTH_HU)
    spacing = np.linalg.norm(to_ras[:3, :3], axis=0)[::-1]
    if not solid.any():
        return 0.0
    box = voxel_box(solid)
    deep = ndimage.distance_transform_edt(solid[box], sampling=spacing) > _DEEP_MM
    voxel_ml = float(np.prod(spacing)) / 1000.0
    right, left = (float((deep & side).sum()) * voxel_ml for side in (x[box] > 0, x[box] < 0))
    return (right - left) / (right + left) if right + left > _LEAST_ML else 0.0


def _blocks(volume: CTVolume, lowest: float, highest: float) -> tuple[np.ndarray, np.ndarray]:
    """Means of blocks of about 4 mm between two heights (RAS), and their index-to-RAS matrix."""
    middle = [*0.5 * (np.array(volume.hu.shape[:0:-1]) - 1), 0.0, 1.0]
    heights = volume.ijk_to_ras[2] @ middle + volume.ijk_to_ras[2, 2] * np.arange(len(volume.hu))
    inside = np.flatnonzero((heights > lowest) & (heights < highest))
    if len(inside) == 0:
        return np.zeros((0, 0, 0), np.float32), volume.ijk_to_ras
    step = [max(1, round(_STEP_MM / s)) for s in volume.spacing_mm]
    part = volume.hu[inside[0] : inside[-1] + 1]
    size = [n // s for n, s in zip(part.shape, step, strict=True)]
    part = part[tuple(slice(n * s) for n, s in zip(size, step, strict=True))]
    split = [n for pair in zip(size, step, strict=True) for n in pair]
    mean = part.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32)
    start = [0.5 * (step[2] - 1), 0.5 * (step[1] - 1), inside[0] + 0.5 * (step[0] - 1)]
    matrix = volume.ijk_to_ras @ np.diag([*step[::-1], 1.0])
    matrix[:3, 3] = (volume.ijk_to_ras @ [*start, 1.0])[:3]
    return np.maximum(mean, -1000.0), matrix
