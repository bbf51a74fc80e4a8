"""The sinogram that is corrected and its reconstruction: of images, or of a measured scan."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from .attenuation import MU_WATER_PER_MM
from .geometry import ImageGrid, parallel_geometry_for
from .parallel import ParallelProjector
from .rebinning import rays_of, rebinning, sampling
from .reconstruction import FilteredBackProjection
from .scan import Scan, reach_mm

VIEWS_PER_PIXEL = 1.41
FEWEST_VIEWS = 544
"""Also for small matrices: the filled trace has sharper ends than the image it came from, and
fewer views show them as fine radial lines at the skin."""


class Reprojection:
    """Projects images and reconstructs their sinograms, made once and shared by all batches.

    The bins cover the diagonal of the image, so that corners of the rectangle outside the scanner's
    field of view project and come back like the rest.

    :param grid: of the images.
    :param window: filter window of the reconstruction, see :data:`.filters.WINDOWS`.
    :param reach: rays pass the isocentre as far away as this, in mm, at least.

    ``projector`` takes ``(slices, rows, cols)`` in 1/mm to ``(slices, views, bins)``,
    ``reconstruct`` back again.
    """

    def __init__(
        self, grid: ImageGrid, device: torch.device, window: str = "ramp", reach: float = 0.0
    ) -> None:
        self.device = device
        geometry = parallel_geometry_for(
            grid, views_per_pixel=VIEWS_PER_PIXEL, fewest_views=FEWEST_VIEWS
        )
        needed = 16 * math.ceil((2 * reach / geometry.bin_mm + 2) / 16)
        geometry = replace(geometry, bins=max(geometry.bins, needed))
        self.projector = ParallelProjector(grid, geometry, device)
        self.reconstruct = FilteredBackProjection(self.projector, window)

    def sinogram(
        self,
        slices: np.ndarray,  # noqa: ARG002 - what is measured goes by them
        image_mu: torch.Tensor,
    ) -> torch.Tensor:
        """Line integrals ``(slices, views, bins)`` of a batch.

        :param slices: indices of the batch. :param image_mu: its images in 1/mm.
        """
        return self.projector(image_mu)

    def keep(
        self, slices: np.ndarray, trace: torch.Tensor, filled: Callable[[], torch.Tensor]
    ) -> None:
        """Told what a method filled the trace of a batch with."""


class MeasuredScan(Reprojection):
    """A measured scan in the place of projected images: rebinned to parallel, and back.

    :param scan: line integrals and their geometry.
    """

    def __init__(self, scan: Scan, device: torch.device, window: str = "ramp") -> None:
        super().__init__(scan.grid, device, window, reach_mm(scan.geometry))
        self._scan = scan
        self._there = rebinning(scan.geometry, self.projector.geometry, device)
        self._back = sampling(self.projector.geometry, *rays_of(scan.geometry), device)
        self._scale = MU_WATER_PER_MM / scan.mu_water_per_mm
        self.filled = scan.sinogram.copy()
        self.trace = np.zeros(scan.sinogram.shape, bool)

    def sinogram(
        self,
        slices: np.ndarray,
        image_mu: torch.Tensor | None = None,  # noqa: ARG002 - what is projected goes by them
    ) -> torch.Tensor:
        """What was measured, as parallel rays; water has ``MU_WATER_PER_MM``."""
        part = np.ascontiguousarray(self._scan.sinogram[slices], dtype=np.float32)
        measured = torch.from_numpy(part).to(self.device) * self._scale
        return self._there(measured)

    def keep(
        self, slices: np.ndarray, trace: torch.Tensor, filled: Callable[[], torch.Tensor]
    ) -> None:
        """``trace`` and ``filled``, at the rays that were measured, of these slices."""
        inside = self._back(trace.float()).cpu().numpy() > 0.5
        values = self._back(filled() / self._scale).cpu().numpy()
        self.trace[slices] = inside
        self.filled[slices] = np.where(inside, values, self._scan.sinogram[slices])
