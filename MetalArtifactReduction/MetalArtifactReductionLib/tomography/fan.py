"""Fan-beam projector: a parallel sinogram by the Fourier slice theorem, resampled along the fan.

Every fan ray is a parallel ray ``(theta, s)``. The parallel sinogram is computed on a fine enough
raster and interpolated (:mod:`.rebinning`).
"""

from __future__ import annotations

import math

import torch

from .fourier_slice import FourierSlice
from .geometry import FanGeometry, ImageGrid, ParallelGeometry
from .operator import Projector
from .rebinning import rays_of, sampling


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
        self._resample = sampling(self.parallel, *rays_of(geometry), self.device)

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._resample(self._engine.forward(images))

    def _adjoint(self, sinogram: torch.Tensor) -> torch.Tensor:
        return self._engine.adjoint(self._resample.transpose(sinogram))
