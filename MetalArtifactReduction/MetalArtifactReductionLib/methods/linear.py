"""Linear interpolation across the metal trace.

Kalender, Hebel, Ebersberger: Reduction of CT artifacts caused by metallic implants.
Radiology 164 (1987) 576-577.
"""

from __future__ import annotations

import torch

from .base import InpaintingContext, Method


def interpolate_trace(
    sinogram: torch.Tensor, trace: torch.Tensor, fill: float = 0.0
) -> torch.Tensor:
    """Replace the trace by straight lines along the bins, each view by itself.

    Equal to ``numpy.interp`` over the bins outside the trace: a gap that reaches the end of the
    detector takes the value of its one neighbour; a view without any bin outside the trace
    becomes ``fill``. Only the trace's elements are visited, all at once.

    :param sinogram: ``(..., bins)`` float.
    :param trace: bool, same shape.
    :param fill: for views that lie in the trace altogether.
    :returns: a new tensor; outside the trace bit-equal to ``sinogram``.
    """
    bins = sinogram.shape[-1]
    out = sinogram.clone().contiguous()
    at = torch.nonzero(trace.reshape(-1)).squeeze(1)
    if at.numel() == 0:
        return out
    flat = out.view(-1)
    column = at % bins
    # Runs of neighbouring trace elements within one view.
    starts = torch.ones_like(at, dtype=torch.bool)
    starts[1:] = (at[1:] != at[:-1] + 1) | (column[1:] == 0)
    first = torch.nonzero(starts).squeeze(1)
    length = torch.diff(first, append=first.new_tensor([at.numel()]))
    run = torch.repeat_interleave(torch.arange(first.numel(), device=at.device), length)
    left_bin = column[first] - 1
    right_bin = column[first] + length
    has_left, has_right = left_bin >= 0, right_bin < bins
    row = at[first] - column[first]
    left = flat[row + left_bin.clamp(min=0)]
    right = flat[row + right_bin.clamp(max=bins - 1)]
    left, right = torch.where(has_left, left, right), torch.where(has_right, right, left)
    empty = ~(has_left | has_right)
    left, right = left.masked_fill(empty, fill), right.masked_fill(empty, fill)
    slope = (right - left) / (right_bin - left_bin)
    flat[at] = left[run] + slope[run] * (column - left_bin[run])
    return out


class LinearInterpolation(Method):
    """The method ``"li"``."""

    name = "li"

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        """See :func:`interpolate_trace`."""
        return interpolate_trace(sinogram, trace)
