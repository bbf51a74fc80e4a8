"""The trace: which bins of a sinogram are corrupted by metal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from .operator import Projector


@dataclass(frozen=True)
class TraceParameters:
    """What counts as a ray through metal.

    :param minimal_path_pixels: metal on the ray, as a share of the smaller pixel side, from which
        its bin belongs to the trace. Small: a ray that misses 0.1 pixel of titanium keeps an error
        of about 1 pixel of water.
    :param dilation_bins: bins added on both sides of the trace; the image's own point spread has
        smeared the metal beyond its true border.
    """

    minimal_path_pixels: float = 0.1
    dilation_bins: int = 1

    def __post_init__(self) -> None:
        """Reject values that would make an empty or negative trace."""
        if self.minimal_path_pixels < 0 or self.dilation_bins < 0:
            raise ValueError(f"trace parameters must not be negative: {self}")

    def minimal_path_mm(self, projector: Projector) -> float:
        """The threshold in mm for this projector's pixels."""
        return self.minimal_path_pixels * min(projector.grid.spacing_mm)


def trace_from_path(
    path_mm: torch.Tensor, minimal_path_mm: float, dilation_bins: int = 0
) -> torch.Tensor:
    """Bins whose ray has more than ``minimal_path_mm`` of metal.

    :param path_mm: ``(slices, views, bins)`` from :func:`.footprint.metal_path_mm`.
    :param minimal_path_mm: threshold in mm (exclusive, so 0 takes every ray that meets metal).
    :param dilation_bins: bins added on both sides within each view.
    :returns: bool, same shape.
    """
    return wider_trace(path_mm > minimal_path_mm, dilation_bins)


def wider_trace(trace: torch.Tensor, bins: int) -> torch.Tensor:
    """The trace with so many bins more on both sides within each view.

    :param trace: bool ``(slices, views, bins)``.
    :returns: bool, same shape.
    """
    for _ in range(bins):
        wider = trace.clone()
        wider[..., 1:] |= trace[..., :-1]
        wider[..., :-1] |= trace[..., 1:]
        trace = wider
    return trace
