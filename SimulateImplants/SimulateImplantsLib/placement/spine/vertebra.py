"""The anatomical frame of one vertebra, from its mask alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError

from ..bone_field import (
    LocalGrid,
    distance_to,
    mask_points,
    resample_mask,
    touches_border,
    voxel_box,
)
from ..geometry import Vector, across, unit

_STEP_MM = 1.5
_LEAST_RADIUS_MM = 3.5  # of a canal


@dataclass(frozen=True)
class VertebraFrame:
    """Where a vertebra is and how it stands (RAS, mm; unit axes, left x anterior x superior).

    :param centre: middle of the vertebral body.
    :param canal: point on the canal's axis at the height of the body's middle.
    :param canal_radius_mm: largest circle in the canal seen along its axis.
    :param body_width_mm, body_depth_mm, body_height_mm: of the body.
    :param warnings: what a user should know (bone cut by the volume's end, ...).
    """

    level: str
    centre: np.ndarray
    left: np.ndarray
    anterior: np.ndarray
    superior: np.ndarray
    canal: np.ndarray
    canal_direction: np.ndarray
    canal_radius_mm: float
    body_width_mm: float
    body_depth_mm: float
    body_height_mm: float
    warnings: tuple[str, ...] = ()

    @property
    def axes(self) -> np.ndarray:
        """Columns right, anterior, superior: a right-handed frame."""
        return np.stack([-self.left, self.anterior, self.superior], axis=1)

    def local(self, ras: np.ndarray) -> np.ndarray:
        """RAS points ``(..., 3)`` in the frame (right, anterior, superior from the centre)."""
        result: np.ndarray = (np.asarray(ras, float) - self.centre) @ self.axes
        return result

    def ras(self, local: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`local`."""
        result: np.ndarray = self.centre + np.asarray(local, float) @ self.axes.T
        return result


@dataclass(frozen=True)
class _Hole:
    """The canal as the largest hole in the vertebra's shadow along a direction."""

    area_mm2: float
    radius_mm: float
    centre: np.ndarray
    """RAS point on the canal's axis, at the height of the mask's centroid."""


def _plane(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u = across((1.0, 0.0, 0.0) if abs(direction[0]) < 0.8 else (0.0, 1.0, 0.0), direction)
    return u, np.cross(direction, u)


def _shadow(
    offset: np.ndarray, direction: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the largest hole in the bone's shadow, and where the first cell begins (mm).

    :param offset: of the bone's points from their centroid, ``(3, n)``.
    """
    plane = np.stack(_plane(direction)) @ offset
    low = plane.min(axis=1) - 2 * step
    plane -= low[:, None]
    plane /= step
    index = plane.astype(int)
    size = index.max(axis=1) + 3
    shadow = np.bincount(index[0] * size[1] + index[1], minlength=int(size.prod()))
    parts, _ = ndimage.label(shadow.reshape(size) == 0)
    areas = np.bincount(parts.ravel())
    areas[[0, parts[0, 0]]] = 0  # bone, and what lies around it
    return parts == (np.argmax(areas) if areas.any() else -1), low


def _hole(
    inside: np.ndarray, low: np.ndarray, middle: np.ndarray, direction: np.ndarray, step: float
) -> _Hole:
    """What :func:`_shadow` found, measured."""
    if not inside.any():
        return _Hole(0.0, 0.0, middle)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1] * step
    weight = np.where(depth > 0.6 * depth.max(), depth, 0)
    at = (np.array(ndimage.center_of_mass(weight)) + 0.5) * step + low
    u, v = _plane(direction)
    centre = middle + u * at[0] + v * at[1]
    return _Hole(float(np.count_nonzero(inside)) * step**2, float(depth.max()), centre)


def _fan(axis: np.ndarray, opening_deg: float, count: int) -> np.ndarray:
    """Directions spread evenly over a cone about ``axis`` (Fibonacci spiral), axis first."""
    k = np.arange(count)
    z = 1 - (1 - np.cos(np.deg2rad(opening_deg))) * k / max(count - 1, 1)
    phi = k * np.pi * (3 - np.sqrt(5))
    u, v = _plane(axis)
    r = np.sqrt(1 - z * z)
    result: np.ndarray = (
        z[:, None] * axis + (r * np.cos(phi))[:, None] * u + (r * np.sin(phi))[:, None] * v
    )
    return result


def find_canal(
    points: np.ndarray, direction: np.ndarray | None = None, step_mm: float = _STEP_MM
) -> tuple[np.ndarray, _Hole]:
    """Direction and position of the vertebral canal: the view with the largest hole.

    :param points: RAS ``(n, 3)`` of the bone, at most ``step_mm`` apart.
    :param direction: roughly along the canal (within 35 degrees); any when None.
    :raises InputError: no view shows a closed canal.
    """
    middle = points.mean(axis=0)
    offset = np.ascontiguousarray((points - middle).T)

    def best_of(candidates: np.ndarray) -> tuple[np.ndarray, _Hole]:
        shadows = [_shadow(offset, d, step_mm) for d in candidates]

        def measured(k: int) -> _Hole:
            return _hole(*shadows[k], middle, candidates[k], step_mm)

        order = np.argsort([-np.count_nonzero(inside) for inside, _ in shadows], kind="stable")
        wide = ((k, hole) for k in order if (hole := measured(k)).radius_mm > _LEAST_RADIUS_MM)
        index, hole = next(wide, (0, measured(0)))
        return candidates[index], hole

    if direction is None:
        axis, hole = best_of(_fan(np.array([0.0, 0.0, 1.0]), 90.0, 260))
    else:
        axis, hole = best_of(_fan(unit(direction), 35.0, 60))
    for opening in (9.0, 4.0):
        closer, closer_hole = best_of(_fan(axis, opening, 24))
        if closer_hole.area_mm2 > hole.area_mm2:
            axis, hole = closer, closer_hole
    if hole.radius_mm < _LEAST_RADIUS_MM:
        raise InputError(
            "no vertebral canal found: the mask shows no closed ring of bone; segment the whole "
            "vertebra, arch included, or lower the bone threshold"
        )
    return axis, hole


def _mirror_axis(
    thickness: np.ndarray, origin: np.ndarray, forward: np.ndarray, step: float
) -> np.ndarray:
    """The direction near ``forward`` about which the thickness map is most symmetric."""
    smooth = ndimage.gaussian_filter(thickness, 1.5)
    reach = np.arange(-24, 36.1, step)
    side = np.arange(step / 2, 34, step)
    best, best_score = forward, np.inf
    for turn in np.deg2rad(np.arange(-14, 14.1, 1.0)):
        c, s = np.cos(turn), np.sin(turn)
        d = np.array([c * forward[0] - s * forward[1], s * forward[0] + c * forward[1]])
        normal = np.array([-d[1], d[0]])
        for shift in (-2.0, -1.0, 0.0, 1.0, 2.0):
            base = origin + normal * shift
            a, b = (
                base[:, None, None]
                + d[:, None, None] * reach[None, :, None]
                + sign * normal[:, None, None] * side[None, None, :]
                for sign in (1.0, -1.0)
            )
            left, right = (
                ndimage.map_coordinates(smooth, p / step, order=1, mode="constant") for p in (a, b)
            )
            score = float(np.mean((left - right) ** 2)) * (1 + 0.3 * (turn / 0.25) ** 2)
            if score < best_score:
                best, best_score = d, score
    return best


def _canal(
    mask: np.ndarray, ijk_to_ras: np.ndarray, points: np.ndarray, guess: Vector | None
) -> tuple[np.ndarray, _Hole]:
    """Direction of the canal and its hole.

    :param points: of the mask's voxels, RAS.
    """
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
    low, high = points.min(axis=0) - centre - 3, points.max(axis=0) - centre + 3
    box = LocalGrid.spanning(centre, np.eye(3), low, high, _STEP_MM)
    iso = box.to_ras(np.argwhere(resample_mask(mask, ijk_to_ras, box)))
    try:
        return find_canal(iso, None if guess is None else np.asarray(guess, float))
    except InputError:
        # Between L5 and S1 the spine turns so much that the neighbour says little.
        return find_canal(iso)


def _forward(grid: LocalGrid, bone: np.ndarray, body: np.ndarray, hole: _Hole) -> np.ndarray:
    """Towards the body from the canal, along the axis about which the bone is symmetric (RAS)."""
    thickness = bone.sum(axis=2) * _STEP_MM
    origin = grid.to_index(hole.centre)[:2] * _STEP_MM
    columns = np.argwhere(body.any(axis=2)).mean(axis=0) * _STEP_MM
    forward = _mirror_axis(thickness, origin, unit(columns - origin), _STEP_MM)
    ahead: np.ndarray = grid.axes[:, 0] * forward[0] + grid.axes[:, 1] * forward[1]
    return ahead


def vertebra_frame(
    mask: np.ndarray,
    ijk_to_ras: np.ndarray,
    level: str = "",
    *,
    superior_hint: Vector | None = None,
    canal_direction: Vector | None = None,
) -> VertebraFrame:
    """Centre, axes and canal of one vertebra, however it lies in the volume.

    The canal is the largest hole in the vertebra's shadow; the body lies in front of it; left and
    right are those about which it is symmetric; upwards is normal to the body's middle surface
    between its endplates, on the side where the pedicles arise.

    :param mask: boolean ``(slices, rows, cols)``: this vertebra alone.
    :param superior_hint: upwards, from the vertebrae above and below where these are known.
    :param canal_direction: roughly along the canal; guessed from ``superior_hint`` when None.
    :raises InputError: no bone, or no canal in it.
    """
    name = level or "vertebra"
    points = mask_points(mask, ijk_to_ras)
    if len(points) < 60:
        raise InputError(f"{name}: only {len(points)} voxels of bone; segment the whole vertebra")
    cut = f"{name} is cut by the volume's end; check its proposal by eye"
    guess = canal_direction if canal_direction is not None else superior_hint
    try:
        direction, hole = _canal(mask, ijk_to_ras, points, guess)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None

    axes = np.stack([*_plane(direction), direction], axis=1)
    reach = np.array([62.0, 62.0, 50.0])
    grid = LocalGrid.spanning(hole.centre, axes, -reach, reach, _STEP_MM)
    bone = resample_mask(mask, ijk_to_ras, grid)
    body = _body(bone)
    anterior = _forward(grid, bone, body, hole)
    normal, middle, height = _mid_surface(bone, body, grid)
    superior = _upwards(bone, grid, hole, normal, anterior, middle, superior_hint)
    anterior = across(anterior, superior)
    left = np.cross(superior, anterior)
    along = direction if direction @ superior > 0 else -direction
    body_ras = grid.to_ras(np.argwhere(body))
    extent = [np.ptp((body_ras - middle) @ axis) for axis in (left, anterior)]
    # The middle of the body on the plane of symmetry through the canal.
    centre = middle - left * float((middle - hole.centre) @ left)
    rise = float((centre - hole.centre) @ superior) / float(along @ superior)
    return VertebraFrame(
        level=level,
        centre=centre,
        left=left,
        anterior=anterior,
        superior=superior,
        canal=hole.centre + along * rise,
        canal_direction=along,
        canal_radius_mm=hole.radius_mm,
        body_width_mm=float(extent[0]),
        body_depth_mm=float(extent[1]),
        body_height_mm=height,
        warnings=(cut,) if touches_border(mask) else (),
    )


def _body(bone: np.ndarray) -> np.ndarray:
    """The vertebral body: what is left of the bone after taking away its thin parts."""
    box = voxel_box(bone, margin=0)
    depth = distance_to(~np.pad(bone[box], 1), (1, 1, 1))[1:-1, 1:-1, 1:-1]
    core = depth > 0.62 * depth.max()
    labels, _ = ndimage.label(core)
    seed = labels == labels[np.unravel_index(int(np.argmax(depth)), depth.shape)]
    reach = distance_to(seed, (1, 1, 1))
    result = np.zeros_like(bone)
    result[box] = bone[box] & (reach <= 0.62 * float(depth.max()) + 0.5)
    return result


def _mid_surface(
    bone: np.ndarray, body: np.ndarray, grid: LocalGrid
) -> tuple[np.ndarray, np.ndarray, float]:
    """Normal of the surface midway between the endplates, its middle and the body's height."""
    columns = ndimage.binary_erosion(body.any(axis=2), iterations=2)
    if columns.sum() < 20:
        columns = body.any(axis=2)
    index = np.argwhere(columns)
    k = np.arange(bone.shape[2])
    centre_k = float(np.argwhere(body)[:, 2].mean())
    rows = []
    for i, j in index:
        run, count = ndimage.label(bone[i, j])
        if count == 0:
            continue
        spans = [k[run == n] for n in range(1, count + 1)]
        span = min(spans, key=lambda s: abs(s.mean() - centre_k))
        rows.append((i, j, 0.5 * (span[0] + span[-1]), span[-1] - span[0] + 1))
    table = np.array(rows)
    keep = np.abs(table[:, 3] - np.median(table[:, 3])) < 0.25 * np.median(table[:, 3])
    table = table[keep] if keep.sum() > 15 else table
    for _ in range(2):
        a = np.column_stack([table[:, :2], np.ones(len(table))])
        plane, *_ = np.linalg.lstsq(a, table[:, 2], rcond=None)
        error = np.abs(a @ plane - table[:, 2])
        kept = error <= max(1.0, 2.5 * float(np.median(error)))
        if kept.sum() > 15:
            table = table[kept]
    normal = grid.axes @ np.array([-plane[0], -plane[1], 1.0])
    at = table[:, :3].mean(axis=0)
    height = float(np.median(table[:, 3])) * grid.spacing_mm
    return unit(normal), grid.to_ras(at), height


def _upwards(
    bone: np.ndarray,
    grid: LocalGrid,
    hole: _Hole,
    normal: np.ndarray,
    anterior: np.ndarray,
    middle: np.ndarray,
    hint: Vector | None,
) -> np.ndarray:
    """The sign of ``normal``: from the hint, else from the pedicles' rise, else RAS."""
    if hint is not None and abs(float(unit(hint) @ normal)) > 0.25:
        return normal if float(unit(hint) @ normal) > 0 else -normal
    ras = grid.to_ras(np.argwhere(bone))
    offset = ras - hole.centre
    side = np.cross(normal, anterior)
    forward, aside = offset @ anterior, np.abs(offset @ side)
    pedicle = (
        (np.abs(forward - 0.2 * hole.radius_mm) < 0.45 * hole.radius_mm)
        & (aside > hole.radius_mm)
        & (aside < hole.radius_mm + 14)
    )
    rise = float(((ras[pedicle] - middle) @ normal).mean()) if pedicle.sum() > 20 else 0.0
    if abs(rise) > 1.5:
        return normal if rise > 0 else -normal
    return normal if normal[2] >= 0 else -normal
