"""Screws of a cup: how far the ilium reaches behind each of its holes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume

from ...implants.acetabular_cup import AcetabularCup
from ..bone_field import sample_hu
from ..spine.sizes import snap_down, steps

_AROUND = np.arange(8) * np.pi / 4
_BONE_HU, _RADIUS_MM, _STEP_MM = 100.0, 3.0, 1.0
"""Bone where most of a screw's surface is brighter; muscle is about 60."""
_LENGTHS_MM = steps(15.0, 40.0, 5.0)


def in_bone(
    cup: AcetabularCup, matrix: np.ndarray, volume: CTVolume, index: int, length_mm: float
) -> np.ndarray:
    """Whether a screw in a hole has bone about it, each mm of its length; not outside the CT."""
    pose = matrix @ cup.screw_pose(index)
    ring = np.stack([np.cos(_AROUND), np.sin(_AROUND)], axis=1) @ pose[:3, :2].T
    along = np.arange(_STEP_MM, length_mm + 0.5 * _STEP_MM, _STEP_MM)
    axis = pose[:3, 3] + along[:, None] * pose[:3, 2]
    hu = sample_hu(volume, axis[:, None] + _RADIUS_MM * ring)
    result: np.ndarray = np.median(np.nan_to_num(hu, nan=-1000.0), axis=1) > _BONE_HU
    return result


def with_screws(
    cup: AcetabularCup, matrix: np.ndarray, volume: CTVolume, wanted: int
) -> AcetabularCup:
    """The cup with up to so many screws, as long as the bone behind the first holes allows."""
    length = _LENGTHS_MM[-1]
    for index in range(wanted):
        seen = in_bone(cup, matrix, volume, index, _LENGTHS_MM[-1] + 2.0)
        room = (int(np.argmin(seen)) if not seen.all() else len(seen)) * _STEP_MM - 1.0
        fits = snap_down(min(room, length), _LENGTHS_MM)
        if fits is None:
            return replace(cup, screws=index, screw_length_mm=length)
        length = fits
    return replace(cup, screws=wanted, screw_length_mm=length)
