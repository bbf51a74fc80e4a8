"""The long way through the ilium, from its posterior superior spine to above the hip socket.

Spots: "iliac"; origin at the entry, +z along the screw, +x cranial. About the way: Schildhauer et
al. 2002 (J Spinal Disord Tech 15:199).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import ndimage, optimize

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.pedicle_screw import PedicleScrew
from .bone_field import BoneField, LocalGrid, sample_grid
from .geometry import axis_placement, unit
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot
from .spine.image_grade import has_cortex
from .spine.sizes import snap_down, steps

BONE_HU = 120.0
_COARSE_MM, _FINE_MM = 2.5, 1.2
_HOLE_MM2 = 2000.0
_THIN_MM = 4.0
"""Gaps in thin cortex."""
_DIAMETERS_MM, _LENGTHS_MM = steps(6.5, 10.5, 0.5), steps(60.0, 90.0, 5.0)
_MARGIN_MM = 1.5
_LEAST_MM, _ENOUGH_MM = 3.0, 7.0
"""Clearance of a way on the coarse grid: what it must have, and what is no gain any more."""
_SEARCHED_MM = np.arange(6.0, 75.0, 3.0)
_LATERAL_DEG, _CAUDAL_DEG = np.arange(10.0, 31.0, 5.0), np.arange(15.0, 46.0, 5.0)
_USUAL_DEG, _ANGLE_COST = (20.0, 30.0), 0.05
_ASIDE_MM, _LEVEL_MM = (20.0, 70.0), 35.0
"""Of the entries from the middle of all bone, and from each other's height and depth."""


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """The widest way on either side, where the CT shows both iliac bones.

    :raises InputError: no such ways, or none that a screw fits in.
    """
    return tuple(_spot(volume, side, *way) for side, way in coarse_ways(volume).items())


def coarse_ways(volume: CTVolume) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Start and direction (RAS) of the widest way of either side, to a few mm.

    :raises InputError: the CT does not show both.
    """
    coarse = _bone(volume)
    starts = {side: _widest(coarse, sign) for side, sign in (("left", -1.0), ("right", 1.0))}
    apart = starts["right"][0] - starts["left"][0]
    cortex = all(has_cortex(volume, *way) for way in starts.values())
    if np.hypot(*apart[1:]) > _LEVEL_MM or not cortex:
        raise InputError(
            "the CT does not show the back of both iliac bones; give a CT of the whole pelvis"
        )
    return starts


def _bone(volume: CTVolume) -> BoneField:
    """Depths under the surface of all bone in the body, cancellous bone inside cortex filled."""
    grid = LocalGrid.over(volume, _COARSE_MM)
    hu = np.nan_to_num(sample_grid(volume, grid), nan=-1000.0)
    inside = body_mask(np.ascontiguousarray(hu.T), (_COARSE_MM,) * 3).T
    return BoneField.from_inside(_filled((hu > BONE_HU) & inside, _COARSE_MM), grid)


def _filled(bone: np.ndarray, step: float, axes: tuple[int, ...] = (2,)) -> np.ndarray:
    """Bone with its narrow gaps, and the small holes of its sections across some axes."""
    reach = round(_THIN_MM / step)
    pad = reach + 1
    closed = ndimage.binary_closing(np.pad(bone, pad), iterations=reach)
    closed = closed[pad:-pad, pad:-pad, pad:-pad] | bone
    out: np.ndarray = closed.copy()
    for axis in axes:
        for section, into in zip(
            np.moveaxis(closed, axis, 0), np.moveaxis(out, axis, 0), strict=True
        ):
            labels, _ = ndimage.label(ndimage.binary_fill_holes(section) & ~section)
            small = np.bincount(labels.ravel()) * step**2 < _HOLE_MM2
            small[0] = False
            into |= small[labels]
    return out


def _widest(coarse: BoneField, sign: float) -> tuple[np.ndarray, np.ndarray]:
    """Start under the bone's surface at the back, and direction, of the widest way (RAS)."""
    grid, depth = coarse.grid, coarse.depth
    bone = np.nonzero(depth > 0)[0]
    middle = np.median(bone) if len(bone) else 0.0
    index = np.argwhere((depth >= 2.0) & (depth < 5.0))
    aside = sign * (index[:, 0] - middle) * _COARSE_MM
    index = index[(aside > _ASIDE_MM[0]) & (aside < _ASIDE_MM[1])]
    best, found = _LEAST_MM, None
    for lateral, caudal in product(_LATERAL_DEG, _CAUDAL_DEG):
        unusual = _ANGLE_COST * (abs(lateral - _USUAL_DEG[0]) + abs(caudal - _USUAL_DEG[1]))
        a, b = np.deg2rad([lateral, caudal])
        way = np.array([sign * np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), -np.sin(b)])
        behind = index - np.rint(9.0 * way / _COARSE_MM).astype(int)
        start = index[coarse.nearest(behind) < 0]
        least = np.full(len(start), _ENOUGH_MM)
        for s in _SEARCHED_MM:
            least = np.minimum(least, coarse.nearest(start + np.rint(s * way / _COARSE_MM)))
            start, least = (x[least - unusual > best] for x in (start, least))
        if len(start):
            k = int(np.argmax(least))
            best, found = float(least[k]) - unusual, (grid.to_ras(start[k]), way)
    if found is None:
        raise InputError(
            "no way through an ilium from its back to above the hip socket in the CT; give a CT of "
            "the whole pelvis"
        )
    return found


