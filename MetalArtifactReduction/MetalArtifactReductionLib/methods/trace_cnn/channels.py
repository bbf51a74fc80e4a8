"""The trace CNN's input: the metal trace filled with the sinogram's maximum, reconstructed, and
projected again.

The same for training (a clean slice and a foreign mask) and for use (a corrupted slice and its
own metal): the values in the trace are overwritten, so whatever the metal did there is gone.

The network looks 12 bins and views to each side. On rays as fine as the image's pixels a hip
implant is wider than that, so the work is done on rays of :attr:`MaxFillParameters.bin_mm`, the
same for every scanner; what the network finds is interpolated onto the correction's own rays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from ...metal import metal_trace
from ...tomography import FilteredBackProjection, ImageGrid, ParallelGeometry, ParallelProjector
from ...tomography.trace import TraceParameters
from ..linear import interpolate_trace
from .network import wrapped_views

STARTS = ("maximum", "linear")


@dataclass(frozen=True)
class MaxFillParameters:
    """The rays that the network sees.

    :param bin_mm: distance of the bins, and the pixel of the image in between; that of the
        slice's pixels where they are larger.
    :param views: over half a turn.
    :param start: what overwrites the trace, one of :data:`STARTS`: the sinogram's maximum, or the
        straight lines of linear interpolation.
    :param trace: what counts as a ray through metal.
    """

    bin_mm: float = 2.0
    views: int = 288
    start: str = "maximum"
    trace: TraceParameters = field(default_factory=TraceParameters)

    def __post_init__(self) -> None:
        """Reject what makes no sinogram."""
        if not self.bin_mm > 0:
            raise ValueError(f"bin_mm is {self.bin_mm!r}; give a length above 0")
        if self.views < 16:
            raise ValueError(f"views is {self.views!r}; give 16 or more")
        if self.start not in STARTS:
            raise ValueError(f"start {self.start!r} is unknown; use one of {', '.join(STARTS)}")

    def as_dict(self) -> dict[str, object]:
        """Plain values, for a file of weights."""
        return {
            "bin_mm": self.bin_mm,
            "views": self.views,
            "start": self.start,
            "minimal_path_pixels": self.trace.minimal_path_pixels,
            "dilation_bins": self.trace.dilation_bins,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> MaxFillParameters:
        """The inverse of :meth:`as_dict`."""
        trace = TraceParameters(values["minimal_path_pixels"], int(values["dilation_bins"]))
        return MaxFillParameters(
            float(values["bin_mm"]), int(values["views"]), str(values["start"]), trace
        )


class MaxFill:
    """Sinograms, traces and corrupted sinograms of slices on one grid.

    :param grid: of the slices.
    :param parameters: the rays.
    :param device: torch device.
    """

    def __init__(
        self,
        grid: ImageGrid,
        parameters: MaxFillParameters | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.parameters = parameters or MaxFillParameters()
        # Rays closer than the pixels would show the pixels' edges.
        bin_mm = max(self.parameters.bin_mm, *grid.spacing_mm)
        views = self.parameters.views
        rows, cols = (
            math.ceil(n * mm / bin_mm)
            for n, mm in zip((grid.rows, grid.cols), grid.spacing_mm, strict=True)
        )
        self.working_grid = ImageGrid(rows, cols, (bin_mm, bin_mm))
        bins = 16 * math.ceil((self.working_grid.diagonal_mm / bin_mm + 2) / 16)
        self.geometry = ParallelGeometry(views, bins, bin_mm)
        self.from_slices = ParallelProjector(grid, self.geometry, device)
        self.projector = ParallelProjector(self.working_grid, self.geometry, device)
        self.reconstruct = FilteredBackProjection(self.projector)

    def sinogram(self, image_mu: torch.Tensor) -> torch.Tensor:
        """Slices ``(slices, rows, cols)`` in 1/mm -> ``(slices, views, bins)``."""
        return self.from_slices(image_mu)

    def trace(self, metal_fraction: torch.Tensor) -> torch.Tensor:
        """Bins whose rays meet metal, bool ``(slices, views, bins)``."""
        return metal_trace(self.from_slices, metal_fraction, self.parameters.trace)

    def filled(self, sinogram: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
        """The trace becomes the largest value of its slice's sinogram outside the trace, or lines.

        Outside, because inside there is no other value to be had from a patient with metal.
        """
        if self.parameters.start == "linear":
            return interpolate_trace(sinogram, trace)
        most = sinogram.masked_fill(trace, 0.0).amax(dim=(1, 2), keepdim=True)
        return torch.where(trace, most, sinogram)

    def image(self, sinogram: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
        """The corrupted image: reconstructed from :meth:`filled`, 1/mm, working grid."""
        return self.reconstruct(self.filled(sinogram, trace))

    def corrupted(self, sinogram: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
        """The network's input: the corrupted image's sinogram, ``(slices, views, bins)``."""
        return self.projector(self.image(sinogram, trace))


def on_rays_of(
    sinogram: torch.Tensor, coarse: ParallelGeometry, fine: ParallelGeometry
) -> torch.Tensor:
    """A sinogram on other rays: bicubic, continued around the half turn, 0 beside the detector.

    :param sinogram: ``(slices, coarse.views, coarse.bins)``.
    :returns: ``(slices, fine.views, fine.bins)``.
    """
    margin = 2
    padded = wrapped_views(sinogram, margin)
    view = torch.arange(fine.views, device=sinogram.device) * (coarse.views / fine.views) + margin
    position = torch.from_numpy(fine.bin_positions_mm).to(sinogram.device) / coarse.bin_mm
    column = position + (coarse.bins - 1) / 2
    # grid_sample's coordinates run from -1 to 1 between the centres of the outermost values.
    y = (view * (2 / (padded.shape[1] - 1)) - 1).float()
    x = (column * (2 / (coarse.bins - 1)) - 1).float()
    places = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)
    places = places.expand(len(padded), -1, -1, -1)
    out = F.grid_sample(padded[:, None], places, mode="bicubic", align_corners=True)
    return out[:, 0]
