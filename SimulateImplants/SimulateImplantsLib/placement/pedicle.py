"""The screw trajectory with the largest clearance through each pedicle of a vertebra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from MetalArtifactReductionLib.errors import InputError

from .bone_field import BoneField, LocalGrid
from .geometry import unit
from .sizes import ScrewSizes
from .vertebra import VertebraFrame

SIDES = ("left", "right")
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
_PEDICLE_MM, _AHEAD_MM = 5.0, 22.0
_BESIDE_CANAL_MM, _SACRAL_CONVERGENCE = 11.0, float(np.tan(np.deg2rad(27.0)))


@dataclass(frozen=True)
class PedicleTrajectory:
    """A proposed screw (RAS, mm).

    :param entry_ras: where the axis meets the bone at the back: the screw's origin.
    :param target_ras: the screw's tip.
    :param isthmus_ras: where the pedicle is narrowest, on the axis.
    :param clearance_mm: smallest distance of the axis from the bone's surface (the canal's wall
        included) from the pedicle's back to 5 mm before the tip.
    :param pedicle_width_mm: the shortest chord across the axis in the pedicle.
    :param convergence_deg: towards the midline going forwards, seen from above.
    :param inclination_deg: upwards (positive) against the vertebra's own horizontal plane.
    :param fits: False when no size leaves the margin; the thinnest is given then.
    """

    level: str
    side: str
    entry_ras: np.ndarray
    target_ras: np.ndarray
    isthmus_ras: np.ndarray
    diameter_mm: float
    length_mm: float
    clearance_mm: float
    pedicle_width_mm: float
    convergence_deg: float
    inclination_deg: float
    fits: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def direction(self) -> np.ndarray:
        """Unit vector from entry to tip."""
        return unit(self.target_ras - self.entry_ras)


def screw_angles_deg(frame: VertebraFrame, side: str, direction: np.ndarray) -> tuple[float, float]:
    """Convergence towards the midline and upward inclination of a direction (degrees)."""
    sign = -1.0 if side == "left" else 1.0
    right, anterior, superior = (float(direction @ frame.axes[:, i]) for i in range(3))
    convergence = np.rad2deg(np.arctan2(-sign * right, anterior))
    inclination = np.rad2deg(np.arctan2(superior, np.hypot(right, anterior)))
    return float(convergence), float(inclination)


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
    inner = depth[..., np.abs(s) <= _PEDICLE_MM]
    least = -np.log(np.mean(np.exp(-_SHARPNESS * inner), axis=-1)) / _SHARPNESS
    ahead = np.minimum(depth[..., s > _PEDICLE_MM].min(axis=-1) - least, 0)
    return least + ahead + _FORWARD_GAIN * np.minimum(depth[..., s > 12], 10).mean(axis=-1)


def _direction(
    frame: VertebraFrame, convergence: np.ndarray, incline: np.ndarray, sign: float
) -> np.ndarray:
    """Unit vectors (RAS) from tangents of the two angles."""
    local = np.stack([-sign * convergence, np.ones_like(convergence), incline], axis=-1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return local @ frame.axes.T


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
    s = np.arange(-_PEDICLE_MM, _AHEAD_MM + 0.1, 1.0)
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
    s = np.arange(-_PEDICLE_MM, _AHEAD_MM + 0.1, 1.0)

    shifts = np.array([-3.0, -1.5, 0.0, 1.5, 3.0])
    turns = np.tan(np.deg2rad(np.arange(-10.0, 41.0, 5.0)))
    tilts = np.tan(np.deg2rad(np.arange(-25.0, 26.0, 5.0)))
    dx, dz, c, g = (m.ravel() for m in np.meshgrid(shifts, shifts, turns, tilts, indexing="ij"))
    through = start + dx[:, None] * frame.axes[:, 0] + dz[:, None] * frame.axes[:, 2]
    score = _clearance(_path_depths(field, through, _direction(frame, c, g, sign), s), s)
    score = score - 0.6 * g * g - _unusual(c, g)
    best = int(np.argmax(score))
    point, direction = through[best], _direction(frame, c[best], g[best], sign)
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


def _ring_clearance(
    field: BoneField, points: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the surface, and width of the bone, at points of an axis (mm).

    The least of 24 rays across the axis, and the least of the 12 chords that they make. Finer than
    the depth at the point itself, which the grid rounds off along the middle of a thin bone.
    """
    u = unit(np.cross(direction, field.grid.axes[:, 2]))
    v = np.cross(direction, u)
    phi = np.arange(24) * 2 * np.pi / 24
    rays = np.cos(phi)[:, None] * u + np.sin(phi)[:, None] * v
    r = np.arange(0.0, 14.01, 0.4)
    depth = field.at(points[:, None, None, :] + r[:, None] * rays[:, None, :])
    outside = depth <= 0
    k = np.where(outside.any(axis=2), np.argmax(outside, axis=2), len(r) - 1)
    first = np.take_along_axis(depth, k[..., None], 2)[..., 0]
    before = np.take_along_axis(depth, np.maximum(k - 1, 0)[..., None], 2)[..., 0]
    part = np.where(before > first, before / np.maximum(before - first, 1e-6), 0.0)
    crossing = np.where(k > 0, r[np.maximum(k - 1, 0)] + np.clip(part, 0, 1) * 0.4, 0.0)
    chords = crossing[:, :12] + crossing[:, 12:]
    return crossing.min(axis=1), chords.min(axis=1)


