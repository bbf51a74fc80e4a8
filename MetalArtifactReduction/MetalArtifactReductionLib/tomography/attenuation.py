"""Hounsfield units <-> linear attenuation coefficients.

A CT image fixes attenuation only relative to water, so one reference value for water turns it into
line integrals. 70 keV is about the mean energy of a 120 kVp beam behind a body.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

MU_WATER_PER_MM = 0.0192
"""Linear attenuation of water at 70 keV in 1/mm (NIST: 0.1929 1/cm; the field rounds to 0.192)."""

Values = TypeVar("Values", np.ndarray, torch.Tensor)


def hu_to_mu(hu: Values, mu_water_per_mm: float = MU_WATER_PER_MM) -> Values:
    """Attenuation ``mu = mu_water (1 + HU / 1000)``, never negative.

    Padding outside the scanner's field of view (-1024, -2000, -3024, ...) becomes air: 0.

    :param hu: Hounsfield units, any shape; numpy array or torch tensor. Integers give float32.
    :param mu_water_per_mm: attenuation of water that 0 HU stands for, in 1/mm.
    :returns: attenuation in 1/mm; same shape, kind, device and floating-point type as ``hu``.
    """
    if isinstance(hu, torch.Tensor):
        values = hu if hu.is_floating_point() else hu.to(torch.float32)
        return torch.clamp(values * (mu_water_per_mm / 1000.0) + mu_water_per_mm, min=0.0)
    array = np.asarray(hu)
    dtype = array.dtype if np.issubdtype(array.dtype, np.floating) else np.dtype(np.float32)
    mu = array.astype(dtype, copy=False) * dtype.type(mu_water_per_mm / 1000.0)
    mu += dtype.type(mu_water_per_mm)
    result: Values = np.maximum(mu, dtype.type(0.0))
    return result


def mu_to_hu(mu: Values, mu_water_per_mm: float = MU_WATER_PER_MM) -> Values:
    """Hounsfield units ``HU = 1000 (mu / mu_water - 1)``: the inverse of :func:`hu_to_mu`.

    Not clipped: reconstructions legitimately undershoot the attenuation of air.

    :param mu: attenuation in 1/mm, any shape; numpy array or torch tensor.
    :param mu_water_per_mm: attenuation of water that becomes 0 HU, in 1/mm.
    :returns: Hounsfield units; same shape, kind, device and floating-point type as ``mu``.
    """
    return mu * (1000.0 / mu_water_per_mm) - 1000.0
