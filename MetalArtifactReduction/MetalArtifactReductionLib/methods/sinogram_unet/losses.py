"""Losses of sinogram inpainting, one value a sample of the batch."""

from __future__ import annotations

import torch


def trace_error(filled: torch.Tensor, target: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
    """Mean square error in the trace, ``(n,)``; no unit.

    :param filled, target: line integrals ``(n, views, bins)``.
    :param trace: bool, same shape.
    """
    square = torch.where(trace, filled - target, 0.0).square().flatten(1).sum(dim=1)
    return square / trace.flatten(1).sum(dim=1).clamp(min=1)


def image_error(filled: torch.Tensor, target: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
    """The share of the trace's error that the reconstruction shows, as :func:`trace_error`.

    Filtered back-projection amplifies a frequency along the bins in proportion to it, and by
    Parseval's theorem and the Fourier slice theorem the square error of the image is that of the
    sinogram weighted with ``|frequency|``. Frequencies are relative to the bins' highest.

    :param filled, target, trace: as in :func:`trace_error`.
    """
    error = torch.where(trace, filled - target, 0.0)
    bins = error.shape[-1]
    # Twice as long: the ends of a piece do not touch.
    spectrum = torch.fft.rfft(error.float(), n=2 * bins, dim=-1)
    weight = torch.linspace(0.0, 1.0, spectrum.shape[-1], device=error.device)
    power = (spectrum.abs().square() * weight).flatten(1).sum(dim=1) / bins
    result: torch.Tensor = power / trace.flatten(1).sum(dim=1).clamp(min=1)
    return result


def least_squares_adversarial(scores: torch.Tensor, real: bool) -> torch.Tensor:
    """Least-squares loss of a patch discriminator's scores (Mao et al., ICCV 2017), no unit."""
    return (scores.float() - float(real)).square().mean()
