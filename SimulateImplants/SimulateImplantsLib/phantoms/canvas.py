"""The grid a phantom is painted on, and painting with partial volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .sdf import Points

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """Voxel grid with the affine from array index (slice, row, col) to patient mm (x, y, z)."""

    shape: tuple[int, int, int]
    index_to_patient: np.ndarray

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size (slice, row, col)."""
        result: np.ndarray = np.linalg.norm(self.index_to_patient[:3, :3], axis=0)
        return result

    def points(self, box: Box | None = None) -> Points:
        """Patient coordinates of the voxel centres of ``box``, float32, to be broadcast.

        Where a coordinate is the same along an axis of the box, its array has a length of 1 there.
        """
        box = box or (slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2]))
        k, j, i = (np.arange(s.start, s.stop, dtype=np.float32) for s in box)
        axes = k[:, None, None], j[None, :, None], i[None, None, :]
        x, y, z = (
            sum((m * along for m, along in zip(row[:3], axes, strict=True) if m), axes[0][:1] * 0)
            + row[3]
            for row in self.index_to_patient[:3].astype(np.float32)
        )
        return x, y, z

    def box_around(self, low: np.ndarray, high: np.ndarray) -> Box | None:
        """Index box holding the patient box ``low``..``high`` (mm); None if outside the grid."""
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1)
        inverse = np.linalg.inv(self.index_to_patient)
        index = inverse[:3, :3] @ corners + inverse[:3, 3:]
        lo = np.maximum(np.floor(index.min(axis=1)).astype(int) - 1, 0)
        hi = np.minimum(np.ceil(index.max(axis=1)).astype(int) + 2, self.shape)
        if np.any(hi - lo < 1):
            return None
        return slice(lo[0], hi[0]), slice(lo[1], hi[1]), slice(lo[2], hi[2])

    def slab(self, start: int, stop: int) -> Grid:
        """The slices ``start``..``stop`` as a grid of their own."""
        matrix = self.index_to_patient.copy()
        matrix[:3, 3] += matrix[:3, 0] * start
        return Grid((stop - start, self.shape[1], self.shape[2]), matrix)


def coverage(distance: np.ndarray, grid: Grid, offset: float = 0.0) -> np.ndarray:
    """Share of each voxel inside ``distance < -offset`` (0..1).

    The box filter of a plane: ``1/2 - d / w`` with ``w`` the change of ``d`` across the voxel,
    the sum of |normal . edge| over the voxel's three edges.
    """
    d = distance + np.float32(offset)
    near = np.abs(d) < np.float32(grid.spacing_mm.sum())
    out: np.ndarray = (d < 0).astype(np.float32)
    if not near.any():
        return out
    width = np.zeros_like(d)
    for axis in range(3):
        if d.shape[axis] > 1:
            width += np.abs(np.gradient(distance, axis=axis))
    floor = np.float32(0.3 * grid.spacing_mm.min())
    np.maximum(width, floor, out=width)
    out[near] = np.clip(0.5 - d[near] / width[near], 0, 1)
    return out


def blend(
    view: np.ndarray, touched: np.ndarray, share: np.ndarray, value: float | np.ndarray
) -> None:
    """Paint ``value`` over ``view[touched]``; ``share`` says how much of each voxel it takes."""
    old = view[touched]
    view[touched] = old + share * (np.asarray(value, np.float32) - old)


@dataclass(frozen=True)
class Waves:
    """A smooth random field of about unit standard deviation: a sum of plane waves.

    A function of the patient's coordinates, so it is the same on every grid.
    """

    vectors: np.ndarray
    phases: np.ndarray

    @classmethod
    def sample(
        cls,
        rng: np.random.Generator,
        wavelength_mm: float,
        count: int = 5,
        stretch: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> Waves:
        """:param stretch: how much longer the field is along x, y, z than ``wavelength_mm``."""
        direction = rng.normal(size=(count, 3)) / np.asarray(stretch)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = wavelength_mm * rng.uniform(0.7, 1.5, size=(count, 1))
        vectors = 2 * np.pi * direction / length
        return cls(vectors.astype(np.float32), rng.uniform(0, 2 * np.pi, count).astype(np.float32))

    def __call__(self, p: Points) -> np.ndarray:
        """Values at the points ``p``."""
        out = np.zeros((), np.float32)
        for v, phase in zip(self.vectors, self.phases, strict=True):
            out = out + np.sin(v[0] * p[0] + v[1] * p[1] + v[2] * p[2] + phase)
        result: np.ndarray = out * np.float32(np.sqrt(2 / len(self.phases)))
        return result


def grain(
    shape: tuple[int, ...], sigma_mm: float, spacing_mm: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """White noise blurred to ``sigma_mm``, unit standard deviation (texture of tissue)."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    sigma = np.clip(sigma_mm / spacing_mm, 0, 8)
    if sigma.max() > 0.2:
        noise = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3.0)
    return noise / max(float(noise.std()), 1e-6)


def scanner(
    hu: np.ndarray,
    spacing_mm: np.ndarray,
    noise_hu: float,
    blur_mm: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """In-plane resolution and noise of a scanner.

    :param blur_mm: standard deviation of the point spread within the slice.
    :param noise_hu: standard deviation of the noise, correlated like that of a soft kernel
        (a band: low frequencies are suppressed by the ramp, high ones by the window).
    """
    sigma = (0.0, blur_mm / spacing_mm[1], blur_mm / spacing_mm[2])
    out = ndimage.gaussian_filter(hu, sigma, truncate=3.0) if blur_mm > 0 else hu.copy()
    if noise_hu > 0:
        white = rng.standard_normal(hu.shape, dtype=np.float32)
        fine = ndimage.gaussian_filter(white, (0, 0.6, 0.6), truncate=3.0)
        fine -= 0.8 * ndimage.gaussian_filter(fine, (0, 1.6, 1.6), truncate=2.5)
        out += fine * np.float32(noise_hu / max(float(fine.std()), 1e-6))
    result: np.ndarray = np.clip(np.rint(out), -1024, 3071).astype(np.float32)
    return result
