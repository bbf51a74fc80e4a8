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
_CORNERS = np.array(list(np.ndindex(2, 2, 2)))


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
    values: np.ndarray
    """``(voxels, 4)``, float32: gradient (R, A, S; image units per mm) and smoothed image.

    Four: what is as long as a processor's register is gathered twice as fast.
    """

    @classmethod
    def of(cls, image: np.ndarray, grid: LocalGrid, blur_mm: float = 0.8) -> EdgeField:
        """:param image: values on the grid."""
        smooth = ndimage.gaussian_filter(np.asarray(image, np.float32), blur_mm / grid.spacing_mm)
        channels = *np.gradient(smooth, grid.spacing_mm), smooth
        return cls(grid, np.stack(channels, axis=-1, dtype=np.float32).reshape(-1, 4))

    def _strides(self) -> np.ndarray:
        return np.array([self.grid.shape[1] * self.grid.shape[2], self.grid.shape[2], 1])

    def at(self, centre: np.ndarray, away: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """A weighted sum over the channels at ``centre + away``, interpolated linearly: ``(n,)``.

        :param away: ``(n, 3)``, mm. :param weights: ``(n, 4)``, float32.
        """
        at = np.float32(self.grid.to_index(centre)) + away / self.grid.spacing_mm
        at = np.clip(at, 0, np.array(self.grid.shape, np.float32) - np.float32(1.001))
        low = np.floor(at)
        x, y, z = (at - low).T
        index = (low.astype(int) @ self._strides())[:, None] + _CORNERS @ self._strides()
        value = np.take(self.values, index, axis=0, mode="clip")
        v = np.einsum("nck,nk->cn", value, weights)
        v = v[:4] + x * (v[4:] - v[:4])
        v = v[:2] + y * (v[2:] - v[:2])
        result: np.ndarray = v[0] + z * (v[1] - v[0])
        return result

    def near(self, centres: np.ndarray, away: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """As :meth:`at`, of the nearest voxels, for each of many centres: ``(centres, n)``.

        :param centres: whole voxels apart; no point lies outside the grid.
        """
        first = np.rint(self.grid.to_index(centres[0] + away)) @ self._strides()
        moved = np.rint(self.grid.to_index(centres) - self.grid.to_index(centres[0]))
        index = (first[:, None] + moved @ self._strides()).astype(int)
        value = np.take(self.values, index, axis=0, mode="clip")
        out: np.ndarray = (value @ weights[:, :, None])[..., 0].T
        return out


class _Score:
    """How well spheres fit, see :func:`fit_sphere`.

    :param rays, facing: unit vectors. :param joint: whether the rays' joint share counts, too.
        It finds the right surface, but would pull the fitted one away from closed joints.
    """

    def __init__(
        self,
        edges: EdgeField,
        sign: float,
        strong: float,
        rays: np.ndarray,
        facing: np.ndarray | None,
        joint: bool,
    ) -> None:
        self.edges, self.strong, self.rays, self.facing = edges, strong, rays, facing
        self.along = np.pad(sign * rays, ((0, 0), (0, 1))).astype(np.float32)
        looks = [(0.0, rays, self.along)]
        if facing is not None:
            self.against = np.pad(-sign * facing, ((0, 0), (0, 1))).astype(np.float32)
            looks += [(gap, facing, self.against) for gap in _JOINT_GAPS_MM]
            self.image = np.tile(np.eye(4, dtype=np.float32)[3], (len(rays), 1))
            looks += [(mm, rays, self.image) for mm in (-_SHELL_MM, _SHELL_MM) if joint]
        self.beyond = np.concatenate([np.full((len(way), 1), mm, "f4") for mm, way, _ in looks])
        self.directions = np.concatenate([way for _, way, _ in looks]).astype(np.float32)
        self.weights = np.concatenate([weights for *_, weights in looks])

    def __call__(self, centre: np.ndarray, radius: float) -> float:
        """Of one sphere."""
        away = (float(radius) + self.beyond) * self.directions
        value = self.edges.at(centre, away, self.weights)
        n = len(self.rays)
        total = self._mean(value[:n])
        if self.facing is None:
            return float(total)
        stop = n + len(_JOINT_GAPS_MM) * len(self.facing)
        total += _FACING_WEIGHT * self._mean(value[n:stop].reshape(-1, len(self.facing))).max()
        if stop < len(value):
            total += _FACING_WEIGHT * _joint(value[stop : stop + n], value[stop + n :])
        return float(total)

    def on_grid(self, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """Scores ``(radii, centres)`` of spheres whose radii grow by 1 mm.

        So do the gaps: what lies beyond one sphere is looked at once for all.
        """

        def found(sizes: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
            return [self.edges.near(centres, r * rays, weights) for r in sizes]

        total = np.stack([self._mean(edge) for edge in found(radii, self.rays, self.along)])
        if self.facing is None:
            return total
        reached = np.arange(radii[0] + _JOINT_GAPS_MM[0], radii[-1] + _JOINT_GAPS_MM[-1] + 0.5)
        beyond = [self._mean(edge) for edge in found(reached, self.facing, self.against)]
        gaps = range(len(_JOINT_GAPS_MM))
        total += _FACING_WEIGHT * np.max([beyond[k : k + len(radii)] for k in gaps], axis=0)
        shell = round(2 * _SHELL_MM)
        sizes = radii[0] - _SHELL_MM + np.arange(len(radii) + shell)
        hu = found(sizes, self.rays, self.image)
        total += [_FACING_WEIGHT * _joint(*pair) for pair in zip(hu, hu[shell:], strict=False)]
        return total

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

    few = rays[:: max(len(rays) // 220, 1)]
    rough = _Score(edges, sign, strong, few, facing, joint=True)
    score = _Score(edges, sign, strong, rays, facing, joint=False)
    step = float(np.clip(search_mm / 4.0, 1.0, 3.0))
    shifts = np.arange(-search_mm, search_mm + 1e-6, step)
    grid = np.stack(np.meshgrid(shifts, shifts, shifts, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.linalg.norm(grid, axis=1) <= search_mm + 1e-6]
    radii = np.arange(radii_mm[0], radii_mm[1] + 1e-6, 1.0)
    values = rough.on_grid(centre0 + grid, radii)

    def loss(q: np.ndarray, score: _Score) -> float:
        outside = max(0.0, radii_mm[0] - q[3], q[3] - radii_mm[1])
        return float(outside) - score(q[:3], q[3])

    def refined(start: np.ndarray, size: float, score: _Score) -> Any:
        simplex = np.vstack([start, start + size * np.eye(4)])
        # Which peak is the highest shows long before its place is exact.
        ends = {"xatol": 0.2, "fatol": 2e-3} if score is rough else {"xatol": 0.02, "fatol": 1e-4}
        options = {"initial_simplex": simplex, "maxiter": 250, **ends}
        return optimize.minimize(loss, start, (score,), method="Nelder-Mead", options=options)

    # The grid is coarser than the peaks of the score: the best few are climbed before one is taken.
    starts = [
        np.array([*(centre0 + grid[k]), radii[r]]) for r, k in _peaks(values, grid, radii, _STARTS)
    ]
    climbed = [refined(start, 1.5, rough) for start in starts]
    start = min(climbed, key=lambda found: float(found.fun)).x
    for size in (1.5, 0.5):
        found = refined(start, size, score)
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
