"""Quantum and electronic noise that is the same on every device and for every batch size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

FEW = 16.0
"""Below this mean, counts are drawn exactly; above, the expansion's error is far below 1 %."""

ENOUGH = 100.0
"""Readings of so many times the threshold would be smoothed by a ten-thousandth: they are not."""

MOST_COUNTS = 64
"""P(count > 64) for a mean of 16 is below 1e-17."""


def standard_normals(seed: int, slice_index: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal numbers that belong to one slice, float32 on the CPU.

    They depend on the seed and the slice's index in its volume only, not on what else is simulated.
    """
    generator = np.random.Generator(np.random.PCG64([seed, slice_index]))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def poisson_from_normals(mean: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Poisson counts of given means, as a smooth function of standard normal numbers.

    One number a ray, whatever its mean: a rounding difference in one ray cannot shift the random
    sequence of all others, as it does with rejection sampling. From a mean of 16 on, the Cornish-
    Fisher expansion to second order (Abramowitz and Stegun 26.2.49 with all cumulants ``mean``),
    ``mean + sqrt(mean) z + (z^2 - 1) / 6 + (z - z^3) / (72 sqrt(mean))``: exact in mean and
    variance, not rounded to whole counts. Below, the exact inverse distribution function.

    :param mean: expected counts, any shape, non-negative float tensor.
    :param z: standard normal numbers, same shape and device.
    :returns: counts, same shape, float32.
    """
    root = mean.clamp_min(FEW).sqrt_()
    square = (z * z).sub_(1.0)
    counts = (z / root).mul_(-1.0 / 72.0).add_(1.0 / 6.0).mul_(square)  # both terms with z^2 - 1
    counts.addcmul_(root, z).add_(mean)
    few = (mean < FEW).nonzero(as_tuple=True)
    if len(few[0]):
        counts[few] = _inverse_poisson(mean[few], 0.5 * (1.0 + torch.erf(z[few] / 2**0.5)))
    return counts.clamp_min_(0.0)


def _inverse_poisson(mean: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """How many counts have a distribution function below ``uniform``; all ``(n,)``."""
    drawn, counting = torch.zeros_like(mean), torch.arange(len(mean), device=mean.device)
    probability = torch.exp(-mean)
    below = probability.clone()
    for count in range(1, MOST_COUNTS + 1):
        more = (uniform > below).nonzero(as_tuple=True)
        counting, mean, uniform, probability, below = (
            x[more] for x in (counting, mean, uniform, probability, below)
        )
        if not len(counting):
            break
        drawn[counting] = float(count)
        probability = probability * mean / count
        below = below + probability
    return drawn


def measured_photons(
    signal: torch.Tensor,
    second_moment: torch.Tensor,
    normals: torch.Tensor,
    photons_per_ray: float,
    electronic_noise_photons: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the detector reads: quantum and electronic noise.

    With ``n(E)`` detected photons of response ``r(E)`` the signal ``sum r Poisson(n)`` has mean
    ``sum r n`` and variance ``sum r^2 n``. It is drawn as ``g Poisson(mean / g)`` with
    ``g = variance / mean``, which has both exactly (compound Poisson statistics of detectors that
    integrate energy: Whiting et al., Med. Phys. 33, 2006).

    :param signal: ``sum r n`` as a share of the open beam's, any shape.
    :param second_moment: ``sum r^2 n``, relative to the same, same shape.
    :param normals: ``(2, *signal.shape)`` standard normal numbers: quantum, electronic.
    :param photons_per_ray: photons of the open beam.
    :param electronic_noise_photons: standard deviation, in photons of mean energy.
    :returns: readings in photons of mean energy (may be negative), and the variance they have.
    """
    gain = (second_moment / signal.clamp_min(1e-30)).clamp_min(1e-6)
    counts = poisson_from_normals(photons_per_ray * signal / gain, normals[0])
    variance = photons_per_ray * second_moment + electronic_noise_photons**2
    return gain * counts + electronic_noise_photons * normals[1], variance


def smooth_starved(
    readings: torch.Tensor, variance: torch.Tensor, threshold_photons: float
) -> torch.Tensor:
    """Smooth the readings of starved rays, as scanners do before the logarithm.

    Linear minimum mean square error estimate in a window of 3 views x 7 bins (Lee, IEEE Trans.
    Pattern Anal. Mach. Intell. 2, 1980): where the readings scatter no more than their noise does,
    the window's mean; across edges, the reading itself. Blended in below the threshold only, so
    that the rest keeps its resolution (the idea of Hsieh, "Adaptive streak artifact
    reduction in computed tomography", Med. Phys. 25, 1998).

    :param readings: ``(views, bins)`` in photons.
    :param variance: of the readings' noise, same shape.
    :param threshold_photons: local mean where half of the smoothing is applied; 0 for none.
    :returns: readings, same shape.
    """
    near = torch.nonzero((readings < ENOUGH * threshold_photons).any(dim=0))
    if threshold_photons <= 0 or not len(near):
        return readings
    # Two windows beyond the bins that are starved in any view: so far they count.
    bins = slice(max(int(near[0]) - 6, 0), int(near[-1]) + 7)
    smooth, some, variance = readings.clone(), readings[:, bins], variance[:, bins]
    local = _window_mean(some)
    starved = (local.clamp_min(0.0) / threshold_photons).square_().add_(1.0).reciprocal_()
    scatter = _window_mean(some.square()).sub_(local.square()).clamp_min_(1e-6)
    noise = _window_mean(variance).div_(scatter).clamp_max_(1.0)
    smooth[:, bins] += local.sub_(some).mul_(starved).mul_(noise)
    return smooth


def _window_mean(x: torch.Tensor) -> torch.Tensor:
    """Mean over 3 views x 7 bins; the edges repeat. (Sums of shifted copies: 4 x avg_pool2d.)"""
    views, bins = x.shape
    padded = F.pad(x[None, None], (3, 3, 1, 1), mode="replicate")[0, 0]
    rows = (padded[:views] + padded[1 : views + 1]).add_(padded[2:])
    two = rows[:, :-1] + rows[:, 1:]
    four = two[:, :-2] + two[:, 2:]
    return four[:, :bins].add_(two[:, 4 : bins + 4]).add_(rows[:, 6:]).div_(21.0)
