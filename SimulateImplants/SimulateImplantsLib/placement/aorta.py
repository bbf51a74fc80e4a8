"""The aorta in front of the spine, from the arch to where it parts, and stent-grafts in it.

Spots: "aorta", pieces of even width; origin in the middle of one, +z along it, cranial, +x right;
with the centre line of the piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.path import along
from ..implants.stent import Stent
from .bone_field import sample_hu
from .lumen import BLOOD_HU, WALL, RoundSection, round_section, tolerance
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, frame
from .spine.column import STEP_MM, column
from .spine.laterality import liver_side

_X_MM, _Y_MM = np.arange(-46, 19, 2), np.arange(-8, 75, 2)
"""Where a vessel's middle may be, from that of a vertebral body: to the right, to the front."""
_RAY_MM = np.arange(1, 26)
_ANGLES = np.arange(24) * 2 * np.pi / 24
_RADII_MM = np.arange(5, 22)
_ON_MM = 1.5
_CORNER_MM = (-72, -34)
_SIZE = (117, 135)
"""First pixel of a section from the vertebral body's middle, and its 1 mm pixels."""
_SLAB_MM = np.array([-1.0, 0.0, 1.0])
_TO_LEFT_DEG, _ANGLES_DEG = (-5.0, 70.0), (12.0, 6.0)
"""From straight ahead of the body, and how fast it gets unlikely beyond: right of it lies the vena
cava, left of it psoas."""
_FROM_BODY_MM, _GAPS_MM = (12.0, 32.0), (6.0, 6.0)
"""The wall from the body's middle: farther lie bowel and oesophagus."""
_PLACE_COST = 0.3
_MOST, _LEAST = 40, 0.4
_USUAL = 0.6
"""Share of rays on a circle that is as likely no vessel's."""
_MOST_MISSED, _MISSED_COST = 4, 0.25
_STEEP_MM, _WIDENS_MM, _CHANGES_HU = 2.0, 1.0, (10.0, 60.0)
_STRAY_MM = 5.0
_PAD = 9
_SMOOTH_MM, _EVEN, _BEND = 9.0, 0.1, 4.0
"""A piece's radii differ so little from their median, and its bends have so many radii."""
_SEEN_MM, _LEAST_MM, _MOST_MM, _APART_MM = 60.0, 50.0, 200.0, 10.0
"""Of a vessel at all, of its pieces, and between their middles."""
_RADIUS_MM = (7.0, 20.0)
_MIRRORED = -0.5
_LENGTHS_MM = (50.0, 60.0, 80.0, 100.0, 120.0, 150.0, 200.0)
_KNOT_MM, _RING_GAP_MM, _PEAK_MM = 20.0, 2.0, 9.0


@dataclass(frozen=True, eq=False)
class Piece(Spot):
    """A piece of a vessel.

    :param line: its centre line, from caudal, RAS ``(n, 3)``.
    """

    line: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))


def find(volume: CTVolume) -> tuple[Piece, ...]:
    """The pieces of even width of the aorta below its arch.

    :raises InputError: no spine, a mirrored CT, or no vessel of even width before the spine.
    """
    spine = column(volume)
    circles = [_circles(_axial(volume, middle), middle) for middle in spine]
    pieces = _pieces(*_centre_line(volume, _tracked(circles)))
    if not pieces:
        raise InputError(
            f"no aorta of even width over {_LEAST_MM:g} mm before the spine; give a CT of the "
            "chest or abdomen that shows it"
        )
    if liver_side(volume, spine) < _MIRRORED:
        raise InputError(
            "the liver lies to the left of the spine, so the volume seems mirrored, and the aorta "
            "is looked for on the left; correct the CT's orientation"
        )
    return tuple(pieces)


