"""S2 alar-iliac ways: from between the dorsal foramina of S1 and S2, across the sacroiliac joint,
to above the sciatic notch.

Spots: "S2AI"; origin at the entry, +z along the screw, +x cranial. About the way: Chang et al. 2009
(Spine 34:436), entry 22 mm from the midline; Zhu et al. 2013 (Eur Spine J 22:1683), 29 mm, 37
degrees outwards and 29 to 35 downwards in lying patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage, optimize

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from .bone_field import BoneField, LocalGrid, distance_to, sample_grid, sample_hu
from .geometry import across, axis_placement, unit
from .ilium import BONE_HU, coarse_ways, draw_screws
from .sacrum import Sacrum, measure_sacrum, middle_plane
from .sites import Spot
from .spine.sizes import snap_down, steps

__all__ = ["draw_screws", "find"]

_STEP_MM = 1.5
_LOW_MM, _HIGH_MM = np.array([-4.0, -75.0, -80.0]), np.array([115.0, 90.0, 45.0])
"""Searched, of the right half; the left is its mirror image."""
_NARROW_MM, _WIDE_MM, _OUTSIDE_MM3 = 3.5, 6.0, 60e3
"""Radii of balls that do not get into bone: through gaps of thin cortex, and of that of an ala in
thick slices, where only fat is no bone."""
_FAT_HU, _NERVE_HU = -45.0, 100.0
_FORAMEN_MM, _NERVE_MM, _CANAL_MM, _THROUGH_MM = 7.5, 4.0, 9.0, 22.0
_ENTRY_MM, _USUAL_ENTRY_MM = (20.0, 30.0), 26.0
_OUTWARDS_DEG, _DOWNWARDS_DEG = np.arange(30.0, 51.0, 5.0), np.arange(10.0, 41.0, 5.0)
_USUAL_DEG, _ANGLE_COST = (40.0, 28.0), 0.08
_SEARCHED_MM = np.arange(7.0, 82.0, 3.0)
_DRIFT = 0.04
_LEAST_MM, _ENOUGH_MM, _MARGIN_MM = 4.0, 7.0, 1.5
_DIAMETERS_MM, _LENGTHS_MM = steps(8.0, 9.0, 0.5), steps(65.0, 90.0, 5.0)


@dataclass(frozen=True, eq=False)
class _Half:
    """Bone of one half, with sacrum and ilium as one and without the foramina.

    :param sign: +1 right. :param low: of the grid, in the axes of the middle plane.
    :param bright: mm from the next bone that is bright.
    """

    sign: float
    low: np.ndarray
    field: BoneField
    bright: np.ndarray


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """The way on either side, where the CT shows a sacrum between both iliac bones.

    :raises InputError: it does not, or no screw fits.
    """
    ways = coarse_ways(volume)
    left, right = (ways[side][0] + 20.0 * ways[side][1] for side in ("left", "right"))
    turn = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
    sacrum = measure_sacrum(volume, middle_plane(volume, (left + right) / 2, turn=turn))
    spots = []
    for side, sign in (("left", -1.0), ("right", 1.0)):
        half = _half(volume, sacrum, sign)
        spots.append(_spot(volume, sacrum, half, side, *_widest(half, sacrum, side)))
    return tuple(spots)


def _half(volume: CTVolume, sacrum: Sacrum, sign: float) -> _Half:
    mirrored = _LOW_MM * [-1, 1, 1], _HIGH_MM * [-1, 1, 1]
    low = _LOW_MM if sign > 0 else np.minimum(*mirrored)
    high = _HIGH_MM if sign > 0 else np.maximum(*mirrored)
    grid = LocalGrid.spanning(sacrum.plane.origin, sacrum.plane.axes, low, high, _STEP_MM)
    hu = np.nan_to_num(sample_grid(volume, grid), nan=-1000.0)
    soft = ndimage.gaussian_filter(hu, 1.0)
    foramina, nerves = _foramina(grid.shape, low, sacrum, sign)
    forbidden = nerves | (foramina & (soft < _NERVE_HU))
    bone = hu > BONE_HU
    away = distance_to(bone | foramina | nerves, (_STEP_MM,) * 3)
    inside = _unreached(away, _NARROW_MM) | (_unreached(away, _WIDE_MM) & (soft > _FAT_HU))
    field = BoneField.from_inside(inside & ~forbidden, grid)
    bright = distance_to(bone & ~forbidden, (_STEP_MM,) * 3)
    return _Half(sign, low, field, bright)


def _foramina(
    shape: tuple[int, int, int], low: np.ndarray, sacrum: Sacrum, sign: float
) -> tuple[np.ndarray, np.ndarray]:
    """Foramina of S1 to S3 with room for their shape; their middles and the canal."""
    points = np.moveaxis(np.indices(shape), 0, -1) * _STEP_MM + low
    foramina, nerves = np.zeros(shape, bool), np.zeros(shape, bool)
    for place, aside in sacrum.foramina.values():
        normal = np.append(0.0, sacrum.normals[place])
        middle = np.append(sign * aside, sacrum.course[place] + 9.0 * sacrum.normals[place])
        offset = points - middle
        along = np.clip(offset @ normal, -_THROUGH_MM, _THROUGH_MM)
        away = np.linalg.norm(offset - along[..., None] * normal, axis=-1)
        foramina |= away < _FORAMEN_MM
        nerves |= away < _NERVE_MM
    for place in sacrum.course[::4]:
        nerves |= np.linalg.norm(points - np.append(0.0, place), axis=-1) < _CANAL_MM
    return foramina, nerves


def _unreached(away: np.ndarray, radius: float) -> np.ndarray:
    """Where a ball that rolls on the outside of all bone does not get."""
    labels, _ = ndimage.label(away > radius)
    outside = np.bincount(labels.ravel()) * _STEP_MM**3 > _OUTSIDE_MM3
    outside[0] = False
    result: np.ndarray = distance_to(outside[labels], (_STEP_MM,) * 3) > radius
    return result


def _widest(half: _Half, sacrum: Sacrum, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Start just under the back of the sacrum, and direction, of the widest way (RAS).

    :raises InputError: no way is wide enough.
    """
    depth, plane = half.field.depth, sacrum.plane
    first, second = (sacrum.foramina[level][0] for level in ("S1", "S2"))
    middle = (first + second) // 2
    normal = sacrum.normals[middle]
    index = np.argwhere((depth >= 1.0) & (depth < 3.5) & (half.bright < 2.0))
    local = index * _STEP_MM + half.low
    offset, aside = local[:, 1:] - sacrum.course[middle], half.sign * local[:, 0]
    level = np.abs(offset @ [normal[1], -normal[0]])
    usable = (level < 0.5 * (second - first) - 1.0) & (offset @ normal < 8.0)
    usable &= (aside > _ENTRY_MM[0]) & (aside < _ENTRY_MM[1])
    index = index[usable]
    unusual = 0.12 * np.maximum(np.abs(aside[usable] - _USUAL_ENTRY_MM) - 2.0, 0.0)
    unusual += 0.06 * np.maximum(level[usable] - 3.0, 0.0)
    best, found = -np.inf, None
    for outwards, downwards in product(_OUTWARDS_DEG, _DOWNWARDS_DEG):
        a, b = np.deg2rad([outwards, downwards])
        way = np.array([half.sign * np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), -np.sin(b)])
        cost = unusual + _ANGLE_COST * (
            abs(outwards - _USUAL_DEG[0]) + abs(downwards - _USUAL_DEG[1])
        )
        step = way / _STEP_MM
        open_behind = np.all(
            [half.field.nearest(index - s * step) < 0 for s in (6, 12, 18)], axis=0
        )
        start, cost = index[open_behind], cost[open_behind]
        least = np.full(len(start), _ENOUGH_MM)
        for s in _SEARCHED_MM:
            least = np.minimum(least, half.field.nearest(start + s * step))
        good = least - cost
        if len(start) and good.max() > best and least[good.argmax()] >= _LEAST_MM:
            k = int(good.argmax())
            best, found = float(good[k]), (half.field.grid.to_ras(start[k]), plane.axes @ way)
    if found is None:
        raise InputError(
            f"{side}: no way for a screw between the foramina of S1 and S2 into the ilium"
        )
    return found


