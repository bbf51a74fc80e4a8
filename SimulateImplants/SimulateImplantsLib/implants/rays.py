"""Where rays on a regular lattice enter and leave closed surfaces, exactly along each ray.

The core of the voxelisation and of the self-intersection check. A scan line is cut through the
triangles, then each span between two edges is sampled; an edge is evaluated in one way only,
whichever triangle asks, and intervals are half-open, so that on every ray of a closed mesh
entries and exits balance to the bit: no ray leaks through an edge or a corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .mesh import Mesh


@dataclass(frozen=True)
class Crossings:
    """Surface crossings of many rays.

    :param ray: int64 ``(n,)``, number of the ray: ``line * samples + sample``.
    :param at: float64 ``(n,)``, position along the ray.
    :param step: int8 ``(n,)``, +1 where the ray enters, -1 where it leaves.
    """

    ray: np.ndarray
    at: np.ndarray
    step: np.ndarray

    @staticmethod
    def none() -> Crossings:
        """No crossings."""
        return Crossings(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int8))

    def and_also(self, other: Crossings) -> Crossings:
        """Both sets together."""
        return Crossings(
            np.concatenate([self.ray, other.ray]),
            np.concatenate([self.at, other.at]),
            np.concatenate([self.step, other.step]),
        )

    def where(self, mask: np.ndarray) -> Crossings:
        """Those that a boolean mask ``(n,)`` selects."""
        return Crossings(self.ray[mask], self.at[mask], self.step[mask])

    def sorted(self) -> tuple[Crossings, np.ndarray]:
        """By ray and position, and the winding number after each crossing."""
        if not len(self.ray):
            return self, np.zeros(0, dtype=np.int64)
        # One float key sorts several times faster than two keys; what it cannot tell apart is
        # less than 1e-6 of a voxel apart.
        low, high = self.at.min(), self.at.max()
        key = (self.ray - self.ray.min()) + (self.at - low) * (0.999 / max(high - low, 1e-9))
        order = np.argsort(key)
        result = Crossings(self.ray[order], self.at[order], self.step[order])
        return result, np.cumsum(result.step, dtype=np.int64)

    def union(self) -> Crossings:
        """Boundaries of what is enclosed at least once (winding number above 0)."""
        ordered, after = self.sorted()
        before = after - ordered.step
        keep = (before > 0) != (after > 0)
        return Crossings(ordered.ray[keep], ordered.at[keep], ordered.step[keep])


def _expand(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the owner and running number within it, for owners with so many items each."""
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, number


