"""What the sinogram generators see: the same in training and in use.

Everything comes from the reconstructed, corrupted images; a true sinogram is never seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...tomography.attenuation import MU_WATER_PER_MM
from ..base import InpaintingContext
from ..linear import interpolate_trace
from ..nmar.inpainter import NMAR

STARTS = ("none", "li", "nmar")

LINE_INTEGRAL_SCALE = 5.0
"""About half of the largest line integral of a pelvis."""

DIFFERENCE_SCALE = 0.5
PATH_SCALE_MM = 20.0


@dataclass(frozen=True)
class GeneratorInput:
    """One batch for :class:`.network.MaskedUNet`.

    :param channels: ``(slices, channels, views, bins)``, without unit.
    :param start: first filling in line integrals, ``(slices, views, bins)``.
    """

    channels: torch.Tensor
    start: torch.Tensor


def channel_count(start: str) -> int:
    """Channels of :func:`generator_input`.

    :raises ValueError: unknown start.
    """
    if start not in STARTS:
        raise ValueError(f"unknown start {start!r}; use one of {', '.join(STARTS)}")
    return 3 if start == "none" else 6


def generator_input(
    start: str,
    sinogram: torch.Tensor,
    trace: torch.Tensor,
    context: InpaintingContext,
    nmar: NMAR | None = None,
) -> GeneratorInput:
    """The network's input for a batch of slices.

    ``"none"``: re-projections of the slice and its two neighbours, as they are. ``"li"`` and
    ``"nmar"`` add three channels: the trace filled by that method; the re-projection of the slice
    with water in place of metal, less that filling (what the scanner still saw through the
    metal, errors of beam hardening included); the path in metal.

    :param start: one of :data:`STARTS`.
    :param sinogram: re-projections ``(slices, views, bins)``.
    :param trace: bool, same shape.
    :param nmar: kept between batches to save its set-up.
    """
    below, above = (context.projector(context.neighbour_mu(offset)) for offset in (-1, 1))
    seen = torch.stack([below, sinogram, above], dim=1) / LINE_INTEGRAL_SCALE
    if start == "none":
        return GeneratorInput(seen, torch.zeros_like(sinogram))
    if start == "li":
        filled = interpolate_trace(sinogram, trace)
    elif start == "nmar":
        filled = (nmar or NMAR(passes=1))(sinogram, trace, context)
    else:
        raise ValueError(f"unknown start {start!r}; use one of {', '.join(STARTS)}")
    without = context.image_mu + context.metal_fraction * (MU_WATER_PER_MM - context.image_mu)
    bare = context.projector(without)
    more = [
        filled / LINE_INTEGRAL_SCALE,
        # Bounded: between two hips, where the scanner saw nothing, it is wild and must not be
        # believed in proportion.
        torch.tanh(torch.where(trace, bare - filled, 0.0) / DIFFERENCE_SCALE),
        context.metal_path_mm / PATH_SCALE_MM,
    ]
    return GeneratorInput(torch.cat([seen, torch.stack(more, dim=1)], dim=1), filled)
