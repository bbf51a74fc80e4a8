"""The trace of a metal fraction."""

from __future__ import annotations

import torch

from ..tomography import Projector, metal_path_mm
from ..tomography.trace import TraceParameters, trace_from_path
from .neighbourhood import inside


def metal_trace(
    projector: Projector, fraction: torch.Tensor, parameters: TraceParameters | None = None
) -> torch.Tensor:
    """The trace of a metal fraction: that of its direct, positive projection.

    Only the metal's outer pixels are projected. A ray through the inside passes them twice, so the
    trace is the same while the cost falls from the area to the outline.

    :param projector: parallel-beam, images -> sinograms.
    :param fraction: metal fraction ``(slices, rows, cols)``, 0..1.
    :returns: bool ``(slices, views, bins)``.
    """
    parameters = parameters or TraceParameters()
    outline = fraction.masked_fill(inside(fraction > 0), 0.0)
    path = metal_path_mm(projector, outline)
    return trace_from_path(path, parameters.minimal_path_mm(projector), parameters.dilation_bins)
