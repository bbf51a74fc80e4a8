"""Filtered back-projection of parallel and fan-beam sinograms."""

from __future__ import annotations

import math

import numpy as np
import torch

from .fan import FanProjector, lagrange_cubic
from .filters import filter_sinogram, ramp_response
from .geometry import FanGeometry, ImageGrid, ParallelGeometry
from .interpolation import TapMatrix
from .operator import Projector, linear_map
from .parallel import ParallelProjector


def fbp(
    projector: Projector, sinogram: torch.Tensor, window: str = "ramp", cutoff: float = 1.0
) -> torch.Tensor:
    """Filtered back-projection of one batch; see :class:`FilteredBackProjection`."""
    return FilteredBackProjection(projector, window, cutoff)(sinogram)


class FilteredBackProjection:
    """Reconstructs images from sinograms; differentiable, in chunks of the projector's size.

    Parallel beam: ``f = pi / views * A^T (ramp * p)`` with the projector's own adjoint, which
    interpolates band-limited. Fan beam: every parallel ray is measured twice in a full turn; both
    measurements are interpolated and averaged (rebinning), then as above.

    :param projector: made the sinogram's geometry and the image's grid.
    :param window: one of ``filters.WINDOWS``.
    :param cutoff: share of the Nyquist frequency where the window ends.
    """

    def __init__(self, projector: Projector, window: str = "ramp", cutoff: float = 1.0) -> None:
        self._shape = projector.sinogram_shape
        self._rebin: TapMatrix | None = None
        if isinstance(projector, FanProjector):
            parallel = rebinned_geometry(projector.grid, projector.geometry)
            self._rebin = _rebinning(projector.geometry, parallel, projector.device)
            projector = ParallelProjector(
                projector.grid, parallel, projector.device, projector.chunk
            )
        elif not isinstance(projector, ParallelProjector):
            raise TypeError(f"no filtered back-projection for {type(projector).__name__}")
        self.projector: ParallelProjector = projector
        geometry = projector.geometry
        response = ramp_response(geometry.bins, geometry.bin_mm, window, cutoff)
        row_mm, col_mm = projector.grid.spacing_mm
        response = response * (math.pi / geometry.views * geometry.bin_mm / (row_mm * col_mm))
        self._response = torch.from_numpy(response).to(projector.device)

    def __call__(self, sinogram: torch.Tensor) -> torch.Tensor:
        """``(slices, views, bins)`` line integrals -> ``(slices, rows, cols)`` in 1/mm."""
        if sinogram.ndim != 3 or tuple(sinogram.shape[1:]) != self._shape:
            raise ValueError(
                f"expected a sinogram (slices, views, bins) with last axes {self._shape}, "
                f"got {tuple(sinogram.shape)}"
            )
        chunk, device = self.projector.chunk, self.projector.device
        parts = [
            self.projector.adjoint(
                filter_sinogram(self.to_parallel(part.to(device)), self._response)
            )
            for part in sinogram.float().split(chunk)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def to_parallel(self, sinogram: torch.Tensor) -> torch.Tensor:
        """The sinogram as parallel views ``(slices, views, bins)``, unchanged if it is."""
        if self._rebin is None:
            return sinogram
        count = sinogram.shape[0]
        parallel = self._rebin.forward(sinogram.reshape(count, -1).t().contiguous())
        return parallel.t().reshape(count, *self.projector.sinogram_shape)


def rebinned_geometry(grid: ImageGrid, fan: FanGeometry) -> ParallelGeometry:
    """Parallel geometry with the fan's sampling: its views over half a turn, its bin pitch."""
    pitch = fan.bin_mm * fan.source_isocentre_mm / fan.source_detector_mm
    reach = fan.source_isocentre_mm * math.sin(float(np.abs(fan.fan_angles_rad).max()))
    bins = 2 * math.ceil(max(reach, grid.diagonal_mm / 2) / pitch) + 2
    return ParallelGeometry(fan.views, bins, pitch)


class _Differentiable(TapMatrix):
    """A tap matrix whose product torch can differentiate (its gradient is the transpose)."""

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return linear_map(dense, super().forward, super().transpose)


def _rebinning(fan: FanGeometry, parallel: ParallelGeometry, device: torch.device) -> TapMatrix:
    """Interpolation of a fan sinogram (flattened) at the rays of parallel views."""
    theta = parallel.angles_rad[:, None]
    s = parallel.bin_positions_mm[None, :] / fan.source_isocentre_mm
    inside = np.abs(s) < 1
    gamma = np.arcsin(np.clip(-s, -1, 1))
    shape = parallel.views, parallel.bins, 32
    index, weight = np.empty(shape, np.int32), np.empty(shape, np.float32)
    # The ray (theta, s) and the same ray seen from its other end, (theta + pi, -s).
    for end, (sign, turn) in enumerate(((1, 0.0), (-1, math.pi))):
        fan_angle = sign * gamma
        beta = theta + turn - fan_angle - math.pi / 2
        if fan.curved:
            u = fan_angle * fan.source_detector_mm
        else:
            u = np.tan(fan_angle) * fan.source_detector_mm
        position = u / fan.bin_mm + (fan.bins - 1) / 2 + fan.offset_bins
        view = np.broadcast_to(beta / (2 * math.pi) * fan.views, np.broadcast_shapes(beta.shape))
        first_view, first_bin = np.floor(view).astype(int), np.floor(position).astype(int)
        view_weight = lagrange_cubic(view - first_view)
        bin_weight = lagrange_cubic(position - first_bin)
        for i in range(4):
            for j in range(4):
                column = first_bin + j - 1
                ok = inside & (column >= 0) & (column < fan.bins)
                k = 16 * end + 4 * i + j
                view_start = ((first_view + i - 1) % fan.views) * fan.bins
                index[..., k] = view_start + np.where(ok, column, 0)
                weight[..., k] = view_weight[..., i] * (bin_weight[..., j] * ok)
    # Where the detector's edge cuts one of the two measurements the other counts alone.
    total = weight.sum(axis=-1, keepdims=True)
    weight = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0.25)
    columns = fan.views * fan.bins
    return _Differentiable(index.reshape(-1, 32), weight.reshape(-1, 32), columns, device)
