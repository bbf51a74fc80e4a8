"""A pelvis' middle plane, and the sacral canal and foramina in it.

Mirror images about the middle plane are averaged: what is told is what both sides show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from .bone_field import sample_hu
from .geometry import Vector

_STEP_MM = 1.5
_DARKEST_HU, _BRIGHTEST_HU = -100.0, 400.0
_UNLIKE_HU = 60.0
"""Halves of a pelvis differ by 35 to 55 HU on average, of what is no pelvis by more."""
_LEVELS = ("S1", "S2", "S3")
_FORAMEN_MM = 15.0, 25.0
"""Their middles, from the middle plane."""
_ALA_HU, _HOLE_HU = 120.0, 110.0
"""Least contrast of the ala's upper edge and of a foramen."""
_EXPECTED_MM = np.array([8.0, 6.0])
"""Where the first foramen lies from between the iliac ways (anterior, superior): the posterior
superior spines are at the level of S2."""


@dataclass(frozen=True, eq=False)
class Midplane:
    """The plane about which a pelvis is its own mirror image.

    :param origin: on it (RAS). :param axes: columns right, anterior and superior of the pelvis; its
        tilt about the first is that of the scan, which symmetry does not tell.
    """

    origin: np.ndarray
    axes: np.ndarray

    def local(self, ras: Vector) -> np.ndarray:
        """Right, anterior and superior of a point (mm)."""
        result: np.ndarray = (np.asarray(ras, float) - self.origin) @ self.axes
        return result

    def ras(self, local: np.ndarray) -> np.ndarray:
        """Points ``(..., 3)`` right, anterior and superior in RAS."""
        result: np.ndarray = self.origin + np.asarray(local, float) @ self.axes.T
        return result

    def angles_deg(self, direction: np.ndarray, side: float) -> tuple[float, float]:
        """Outwards and downwards of a direction to the front (degrees); ``side`` +1 is right."""
        right, anterior, superior = direction @ self.axes
        outwards = np.rad2deg(np.arctan2(side * right, anterior))
        return float(outwards), float(-np.rad2deg(np.arcsin(np.clip(superior, -1, 1))))


@dataclass(frozen=True, eq=False)
class Sacrum:
    """Canal and foramina, in the axes of the middle plane.

    :param course: ``(n, 2)`` anterior and superior along the canal, every mm from above.
    :param normals: ``(n, 2)`` unit vectors across it, to the front.
    :param foramina: by level: place along the course, and mm from the middle plane.
    """

    plane: Midplane
    course: np.ndarray
    normals: np.ndarray
    foramina: dict[str, tuple[int, float]]


def middle_plane(
    volume: CTVolume, near: Vector, aside_mm: Sequence[float] = (0.0,), turn: float = 0.0
) -> Midplane:
    """The middle plane of the pelvis about a point at the back of its sacrum.

    :param near: RAS. :param aside_mm: guesses of how far to the right of it the plane lies.
    :param turn: guess of the turn about the superior axis (radians).
    :raises InputError: no plane about which the image is like its mirror image.
    """
    near = np.asarray(near, float)
    steps = [np.arange(*r, 4.5) for r in ((3.0, 72.0), (-25.0, 60.0), (-40.0, 50.0))]
    points = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)

    def plane(q: np.ndarray) -> Midplane:
        axes = Rotation.from_euler("zy", q[:2]).as_matrix()
        return Midplane(near + np.array([q[2], 0.0, 0.0]), axes)

    def unlike(q: np.ndarray) -> float:
        here = plane(q)
        one, other = (_clipped(volume, here.ras(points * [s, 1, 1])) for s in (1, -1))
        return float(np.abs(one - other).mean())

    found = []
    for aside in aside_mm:
        start = np.array([turn, 0.0, aside])
        simplex = start + np.vstack([np.zeros(3), np.diag([0.1, 0.06, 6.0])])
        options = {"initial_simplex": simplex, "xatol": 2e-3, "fatol": 0.1, "maxfev": 120}
        found.append(optimize.minimize(unlike, start, method="Nelder-Mead", options=options))
    best = min(found, key=lambda f: float(f.fun))
    if best.fun > _UNLIKE_HU:
        raise InputError(
            "the two halves of the pelvis differ too much to tell its middle plane; place the "
            "screws by hand"
        )
    return plane(best.x)


