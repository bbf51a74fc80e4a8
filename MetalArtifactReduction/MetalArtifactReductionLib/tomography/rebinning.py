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


def sampling(
    geometry: ParallelGeometry | FanGeometry,
    theta: np.ndarray,
    s_mm: np.ndarray,
    device: torch.device,
) -> TapMatrix:
    """Interpolation of a scan (flattened) over a half or full turn at the rays ``(theta, s_mm)``.

    A ray beside the detector gives 0.
    """
    index, weight = _taps(geometry, theta, s_mm)
    columns = geometry.views * geometry.bins
    return TapMatrix(index.reshape(-1, 16), weight.reshape(-1, 16), columns, device)


class _Differentiable(TapMatrix):
    """A tap matrix whose product torch can differentiate (its gradient is the transpose)."""

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return linear_map(dense, super().forward, super().transpose)


def rebinning(
    geometry: ParallelGeometry | FanGeometry, parallel: ParallelGeometry, device: torch.device
) -> TapMatrix:
    """Interpolation of a scan (flattened) at the rays of parallel views.

    What is measured from both ends is averaged, in a short scan with :func:`parker_weight`; what
    is measured from one end counts alone, also where the detector's edge cuts the other.
    """
    theta, s = parallel.angles_rad[:, None], parallel.bin_positions_mm[None, :]
    index = np.empty((parallel.views, parallel.bins, 32), np.int32)
    weight = np.empty(index.shape, np.float32)
    for end, (sign, turn) in enumerate(((1, 0.0), (-1, math.pi))):
        half = slice(16 * end, 16 * end + 16)
        index[..., half], weight[..., half] = _taps(geometry, theta + turn, sign * s)
    total = weight.sum(axis=-1, keepdims=True)
    weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > LEAST_WEIGHT)
    columns = geometry.views * geometry.bins
    return _Differentiable(index.reshape(-1, 32), weight.reshape(-1, 32), columns, device)


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


def _taps(
    geometry: ParallelGeometry | FanGeometry, theta: np.ndarray, s_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and weights ``(..., 16)`` for rays seen from one end; weights are 0 where none is."""
    theta, s_mm = np.broadcast_arrays(theta, s_mm)
    fan_angle, source, u_mm = _met(geometry, theta, s_mm)
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
        )
    view = travelled / geometry.range_rad * geometry.views
    first_view = np.floor(view).astype(np.int64)
    view_weight = lagrange_cubic(view - first_view)
    sides = [_bin_taps(geometry, u_mm)] + ([_bin_taps(geometry, -u_mm)] if mirrored else [])
    index = np.empty((*theta.shape, 16), np.int32)
    weight = np.empty((*theta.shape, 16), np.float32)
    for i in range(4):
        tap = first_view + i - 1
        row = tap % geometry.views if turn or mirrored else np.clip(tap, 0, geometry.views - 1)
        bins, bin_weight = sides[0]
        if mirrored:
            opposite = (np.floor_divide(tap, geometry.views) % 2 == 1)[..., None]
            bins = np.where(opposite, sides[1][0], bins)
            bin_weight = np.where(opposite, sides[1][1], bin_weight)
        four = slice(4 * i, 4 * i + 4)
        index[..., four] = row[..., None] * geometry.bins + bins
        weight[..., four] = (view_weight[..., i] * share)[..., None] * bin_weight
    return index, weight


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
