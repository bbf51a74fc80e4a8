"""Spheres fitted to edges: the femoral head and its socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage, optimize

from ..bone_field import LocalGrid

_JOINT_GAPS_MM = (2.0, 3.0, 4.0, 5.0)
_FACING_WEIGHT = 0.8
_DARK_HU, _SHELL_FALL_HU, _SHELL_MM = 160.0, 100.0, 1.5
_STARTS, _APART_MM = 10, 4.0


def ray_directions(count: int) -> np.ndarray:
    """Directions spread evenly over the sphere (Fibonacci lattice), ``(count, 3)``."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    phi = k * np.pi * (3 - np.sqrt(5))
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=1)


def _joint(within: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Share of rays (last axis) on which bone ends at something dark, from HU on either side."""
    dark = 1 / (1 + np.exp((beyond - _DARK_HU) / 30.0))
    falls = 1 / (1 + np.exp((_SHELL_FALL_HU - (within - beyond)) / 40.0))
    result: np.ndarray = (dark * falls).mean(axis=-1)
    return result


@dataclass(frozen=True)
class EdgeField:
    """Gradient of an image on a local grid whose axes are R, A and S."""

    grid: LocalGrid
    gradient: np.ndarray
    """``(3, *shape)`` in image units per mm."""
    image: np.ndarray
    """Smoothed values."""

    @classmethod
    def of(cls, image: np.ndarray, grid: LocalGrid, blur_mm: float = 0.8) -> EdgeField:
        """:param image: values on the grid."""
        smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), blur_mm / grid.spacing_mm)
        gradient = np.stack(np.gradient(smooth, grid.spacing_mm)).astype(np.float32)
        return cls(grid, gradient, smooth)

    def joint_share(self, centre: np.ndarray, radius: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Share of the rays that leave a shell of bone for soft tissue at a radius (soft).

        Cancellous bone inside a head has faint edges too, but neither the shell before nor the
        joint behind them.
        """

        def value(r: np.ndarray) -> np.ndarray:
            points = centre[..., None, :] + r[..., None, None] * rays
            index = self.grid.to_index(points.reshape(-1, 3)).T
            found = ndimage.map_coordinates(self.image, index, order=1, mode="nearest")
            result: np.ndarray = found.reshape(points.shape[:-1])
            return result

        return _joint(*value(np.stack([radius - _SHELL_MM, radius + _SHELL_MM])))

    def about(
        self, field: np.ndarray, centres: np.ndarray, away: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """A field at ``centre + away``, interpolated linearly, for each centre: ``(centres, n)``.

        :param field: ``(voxels, channels)``, all of the grid. :param away: ``(n, 3)``, mm.
        :param centres: whole voxels apart, so that one voxel's corners count alike for all; no
            point lies outside the grid.
        :param weights: ``(n, channels)``, or ``(1, channels)`` for all, of the sum over channels.
        """
        strides = np.array([self.grid.shape[1] * self.grid.shape[2], self.grid.shape[2], 1])
        at = self.grid.to_index(centres[0] + away)
        low = np.floor(at)
        part = (at - low)[:, None]
        moved = np.rint(self.grid.to_index(centres) - self.grid.to_index(centres[0]))
        corner = np.array(list(np.ndindex(2, 2, 2)))
        share = np.where(corner, part, 1 - part).prod(axis=2)[..., None] * weights[..., None, :]
        start = (low @ strides)[:, None] + moved @ strides
        index = start.astype(int)[..., None] + corner @ strides
        value = np.take(field, index, axis=0, mode="clip").reshape(*start.shape, -1)
        out: np.ndarray = (value @ share.reshape(len(away), -1, 1).astype(np.float32))[..., 0].T
        return out

    def radial(self, centre: np.ndarray, radius: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Derivative outwards at ``centre + radius * ray``: ``(..., rays)``.

        :param centre: ``(..., 3)``; ``radius`` ``(...)``.
        """
        points = centre[..., None, :] + radius[..., None, None] * rays
        index = self.grid.to_index(points.reshape(-1, 3)).T
        out = np.zeros(points.shape[:-1], np.float32)
        for axis in range(3):
            value = ndimage.map_coordinates(
                self.gradient[axis], index, order=1, mode="constant", output=np.float32
            )
            out += value.reshape(out.shape) * rays[:, axis]
        return out


@dataclass(frozen=True, eq=False)
class _Score:
    """How well spheres fit, see :func:`fit_sphere`."""

    edges: EdgeField
    sign: float
    strong: float
    facing: np.ndarray | None

    def __call__(
        self, centre: np.ndarray, radius: np.ndarray, directions: np.ndarray, coarse: bool
    ) -> np.ndarray:
        """:param centre: of one sphere, ``(3,)``; its radius has no axis."""
        total: np.ndarray = self._mean_edge(centre, radius, directions, self.sign)
        if self.facing is None:
            return total
        beyond = radius + np.array(_JOINT_GAPS_MM)
        others = self._mean_edge(centre, beyond, self.facing, -self.sign)
        total = total + _FACING_WEIGHT * others.max()
        if coarse:
            # Finds the right surface, but would pull the fitted one away from closed joints.
            total += _FACING_WEIGHT * self.edges.joint_share(centre, radius, directions)
        return total

    def on_grid(self, centres: np.ndarray, radii: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Coarse scores ``(radii, centres)`` of spheres whose radii grow by 1 mm.

        So do the gaps: what lies beyond one sphere is looked at once for all.
        """
        # Four channels: what is as long as a processor's register is gathered twice as fast.
        gradient = np.zeros((self.edges.image.size, 4), np.float32)
        gradient[:, :3] = self.edges.gradient.reshape(3, -1).T
        image = self.edges.image.reshape(-1, 1)

        def edges(sizes: np.ndarray, directions: np.ndarray, way: float) -> np.ndarray:
            along = np.pad(way * directions, ((0, 0), (0, 1)))
            found = (self.edges.about(gradient, centres, r * directions, along) for r in sizes)
            return np.stack([self._mean(edge) for edge in found])

        total = edges(radii, rays, self.sign)
        if self.facing is None:
            return total
        reached = np.arange(radii[0] + _JOINT_GAPS_MM[0], radii[-1] + _JOINT_GAPS_MM[-1] + 0.5)
        beyond = edges(reached, self.facing, -self.sign)
        gaps = range(len(_JOINT_GAPS_MM))
        total += _FACING_WEIGHT * np.max([beyond[k : k + len(radii)] for k in gaps], axis=0)
        shell = round(2 * _SHELL_MM)
        sizes = radii[0] - _SHELL_MM + np.arange(len(radii) + shell)
        hu = [self.edges.about(image, centres, r * rays, np.ones((1, 1))) for r in sizes]
        total += [_FACING_WEIGHT * _joint(*pair) for pair in zip(hu, hu[shell:], strict=False)]
        return total

    def _mean_edge(
        self, centre: np.ndarray, radius: np.ndarray, directions: np.ndarray, way: float
    ) -> np.ndarray:
        return self._mean(way * self.edges.radial(centre, radius, directions))

    def _mean(self, edge: np.ndarray) -> np.ndarray:
        result: np.ndarray = (edge / (np.abs(edge) + self.strong)).mean(axis=-1)
        return result


def fit_sphere(
    edges: EdgeField,
    seed: np.ndarray,
    radii_mm: tuple[float, float],
    *,
    sign: float,
    search_mm: float,
    strong: float,
    rays: np.ndarray,
    facing: np.ndarray | None = None,
) -> tuple[np.ndarray, float, float]:
    """The sphere on whose surface the image falls (or rises) outwards nearly everywhere.

    An edge ``e`` counts ``e / (|e| + strong)``, so that one bright wall weighs no more than many
    faint pieces of the surface. The best places of a coarse search over centre and radius are each
    refined by a simplex.

    :param sign: -1 where the image falls outwards (a head), +1 where it rises (a socket).
    :param facing: rays on which the opposite edge is expected 2 to 5 mm further out: the socket
        about a head, which tells a head from the outside of its socket. With them, what lies just
        outside the sphere has to be dark too (joint space, soft tissue), which tells the head
        from the cancellous bone inside it.
    :param search_mm: how far the centre may be from ``seed``.
    :return: centre, radius and mean edge (0.5: ``strong`` everywhere).
    """
    centre0 = np.asarray(seed, float)

    score = _Score(edges, sign, strong, facing)
    step = float(np.clip(search_mm / 4.0, 1.0, 3.0))
    shifts = np.arange(-search_mm, search_mm + 1e-6, step)
    grid = np.stack(np.meshgrid(shifts, shifts, shifts, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.linalg.norm(grid, axis=1) <= search_mm + 1e-6]
    radii = np.arange(radii_mm[0], radii_mm[1] + 1e-6, 1.0)
    few = rays[:: max(len(rays) // 220, 1)]
    values = score.on_grid(centre0 + grid, radii, few)

    def loss(q: np.ndarray, directions: np.ndarray, coarse: bool) -> float:
        outside = max(0.0, radii_mm[0] - q[3], q[3] - radii_mm[1])
        result: float = -float(score(q[:3], np.asarray(q[3]), directions, coarse)) + outside
        return result

    def refined(start: np.ndarray, size: float, directions: np.ndarray, coarse: bool) -> Any:
        simplex = np.vstack([start, start + size * np.eye(4)])
        # Which peak is the highest shows long before its place is exact.
        ends = {"xatol": 0.2, "fatol": 2e-3} if coarse else {"xatol": 0.02, "fatol": 1e-4}
        options = {"initial_simplex": simplex, "maxiter": 250, **ends}
        return optimize.minimize(
            loss, start, (directions, coarse), method="Nelder-Mead", options=options
        )

    # The grid is coarser than the peaks of the score: the best few are climbed before one is taken.
    starts = [
        np.array([*(centre0 + grid[k]), radii[r]]) for r, k in _peaks(values, grid, radii, _STARTS)
    ]
    climbed = [refined(start, 1.5, few, True) for start in starts]
    start = min(climbed, key=lambda found: float(found.fun)).x
    for size in (1.5, 0.5):
        found = refined(start, size, rays, False)
        start = found.x
    return start[:3], float(start[3]), -float(found.fun)


def _peaks(
    values: np.ndarray, points: np.ndarray, radii: np.ndarray, count: int
) -> list[tuple[int, int]]:
    """Indices ``(radius, point)`` of the largest values, none near another.

    :param values: ``(radii, points)``.
    """
    found: list[tuple[int, int]] = []
    for flat in np.argsort(values, axis=None)[::-1]:
        r, k = (int(i) for i in np.unravel_index(flat, values.shape))
        apart = (np.linalg.norm(points[k] - points[j]) + abs(radii[r] - radii[q]) for q, j in found)
        if all(gap > _APART_MM for gap in apart):
            found.append((r, k))
            if len(found) == count:
                break
    return found
