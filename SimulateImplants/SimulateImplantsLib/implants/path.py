"""Centre lines given as points: checked, joined by a smooth curve, framed without twist."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from MetalArtifactReductionLib.errors import InputError

Path = tuple[tuple[float, float, float], ...]


def checked_path(kind: str, path_mm: Any, narrowest_mm: float) -> Path:
    """The points as numbers.

    :param path_mm: two or more points. :param narrowest_mm: radius of a bend that can be followed.
    :raises InputError: no such points, points less than 0.1 mm apart, or a sharper bend.
    """
    try:
        path = np.array(path_mm, dtype=float)
    except (TypeError, ValueError):
        path = np.empty(0)
    if path.ndim != 2 or path.shape[1] != 3 or len(path) < 2 or not np.isfinite(path).all():
        raise InputError(f"{kind}: path_mm has to be two or more points of three finite numbers")
    gaps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    if gaps.min() < 0.1:
        raise InputError(
            f"{kind}: points {gaps.argmin()} and {gaps.argmin() + 1} of path_mm are "
            f"{gaps.min():.3g} mm apart; points have to be 0.1 mm or more apart"
        )
    line, tangent = smooth_line(path, min(1.5, 0.5 * narrowest_mm))
    step = np.linalg.norm(np.diff(line, axis=0), axis=1)
    turn = np.linalg.norm(np.diff(tangent, axis=0), axis=1)
    radius = float((step / np.maximum(turn, 1e-9)).min())
    if radius < narrowest_mm:
        raise InputError(
            f"{kind}: path_mm bends to a radius of {radius:.1f} mm; a {kind} of "
            f"{narrowest_mm:g} mm needs at least its diameter"
        )
    return tuple((float(x), float(y), float(z)) for x, y, z in path)


def smooth_line(points: np.ndarray, step_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Points ``(n, 3)`` of a smooth curve through all given ones, and its unit tangents."""
    spline = spline_through(points)
    if len(points) == 2:
        at = spline.x
    else:
        at = np.linspace(0.0, spline.x[-1], max(8, int(np.ceil(spline.x[-1] / step_mm))) + 1)
    tangent = spline(at, 1)
    return spline(at), tangent / np.linalg.norm(tangent, axis=1, keepdims=True)


def spline_through(points: np.ndarray) -> CubicSpline:
    """A natural cubic spline over the chord length."""
    at = along(points)
    if len(points) == 2:
        slope = (points[1] - points[0]) / np.linalg.norm(points[1] - points[0])
        return CubicSpline(at, points, bc_type=((1, slope), (1, slope)))
    return CubicSpline(at, points, bc_type="natural")


def along(line: np.ndarray) -> np.ndarray:
    """Distance of each point ``(n, 3)`` from the first along the line."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])


def carried(tangent: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Unit normals ``(n, 3)`` of a line: ``start`` carried along it without twist."""
    normal = np.empty_like(tangent)
    current = start
    for i, t in enumerate(tangent):
        current = current - (current @ t) * t
        current = current / np.linalg.norm(current)
        normal[i] = current
    return normal
