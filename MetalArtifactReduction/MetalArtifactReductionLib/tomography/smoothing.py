"""Images smoothed."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

RING_FROM = 0.9
"""Share of the pixels' Nyquist frequency, along rows or columns, above which ringing lies."""

_BLOCK, _BLOCKS = 8, 3
"""Ringing that is damped from :data:`RING_FROM` on is gone within so many blocks of pixels."""


def gaussian_smooth(images: torch.Tensor, sigma: list[float]) -> torch.Tensor:
    """Separable Gaussian over the last two axes, cut at 3 sigma, edges repeated.

    Sums of shifted images: a short kernel takes half the time of a convolution on the CPU.

    :param images: ``(slices, rows, cols)``.
    :param sigma: standard deviations in pixels ``[row, col]``.
    """
    out = images
    for axis, s in zip((1, 2), sigma, strict=True):
        radius, count = max(1, round(3 * s)), images.shape[axis]
        kernel = [math.exp(-0.5 * (k / s) ** 2) for k in range(radius + 1)]
        total = kernel[0] + 2 * sum(kernel[1:])
        pad = (0, 0, radius, radius) if axis == 1 else (radius, radius, 0, 0)
        padded = F.pad(out[:, None], pad, mode="replicate")[:, 0]
        out = padded.narrow(axis, radius, count) * (kernel[0] / total)
        for k in range(1, radius + 1):
            for start in (radius - k, radius + k):
                out.add_(padded.narrow(axis, start, count), alpha=kernel[k] / total)
    return out


def without_ringing(
    images: torch.Tensor, originals: torch.Tensor, metal: torch.Tensor
) -> torch.Tensor:
    """Reconstructions of filled sinograms without the ringing that the ends of the trace cause.

    These are steps, of which the pixels' band holds the lower part: cut off at the Nyquist
    frequency they ring, one pixel bright, one dark, along the metal's own rows and columns through
    the whole slice. So the uppermost frequencies of rows and columns are taken from the original;
    at metal, whose own edges have them, from neither.

    :param images: reconstructed, ``(slices, rows, cols)``, any unit.
    :param originals: before the correction, same shape and unit.
    :param metal: bool, same shape.
    """
    blocks = F.max_pool2d(metal[:, None].float(), _BLOCK, ceil_mode=True)
    blocks = F.max_pool2d(blocks, 2 * _BLOCKS + 1, stride=1, padding=_BLOCKS)
    far = 1.0 - F.interpolate(blocks, scale_factor=_BLOCK, mode="bilinear")[:, 0]
    rows, cols = images.shape[1:]
    difference = images - far[:, :rows, :cols] * originals
    along_rows = torch.fft.rfftfreq(cols, 0.5, device=images.device)
    along_cols = torch.fft.fftfreq(rows, 0.5, device=images.device).abs()
    frequency = torch.maximum(along_cols[:, None], along_rows)
    above = ((frequency - RING_FROM) / (1.0 - RING_FROM)).clamp(0.0, 1.0)
    response = torch.sin(0.5 * math.pi * above) ** 2
    # On the CPU each by itself: a slice's rounding must not depend on how many there are.
    parts = difference.split(1) if images.device.type == "cpu" else (difference,)
    spectra = [torch.fft.rfft2(part) * response for part in parts]
    return images - torch.cat([torch.fft.irfft2(x, s=(rows, cols)) for x in spectra])
