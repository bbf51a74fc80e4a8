"""Spheres fitted to edges: the femoral head and its socket."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from .bone_field import LocalGrid

_JOINT_GAPS_MM = (2.0, 3.0, 4.0, 5.0)
_FACING_WEIGHT = 0.8
_DARK_HU = 160.0


def ray_directions(count: int) -> np.ndarray:
    """Directions spread evenly over the sphere (Fibonacci lattice), ``(count, 3)``."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    phi = k * np.pi * (3 - np.sqrt(5))
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=1)


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

    def dark_share(self, centre: np.ndarray, radius: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Share of the rays on which the image is soft tissue at a radius (soft threshold)."""
        points = centre[..., None, :] + radius[..., None, None] * rays
        index = self.grid.to_index(points.reshape(-1, 3)).T
        value = ndimage.map_coordinates(self.image, index, order=1, mode="nearest")
        value = value.reshape(points.shape[:-1])
        return (1 / (1 + np.exp((value - _DARK_HU) / 30.0))).mean(axis=-1)

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
    faint pieces of the surface. A coarse search over centre and radius is refined by a simplex.

    :param sign: -1 where the image falls outwards (a head), +1 where it rises (a socket).
    :param facing: rays on which the opposite edge is expected 2 to 5 mm further out: the socket
        about a head, which tells a head from the outside of its socket. With them, what lies just
        outside the sphere has to be dark too (joint space, soft tissue), which tells the head
        from the cancellous bone inside it.
    :param search_mm: how far the centre may be from ``seed``.
    :return: centre, radius and mean edge (0.5: ``strong`` everywhere).
    """
    centre0 = np.asarray(seed, float)

    def one(
        centre: np.ndarray, radius: np.ndarray, directions: np.ndarray, way: float
    ) -> np.ndarray:
        edge = way * edges.radial(centre, radius, directions)
        return (edge / (np.abs(edge) + strong)).mean(axis=-1)

    def score(
        centre: np.ndarray, radius: np.ndarray, directions: np.ndarray, coarse: bool
    ) -> np.ndarray:
        total = one(centre, radius, directions, sign)
        if facing is None:
            return total
        others = [one(centre, radius + gap, facing, -sign) for gap in _JOINT_GAPS_MM]
        total = total + _FACING_WEIGHT * np.max(others, axis=0)
        if coarse:
            # Finds the right surface, but would pull the fitted one away from closed joints.
            total += _FACING_WEIGHT * edges.dark_share(centre, radius + 1.5, directions)
        return total

    step = max(search_mm / 4.0, 1.0)
    shifts = np.arange(-search_mm, search_mm + 1e-6, step)
    grid = np.stack(np.meshgrid(shifts, shifts, shifts, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.linalg.norm(grid, axis=1) <= search_mm + 1e-6]
    radii = np.arange(radii_mm[0], radii_mm[1] + 1e-6, 1.0)
    few = rays[:: max(len(rays) // 220, 1)]
    best, best_score = (centre0, float(radii.mean())), -np.inf
    for radius in radii:
        values = score(centre0 + grid, np.full(len(grid), radius), few, True)
        k = int(np.argmax(values))
        if values[k] > best_score:
            best, best_score = (centre0 + grid[k], float(radius)), float(values[k])

    def loss(q: np.ndarray) -> float:
        outside = max(0.0, radii_mm[0] - q[3], q[3] - radii_mm[1])
        return -float(score(q[:3], np.asarray(q[3]), rays, False)) + outside

    start = np.array([*best[0], best[1]])
    for size in (1.5, 0.5):
        simplex = np.vstack([start, start + size * np.eye(4)])
        found = optimize.minimize(
            loss,
            start,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 0.02, "fatol": 1e-4, "maxiter": 250},
        )
        start = found.x
    return start[:3], float(start[3]), -float(found.fun)
