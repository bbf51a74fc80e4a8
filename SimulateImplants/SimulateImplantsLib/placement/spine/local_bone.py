"""The bone of one located vertebra that screws meet: its body and the roots of its arch."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import SCREW_MM, BoneField, LocalGrid, sample_grid, without_holes
from .locate import LocatedBody

_STEP_MM = 0.9
_BESIDE_MM, _BEHIND_MM = 20.0, 30.0
"""How far bone is looked at lateral of the body's edge and behind the canal's middle."""
_APART_MM = 3.0
_ABOUT_HU = (-20.0, -7.0, 7.0, 20.0)


def located_field(volume: CTVolume, body: LocatedBody) -> BoneField:
    """Depths under the surface of the body and its arch's roots, in the vertebra's own frame.

    Bone is what is brighter than the level's own threshold, and what its cortex encloses: holes in
    coronal sections, where a pedicle is a closed ring and canal and foramina are open, and the
    inside of the body. Discs, vessels before the body, and the canal are none. Depths are means
    over thresholds about that one: a gap or a bridge that is there at one and not at the next
    counts in part.
    """
    frame = body.frame
    a, b = 0.5 * frame.body_width_mm, 0.5 * frame.body_depth_mm
    half = 0.5 * frame.body_height_mm
    canal_y = float(frame.local(frame.canal)[1])
    low = np.array([-a - _BESIDE_MM, canal_y - _BEHIND_MM, -half - 14.0])
    high = np.array([a + _BESIDE_MM, b + 8.0, half + 14.0])
    grid = LocalGrid.spanning(frame.centre, frame.axes, low, high, _STEP_MM)
    hu = sample_grid(volume, grid)
    hu = np.nan_to_num(hu, nan=-1000.0)
    x, y, z = np.meshgrid(
        *(low[i] + _STEP_MM * np.arange(n) for i, n in enumerate(grid.shape)),
        indexing="ij",
        sparse=True,
    )
    wall = canal_y + frame.canal_radius_mm
    round_body = np.hypot(x / a, y / b)
    # Discs before the canal, and vessels before the body, are none of its bone.
    apart = ((y > wall + 2.0) & (np.abs(z) > half + 2.0)) | ((y > -0.3 * b) & (round_body > 1.12))
    core = (np.hypot(x / (a - 3.0), y / (b - 3.0)) < 1) & (np.abs(z) < half - 2.0)
    canal = np.hypot(x, y - canal_y) <= 0.8 * frame.canal_radius_mm
    middle = tuple(np.rint(grid.to_index(frame.centre)).astype(int))
    depths = []
    for offset in _ABOUT_HU:
        bone = (hu > body.threshold_hu + offset) & ~apart
        closed = ndimage.binary_closing(np.pad(bone, 2), iterations=1)[2:-2, 2:-2, 2:-2] | bone
        bone = without_holes(closed, 1)
        labels, _ = ndimage.label((bone | core) & ~canal)
        depths.append(BoneField.from_inside(labels == labels[middle], grid, SCREW_MM).depth)
    # Where an arch hangs on by a bridge, one threshold may lose it: that counts so far only.
    depth = np.maximum(depths, np.max(depths, axis=0) - _APART_MM).mean(axis=0)
    return BoneField(grid, depth)
