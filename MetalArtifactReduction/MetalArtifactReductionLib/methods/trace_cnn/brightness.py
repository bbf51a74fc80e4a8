"""One brightness factor a patient, so that patients of different scanners look alike to a network.

``a`` makes the distribution of ``a I`` match a reference, where ``I`` is the attenuation of the
patient's body relative to water. Distributions are compared by their quantiles: the squared
Wasserstein-2 distance of ``a I`` to the reference is ``mean((a q_I - q_ref)^2)`` over the quantile
levels, smallest at ``a = sum(q_I q_ref) / sum(q_I^2)``. The sinogram is linear in the image: it is
multiplied by ``a`` before the network and divided by it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVELS = np.linspace(0.02, 0.98, 49)
"""The darkest and brightest 2 % of the body are gas and, perhaps, metal with its streaks."""

_SAMPLES = 400_000


def body_quantiles(relative: np.ndarray) -> np.ndarray:
    """Quantiles of the body's values at :data:`LEVELS`, float64 ``(49,)``.

    The body is what is brighter than half of its own median, whatever the scale of the values.

    :param relative: attenuation relative to water (``1 + HU / 1000``), any shape; about 400 000
        evenly picked voxels take part.
    :raises ValueError: nothing brighter than air.
    """
    flat = np.ravel(relative)
    flat = flat[:: max(1, flat.size // _SAMPLES)]
    flat = flat[np.isfinite(flat) & (flat > 0.05)]
    if flat.size == 0:
        raise ValueError("the image shows nothing brighter than air")
    values = flat
    for _ in range(4):
        values = flat[flat > 0.5 * np.median(values)]
    result: np.ndarray = np.quantile(values.astype(np.float64), LEVELS)
    return result


def reference_quantiles(patients: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of several patients' quantiles: their Wasserstein-2 barycentre."""
    result: np.ndarray = np.mean(np.stack(patients), axis=0)
    return result


def brightness_factor(quantiles: np.ndarray, reference: np.ndarray) -> float:
    """``a`` for a patient's quantiles, see the module's description."""
    return float(np.dot(quantiles, reference) / np.dot(quantiles, quantiles))