def draw_stent(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One stent-graft along a piece, as wide as the vessel that keeps it from opening further.

    It is sold 10 to 20 % wider (Sher and Tadros 2017, doi 10.5772/66369).
    """
    piece = patient.spots[int(rng.integers(len(patient.spots)))]
    assert isinstance(piece, Piece)
    at = along(piece.line)
    fitting = [mm for mm in _LENGTHS_MM if mm <= at[-1]]
    length = float(rng.choice(fitting[-2:]))
    knots = np.linspace(0.0, length, max(2, round(length / _KNOT_MM)) + 1)
    knots += 0.5 * (at[-1] - length)
    path = np.stack([np.interp(knots, at, values) for values in piece.line.T], axis=-1)
    matrix = frame(path[0], (1, 0, 0), (0, 1, 0), path[1] - path[0])
    local = np.round((path - path[0]) @ matrix[:3, :3], 2)
    rings = round(length / float(rng.uniform(12.0, 20.0)))
    steel = rng.random() < 0.2
    diameter = round(piece.size_mm["diameter"], 1)
    stent = Stent(
        diameter_mm=diameter,
        strut_mm=0.5 if steel else float(rng.choice([0.3, 0.4])),
        ring_mm=(length + _RING_GAP_MM) / rings - _RING_GAP_MM,
        peaks=int(rng.integers(5, int(np.pi * diameter / _PEAK_MM) + 1)),
        path_mm=tuple((float(x), float(y), float(z)) for x, y, z in local),
        material="316L" if steel else "nitinol",
    )
    return [PlannedImplant(stent.to_dict(), matrix, {"side": "", "site": piece.name})]


def _axial(volume: CTVolume, middle: np.ndarray) -> np.ndarray:
    """HU about a vertebral body's middle, 1 mm a pixel ``[x, y]``, three slices of 1 mm."""
    x, y = (first + np.arange(n) for first, n in zip(_CORNER_MM, _SIZE, strict=True))
    points = middle + np.stack(np.meshgrid(x, y, _SLAB_MM, indexing="ij"), axis=-1)
    hu = np.nan_to_num(sample_hu(volume, points), nan=-1000.0).mean(axis=-1)
    result: np.ndarray = ndimage.gaussian_filter(hu, 0.8)
    return result


def _circles(hu: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Circles that look like the aorta: rows of x, y (RAS), radius (mm), mean HU,
    likeness, and the vertebral body's middle.

    Rays from each point end where HU leaves the mean about it; on a vessel's axis most of them do
    at the same distance. Where another vessel or a crus touches, they go on.
    """
    x, y = np.meshgrid(_X_MM, _Y_MM, indexing="ij")
    i, j = x - _CORNER_MM[0], y - _CORNER_MM[1]
    mean = ndimage.uniform_filter(hu, 7)[i, j]
    a, b = (np.rint(np.outer(f(_ANGLES), _RAY_MM)).astype(int) for f in (np.cos, np.sin))
    ray = hu[i[..., None, None] + a, j[..., None, None] + b]
    left = np.abs(ray - mean[..., None, None]) > tolerance(mean)[..., None, None]
    ends = np.where(left.any(axis=-1), _RAY_MM[left.argmax(axis=-1)] - 0.5, np.inf)
    shares = (np.abs(ends[..., None] - _RADII_MM) <= _ON_MM).mean(axis=2)
    radius = _RADII_MM[shares.argmax(axis=-1)]
    value = shares.max(axis=-1) - _unusual(x, y, radius)
    value[(mean < BLOOD_HU[0]) | (mean > BLOOD_HU[1])] = 0.0
    top = (value >= ndimage.maximum_filter(value, 3)) & (value > _LEAST)
    order = np.argsort(-value[top])[:_MOST]
    seen = [each[top][order] for each in (x + middle[0], y + middle[1], radius, mean, value)]
    return np.column_stack([*seen, np.tile(middle, (len(order), 1))])


def _unusual(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Cost of a place that an aorta does not have beside a vertebra."""
    angle, gap = np.rad2deg(np.arctan2(-x, y)), np.hypot(x, y) - radius
    cost = np.zeros(x.shape)
    for value, (low, high), (below, above) in (
        (angle, _TO_LEFT_DEG, _ANGLES_DEG),
        (gap, _FROM_BODY_MM, _GAPS_MM),
    ):
        off = np.maximum((low - value) / below, (value - high) / above)
        cost += _PLACE_COST * np.maximum(off, 0.0) ** 2
    return cost


def _tracked(circles: Sequence[np.ndarray]) -> np.ndarray:
    """The row of circles, one a height, that together are most like a vessel ``(n, 8)``.

    Viterbi's algorithm; heights may be missed, and it begins and ends where that is best.
    """
    sums: list[np.ndarray] = []
    back: list[list[tuple[int, int] | None]] = []
    for k, now in enumerate(circles):
        best = np.zeros(len(now))
        came: list[tuple[int, int] | None] = [None] * len(now)
        for missed in range(min(k, _MOST_MISSED + 1)):
            before = circles[k - 1 - missed]
            if not len(before) or not len(now):
                continue
            gain = sums[k - 1 - missed] - _change(now[:, None], before[None], 1 + missed)
            j = gain.argmax(axis=1)
            for i in np.flatnonzero(gain.max(axis=1) > best):
                best[i], came[i] = gain[i, j[i]], (k - 1 - missed, int(j[i]))
        sums.append(best + now[:, 4] - _USUAL)
        back.append(came)
    tops = [float(s.max()) if len(s) else 0.0 for s in sums]
    k = int(np.argmax(tops))
    at: tuple[int, int] | None = (k, int(sums[k].argmax())) if tops[k] > 0 else None
    rows = []
    while at is not None:
        rows.append(circles[at[0]][at[1]])
        at = back[at[0]][at[1]]
    return np.array(rows[::-1]).reshape(-1, 8)


def _change(now: np.ndarray, before: np.ndarray, steps: int) -> np.ndarray:
    """Cost of going from some circles to others so many heights above."""
    far = np.hypot(now[..., 0] - before[..., 0], now[..., 1] - before[..., 1])
    cost = 0.04 * np.clip(far - _STEEP_MM * steps, 0, None) ** 2
    cost += 0.04 * np.clip(np.abs(now[..., 2] - before[..., 2]) - _WIDENS_MM, 0, None) ** 2
    free, unit = _CHANGES_HU
    cost += (np.clip(np.abs(now[..., 3] - before[..., 3]) - free, 0, None) / unit) ** 2
    result: np.ndarray = cost + _MISSED_COST * (steps - 1)
    return result


def _centre_line(volume: CTVolume, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smooth centre line ``(n, 3)`` in RAS, and radii (mm), NaN where no section is round.

    Measured across the body, then across the line.
    """
    if len(rows) < 2 or rows[-1, 7] - rows[0, 7] < _SEEN_MM:
        return np.zeros((0, 3)), np.zeros(0)
    line = rows[:, [0, 1, 7]]
    way = np.tile([0.0, 0.0, 1.0], (len(line), 1))
    radius = np.full(len(line), np.nan)
    for _ in range(2):
        found = [round_section(volume, *at) for at in zip(line, way, strict=True)]
        good = [k for k, one in enumerate(found) if one and _fits(one, line[k], rows[k, 5:7])]
        if len(good) * STEP_MM < _LEAST_MM / 2:
            return np.zeros((0, 3)), np.zeros(0)
        radius = np.full(len(line), np.nan)
        radius[good] = [found[k].radius_mm for k in good]  # type: ignore[union-attr]
        middles = np.array([found[k].centre for k in good])  # type: ignore[union-attr]
        for axis in (0, 1):
            line[:, axis] = np.interp(line[:, 2], middles[:, 2], middles[:, axis])
        wide = np.pad(line[:, :2], ((_PAD, _PAD), (0, 0)), "reflect", reflect_type="odd")
        wide = ndimage.gaussian_filter1d(wide, _SMOOTH_MM / STEP_MM, axis=0)
        line[:, :2] = wide[_PAD:-_PAD]
        way = np.gradient(line, axis=0)
        way /= np.linalg.norm(way, axis=1, keepdims=True)
    return line, radius


def _fits(one: RoundSection, near: np.ndarray, body: np.ndarray) -> bool:
    """Whether a section is round, where it was looked for, and where an aorta lies."""
    x, y = one.centre[:2] - body
    return (
        one.wall >= WALL
        and float(np.linalg.norm(one.centre - near)) < _STRAY_MM
        and float(_unusual(np.array(x), np.array(y), np.array(one.radius_mm))) < _PLACE_COST
    )


def _pieces(line: np.ndarray, radius: np.ndarray) -> list[Piece]:
    """Every 10 mm the longest piece about a point whose width is even."""
    found: list[Piece] = []
    if not len(line):
        return found
    at = along(line)
    most = round(0.5 * _MOST_MM / STEP_MM)
    bend = _bend(line)
    for k in range(len(line)):
        reach = max((n for n in range(1, most) if _is_even(radius, bend, k - n, k + n)), default=0)
        own = slice(k - reach, k + reach + 1)
        if at[own][-1] - at[own][0] < _LEAST_MM:
            continue
        if found and np.linalg.norm(found[-1].origin - line[k]) < _APART_MM:
            continue
        pose = frame(line[k], (1, 0, 0), (0, 1, 0), line[k + 1] - line[k - 1])
        size = {
            "diameter": 2 * float(np.nanmedian(radius[own])),
            "length": float(at[own][-1] - at[own][0]),
        }
        found.append(Piece("aorta", pose, size, line=line[own]))
    return found


def _bend(line: np.ndarray) -> np.ndarray:
    """Radius of the bend (mm) at each point of a line."""
    way = np.gradient(line, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    turn = np.linalg.norm(np.gradient(way, axis=0), axis=1)
    step = np.gradient(along(line))
    result: np.ndarray = step / np.maximum(turn, 1e-6)
    return result


def _is_even(radius: np.ndarray, bend: np.ndarray, first: int, last: int) -> bool:
    """Whether a piece's radii hardly differ, few are missing, and it bends little."""
    if first < 0 or last >= len(radius):
        return False
    own = radius[first : last + 1]
    seen = own[np.isfinite(own)]
    if len(seen) < 0.8 * len(own) or not np.isfinite(own[[0, -1]]).all():
        return False
    middle = float(np.median(seen))
    return (
        _RADIUS_MM[0] <= middle <= _RADIUS_MM[1]
        and float(np.abs(seen / middle - 1).max()) < _EVEN
        and float(bend[first : last + 1].min()) > _BEND * middle
    )
