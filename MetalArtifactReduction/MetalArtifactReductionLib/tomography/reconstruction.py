"""Filtered back-projection of parallel and fan-beam sinograms."""

from __future__ import annotations

import math

import numpy as np
import torch

from .fan import FanProjector
from .filters import filter_sinogram, ramp_response
from .geometry import FanGeometry, ImageGrid, ParallelGeometry
from .operator import Projector
from .parallel import ParallelProjector
from .rebinning import Rebinning, rebinning


def fbp(
    projector: Projector, sinogram: torch.Tensor, window: str = "ramp", cutoff: float = 1.0
) -> torch.Tensor:
    """Filtered back-projection of one batch; see :class:`FilteredBackProjection`."""
    return FilteredBackProjection(projector, window, cutoff)(sinogram)


class FilteredBackProjection:
    """Reconstructs images from sinograms; differentiable, in chunks of the projector's size.

    Parallel beam: ``f = pi / views * A^T (ramp * p)`` with the projector's own adjoint, which
    interpolates band-limited, over a half or full turn. Fan beam: every parallel ray is measured
    twice in a full turn; both measurements are averaged, see :func:`.rebinning.rebinning`, then as
    above.

    :param projector: made the sinogram's geometry and the image's grid.
    :param window: one of ``filters.WINDOWS``.
    :param cutoff: share of the Nyquist frequency where the window ends.
    """

    def __init__(self, projector: Projector, window: str = "ramp", cutoff: float = 1.0) -> None:
        self._shape = projector.sinogram_shape
        self._rebin: Rebinning | None = None
        if isinstance(projector, FanProjector):
            parallel = rebinned_geometry(projector.grid, projector.geometry)
            self._rebin = rebinning(projector.geometry, parallel, projector.device)
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
        return sinogram if self._rebin is None else self._rebin(sinogram)


def rebinned_geometry(grid: ImageGrid, fan: FanGeometry) -> ParallelGeometry:
    """Parallel geometry with the fan's sampling: its views over half a turn, its bin pitch."""
    pitch = abs(fan.bin_mm) * fan.source_isocentre_mm / fan.source_detector_mm
    reach = fan.source_isocentre_mm * math.sin(float(np.abs(fan.fan_angles_rad).max()))
    bins = 2 * math.ceil(max(reach, grid.diagonal_mm / 2) / pitch) + 2
    return ParallelGeometry(fan.views, bins, pitch)
