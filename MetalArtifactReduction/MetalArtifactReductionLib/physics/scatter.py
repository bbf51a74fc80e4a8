"""Scattered radiation: slowly varying, made by what the primary beam loses."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..tomography.geometry import FanGeometry, ParallelGeometry
from .materials import material
from .spectra import Spectrum

LEAST_WEIGHT = 1e-8
"""Of a frequency of the kernel, as a share of the largest."""

CYLINDER_MM = 300.0
"""Diameter of the water cylinder for which the ratio of scatter to primary is given."""


class Scatter:
    """Scatter as the convolution of the forward-scatter potential with a wide kernel.

    ``S = c G * (I p)`` with the primary ``I`` as a share of the open beam, ``p = -log I``: single
    scatter towards a cell is proportional to the photons that reach it and to the matter they met
    (Ohnesorge, Flohr and Klingenbeck-Regn, "Efficient object scatter correction algorithm for third
    and fourth generation CT scanners", Eur. Radiol. 9, 1999). ``G`` is a Gaussian along the
    detector; neighbouring slices are taken to scatter alike. ``c`` is set so that ``S / I`` behind
    the middle of a 300 mm water cylinder is ``ratio``; behind metal, where ``I`` is small, it is
    far larger, and that is what flattens dark streaks.

    :param geometry: of the detector's cells.
    :param spectrum: of the tube, for the calibration.
    :param detector: weighs the energies.
    :param ratio: scatter to primary behind the cylinder's middle; 0 makes none.
    :param width_mm: full width at half maximum of the kernel, at the isocentre.
    """

    def __init__(
        self,
        geometry: ParallelGeometry | FanGeometry,
        spectrum: Spectrum,
        detector: str,
        ratio: float,
        width_mm: float,
        device: torch.device,
    ) -> None:
        self._scale = 0.0
        if ratio == 0.0:
            return
        pitch, s_mm = geometry.bin_mm, _distances_mm(geometry)
        if isinstance(geometry, FanGeometry):
            pitch *= geometry.source_isocentre_mm / geometry.source_detector_mm
        sigma_bins = width_mm / pitch / math.sqrt(8 * math.log(2))
        # The kernel, as wide as it is, has few frequencies; sines and cosines of these are all that
        # a convolution on twice the bins has to know.
        samples = 2 * geometry.bins
        count = np.arange(samples // 2 + 1)
        weight = np.where(count == 0, 1.0, 2.0) / samples
        weight *= np.exp(-2 * (math.pi * count / samples * sigma_bins) ** 2)
        some = weight > LEAST_WEIGHT * weight.max()
        phase = 2 * math.pi / samples * np.outer(count[some], np.arange(geometry.bins))
        waves = np.concatenate([np.cos(phase), np.sin(phase)])
        waves *= np.tile(np.sqrt(weight[some]), 2)[:, None]
        self._waves = torch.from_numpy(waves.astype(np.float32)).to(device)
        path = 2 * np.sqrt(np.maximum((CYLINDER_MM / 2) ** 2 - s_mm**2, 0.0))
        primary = np.exp(-spectrum.line_integral(material("water"), path, detector))
        cylinder = torch.from_numpy(primary.astype(np.float32)).to(device)
        self._scale = 1.0
        middle = int(np.argmin(np.abs(s_mm)))
        self._scale = ratio / float(self(cylinder)[middle] / cylinder[middle])

    def __call__(self, primary: torch.Tensor) -> torch.Tensor:
        """Scatter signal ``(..., bins)`` for a primary signal of that shape, both >= 0."""
        if self._scale == 0.0:
            return torch.zeros_like(primary)
        share = primary.clamp(1e-30, 1.0)
        potential = -share * torch.log(share)
        field = potential @ self._waves.T @ self._waves
        result: torch.Tensor = field.clamp_min_(0.0).mul_(self._scale)
        return result


def _distances_mm(geometry: ParallelGeometry | FanGeometry) -> np.ndarray:
    if isinstance(geometry, ParallelGeometry):
        return geometry.bin_positions_mm
    result: np.ndarray = geometry.source_isocentre_mm * np.sin(geometry.fan_angles_rad)
    return result
