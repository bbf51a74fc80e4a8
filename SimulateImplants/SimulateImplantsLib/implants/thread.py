"""Screws as one closed surface: a head, a shaft with conical core, and a helical thread.

The surface is a height field r(angle, z) about the axis. In the threaded zone the mesh lines
follow the helix, so crests and flanks are sharp with few triangles; at both ends of the zone the
lines are clipped to a plane ring. Star-shaped sections about the axis make it free of
self-intersections.
"""

from __future__ import annotations

import numpy as np

from .mesh import Mesh, circle, equal_area_radius

SEGMENTS = 48

# One period of the thread: flat root, leading flank, narrow crest, trailing flank (the trapezoid
# of the deep, thin-crested threads that hold in cancellous bone; ISO 5835 HB form, simplified).
_PHASE = np.array([0.0, 0.17, 0.34, 0.50, 0.68, 0.82])
_HEIGHT = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])


def thread_height(phase: np.ndarray) -> np.ndarray:
    """Height of the thread (0 root .. 1 crest) at a phase within the period (any real number)."""
    result: np.ndarray = np.interp(
        np.mod(phase, 1.0), np.append(_PHASE, 1.0), np.append(_HEIGHT, 0.0)
    )
    return result


def _ring(radius: np.ndarray | float, z: float, segments: int) -> np.ndarray:
    """Points ``(segments, 3)`` at a radius, or one each, about the axis."""
    xy = np.broadcast_to(np.asarray(radius, dtype=float), segments)[:, None] * circle(segments)
    return np.concatenate([xy, np.full((segments, 1), z)], axis=1)


def _cap(middle: int, ring: np.ndarray) -> np.ndarray:
    """Triangles from a point to a ring of points, seen counter-clockwise from +z."""
    return np.stack([np.full(len(ring), middle), ring, np.roll(ring, -1)], axis=-1)


def threaded_body(
    z_mm: np.ndarray,
    core_mm: np.ndarray,
    crest_mm: np.ndarray,
    pitch_mm: float,
    *,
    socket_mm: tuple[float, float] | None = None,
    segments: int = SEGMENTS,
) -> Mesh:
    """Closed surface of a screw along +z with a right-handed thread.

    :param z_mm: stations ``(n,)``, never decreasing; two equal stations make a step.
    :param core_mm: radius of the core at the stations; between them it is linear.
    :param crest_mm: radius of the thread's crest; equal to the core where there is no thread.
        The thread lies in one zone.
    :param pitch_mm: axial distance of two crests.
    :param socket_mm: hexagonal socket in the face at ``z_mm[0]``: (width across flats, depth).
    """
    threaded = np.flatnonzero(crest_mm > core_mm + 1e-9)
    first = max(int(threaded[0]) - 1, 0) if len(threaded) else len(z_mm) - 1
    last = min(int(threaded[-1]) + 1, len(z_mm) - 1) if len(threaded) else len(z_mm) - 1
    grown = equal_area_radius(segments)
    before: list[np.ndarray] = []
    apex_z = float(z_mm[0])
    if socket_mm is not None:
        width, depth = socket_mm
        angle = np.arange(segments) * (2 * np.pi / segments)
        hexagon = 0.5 * width / np.cos(np.mod(angle, np.pi / 3) - np.pi / 6)
        apex_z += depth
        before += [_ring(hexagon, z, segments) for z in (apex_z, float(z_mm[0]))]
    rings = [_ring(core_mm[i] * grown, float(z), segments) for i, z in enumerate(z_mm)]
    before += rings[: first + 1]
    after = rings[last:] if len(threaded) else []

    points = [np.concatenate(before)]
    triangles: list[np.ndarray] = []
    low_ring = (len(before) - 1) * segments + np.arange(segments)
    for k in range(len(before) - 1):
        _strip(triangles, k * segments, (k + 1) * segments, segments)
    total = len(before) * segments

    top_ring = low_ring
    if len(threaded):
        high_ring = total + np.arange(segments)
        for k in range(len(after) - 1):
            _strip(triangles, total + k * segments, total + (k + 1) * segments, segments)
        points.append(np.concatenate(after))
        total += len(after) * segments
        zone, faces = _thread_zone(
            z_mm, core_mm, crest_mm, pitch_mm, (first, last), (low_ring, high_ring), total
        )
        points.append(zone)
        triangles.append(faces)
        total += len(zone)
        top_ring = high_ring + (len(after) - 1) * segments

    points.append(np.array([[0.0, 0.0, apex_z], [0.0, 0.0, float(z_mm[-1])]]))
    triangles += [_cap(total, np.arange(segments))[:, [0, 2, 1]], _cap(total + 1, top_ring)]
    return Mesh(np.concatenate(points), np.concatenate(triangles))


def _strip(triangles: list[np.ndarray], low: int, high: int, segments: int) -> None:
    a = low + np.arange(segments)
    d = high + np.arange(segments)
    b, c = np.roll(a, -1), np.roll(d, -1)
    triangles += [np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)]


def _thread_zone(
    z_mm: np.ndarray,
    core_mm: np.ndarray,
    crest_mm: np.ndarray,
    pitch_mm: float,
    zone: tuple[int, int],
    rings: tuple[np.ndarray, np.ndarray],
    offset: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Points and triangles between two rings, mesh lines along the helix."""
    low, high = float(z_mm[zone[0]]), float(z_mm[zone[1]])
    segments = len(rings[0])
    per_turn = len(_PHASE)
    turns = int(np.ceil((high - low) / pitch_mm)) + 1
    # Line i starts at angle 0 at this height and climbs one pitch a turn.
    start = low - pitch_mm + pitch_mm * (
        np.arange(turns + 1)[:, None] + _PHASE[None, :]
    ).ravel()  # fmt: skip
    fraction = np.arange(segments) / segments
    z = start[:, None] + pitch_mm * fraction[None, :]
    under, over = z <= low + 1e-6, z >= high - 1e-6
    free = ~(under | over)
    identity = np.empty(z.shape, dtype=np.int64)
    identity[free] = offset + np.arange(int(free.sum()))
    identity[under] = np.broadcast_to(rings[0], z.shape)[under]
    identity[over] = np.broadcast_to(rings[1], z.shape)[over]

    height = thread_height((z[free] - low) / pitch_mm - np.broadcast_to(fraction, z.shape)[free])
    core = np.interp(z[free], z_mm, core_mm)
    crest = np.interp(z[free], z_mm, crest_mm)
    radius = (core + (crest - core) * height) * equal_area_radius(segments)
    direction = np.broadcast_to(circle(segments), (*z.shape, 2))[free]
    points = np.concatenate([radius[:, None] * direction, z[free][:, None]], axis=1)

    # After a full turn a line meets the line one period higher.
    lines = np.arange(len(start))
    right = np.empty_like(identity)
    right[:, :-1] = identity[:, 1:]
    right[:, -1] = identity[np.minimum(lines + per_turn, len(start) - 1), 0]
    a, b, c, d = identity[:-1], right[:-1], right[1:], identity[1:]
    triangles = np.concatenate(
        [np.stack([a, b, c], axis=-1).reshape(-1, 3), np.stack([a, c, d], axis=-1).reshape(-1, 3)]
    )
    a, b, c = triangles.T
    return points, triangles[(a != b) & (b != c) & (c != a)]
