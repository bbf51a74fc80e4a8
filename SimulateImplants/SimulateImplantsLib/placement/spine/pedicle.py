"""The axis with the largest clearance through each pedicle of a vertebra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from MetalArtifactReductionLib.errors import InputError

from ..bone_field import BoneField, LocalGrid
from ..geometry import unit
from .sizes import ScrewSizes
from .trajectory import PEDICLE_MM, SIDES, PedicleTrajectory, trajectory_along
from .vertebra import VertebraFrame

_STEP_MM = 0.8
_SHARPNESS = 2.0
_CONVERGENCE_RANGE = (0.0, float(np.tan(np.deg2rad(30.0))))
_INCLINATION_RANGE = (-float(np.tan(np.deg2rad(12.0))), float(np.tan(np.deg2rad(12.0))))
"""Tangents within which the bone alone decides; beyond them a screw pays for its angle (pedicles
converge by 0 to 30 degrees from T12 to L5 and run nearly parallel to the upper endplate: Zindrick
et al. 1987, Spine 12:160)."""
_ANGLE_COST = 12.0
_FORWARD_GAIN = 0.04
"""Weight of bone about the front half: of two axes as good in the pedicle, the one whose tip lies
deeper in the body."""
_AHEAD_MM = 22.0
_BESIDE_CANAL_MM, _SACRAL_CONVERGENCE = 11.0, float(np.tan(np.deg2rad(27.0)))


def vertebra_field(mask: np.ndarray, ijk_to_ras: np.ndarray, frame: VertebraFrame) -> BoneField:
    """Depths under the vertebra's surface in its own frame (x right, y anterior, z superior)."""
    back = float(frame.local(frame.canal)[1]) - 32.0
    front = 0.5 * frame.body_depth_mm + 12.0
    grid = LocalGrid.spanning(
        frame.centre,
        frame.axes,
        np.array([-46.0, back, -30.0]),
        np.array([46.0, front, 30.0]),
        _STEP_MM,
    )
    return BoneField.from_mask(mask, ijk_to_ras, grid)


@dataclass(frozen=True)
class _Isthmus:
    """The narrowest coronal section of a pedicle: local centre (mm) and area."""

    centre: np.ndarray
    area_mm2: float


def _isthmus(field: BoneField, frame: VertebraFrame, side: str) -> _Isthmus | None:
    """Scan coronal sections from the body's back to the middle of the canal."""
    sign = -1.0 if side == "left" else 1.0
    canal_y = float(frame.local(frame.canal)[1])
    h, grid = field.grid.spacing_mm, field.grid
    low = frame.local(grid.origin)
    x, y, z = (low[i] + h * np.arange(n) for i, n in enumerate(grid.shape))
    radius = frame.canal_radius_mm
    rows = np.flatnonzero((y > canal_y - 0.35 * radius) & (y < canal_y + radius + 6.0))
    columns = np.flatnonzero((sign * x > 0.55 * radius) & (sign * x < radius + 24.0))
    heights = np.flatnonzero(np.abs(z) < 0.5 * frame.body_height_mm + 8.0)
    if min(len(rows), len(columns), len(heights)) == 0:
        return None
    block = (
        field.depth[columns[0] : columns[-1] + 1, rows[0] : rows[-1] + 1][
            :, :, heights[0] : heights[-1] + 1
        ]
        > 0
    )
    found = []
    for j in range(block.shape[1]):
        labels, count = ndimage.label(block[:, j])
        for n in range(1, count + 1):
            a, c = np.nonzero(labels == n)
            area = len(a) * h * h
            centre = np.array(
                [x[columns[0]] + h * a.mean(), y[rows[0] + j], z[heights[0]] + h * c.mean()]
            )
            # A pedicle: beside the canal, in the upper part of the body, at least 3 mm thick.
            if area > 18 and abs(centre[2] - 0.15 * frame.body_height_mm) < 12:
                found.append((area, j, centre))
    if not found:
        return None
    # Thin parts of the arch are smaller than the pedicle: the section must continue both ways.
    by_row: dict[int, tuple[float, np.ndarray]] = {}
    for area, j, centre in found:
        if j not in by_row or area > by_row[j][0]:
            by_row[j] = (area, centre)
    j = min(by_row, key=lambda r: by_row[r][0])
    return _Isthmus(by_row[j][1], by_row[j][0])


def _unusual(convergence: np.ndarray, inclination: np.ndarray) -> np.ndarray:
    """Cost of angles (tangents) outside the usual ranges."""
    cost = np.zeros(())
    pairs = ((convergence, _CONVERGENCE_RANGE), (inclination, _INCLINATION_RANGE))
    for value, (low, high) in pairs:
        cost = cost + np.maximum(low - value, 0) ** 2 + np.maximum(value - high, 0) ** 2
    return _ANGLE_COST * cost