def _halves(
    points: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Heights of the corners ``(3, m)``, the edges of both halves, and which keep their sense.

    Corners from low to high; lines below the middle one cut the edges 0-2 and 0-1, those above
    0-2 and 1-2. An even permutation keeps the orientation.
    """
    order = np.argsort(points[triangles, 2], axis=1, kind="stable")
    low, middle, high = np.take_along_axis(triangles, order, axis=1).T
    both = [
        np.concatenate([p, p, a, b])
        for p, a, b in zip(
            _edges(points, low, high),
            _edges(points, low, middle),
            _edges(points, middle, high),
            strict=True,
        )
    ]
    heights = np.stack([points[low, 2], points[middle, 2], points[high, 2]])
    return heights, both, (order[:, 1] - order[:, 0]) % 3 == 1


def cross(
    points: np.ndarray,
    triangles: np.ndarray,
    lines: tuple[int, int],
    samples: int,
    stagger: np.ndarray,
) -> Crossings:
    """Crossings of rays along the first coordinate.

    Ray (line s, sample r) runs at second coordinate ``r + stagger[s]``, third coordinate ``s``.

    :param points: ``(n, 3)`` in the lattice's coordinates (right-handed: triangles outward).
    :param triangles: ``(m, 3)`` of a closed mesh.
    :param lines: first line and the one after the last.
    :param samples: rays on a line.
    :param stagger: shift of each line's samples, ``(lines,)`` indexed from the first line.
    """
    heights, both, even = _halves(points, triangles)
    tops = np.clip(np.ceil(heights), lines[0], lines[1]).astype(np.int64)
    first_line = np.concatenate([tops[0], tops[1]])
    part, number = _expand(np.concatenate([tops[1] - tops[0], tops[2] - tops[1]]))
    if not len(part):
        return Crossings.none()
    line = first_line[part] + number
    short = part + len(first_line)
    v0, u0, slope_u, x0, slope_x = both
    u_long = u0[part] + (line - v0[part]) * slope_u[part]
    u_short = u0[short] + (line - v0[short]) * slope_u[short]
    shift = stagger[line - lines[0]]
    start_long = np.ceil(u_long - shift).astype(np.int64)
    start_short = np.ceil(u_short - shift).astype(np.int64)
    first = np.maximum(np.minimum(start_long, start_short), 0)
    last = np.minimum(np.maximum(start_long, start_short), samples)

    hit = np.flatnonzero(last > first)
    span, number = _expand(last[hit] - first[hit])
    if not len(span):
        return Crossings.none()
    span = hit[span]
    part, short, line = part[span], short[span], line[span]
    sample = first[span] + number
    x_long = x0[part] + (line - v0[part]) * slope_x[part]
    x_short = x0[short] + (line - v0[short]) * slope_x[short]
    t = (sample + shift[span] - u_long[span]) / (u_short[span] - u_long[span])
    at = x_long + np.clip(t, 0.0, 1.0) * (x_short - x_long)
    # Normal along the ray (it leaves) where the corners run counter-clockwise.
    right = start_short[span] > start_long[span]
    leaves = right == np.concatenate([even, even])[part]
    step = np.where(leaves, -1, 1).astype(np.int8)
    return Crossings(line * samples + sample, at, step)


def _edges(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """Edges as lines over v: (v0, u0, du/dv, x0, dx/dv), the same from either side."""
    start, end = points[np.minimum(a, b)], points[np.maximum(a, b)]
    rise = end[:, 2] - start[:, 2]
    rise = np.where(rise == 0.0, 1.0, rise)  # a level edge is on no line
    slope = (end - start) / rise[:, None]
    return start[:, 2], start[:, 1], slope[:, 1], start[:, 0], slope[:, 0]


def enclosed_volumes(mesh: Mesh, rays: int = 256) -> tuple[float, float, float]:
    """Volumes in mm3 by how often the surface goes round them: (wrong side out, once, more).

    For a closed surface without self-intersection only the second is not 0; where two sheets
    pass through each other there is always a region of winding number below 0 or above 1.

    :param rays: across the longest side of the bounding box, along each of the three axes;
        what is thinner than a ray's distance may be missed.
    """
    low, high = mesh.bounds_mm
    size = float((high - low).max()) / rays
    worst = (0.0, mesh.volume_mm3, 0.0)
    for axis in range(3):
        order = [axis, (axis + 1) % 3, (axis + 2) % 3]  # cyclic: stays right-handed
        points = (mesh.points - low)[:, order]
        points[:, 1:] = points[:, 1:] / size - 0.5
        count = int(np.ceil(points[:, 2].max())) + 1
        samples = int(np.ceil(points[:, 1].max())) + 1
        stagger = staggered(0, count)
        found, after = cross(points, mesh.triangles, (0, count), samples, stagger).sorted()
        if not len(found.at):
            continue
        length = np.diff(found.at, append=found.at[-1])
        area = size * size
        below, once, more = (
            float(length[where].sum()) * area
            for where in (after[:] < 0, after[:] == 1, after[:] > 1)
        )
        if below + more > worst[0] + worst[2] or axis == 0:
            worst = (below, once, more)
    return worst


def staggered(first: int, count: int) -> np.ndarray:
    """Shift of the samples of each line, -0.5..0.5: golden-ratio steps spread them evenly."""
    golden = 0.5 * (np.sqrt(5.0) - 1.0)
    result: np.ndarray = np.mod((np.arange(first, first + count) + 0.5) * golden, 1.0) - 0.5
    return result