def _reach(field: BoneField, start: np.ndarray, direction: np.ndarray, limit_mm: float) -> float:
    """How far the axis stays in bone from ``start`` (gaps of under 1 mm are crossed)."""
    s = np.arange(0.0, limit_mm, 0.2)
    inside = field.at(start + s[:, None] * direction) > 0
    outside = np.flatnonzero(~ndimage.binary_closing(np.pad(inside, 6), iterations=2)[6:-6])
    return float(s[outside[0]]) if len(outside) else limit_mm


def narrowest(field: BoneField, entry: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The point of a drawn axis where the pedicle around it is narrowest (RAS).

    :param entry: about where the screw begins.
    :raises InputError: no bone along the axis.
    """
    direction = unit(direction)
    s = np.arange(-10.0, 60.0, 0.4)
    points = np.asarray(entry, float) + s[:, None] * direction
    runs, count = ndimage.label(field.at(points) > 0)
    if count == 0:
        raise InputError("no bone along the screw; move its line")
    # The body with its pedicle is by far the longest piece of bone that an axis crosses.
    longest = 1 + int(np.argmax(np.bincount(runs)[1:]))
    within = points[runs == longest]
    # The very back of the bone is thin, too, and further on comes the body.
    steps = len(within)
    pedicle = within[min(10, steps // 4) : max(min(55, steps // 2), 1)]
    nearest, _ = _ring_clearance(field, pedicle, direction)
    found: np.ndarray = pedicle[int(np.argmin(nearest))]
    return found


def trajectory_along(
    field: BoneField,
    frame: VertebraFrame,
    side: str,
    through: np.ndarray,
    direction: np.ndarray,
    sizes: ScrewSizes,
) -> PedicleTrajectory:
    """Entry, length and diameter for a given axis.

    :raises InputError: the axis does not run through bone.
    """
    direction = unit(direction)
    warnings = []
    name = f"{frame.level or 'vertebra'} {side}"
    back = _reach(field, through, -direction, 32.0)
    front = _reach(field, through, direction, 60.0)
    entry = through - back * direction
    s = np.arange(0.0, back + front, 0.4)
    depths = field.at(entry + s[:, None] * direction)
    # Behind the pedicle the thread lies in the articular pillar, whose back it enters through:
    # no clearance is asked for there.
    begin = min(max(back - _PEDICLE_MM - 0.5, 4.0), back)
    in_pedicle = (s >= begin) & (s <= back + _PEDICLE_MM)
    stations = np.flatnonzero(in_pedicle)
    if len(stations) == 0:
        raise InputError(
            f"{name}: no bone along the pedicle's axis; check the click, or lower the bone "
            "threshold"
        )
    nearest, chords = _ring_clearance(field, entry + s[stations, None] * direction, direction)
    narrow = int(stations[np.argmin(nearest)])
    pedicle, width = float(nearest.min()), float(chords.min())
    fits = True
    diameter = sizes.diameter(pedicle)
    if diameter is None:
        diameter, fits = min(sizes.diameters_mm), False
        warnings.append(
            f"{name}: pedicle of {width:.1f} mm is too small for any screw with its margin; "
            f"the thinnest ({diameter:g} mm) is proposed"
        )
    # In the body the thread may not reach the surface; its tapered tip may come nearer.
    in_body = s > back + _PEDICLE_MM
    tight = s[in_body & (depths < 0.5 * diameter)]
    room = min(back + front, float(tight[0]) + 5.0) if len(tight) else back + front
    # Screws of both sides must not meet at the midline.
    aside = frame.local(entry + s[:, None] * direction)[:, 0] * (-1.0 if side == "left" else 1.0)
    beyond = s[aside < 0.5 * diameter]
    if len(beyond):
        room = min(room, float(beyond[0]) + sizes.tip_margin_mm)
    length = sizes.length(room)
    if length is None:
        length, fits = min(sizes.lengths_mm), False
        warnings.append(
            f"{name}: only {room:.0f} mm of bone along the axis; the shortest screw is "
            f"{length:g} mm"
        )
    used = (s >= begin) & (s <= max(length - 5.0, begin + 1.0))
    clearance = float(depths[used].min())
    convergence, inclination = screw_angles_deg(frame, side, direction)
    return PedicleTrajectory(
        level=frame.level,
        side=side,
        entry_ras=entry,
        target_ras=entry + direction * length,
        isthmus_ras=entry + s[narrow] * direction,
        diameter_mm=diameter,
        length_mm=length,
        clearance_mm=clearance,
        pedicle_width_mm=width,
        convergence_deg=convergence,
        inclination_deg=inclination,
        fits=fits,
        warnings=tuple(warnings),
    )


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