def measure_sacrum(volume: CTVolume, plane: Midplane) -> Sacrum:
    """Canal and foramina about the plane's origin, which lies between the iliac ways.

    :raises InputError: the foramina of S1 to S3 are not seen.
    """
    course, normals = _course(_canal_map(volume, plane))
    place = np.arange(0, len(course), 1.5).astype(int)
    across = np.arange(-48.0, 48.1, _STEP_MM)
    depth = np.arange(4.0, 19.0, 2.0)
    points = np.zeros((len(across), len(place), len(depth), 3))
    points[..., 0] = across[:, None, None]
    points[..., 1:] = course[place, None] + depth[:, None] * normals[place, None]
    hu = ndimage.gaussian_filter(_clipped(volume, plane.ras(points)), 0.5)
    foramina = _foramina((hu + hu[::-1]) / 2, across, depth, course, normals)
    return Sacrum(plane, course, normals, foramina)


def _clipped(volume: CTVolume, ras: np.ndarray) -> np.ndarray:
    hu = np.nan_to_num(sample_hu(volume, ras), nan=-1000.0)
    result: np.ndarray = np.clip(hu, _DARKEST_HU, _BRIGHTEST_HU)
    return result


def _rays(block: np.ndarray, radii_mm: np.ndarray) -> np.ndarray:
    """Brightest HU on each of 16 rays about each place of the first two axes, darkest ray first."""
    rays = []
    for angle in np.arange(16) * np.pi / 8:
        steps = np.rint(np.outer(radii_mm / _STEP_MM, [np.cos(angle), np.sin(angle)])).astype(int)
        rays.append(np.max([np.roll(block, -step, (0, 1)) for step in steps], axis=0))
    result: np.ndarray = np.sort(rays, axis=0)
    return result


