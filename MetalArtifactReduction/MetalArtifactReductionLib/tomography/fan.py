"""Fan-beam projector: a parallel sinogram by the Fourier slice theorem, resampled along the fan.

Every fan ray is a parallel ray ``(theta, s)``. The parallel sinogram is computed on a fine enough
raster and interpolated by 4 x 4 Lagrange cubics; a view past half a turn is the opposite ray,
``p(theta + pi, s) = p(theta, -s)``.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .fourier_slice import FourierSlice
from .geometry import FanGeometry, ImageGrid, ParallelGeometry
from .interpolation import TapMatrix
from .operator import Projector


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


def fan_rays(geometry: FanGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Each ray as a parallel ray: angles ``(views, bins)`` and distances in mm ``(1, bins)``."""
    fan = geometry.fan_angles_rad[None, :]
    theta = geometry.angles_rad[:, None] + fan + math.pi / 2
    return theta, -geometry.source_isocentre_mm * np.sin(fan)


def sample_parallel(
    parallel: ParallelGeometry, theta: np.ndarray, s_mm: np.ndarray, device: torch.device
) -> TapMatrix:
    """Interpolation of a parallel sinogram (flattened) at the rays ``(theta, s_mm)``."""
    theta, s_mm = np.broadcast_arrays(theta, s_mm)
    view = theta / math.pi * parallel.views
    first_view = np.floor(view).astype(np.int64)
    view_weight = lagrange_cubic(view - first_view)
    index = np.empty((*theta.shape, 16), np.int32)
    weight = np.empty((*theta.shape, 16), np.float32)
    for i in range(4):
        tap = first_view + i - 1
        opposite = np.floor_divide(tap, parallel.views) % 2 == 1
        position = np.where(opposite, -s_mm, s_mm) / parallel.bin_mm
        position = position + (parallel.bins - 1) / 2 + parallel.offset_bins
        first_bin = np.floor(position).astype(np.int64)
        bin_weight = lagrange_cubic(position - first_bin)
        for j in range(4):
            column = first_bin + j - 1
            inside = (column >= 0) & (column < parallel.bins)
            k = 4 * i + j
            index[..., k] = (tap % parallel.views) * parallel.bins + np.where(inside, column, 0)
            weight[..., k] = view_weight[..., i] * bin_weight[..., j] * inside
    columns = parallel.views * parallel.bins
    return TapMatrix(index.reshape(-1, 16), weight.reshape(-1, 16), columns, device)


class FanProjector(Projector):
    """Fan-beam line integrals (see the module's docstring).

    :param grid: the image's pixels.
    :param geometry: source, detector, views.
    :param device: torch device.
    :param chunk: slices at once.
    :param oversampling: of the Fourier grid.
    """

    geometry: FanGeometry

    def __init__(
        self,
        grid: ImageGrid,
        geometry: FanGeometry,
        device: str | torch.device = "cpu",
        chunk: int | None = None,
        oversampling: float = 1.5,
    ) -> None:
        super().__init__(grid, geometry, device, chunk)
        pixel = min(grid.spacing_mm)
        # Two bins a pixel and about one view per sample of the image's rim: Lagrange cubics are
        # then an order of magnitude more exact than the raster of the image itself.
        bins = 2 * math.ceil(grid.diagonal_mm / pixel / 2 + 4)
        views = max(180, 8 * math.ceil(1.41 * grid.diagonal_mm / math.sqrt(2) / pixel / 8))
        self.parallel = ParallelGeometry(views, 2 * bins, pixel / 2)
        self._engine = FourierSlice(
            grid,
            self.parallel.angles_rad,
            self.parallel.bins,
            self.parallel.bin_mm,
            0.0,
            self.device,
            oversampling,
            cutoff_per_mm=0.5 / pixel,
        )
        self._resample = sample_parallel(self.parallel, *fan_rays(geometry), self.device)

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        count = images.shape[0]
        dense = self._engine.forward(images).view(count, -1).t().contiguous()
        fan = self._resample.forward(dense)
        return fan.t().reshape(count, *self.sinogram_shape)

    def _adjoint(self, sinogram: torch.Tensor) -> torch.Tensor:
        count = sinogram.shape[0]
        dense = self._resample.transpose(sinogram.reshape(count, -1).t().contiguous())
        return self._engine.adjoint(
            dense.t().reshape(count, self.parallel.views, self.parallel.bins)
        )
