"""Beam-hardening correction for water: polychromatic line integrals made linear in water."""

from __future__ import annotations

import numpy as np
import torch

from ..tomography.attenuation import MU_WATER_PER_MM
from .materials import material
from .spectra import Spectrum

STEP = 0.01
"""Of the tabulated line integral; linear interpolation is then within 1e-5 of the exact inverse."""

LARGEST = 60.0
"""No detector measures a larger line integral (a transmission of 1e-26)."""


class WaterCorrection:
    """Maps measured line integrals to those of the same water at the library's reference.

    The line integral of water, ``p(L) = -log sum_E w(E) exp(-mu_w(E) L)``, grows with ``L``, so it
    has an inverse: ``L(p) MU_WATER_PER_MM`` is what a monoenergetic scan would have measured, and
    water reconstructs to 0 HU whatever its size (Herman, Phys. Med. Biol. 24, 1979). Bone and metal
    remain hardened, as on a scanner.

    :param spectrum: photons that pass the object.
    :param detector: weighs them.
    :param enabled: False scales by the slope at ``L = 0`` instead: thin water is right, thick water
        too low (cupping).
    :param device: where the correction runs.
    """

    def __init__(
        self, spectrum: Spectrum, detector: str, enabled: bool, device: torch.device
    ) -> None:
        water = material("water")
        weights = spectrum.photons * spectrum.response(detector)
        mu = water.mu_per_mm(spectrum.energies_kev)
        self._thin = MU_WATER_PER_MM / float(weights @ mu / weights.sum())
        self._table: torch.Tensor | None = None
        if enabled:
            path_mm = np.linspace(0.0, 1.1 * LARGEST / mu.min(), 40_000)
            measured = spectrum.line_integral(water, path_mm, detector)
            steps = np.arange(0.0, LARGEST + STEP, STEP)
            corrected = np.interp(steps, measured, path_mm) * MU_WATER_PER_MM
            self._table = torch.from_numpy(corrected.astype(np.float32)).to(device)

    def __call__(self, line_integral: torch.Tensor) -> torch.Tensor:
        """Measured -> corrected line integrals, any shape; air's noise below 0 is scaled."""
        if self._table is None:
            return line_integral * self._thin
        position = line_integral / STEP
        index = position.clamp(0.0, len(self._table) - 2.0).int()
        left, right = (
            self._table.index_select(0, i.flatten()).view_as(position) for i in (index, index + 1)
        )
        return right.sub_(left).mul_(position.sub_(index)).add_(left)
