"""Scans interpolated at other rays: fan to parallel and back, by 4 x 4 Lagrange cubics.

Every ray is a parallel ray ``(theta, s)``, seen from either end: ``p(theta + pi, s) =
p(theta, -s)``. A scan may measure it from one end, from both, or not at all.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .geometry import FanGeometry, ParallelGeometry
from .interpolation import TapMatrix
from .operator import linear_map

LEAST_WEIGHT = 0.25
"""Rays of which less was measured, at the edge of the detector, are left out: 0."""

FRONT, BOTH = ((1, 0.0),), ((1, 0.0), (-1, math.pi))
"""Ends of a ray: sign of its distance, and angle by which it is turned."""

_SAME_RAD = 1e-6


def lagrange_cubic(fraction: np.ndarray) -> np.ndarray:
    """Weights ``(..., 4)`` of the samples -1, 0, 1, 2 for a point ``fraction`` past sample 0."""
    f = fraction
    return np.stack(
        [
            -f * (f - 1) * (f - 2) / 6,
            (f + 1) * (f - 1) * (f - 2) / 2,
            -(f + 1) * f * (f - 2) / 2,
            (f + 1) * f * (f - 1) / 6,
        ],
        axis=-1,
    )


def rays_of(geometry: ParallelGeometry | FanGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Each bin's ray as a parallel ray: angles, and distances in mm, that broadcast."""
    if isinstance(geometry, ParallelGeometry):
        return geometry.angles_rad[:, None], geometry.bin_positions_mm[None, :]
    fan = geometry.fan_angles_rad[None, :]
    theta = geometry.angles_rad[:, None] + fan + math.pi / 2
    return theta, -geometry.source_isocentre_mm * np.sin(fan)


class Rebinning:
    """A scan ``(slices, views, bins)`` interpolated at other rays ``(slices, *rays)``, 0 where none
    was measured; differentiable.

    Where a ray meets the detector depends on its distance from the isocentre alone: the scan is
    interpolated along the detector first, all its views alike, then across the views.

    :param geometry: of the scan.
    :param theta: angles of the rays, ``(n, 1)`` or ``(n, m)``. :param s_mm: distances, ``(1, m)``.
    :param ends: from which the rays are looked for, see :data:`FRONT` and :data:`BOTH`; what is
        measured from several is averaged.
    """

    def __init__(
        self,
        geometry: ParallelGeometry | FanGeometry,
        theta: np.ndarray,
        s_mm: np.ndarray,
        ends: tuple[tuple[int, float], ...],
        device: torch.device,
    ) -> None:
        here = np.arange(s_mm.size)
        there = here[::-1] if np.allclose(s_mm, -s_mm[:, ::-1]) else here + s_mm.size
        s = s_mm[0] if there[0] < s_mm.size else np.concatenate([s_mm[0], -s_mm[0]])
        bins, bin_weight = _bin_taps(geometry, _met(geometry, np.zeros_like(s), s)[2])
        index = np.empty((len(theta), s_mm.size, 4 * len(ends)), np.int32)
        weight, total = np.empty(index.shape, np.float32), np.zeros(index.shape[:2])
        measured = bin_weight.sum(axis=1)
        for end, (sign, turn) in enumerate(ends):
            view, view_weight, behind = _view_taps(geometry, theta + turn, sign * s_mm)
            place = np.where(behind ^ (sign < 0), there[:, None], here[:, None])
            four = slice(4 * end, 4 * end + 4)
            index[..., four], weight[..., four] = place * geometry.views + view, view_weight
            total += (view_weight * measured[place]).sum(axis=-1)
        if len(ends) > 1:
            total[total <= LEAST_WEIGHT] = np.inf
            weight /= total[..., None]
        self._shape, self._views = index.shape[:2], geometry.views
        self._along = TapMatrix(bins, bin_weight, geometry.bins, device)
        self._across = TapMatrix(
            index.reshape(-1, index.shape[2]),
            weight.reshape(-1, index.shape[2]),
            len(s) * geometry.views,
            device,
        )

    def __call__(self, sinogram: torch.Tensor) -> torch.Tensor:
        """The rays of a scan."""
        return linear_map(sinogram, self._forward, self.transpose)

    def transpose(self, rays: torch.Tensor) -> torch.Tensor:
        """The exact transpose: ``(slices, *rays)`` -> ``(slices, views, bins)``."""
        count = len(rays)
        placed = self._across.transpose(rays.reshape(count, -1).t().contiguous())
        dense = self._along.transpose(placed.view(-1, self._views * count))
        return dense.view(-1, self._views, count).permute(2, 1, 0)

    def _forward(self, sinogram: torch.Tensor) -> torch.Tensor:
        # One slice at a time: a fifth of the time of permuting all of them.
        dense = torch.stack([one.t() for one in sinogram], dim=-1)
        placed = self._along.forward(dense.flatten(1)).view(-1, len(sinogram))
        rays = self._across.forward(placed)
        return torch.stack(rays.unbind(-1)).view(-1, *self._shape)


