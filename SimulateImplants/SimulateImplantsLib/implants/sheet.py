"""Plates, shells and slotted bodies: a triangulated outline with holes, given a front and a back.

A body made of two sheets over one 2-D domain, joined along the domain's boundary, is closed by
construction and does not intersect itself when the sheets do not touch inside the domain. That
covers what a loft cannot: holes, windows and slots, with no Boolean operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from .mesh import WELD_MM, Mesh, circle, equal_area_radius, weld

Map = Callable[[np.ndarray], np.ndarray]
"""Domain coordinates ``(n, 2)`` -> points ``(n, 3)`` in mm."""


def resample(loop: np.ndarray, spacing: float) -> np.ndarray:
    """Split the edges of a closed polygon ``(n, 2)`` so that none is longer than ``spacing``."""
    pieces = []
    for start, end in zip(loop, np.roll(loop, -1, axis=0), strict=True):
        count = max(1, int(np.ceil(np.linalg.norm(end - start) / spacing - 1e-9)))
        pieces.append(start + (end - start) * (np.arange(count) / count)[:, None])
    return np.concatenate(pieces)


def inside(loops: Sequence[np.ndarray], points: np.ndarray) -> np.ndarray:
    """Even-odd rule: which points ``(n, 2)`` lie in the polygon with holes."""
    order = np.argsort(points[:, 1])
    x, y = points[order].T
    odd = np.zeros(len(points), dtype=bool)
    for loop in loops:
        below = np.searchsorted(y, loop[:, 1])
        ends = zip(loop, np.roll(loop, -1, axis=0), below, np.roll(below, -1), strict=True)
        for (x0, y0), (x1, y1), first, last in ends:
            if first != last:
                beside = slice(min(first, last), max(first, last))
                odd[beside] ^= x[beside] < x0 + (y[beside] - y0) * ((x1 - x0) / (y1 - y0))
    result = np.empty_like(odd)
    result[order] = odd
    return result


def triangulate(
    loops: Sequence[np.ndarray], spacing: float, rows: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Triangulate a polygon with holes into nearly equilateral triangles.

    Delaunay triangulation of the boundary and of a staggered grid of inner points; with the
    boundary sampled as densely as the grid its edges are Delaunay edges, which is checked.

    :param loops: outline first, then holes; each ``(n, 2)``, closed, not touching the others.
    :param spacing: length of an edge.
    :param rows: distance of the grid's rows (constant second coordinate, one of them at 0),
        for surfaces with ridges along the first coordinate; None for equilateral triangles.
    :return: points ``(n, 2)`` and counter-clockwise triangles ``(m, 3)``.
    """
    size = spacing
    for _ in range(5):
        result = _triangulate_once(loops, size, rows)
        if result is not None:
            return result
        size *= 0.75
    raise RuntimeError("outline cannot be triangulated: loops touch or cross")


def _triangulate_once(
    loops: Sequence[np.ndarray], spacing: float, rows: float | None
) -> tuple[np.ndarray, np.ndarray] | None:
    boundary_loops = [resample(np.asarray(loop, dtype=float), spacing) for loop in loops]
    boundary = np.concatenate(boundary_loops)
    height = spacing * np.sqrt(0.75) if rows is None else rows
    low, high = boundary.min(axis=0), boundary.max(axis=0)
    lines = np.arange(np.ceil(low[1] / height), np.floor(high[1] / height) + 1)
    columns = np.arange(np.floor(low[0] / spacing), np.ceil(high[0] / spacing) + 1)
    x = (columns[None, :] + 0.5 * (lines[:, None] % 2)) * spacing
    y = np.broadcast_to(lines[:, None] * height, x.shape)
    grid = np.stack([x.ravel(), y.ravel()], axis=-1)
    distance, _ = cKDTree(boundary).query(grid)
    grid = grid[distance > 0.6 * spacing]
    grid = grid[inside(boundary_loops, grid)]
    points = np.concatenate([boundary, grid])

    triangles = Delaunay(points).simplices.astype(np.int64)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    triangles[area < 0] = triangles[area < 0][:, ::-1]
    keep = np.abs(area) > 1e-9 * spacing**2
    keep[keep] = inside(boundary_loops, ((a + b + c) / 3)[keep])
    triangles = triangles[keep]

    # The domain's rim has to be exactly the given loops.
    expected = []
    start = 0
    for loop in boundary_loops:
        index = start + np.arange(len(loop))
        expected.append(np.stack([index, np.roll(index, -1)], axis=-1))
        start += len(loop)
    wanted = _edge_keys(np.concatenate(expected), len(points))
    found = _edge_keys(rim(triangles), len(points))
    if not np.array_equal(np.sort(wanted), np.sort(found)):
        return None
    return points, triangles


def rim(triangles: np.ndarray) -> np.ndarray:
    """Directed edges ``(n, 2)`` that only one triangle uses."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    keys = _edge_keys(edges, int(triangles.max(initial=0)) + 1)
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    result: np.ndarray = edges[counts[inverse] == 1]
    return result


def _edge_keys(edges: np.ndarray, count: int) -> np.ndarray:
    """One number for an edge ``(n, 2)`` whatever its direction."""
    result: np.ndarray = edges.min(axis=1) * count + edges.max(axis=1)
    return result


def thicken(points: np.ndarray, triangles: np.ndarray, front: Map, back: Map) -> Mesh:
    """Closed body between two sheets over one triangulated domain.

    Where both sheets map a boundary point to the same place (the rim of a lens, the seam of a
    tube) the wall between them vanishes and the sheets are welded.

    :param points: domain ``(n, 2)``; :param triangles: ``(m, 3)``.
    :param front: map of the one sheet; :param back: map of the other.
    """
    count = len(points)
    sheets = np.concatenate([front(points), back(points)])
    # Domain points that both maps put in one place are one point (the seam of a tube).
    keys = np.round(np.hstack([sheets[:count], sheets[count:]]) / WELD_MM).astype(np.int64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    triangles = first[inverse.reshape(-1)][triangles]
    edges = rim(triangles)
    start, end = edges.T
    walls = np.concatenate(
        [
            np.stack([start, start + count, end], axis=-1),
            np.stack([end, start + count, end + count], axis=-1),
        ]
    )
    mesh = Mesh(
        sheets,
        np.concatenate([triangles, triangles[:, ::-1] + count, walls]),
    )
    return weld(mesh).outward()


def polygon_circle(centre: tuple[float, float], radius: float, count: int = 32) -> np.ndarray:
    """A circle as a polygon ``(count, 2)`` of the circle's area."""
    return np.asarray(centre) + radius * equal_area_radius(count) * circle(count)


def rounded_rectangle(
    width: float, height: float, radius: float, centre: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """A rectangle with round corners as a polygon ``(n, 2)``, counter-clockwise."""
    corner = np.linspace(0, np.pi / 2, 9)
    pieces = []
    for turn, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        middle = np.array([sx * (width / 2 - radius), sy * (height / 2 - radius)])
        angle = corner + turn * np.pi / 2
        pieces.append(middle + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    loop = np.concatenate(pieces) + np.asarray(centre)
    distinct = np.linalg.norm(loop - np.roll(loop, 1, axis=0), axis=1) > 1e-9
    result: np.ndarray = loop[distinct]
    return result
