"""Small geometry that all of placement shares (mm, RAS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from MetalArtifactReductionLib.errors import InputError

Vector = Sequence[float] | np.ndarray


def unit(vector: Vector) -> np.ndarray:
    """The vector scaled to length 1."""
    v = np.asarray(vector, float)
    length = float(np.linalg.norm(v))
    if not np.isfinite(length) or length < 1e-9:
        raise InputError(f"direction {np.round(v, 6).tolist()} has no length")
    return v / length


def across(vector: Vector, axis: np.ndarray) -> np.ndarray:
    """Unit vector: the part of ``vector`` perpendicular to the unit vector ``axis``."""
    v = np.asarray(vector, float)
    rest = v - axis * float(v @ axis)
    if np.linalg.norm(rest) < 1e-6:
        helper = np.eye(3)[int(np.argmin(np.abs(axis)))]
        rest = helper - axis * float(helper @ axis)
    result: np.ndarray = rest / np.linalg.norm(rest)
    return result


def angle_deg(a: Vector, b: Vector) -> float:
    """Angle between two directions, 0 to 180 degrees."""
    return float(np.rad2deg(np.arccos(np.clip(unit(a) @ unit(b), -1.0, 1.0))))


def axis_placement(
    entry_ras: Vector, target_ras: Vector, x_hint: Vector | None = None
) -> np.ndarray:
    """Placement of an implant whose frame has its origin at the entry and +z to the tip.

    :param entry_ras: origin (for a pedicle screw where shaft and head meet: on the bone).
    :param target_ras: any point on the axis in front of it, such as the tip.
    :param x_hint: direction that +x takes as nearly as it can (for a screw: along the rod).
    :return: ``(4, 4)``, implant frame to RAS.
    :raises InputError: entry and target are the same point.
    """
    origin = np.asarray(entry_ras, float)
    z = unit(np.asarray(target_ras, float) - origin)
    x = across((0.0, 0.0, 1.0) if x_hint is None else x_hint, z)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    matrix[:3, 3] = origin
    return matrix


def frame_placement(origin: Vector, x: Vector, z: Vector) -> np.ndarray:
    """Placement with +z along ``z`` exactly and +x as near to ``x`` as it can, ``(4, 4)``."""
    start = np.asarray(origin, float)
    return axis_placement(start, start + unit(z), x)


def segment_distance(a0: Vector, a1: Vector, b0: Vector, b1: Vector) -> float:
    """Shortest distance of two segments (Ericson, Real-Time Collision Detection, 5.1.9)."""
    p1, q1, p2, q2 = (np.asarray(v, float) for v in (a0, a1, b0, b1))
    d1, d2, r = q1 - p1, q2 - p2, p1 - p2
    a, e, f = float(d1 @ d1), float(d2 @ d2), float(d2 @ r)
    if a < 1e-12 and e < 1e-12:
        return float(np.linalg.norm(r))
    if a < 1e-12:
        s, t = 0.0, float(np.clip(f / e, 0, 1))
    else:
        c = float(d1 @ r)
        if e < 1e-12:
            s, t = float(np.clip(-c / a, 0, 1)), 0.0
        else:
            b = float(d1 @ d2)
            denominator = a * e - b * b
            s = float(np.clip((b * f - c * e) / denominator, 0, 1)) if denominator > 1e-12 else 0.0
            t = (b * s + f) / e
            if t < 0:
                s, t = float(np.clip(-c / a, 0, 1)), 0.0
            elif t > 1:
                s, t = float(np.clip((b - c) / a, 0, 1)), 1.0
    return float(np.linalg.norm(p1 + d1 * s - (p2 + d2 * t)))


def axis_distance(point: Vector, origin: Vector, direction: Vector) -> float:
    """Distance of a point from an endless axis."""
    offset = np.asarray(point, float) - np.asarray(origin, float)
    d = unit(direction)
    return float(np.linalg.norm(offset - d * float(offset @ d)))


def chain_directions(points: Mapping[str, Vector]) -> dict[str, np.ndarray]:
    """Upwards at each point of a chain, whose bend goes on at its ends; superior for one alone."""
    names = list(points)
    place = np.array([points[n] for n in names], float)
    if len(names) < 2:
        return {n: np.array([0.0, 0.0, 1.0]) for n in names}
    _, _, axes = np.linalg.svd(place - place.mean(axis=0))
    axis = axes[0] if axes[0][2] >= 0 else -axes[0]
    order = np.argsort(place @ axis)
    ways = np.array([unit(step) for step in np.diff(place[order], axis=0)])
    ups = [unit(a + b) for a, b in pairwise(ways)]
    bend = 0.5 * (ways[1:] - ways[:-1]) if len(ways) > 1 else np.zeros((1, 3))
    ups = [unit(ways[0] - bend[0]), *ups, unit(ways[-1] + bend[-1])]
    return {names[i]: up for i, up in zip(order, ups, strict=True)}
