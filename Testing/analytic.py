"""Ellipses: their images and exact line integrals, the independent truth for every projector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ellipse:
    """An ellipse of constant attenuation; lengths in mm, ``phi`` in degrees, y upwards."""

    value: float
    a: float
    b: float
    x: float = 0.0
    y: float = 0.0
    phi: float = 0.0

    def inside(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        p = np.deg2rad(self.phi)
        u = (x - self.x) * np.cos(p) + (y - self.y) * np.sin(p)
        v = -(x - self.x) * np.sin(p) + (y - self.y) * np.cos(p)
        return (u / self.a) ** 2 + (v / self.b) ** 2 <= 1

    def line_integral(self, cos: np.ndarray, sin: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Of the rays at ``s`` whose normal is ``(cos, sin)``."""
        p = np.deg2rad(self.phi)
        along, across = cos * np.cos(p) + sin * np.sin(p), sin * np.cos(p) - cos * np.sin(p)
        width2 = (self.a * along) ** 2 + (self.b * across) ** 2
        d = s - (self.x * cos + self.y * sin)
        return self.value * 2 * self.a * self.b * np.sqrt(np.maximum(width2 - d * d, 0)) / width2


def head_phantom(radius_mm: float) -> list[Ellipse]:
    """The modified Shepp-Logan phantom (Toft 1996) inside ``radius_mm``, water-like values."""
    table = [
        (1.0, 0.69, 0.92, 0, 0, 0),
        (-0.8, 0.6624, 0.874, 0, -0.0184, 0),
        (-0.2, 0.11, 0.31, 0.22, 0, -18),
        (-0.2, 0.16, 0.41, -0.22, 0, 18),
        (0.1, 0.21, 0.25, 0, 0.35, 0),
        (0.1, 0.046, 0.046, 0, 0.1, 0),
        (0.1, 0.046, 0.046, 0, -0.1, 0),
        (0.1, 0.046, 0.023, -0.08, -0.605, 0),
        (0.1, 0.023, 0.023, 0, -0.606, 0),
        (0.1, 0.023, 0.046, 0.06, -0.605, 0),
    ]
    r = radius_mm
    return [Ellipse(0.02 * v, a * r, b * r, x * r, y * r, p) for v, a, b, x, y, p in table]


def rasterize(ellipses: list[Ellipse], grid, samples: int = 8) -> np.ndarray:
    """Mean over each pixel of the grid, ``(rows, cols)`` float32."""
    row_mm, col_mm = grid.spacing_mm
    offset = (np.arange(samples) + 0.5) / samples - 0.5
    x = (np.arange(grid.cols)[:, None] - (grid.cols - 1) / 2 + offset).ravel() * col_mm
    y = ((grid.rows - 1) / 2 - np.arange(grid.rows)[:, None] - offset).ravel() * row_mm
    image = np.zeros((len(y), len(x)), np.float32)
    for ellipse in ellipses:
        reach = 1.0001 * max(ellipse.a, ellipse.b)
        near = np.ix_(abs(y - ellipse.y) <= reach, abs(x - ellipse.x) <= reach)
        image[near] += ellipse.value * ellipse.inside(x[None, near[1][0]], y[near[0]])
    return image.reshape(grid.rows, samples, grid.cols, samples).mean(axis=(1, 3))


def sinogram(ellipses: list[Ellipse], theta: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Exact line integrals at ``(theta, s)`` (broadcast)."""
    cos, sin = np.cos(theta), np.sin(theta)
    return sum(e.line_integral(cos, sin, s) for e in ellipses)


def parallel_sinogram(ellipses: list[Ellipse], geometry, samples: int = 8) -> np.ndarray:
    """Exact bin averages, ``(views, bins)``."""
    theta = geometry.angles_rad[:, None]
    offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * geometry.bin_mm
    s = geometry.bin_positions_mm[None, :]
    return np.mean([sinogram(ellipses, theta, s + d) for d in offsets], axis=0)


def fan_sinogram(ellipses: list[Ellipse], geometry, samples: int = 8) -> np.ndarray:
    """Exact cell averages, ``(views, bins)``, from source and detector positions in the plane.

    Deliberately built from points, not from the angle formulas of the library.
    """
    beta = geometry.angles_rad[:, None]
    sid, sdd = geometry.source_isocentre_mm, geometry.source_detector_mm
    source = np.stack([sid * np.cos(beta), sid * np.sin(beta)])
    result = 0.0
    for d in (np.arange(samples) + 0.5) / samples - 0.5:
        u = np.arange(geometry.bins) - (geometry.bins - 1) / 2 - geometry.offset_bins + d
        u = u[None, :] * geometry.bin_mm
        if geometry.curved:
            away, across = sdd * np.cos(u / sdd), sdd * np.sin(u / sdd)
        else:
            away, across = sdd, u
        # Central direction: from the source through the isocentre; cells count anticlockwise.
        cell = source - away * np.stack([np.cos(beta), np.sin(beta)])
        cell = cell + across * np.stack([np.sin(beta), -np.cos(beta)])
        direction = cell - source
        direction = direction / np.linalg.norm(direction, axis=0)
        normal = np.stack([-direction[1], direction[0]])
        theta = np.arctan2(normal[1], normal[0])
        result = result + sinogram(ellipses, theta, (source * normal).sum(axis=0))
    return result / samples


def relative_error(a, b) -> float:
    """``|a - b| / |b|``."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))