def sampling(
    geometry: ParallelGeometry | FanGeometry,
    theta: np.ndarray,
    s_mm: np.ndarray,
    device: torch.device,
) -> Rebinning:
    """Interpolation of a scan over a half or full turn at the rays ``(theta, s_mm)``."""
    return Rebinning(geometry, theta, s_mm, FRONT, device)


def rebinning(
    geometry: ParallelGeometry | FanGeometry, parallel: ParallelGeometry, device: torch.device
) -> Rebinning:
    """Interpolation of a scan at the rays of parallel views.

    What is measured from both ends is averaged, in a short scan with :func:`parker_weight`; what
    is measured from one end counts alone, also where the detector's edge cuts the other.
    """
    return Rebinning(geometry, *rays_of(parallel), BOTH, device)


def parker_weight(
    travelled_rad: np.ndarray, fan_angle_rad: np.ndarray, range_rad: float
) -> np.ndarray:
    """Share of a ray's measurement in a short scan; those from both ends sum to 1.

    Parker: Optimal short scan convolution reconstruction for fan beam CT. Med. Phys. 9 (1982)
    254-257, with the half fan that the range allows: Silver, Med. Phys. 27 (2000) 773-774.

    :param travelled_rad: of the source from the start of the scan.
    :param fan_angle_rad: of the ray, in the sense in which the source turns.
    :param range_rad: of the scan; a half turn and the fan at least. Outside it the weight is 0.
    """
    half_fan = (range_rad - math.pi) / 2
    rise = travelled_rad / np.maximum(2 * (half_fan - fan_angle_rad), 1e-9)
    fall = (range_rad - travelled_rad) / np.maximum(2 * (half_fan + fan_angle_rad), 1e-9)
    result: np.ndarray = np.sin(math.pi / 2 * np.clip(np.minimum(rise, fall), 0, 1)) ** 2
    return result


def _view_taps(
    geometry: ParallelGeometry | FanGeometry, theta: np.ndarray, s_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Views ``(..., 4)`` around rays seen from one end, their weights, and whether they look from
    the other end; weights are 0 where there is none.
    """
    theta, s_mm = np.broadcast_arrays(theta, s_mm)
    fan_angle, source, _ = _met(geometry, theta, s_mm)
    travelled = geometry.direction * (source - geometry.start_rad)
    turn = abs(geometry.range_rad - 2 * math.pi) < _SAME_RAD
    mirrored = (
        isinstance(geometry, ParallelGeometry) and abs(geometry.range_rad - math.pi) < _SAME_RAD
    )
    share: np.ndarray | float = 1.0
    if not turn and not mirrored:
        half_step = geometry.range_rad / geometry.views / 2
        travelled = np.mod(travelled + half_step, 2 * math.pi) - half_step
        share = parker_weight(
            travelled + half_step, geometry.direction * fan_angle, geometry.range_rad
        )[..., None]
    view = travelled / geometry.range_rad * geometry.views
    first_view = np.floor(view).astype(np.int64)
    weight = lagrange_cubic(view - first_view) * share
    tap = first_view[..., None] + np.arange(-1, 3)
    behind = mirrored & (np.floor_divide(tap, geometry.views) % 2 == 1)
    last = geometry.views - 1
    return tap % geometry.views if turn or mirrored else tap.clip(0, last), weight, behind


def _met(
    geometry: ParallelGeometry | FanGeometry, theta: np.ndarray, s_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fan angle of rays, the angle of the view that they belong to, where they meet the
    detector in mm; NaN for those that pass outside the source's circle.
    """
    if isinstance(geometry, ParallelGeometry):
        return np.zeros_like(theta), theta, s_mm
    sine = -s_mm / geometry.source_isocentre_mm
    fan_angle = np.arcsin(np.clip(sine, -1, 1))
    along = fan_angle if geometry.curved else np.tan(fan_angle)
    u_mm = np.where(np.abs(sine) < 1, along * geometry.source_detector_mm, np.nan)
    return fan_angle, theta - fan_angle - math.pi / 2, u_mm


def _bin_taps(
    geometry: ParallelGeometry | FanGeometry, u_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Four bins around a place on the detector, ``(..., 4)``, and their weights."""
    position = u_mm / geometry.bin_mm + (geometry.bins - 1) / 2 + geometry.offset_bins
    position = np.nan_to_num(position, nan=-8.0)
    first = np.floor(position).astype(np.int64)
    column = first[..., None] + np.arange(-1, 3)
    inside = (column >= 0) & (column < geometry.bins)
    return np.where(inside, column, 0), lagrange_cubic(position - first) * inside