def _spot(
    volume: CTVolume,
    sacrum: Sacrum,
    half: _Half,
    side: str,
    start: np.ndarray,
    direction: np.ndarray,
) -> Spot:
    """The way in the middle of its bone, from where it enters it, with the largest screw in it.

    :raises InputError: none is thin or short enough.
    """
    field = half.field
    up = across(sacrum.plane.axes[:, 2], direction)
    aside = np.cross(up, direction)
    s = np.arange(6.0, 80.0, 2.0)

    def axis(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return start + q[0] * aside + q[1] * up, unit(direction + q[2] * aside + q[3] * up)

    def loss(q: np.ndarray) -> float:
        point, ahead = axis(q)
        depth = np.minimum(field.at(point + s[:, None] * ahead), 8.0)
        narrow = float(np.log(np.mean(np.exp(-2.0 * depth))) / 2.0)
        return narrow + 8.0 * float(q[2] ** 2 + q[3] ** 2) + _DRIFT * float(q[0] ** 2 + q[1] ** 2)

    options = {"initial_simplex": np.vstack([np.zeros(4), np.diag([3.0, 3.0, 0.08, 0.08])])}
    found = optimize.minimize(loss, np.zeros(4), method="Nelder-Mead", options=options)
    point, ahead = axis(found.x)
    t = np.arange(-30.0, 110.0, 0.5)
    depth = field.at(point + t[:, None] * ahead)
    before = t[(depth <= 0) & (t < 8)]
    entry = _surface(volume, point, ahead, aside, up, float(before[-1]) if len(before) else 0.0)
    clearance = float(depth[(t > entry + 13) & (t < entry + 62)].min())
    diameter = snap_down(2 * (clearance - _MARGIN_MM), _DIAMETERS_MM)
    beyond = t[(depth < 0.5 * (diameter or 0) + _MARGIN_MM) & (t > entry + 35)]
    length = snap_down((float(beyond[0]) if len(beyond) else t[-1]) - entry, _LENGTHS_MM)
    if diameter is None or length is None:
        raise InputError(f"{side}: {2 * clearance:.1f} mm of bone are too thin for an S2AI screw")
    begin = point + entry * ahead
    matrix = axis_placement(begin, begin + ahead)
    return Spot("S2AI", matrix, {"diameter": diameter, "length": length}, side)


def _surface(
    volume: CTVolume,
    point: np.ndarray,
    ahead: np.ndarray,
    aside: np.ndarray,
    up: np.ndarray,
    near: float,
) -> float:
    """Where along the way the sacrum's cortex begins: hollows behind it count as bone."""
    t = np.arange(near - 2.0, near + 9.0, 0.5)
    around = [a * aside + b * up for a, b in product((-2.0, 0.0, 2.0), repeat=2)]
    hu = sample_hu(volume, point + t[:, None, None] * ahead + np.array(around)).mean(axis=1)
    bright = t[hu > max(0.5 * float(hu.max()), 60.0)]
    return float(bright[0]) if len(bright) else near