def _path_depths(
    field: BoneField, through: np.ndarray, direction: np.ndarray, s: np.ndarray
) -> np.ndarray:
    points = through[..., None, :] + s[:, None] * direction[..., None, :]
    return field.at(points)


def _clearance(depth: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Smooth minimum of the depth through the pedicle, less what is missing further ahead.

    Every near-narrow place counts, not one voxel. In the body more bone than the pedicle has
    is no gain; less is a loss.
    """
    inner = depth[..., np.abs(s) <= PEDICLE_MM]
    least = -np.log(np.mean(np.exp(-_SHARPNESS * inner), axis=-1)) / _SHARPNESS
    ahead = np.minimum(depth[..., s > PEDICLE_MM].min(axis=-1) - least, 0)
    result: np.ndarray = (
        least + ahead + _FORWARD_GAIN * np.minimum(depth[..., s > 12], 10).mean(axis=-1)
    )
    return result


def _direction(
    frame: VertebraFrame, convergence: np.ndarray, incline: np.ndarray, sign: float
) -> np.ndarray:
    """Unit vectors (RAS) from tangents of the two angles."""
    local = np.stack([-sign * convergence, np.ones_like(convergence), incline], axis=-1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    result: np.ndarray = local @ frame.axes.T
    return result


def _centroid_line(
    field: BoneField, through: np.ndarray, direction: np.ndarray, reach_mm: float = 5.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Line through the centres of the pedicle's cross-sections about an axis."""
    u = unit(np.cross(direction, field.grid.axes[:, 2]))
    v = np.cross(direction, u)
    h = 0.6
    side = np.arange(-13.0, 13.01, h)
    a, b = np.meshgrid(side, side, indexing="ij")
    plane = a[..., None] * u + b[..., None] * v
    stations = np.arange(-reach_mm, reach_mm + 0.01, 1.0)
    centres: list[np.ndarray | None] = []
    areas: list[float] = []
    for s in stations:
        inside = field.at(through + s * direction + plane) > 0
        labels, count = ndimage.label(inside)
        middle = labels[len(side) // 2, len(side) // 2]
        if count == 0 or middle == 0:
            centres.append(None)
            areas.append(np.inf)
            continue
        part = labels == middle
        centres.append(
            through + s * direction + u * float(a[part].mean()) + v * float(b[part].mean())
        )
        areas.append(part.sum() * h * h)
    area = np.array(areas)
    best = float(area.min())
    if not np.isfinite(best):
        return None
    # Sections that already open into body or arch tell nothing about the pedicle's axis.
    start = int(np.argmin(area))
    keep = [start]
    for step in (-1, 1):
        i = start + step
        while 0 <= i < len(area) and area[i] < 1.15 * best:
            keep.append(i)
            i += step
    if len(keep) < 5:
        return None
    points = np.array([centres[i] for i in keep])
    weight = 1 / area[keep] ** 2
    mean = np.average(points, axis=0, weights=weight)
    _, _, axes = np.linalg.svd((points - mean) * np.sqrt(weight)[:, None], full_matrices=False)
    line = axes[0] if axes[0] @ direction > 0 else -axes[0]
    return mean, line


def _sacral_axis(
    field: BoneField, frame: VertebraFrame, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """The axis of an S1 screw: from beside the facet's foot towards the promontory.

    S1 has no isthmus; the ala offers room without end, far from where a rod could reach it. The
    screw therefore passes the canal within :data:`_BESIDE_CANAL_MM` of its wall.

    :return: point beside the canal and unit direction (RAS).
    :raises InputError: no bone beside the canal.
    """
    sign = -1.0 if side == "left" else 1.0
    canal = frame.local(frame.canal)
    reach = np.arange(0.0, 40.0, 0.4)
    row = np.tile(canal, (len(reach), 1))
    row[:, 0] += sign * reach
    bone = np.flatnonzero(field.at(frame.ras(row)) > 0)
    if len(bone) == 0:
        raise InputError(f"{frame.level} {side}: no bone beside the canal")
    wall = float(canal[0] + sign * reach[bone[0]])
    s = np.arange(-PEDICLE_MM, _AHEAD_MM + 0.1, 1.0)
    aside = wall + sign * np.arange(5.0, _BESIDE_CANAL_MM + 0.1, 1.0)
    heights = canal[2] + np.arange(-4.0, 14.1, 1.5)
    turns = np.tan(np.deg2rad(np.arange(15.0, 36.0, 5.0)))
    tilts = np.tan(np.deg2rad(np.arange(-15.0, 21.0, 5.0)))
    x, z, c, g = (m.ravel() for m in np.meshgrid(aside, heights, turns, tilts, indexing="ij"))
    through = frame.ras(np.stack([x, np.full_like(x, canal[1]), z], axis=1))
    directions = _direction(frame, c, g, sign)
    score = _clearance(_path_depths(field, through, directions, s), s) - 0.6 * g * g
    best = int(np.argmax(score - _ANGLE_COST * 2 * (c - _SACRAL_CONVERGENCE) ** 2))
    return through[best], directions[best]


def _coarse_axis(
    field: BoneField, frame: VertebraFrame, start: np.ndarray, sign: float, s: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best of a grid of points about ``start`` and of directions."""
    shifts = np.array([-3.0, -1.5, 0.0, 1.5, 3.0])
    turns = np.tan(np.deg2rad(np.arange(-10.0, 41.0, 5.0)))
    tilts = np.tan(np.deg2rad(np.arange(-25.0, 26.0, 5.0)))
    dx, dz, c, g = (m.ravel() for m in np.meshgrid(shifts, shifts, turns, tilts, indexing="ij"))
    through = start + dx[:, None] * frame.axes[:, 0] + dz[:, None] * frame.axes[:, 2]
    score = _clearance(_path_depths(field, through, _direction(frame, c, g, sign), s), s)
    score = score - 0.6 * g * g - _unusual(c, g)
    best = int(np.argmax(score))
    return through[best], _direction(frame, c[best], g[best], sign)


def find_axis(field: BoneField, frame: VertebraFrame, side: str) -> tuple[np.ndarray, np.ndarray]:
    """The axis of largest clearance through a pedicle.

    A coarse search over position and angles, then a fine one. The clearance is a soft minimum
    of the depth along the axis; where it is flat (a pedicle is taller than wide) the centres of
    the cross-sections decide.

    :return: point at the isthmus and unit direction (RAS).
    :raises InputError: no pedicle on that side.
    """
    if frame.level == "S1":
        return _sacral_axis(field, frame, side)
    sign = -1.0 if side == "left" else 1.0
    isthmus = _isthmus(field, frame, side)
    if isthmus is None:
        raise InputError(
            f"{frame.level or 'vertebra'} {side}: no pedicle found in the segmentation"
        )
    start = frame.ras(isthmus.centre)
    s = np.arange(-PEDICLE_MM, _AHEAD_MM + 0.1, 1.0)
    point, direction = _coarse_axis(field, frame, start, sign, s)
    guide = None
    for _ in range(3):
        line = _centroid_line(field, point, direction)
        if line is None:
            break
        guide = line
        point, direction = line

    x0 = np.array([*((point - start) @ frame.axes), 0.0])[:3]
    anchor = start + frame.axes[:, 1] * x0[1]
    local = frame.axes.T @ direction
    slope = np.clip(-sign * local[0] / local[1], *_CONVERGENCE_RANGE)
    tilt = np.clip(local[2] / local[1], *_INCLINATION_RANGE)
    first = np.array([x0[0], x0[2], slope, tilt])

    def loss(q: np.ndarray) -> float:
        p = anchor + q[0] * frame.axes[:, 0] + q[1] * frame.axes[:, 2]
        d = _direction(frame, np.array(q[2]), np.array(q[3]), sign)
        value = float(_clearance(_path_depths(field, p, d, s), s))
        away = 0.04 * float((q[0] - first[0]) ** 2 + (q[1] - first[1]) ** 2)
        turned = 8.0 * float((q[2] - first[2]) ** 2 + (q[3] - first[3]) ** 2)
        follow = away + turned if guide is not None else 0.0
        return -value + follow + 0.5 * float(q[3]) ** 2 + float(_unusual(q[2], q[3]))

    simplex = np.vstack([first, first + np.diag([0.8, 0.8, 0.06, 0.06])])
    found = optimize.minimize(
        loss,
        first,
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxiter": 160, "xatol": 0.01, "fatol": 1e-3},
    )
    q = found.x
    point = anchor + q[0] * frame.axes[:, 0] + q[1] * frame.axes[:, 2]
    return point, _direction(frame, np.array(q[2]), np.array(q[3]), sign)


def pedicle_trajectory(
    field: BoneField, frame: VertebraFrame, side: str, sizes: ScrewSizes | None = None
) -> PedicleTrajectory:
    """The proposed screw of one pedicle.

    :param field: of :func:`vertebra_field`.
    :raises InputError: no pedicle on that side of the segmentation.
    """
    if side not in SIDES:
        raise InputError(f"side {side!r}: 'left' or 'right' is needed")
    through, direction = find_axis(field, frame, side)
    return trajectory_along(field, frame, side, through, direction, sizes or ScrewSizes())