def _spot(volume: CTVolume, side: str, start: np.ndarray, direction: np.ndarray) -> Spot:
    """The way found again on a fine grid, with the largest screw in it.

    :raises InputError: none is thin or short enough.
    """
    axes = axis_placement(start, start + direction)[:3, :3]
    low, high = np.array([-45.0, -45.0, -30.0]), np.array([45.0, 45.0, 110.0])
    grid = LocalGrid.spanning(start, axes, low, high, _FINE_MM)
    hu = np.nan_to_num(sample_grid(volume, grid), nan=-1000.0)
    field = BoneField.from_inside(_filled(hu > BONE_HU, _FINE_MM, (0, 2)), grid)
    s = np.arange(8.0, 76.0, 2.0)

    def axis(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return start + axes[:, :2] @ q[:2], unit(axes @ [q[2], q[3], 1.0])

    def loss(q: np.ndarray) -> float:
        point, ahead = axis(q)
        depth = field.at(point + s[:, None] * ahead)
        return float(np.log(np.mean(np.exp(-2.0 * depth))) / 2.0 + 8.0 * (q[2] ** 2 + q[3] ** 2))

    options = {"initial_simplex": np.vstack([np.zeros(4), np.diag([3.0, 3.0, 0.08, 0.08])])}
    found = optimize.minimize(loss, np.zeros(4), method="Nelder-Mead", options=options)
    point, ahead = axis(found.x)
    t = np.arange(-30.0, 105.0, 0.5)
    depth = field.at(point + t[:, None] * ahead)
    clearance = float(depth[(t > 8) & (t < 60)].min())
    diameter = snap_down(2 * (clearance - _MARGIN_MM), _DIAMETERS_MM)
    before = t[(depth <= 0) & (t < 8)]
    beyond = t[(depth < 0.5 * (diameter or 0) + _MARGIN_MM) & (t > 30)]
    entry = float(before[-1]) if len(before) else 0.0
    length = snap_down((float(beyond[0]) if len(beyond) else t[-1]) - entry, _LENGTHS_MM)
    if diameter is None or length is None:
        raise InputError(f"{side} ilium: {2 * clearance:.1f} mm of bone are too thin for a screw")
    begin = point + entry * ahead
    matrix = axis_placement(begin, begin + ahead)
    return Spot("iliac", matrix, {"diameter": diameter, "length": length}, side)


def draw_screws(patient: Patient, _rng: np.random.Generator) -> list[PlannedImplant]:
    """The largest screw on either side."""
    return [
        spot.planned(
            PedicleScrew(spot.size_mm["diameter"], spot.size_mm["length"]), level=spot.name
        )
        for spot in patient.spots
    ]
