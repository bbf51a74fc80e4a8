"""Implicit shapes: approximate signed distances in mm, negative inside, float32.

A point set is a tuple of three arrays ``(x, y, z)`` that broadcast to one another. Formulas after
I. Quilez, "Distance functions" (https://iquilezles.org/articles/distfunctions/), written anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
Vector = Sequence[float] | np.ndarray


def rotation_xyz(x_rad: float = 0.0, y_rad: float = 0.0, z_rad: float = 0.0) -> np.ndarray:
    """Rotation matrix ``Rz Ry Rx`` (3, 3)."""
    cx, sx = np.cos(x_rad), np.sin(x_rad)
    cy, sy = np.cos(y_rad), np.sin(y_rad)
    cz, sz = np.cos(z_rad), np.sin(z_rad)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    result: np.ndarray = rz @ ry @ rx
    return result


def to_local(p: Points, origin: Vector, axes: np.ndarray) -> Points:
    """Coordinates of ``p`` in the frame whose axes are the columns of ``axes``."""
    dx, dy, dz = (p[i] - np.float32(origin[i]) for i in range(3))
    a = np.asarray(axes, np.float32)
    return (
        a[0, 0] * dx + a[1, 0] * dy + a[2, 0] * dz,
        a[0, 1] * dx + a[1, 1] * dy + a[2, 1] * dz,
        a[0, 2] * dx + a[1, 2] * dy + a[2, 2] * dz,
    )


def frame_along(direction: Vector, hint: Vector = (0.0, 0.0, 1.0)) -> np.ndarray:
    """Orthonormal axes (columns) whose third is ``direction`` and second lies towards ``hint``."""
    w = np.asarray(direction, float)
    w = w / np.linalg.norm(w)
    v = np.asarray(hint, float) - w * np.dot(hint, w)
    if np.linalg.norm(v) < 1e-6:
        v = np.cross(w, [1.0, 0.0, 0.0])
    v = v / np.linalg.norm(v)
    return np.stack([np.cross(v, w), v, w], axis=1)


def sphere(p: Points, centre: Vector, radius: float) -> np.ndarray:
    """Exact distance of a sphere."""
    squared = sum((p[i] - np.float32(centre[i])) ** 2 for i in range(3))
    result: np.ndarray = np.sqrt(squared) - np.float32(radius)
    return result


def ellipsoid(p: Points, centre: Vector, radii: Vector) -> np.ndarray:
    """Distance of an axis-aligned ellipsoid, correct to first order at the surface."""
    q = [(p[i] - np.float32(centre[i])) / np.float32(radii[i]) for i in range(3)]
    k1 = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    k2 = np.sqrt(sum((q[i] / np.float32(radii[i])) ** 2 for i in range(3))) + np.float32(1e-9)
    result: np.ndarray = k1 * (k1 - 1.0) / k2
    return result


def ellipse(x: np.ndarray, y: np.ndarray, a: float, b: float, power: float = 2.0) -> np.ndarray:
    """Distance of the (super)ellipse ``|x/a|^n + |y/b|^n = 1``, to first order at the edge."""
    u, v = np.abs(x) / np.float32(a), np.abs(y) / np.float32(b)
    if power == 2.0:
        k1 = np.sqrt(u * u + v * v)
        slope = np.sqrt((u / np.float32(a)) ** 2 + (v / np.float32(b)) ** 2) / (k1 + 1e-6)
    else:
        # Powers through logarithms: numpy's float32 log and exp are vectorised, its power is not.
        n = np.float32(power)
        log_u, log_v = np.log(u + np.float32(1e-6)), np.log(v + np.float32(1e-6))
        log_k = np.log(np.exp(n * log_u) + np.exp(n * log_v)) / n
        k1 = np.exp(log_k)
        slope = np.hypot(
            np.exp((n - 1) * (log_u - log_k)) / np.float32(a),
            np.exp((n - 1) * (log_v - log_k)) / np.float32(b),
        )
    result: np.ndarray = (k1 - 1.0) / np.maximum(slope, np.float32(0.5 / max(a, b)))
    return result


def capsule(p: Points, a: Vector, b: Vector, ra: float, rb: float | None = None) -> np.ndarray:
    """Distance of a segment ``a``-``b`` thickened by a radius that goes from ``ra`` to ``rb``."""
    rb = ra if rb is None else rb
    ba = np.asarray(b, float) - np.asarray(a, float)
    length2 = float(ba @ ba) or 1e-9
    bx, by, bz = ba.astype(np.float32)
    dx, dy, dz = (p[i] - np.float32(a[i]) for i in range(3))
    h = dx * bx + dy * by + dz * bz
    h /= np.float32(length2)
    np.clip(h, 0, 1, out=h)
    away: np.ndarray = np.float32(0)
    for offset, along in ((dx, bx), (dy, by), (dz, bz)):
        across = h * along
        np.subtract(offset, across, out=across)
        across *= across
        away = np.add(away, across, out=across)
    np.sqrt(away, out=away)
    away -= np.float32(ra) + h * np.float32(rb - ra)
    return away


def polyline(p: Points, points: Sequence[Vector], radii: Sequence[float]) -> np.ndarray:
    """Union of the capsules along a polyline."""
    out = capsule(p, points[0], points[1], radii[0], radii[1])
    for i in range(1, len(points) - 1):
        nxt = capsule(p, points[i], points[i + 1], radii[i], radii[i + 1])
        out = np.minimum(out, nxt)
    return out


def rounded_box(
    p: Points, centre: Vector, axes: np.ndarray, half: Vector, rounding: float
) -> np.ndarray:
    """Distance of a box of half sizes ``half`` (rounding included) in the frame ``axes``."""
    q = to_local(p, centre, axes)
    e = [np.abs(q[i]) - np.float32(half[i] - rounding) for i in range(3)]
    outside = np.sqrt(sum(np.maximum(v, 0) ** 2 for v in e))
    inside = np.minimum(np.maximum(e[0], np.maximum(e[1], e[2])), 0)
    result: np.ndarray = outside + inside - np.float32(rounding)
    return result


def elliptic_rod(
    p: Points, centre: Vector, axes: np.ndarray, a: float, b: float, half_length: float
) -> np.ndarray:
    """Elliptic cylinder along the third column of ``axes``; half axes ``a``, ``b``."""
    u, v, w = to_local(p, centre, axes)
    return smooth_max(ellipse(u, v, a, b), np.abs(w) - np.float32(half_length), 1.0)


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Union of two shapes, blended over ``k`` mm (polynomial smooth minimum)."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0) / np.float32(k)
    result: np.ndarray = np.minimum(a, b) - h * h * np.float32(0.25 * k)
    return result


def smooth_max(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Intersection of two shapes, blended over ``k`` mm."""
    return -smooth_min(-a, -b, k)
