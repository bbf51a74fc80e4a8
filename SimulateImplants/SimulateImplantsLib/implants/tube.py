"""A round tube along a line: rods, wires, leads, clips and the struts of stents."""

from __future__ import annotations

import numpy as np

from .mesh import Mesh, circle, equal_area_radius, loft, weld
from .path import along, carried


def tangents(line: np.ndarray) -> np.ndarray:
    """Unit tangents ``(n, 3)`` of a densely sampled line ``(n, 3)``."""
    step = np.gradient(line, axis=0)
    result: np.ndarray = step / np.linalg.norm(step, axis=1, keepdims=True)
    return result


def tube(
    line: np.ndarray, radius: float, tangent: np.ndarray | None = None, segments: int = 16
) -> Mesh:
    """Closed surface about a line, its hemispherical ends within the line's length.

    :param line: ``(n, 3)`` in mm, bent less sharply than the radius.
    :param tangent: unit tangents; of the samples when None.
    """
    tangent = tangents(line) if tangent is None else tangent
    helper = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    normal = carried(tangent, np.cross(tangent[0], helper))
    binormal = np.cross(tangent, normal)
    at = along(line)
    angle = np.linspace(0.0, np.pi / 2, max(3, int(0.4 * segments) + 1))
    cap = radius * (1 - np.cos(angle))
    apart = min(0.2, 0.2 * radius)
    inner = at[(at > radius + apart) & (at < at[-1] - radius - apart)]
    stations = np.concatenate([cap[1:], inner, (at[-1] - cap)[::-1][:-1]])
    size = radius * np.concatenate(
        [np.sin(angle)[1:], np.ones(len(inner)), np.sin(angle)[::-1][:-1]]
    )

    def there(values: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(stations, at, values[:, k]) for k in range(3)], axis=-1)

    centre, n, b = there(line), there(normal), there(binormal)
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    return loft(_rings(centre, n, b, size[:, None, None], segments), line[0], line[-1])


def closed_tube(line: np.ndarray, radius: float, normal: np.ndarray, segments: int = 10) -> Mesh:
    """A tube about a closed line.

    :param line: ``(n, 3)``, its last point next to the first.
    :param normal: ``(n, 3)`` unit vectors across the line, turning with it (a ring's spokes).
    """
    step = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    tangent = step / np.linalg.norm(step, axis=1, keepdims=True)
    normal = normal - (normal * tangent).sum(axis=1, keepdims=True) * tangent
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rings = _rings(line, normal, np.cross(tangent, normal), radius, segments)
    index = np.arange(rings.shape[0] * segments).reshape(rings.shape[:2])
    a, b = index, np.roll(index, -1, axis=1)
    c, d = np.roll(b, -1, axis=0), np.roll(a, -1, axis=0)
    triangles = np.concatenate(
        [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    )
    return weld(Mesh(rings.reshape(-1, 3), triangles)).outward()


def smooth_corners(corners: np.ndarray, radius: float, step: float = 0.25) -> np.ndarray:
    """A polyline ``(n, 3)`` with its corners rounded, sampled every ``step`` mm.

    :param radius: of the roundings, smaller where a side is too short for it.
    """
    points = [corners[0]]
    for before, corner, after in zip(corners[:-2], corners[1:-1], corners[2:], strict=True):
        a, b = before - corner, after - corner
        la, lb = np.linalg.norm(a), np.linalg.norm(b)
        half = 0.5 * np.arccos(np.clip(a @ b / (la * lb), -1.0, 1.0))
        cut = min(radius / np.tan(half), 0.45 * la, 0.45 * lb)
        start, end = corner + a / la * cut, corner + b / lb * cut
        centre = corner + (a / la + b / lb) * cut / (2 * np.cos(half) ** 2)
        turn = np.pi - 2 * half
        count = max(2, int(np.ceil(turn * cut * np.tan(half) / step)) + 1)
        u, w = start - centre, end - centre
        t = np.linspace(0.0, 1.0, count)[:, None]
        arc = (np.sin((1 - t) * turn) * u + np.sin(t * turn) * w) / np.sin(turn)
        points.extend(centre + arc)
    points.append(corners[-1])
    line = np.array(points)
    at = along(line)
    even = np.linspace(0.0, at[-1], max(8, int(np.ceil(at[-1] / step))) + 1)
    return np.stack([np.interp(even, at, line[:, k]) for k in range(3)], axis=-1)


def _rings(
    centre: np.ndarray, n: np.ndarray, b: np.ndarray, size: np.ndarray | float, segments: int
) -> np.ndarray:
    xy = circle(segments) * equal_area_radius(segments)
    result: np.ndarray = centre[:, None] + size * (
        xy[None, :, :1] * n[:, None] + xy[None, :, 1:] * b[:, None]
    )
    return result