def _mean_about(block: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    """Mean over an ellipse of half axes ``reach`` (mm) in the first two axes."""
    a, b = (int(r // _STEP_MM) for r in reach)
    x, y = np.mgrid[-a : a + 1, -b : b + 1] * _STEP_MM
    disc = (x / reach[0]) ** 2 + (y / reach[1]) ** 2 <= 1
    kernel = (disc / disc.sum()).reshape(disc.shape + (1,) * (block.ndim - 2))
    out: np.ndarray = ndimage.convolve(block, kernel, mode="nearest")
    return out


_ANTERIOR_MM = np.arange(-50.0, 61.0, _STEP_MM)
_SUPERIOR_MM = np.arange(60.5, -70.0, -_STEP_MM)


def _canal_map(volume: CTVolume, plane: Midplane) -> np.ndarray:
    """How far soft tissue in the middle plane is darker than bone around it, ``(place, y)``.

    Looked for in sections of all tilts, since the canal's course is not known.
    """
    places = np.stack(np.meshgrid(_SUPERIOR_MM, _ANTERIOR_MM, indexing="ij")[::-1], axis=-1)
    right = np.arange(-30.0, 30.1, _STEP_MM)
    front, down = np.arange(-48.0, 61.0, _STEP_MM), np.arange(-66.0, 73.0, 3.0)
    grid = np.stack(np.meshgrid(right, front, down, indexing="ij"), axis=-1)
    best = np.full(places.shape[:2], -999.0)
    for tilt in np.deg2rad(np.arange(-15.0, 70.0, 7.5)):
        normal = np.array([np.cos(tilt), -np.sin(tilt)])
        along = np.array([-np.sin(tilt), -np.cos(tilt)])
        sagittal = grid[..., 1:2] * normal + grid[..., 2:] * along
        hu = _clipped(volume, plane.ras(np.concatenate([grid[..., :1], sagittal], axis=-1)))
        hu = ndimage.gaussian_filter((hu + hu[::-1]) / 2, (0.5, 0.5, 0.7))
        around = _rays(hu, np.arange(6.0, 17.0, 1.5))[3]
        inside = np.maximum(_mean_about(hu, (3.5, 2.5)), 20.0)
        contrast = (np.minimum(around, 300.0) - inside)[len(right) // 2]
        index = [(places @ normal - front[0]) / _STEP_MM, (places @ along - down[0]) / 3.0]
        best = np.maximum(best, ndimage.map_coordinates(contrast, index, order=1, cval=-999.0))
    return best


def _course(contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most canal-like way down through the map, smooth, and its normals."""
    score = np.clip(contrast, -100.0, 150.0)
    best, came = score[0], []
    backwards = np.arange(-1, 4)
    """Rows of the map lie as far apart as its columns: a slope of 3 at most."""
    for row in score[1:]:
        padded = np.pad(best, (1, 3), constant_values=-1e9)
        options = [padded[1 + k : 1 + k + len(best)] - 8.0 * abs(k - 1) for k in backwards]
        came.append(backwards[np.argmax(options, axis=0)])
        best = np.max(options, axis=0) + row
    column = [int(best.argmax())]
    for step in came[::-1]:
        column.append(column[-1] + int(step[column[-1]]))
    smooth = ndimage.gaussian_filter1d(_ANTERIOR_MM[column[::-1]], 5, mode="nearest")
    points = np.stack([smooth, _SUPERIOR_MM], axis=-1)
    arc = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    every = np.arange(0.0, arc[-1], 1.0)
    course = np.stack([np.interp(every, arc, points[:, k]) for k in (0, 1)], axis=-1)
    along = np.gradient(course, axis=0)
    along /= np.linalg.norm(along, axis=1)[:, None]
    return course, np.stack([-along[:, 1], along[:, 0]], axis=-1)


def _foramina(
    unrolled: np.ndarray,
    across: np.ndarray,
    depth: np.ndarray,
    course: np.ndarray,
    normals: np.ndarray,
) -> dict[str, tuple[int, float]]:
    """The three holes one below the other that begin below the upper edge of the ala.

    :param unrolled: HU across, along and in front of the canal.
    """
    middle = unrolled[:, :, (depth >= 6) & (depth <= 12)].mean(axis=2)
    around = np.minimum(_rays(middle, np.array([6.0, 7.5, 9.0]))[3:].mean(axis=0), 300.0)
    hole = around - _mean_about(middle, (4.2, 4.2))
    lateral = (across >= _FORAMEN_MM[0]) & (across <= _FORAMEN_MM[1])
    aside = across[lateral][hole[lateral].argmax(axis=0)]
    hole = np.clip(hole[lateral].max(axis=0), -50.0, 200.0)
    ala = unrolled[(across >= 28) & (across <= 40)].mean(axis=(0, 2))
    top = ndimage.maximum_filter1d(ala, 3)
    edge = np.roll(top, -3) - np.roll(ndimage.minimum_filter1d(ala, 5), 5)
    edge[:7] = edge[-7:] = -999.0
    # All in steps of the rows, 1.5 mm: the edge, and from it to S1, S2 and S3.
    steps = np.meshgrid(
        np.arange(8, len(ala)), np.arange(9, 22), np.arange(13, 22), np.arange(11, 17)
    )
    start, *gaps = (s.ravel() for s in steps)
    rows = start + np.cumsum(gaps, axis=0)
    valid = (rows[2] < len(ala)) & (gaps[2] <= gaps[1])
    start, rows = start[valid], rows[:, valid]
    place = np.minimum((1.5 * np.arange(len(ala))).astype(int), len(course) - 1)
    first = course[place] + 10.0 * normals[place]
    away = np.maximum(np.linalg.norm(first - _EXPECTED_MM, axis=1) - 8.0, 0.0)
    score = np.minimum(edge[start], 200.0) + 1.5 * hole[rows].sum(axis=0) - away[rows[0]] ** 2 / 5
    best = int(score.argmax())
    chosen = rows[:, best]
    if edge[start[best]] < _ALA_HU or hole[chosen].min() < _HOLE_HU:
        raise InputError(
            "the CT does not show the sacral foramina of S1 to S3 between bone on both sides "
            "(thick slices, little bone, or a cut sacrum); place the screws by hand"
        )
    return {
        level: (int(place[row]), float(aside[row]))
        for level, row in zip(_LEVELS, chosen, strict=True)
    }
