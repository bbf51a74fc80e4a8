"""Reconstruction filters: the ramp and its windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ..errors import InputError
from .fast_length import fast_length

if TYPE_CHECKING:
    import torch

Window = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann", "sharp"]
WINDOWS: tuple[str, ...] = get_args(Window)


def ramp_response(
    bins: int, bin_mm: float, window: str = "ramp", cutoff: float = 1.0
) -> np.ndarray:
    """Frequency response of the reconstruction filter for a zero-padded detector.

    The band-limited ramp is built in space (Kak and Slaney, "Principles of Computerized Tomographic
    Imaging", 1988, chapter 3, eq. 61), which keeps the mean of the image right, then multiplied by
    the window. ``"sharp"`` lifts the upper half of the band as an edge-enhancing bone kernel does.

    :param bins: detector bins; the response is for ``2 * length - 2`` >= ``2 * bins`` samples.
    :param bin_mm: distance between bins.
    :param window: one of ``WINDOWS``.
    :param cutoff: share of the Nyquist frequency where the window ends, in (0, 1].
    :returns: float32 ``(length,)`` in 1/mm, for the non-negative frequencies of an rfft.
    """
    if window not in WINDOWS:
        raise InputError(
            f"unknown reconstruction window {window!r}; use one of {', '.join(WINDOWS)}"
        )
    if not 0 < cutoff <= 1:
        raise InputError(f"filter cut-off {cutoff} is not in (0, 1]; 1 keeps the whole band")
    samples = fast_length(2 * bins)
    k = np.fft.fftfreq(samples, 1 / samples)
    odd = k % 2 == 1
    kernel = np.zeros(samples)
    kernel[odd] = -1 / (np.pi * k[odd] * bin_mm) ** 2
    kernel[0] = 1 / (4 * bin_mm**2)
    response = np.fft.rfft(kernel).real * bin_mm
    f = np.linspace(0, 1, samples // 2 + 1) / cutoff
    shape = {
        "ramp": np.ones_like(f),
        "shepp-logan": np.sinc(f / 2),
        "cosine": np.cos(np.pi * f / 2),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * f),
        "hann": 0.5 + 0.5 * np.cos(np.pi * f),
        "sharp": 1 + f * np.exp(-(((f - 0.6) / 0.25) ** 2)),
    }[window]
    return (response * np.where(f <= 1, shape, 0)).astype(np.float32)


def filter_sinogram(sinogram: torch.Tensor, response: torch.Tensor) -> torch.Tensor:
    """Convolve each view of ``(slices, views, bins)`` with the kernel of ``response``.

    On the CPU slice by slice: the padded spectra of more would not stay in its caches.
    """
    import torch  # here, as an acquisition's parameters know the windows without it

    samples, bins = 2 * (len(response) - 1), sinogram.shape[-1]

    def convolved(views: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(views, n=samples, dim=-1) * response
        result: torch.Tensor = torch.fft.irfft(spectrum, n=samples, dim=-1)[..., :bins]
        return result

    if sinogram.device.type != "cpu" or len(sinogram) == 1:
        return convolved(sinogram)
    return torch.stack([convolved(one) for one in sinogram])
