"""Tube spectra, and how a detector weighs them.

The shipped table (``data/spectra.csv``) is the model of Poludniowski et al., "Technical Note:
SpekPy v2.0", Med. Phys. 48, 2021, made by ``Testing/Experiments/make_physics_tables.py``: tungsten
anode at 10 degrees, filtered by 3 mm aluminium and 0.25 mm copper. At 120 kVp that is the CT beam
quality RQT 9 of IEC 61267 (half-value layer 8.4 mm aluminium).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np

from ..errors import InputError
from .materials import DATA, Material, material

Detector = Literal["energy-integrating", "photon-counting"]
DETECTORS: tuple[str, ...] = get_args(Detector)

KVP_RANGE = (80.0, 140.0)


@dataclass(frozen=True)
class Spectrum:
    """Photons by energy behind the tube's filter, or one energy.

    :param kvp: tube voltage; 0 for monoenergetic photons.
    :param energies_kev: float64 ``(n,)``, increasing.
    :param photons: share of the photons at each energy, float64 ``(n,)``, sum 1.
    """

    kvp: float
    energies_kev: np.ndarray
    photons: np.ndarray

    @property
    def mean_energy_kev(self) -> float:
        """Mean energy of the photons."""
        return float(self.energies_kev @ self.photons)

    def response(self, detector: str = "energy-integrating") -> np.ndarray:
        """Signal of one photon of each energy, relative to the mean photon of the open beam.

        ``E / mean(E)`` for a scintillator that integrates energy, 1 for a photon counter; the open
        beam of ``n`` photons then gives the signal ``n`` with either.
        """
        if detector == "photon-counting":
            return np.ones_like(self.energies_kev)
        if detector != "energy-integrating":
            raise InputError(f"unknown detector {detector!r}; use one of {', '.join(DETECTORS)}")
        return self.energies_kev / self.mean_energy_kev

    def line_integral(
        self, absorber: Material, path_mm: float | np.ndarray, detector: str = "energy-integrating"
    ) -> np.ndarray:
        """Polychromatic line integral ``-log sum_E w(E) exp(-mu(E) L)`` behind ``path_mm``."""
        weights = self.photons * self.response(detector)
        path = np.asarray(path_mm, dtype=np.float64)[..., None]
        exponent = -absorber.mu_per_mm(self.energies_kev) * path
        peak = exponent.max(axis=-1, keepdims=True)  # thick metal: exp alone would underflow
        result: np.ndarray = -np.log((weights * np.exp(exponent - peak)).sum(-1)) - peak[..., 0]
        return result

    def effective_energy_kev(
        self, water_mm: float = 200.0, detector: str = "energy-integrating"
    ) -> float:
        """Energy whose photons would be attenuated alike by ``water_mm`` of water."""
        water = material("water")
        target = float(self.line_integral(water, water_mm, detector)) / water_mm
        energies = np.linspace(10.0, 150.0, 14001)
        return float(np.interp(-target, -water.mu_per_mm(energies), energies))

    def rebinned(self, count: int) -> Spectrum:
        """The spectrum in ``count`` bins; number of photons and mean energy stay exact.

        Neighbouring energies are merged, each group standing at its own mean. The groups divide
        evenly the average of the carried energy and the energy axis: the first resolves the beam
        in tissue, the second the few hard photons that are left behind thick metal.

        :raises InputError: fewer than 1 or more bins than there are.
        """
        if not 1 <= count <= len(self.energies_kev):
            raise InputError(
                f"{count} energies asked of a spectrum of {len(self.energies_kev)}; "
                f"use 1 to {len(self.energies_kev)}"
            )
        carried = np.cumsum(self.photons * self.energies_kev)
        axis = np.arange(1, len(carried) + 1) / len(carried)
        share = (carried / carried[-1] + axis) / 2
        # First index of every group: where the share passes k / count, at least one each.
        starts = np.searchsorted(share, np.arange(count) / count, side="right")
        starts = np.maximum.accumulate(starts - np.arange(count)) + np.arange(count)
        latest = len(self.photons) - count + np.arange(count)
        starts = np.minimum(starts, latest)
        starts[0] = 0
        photons = np.add.reduceat(self.photons, starts)
        energies = np.add.reduceat(self.photons * self.energies_kev, starts) / photons
        return Spectrum(self.kvp, energies, photons)


def tube_spectrum(kvp: float, count: int | None = None) -> Spectrum:
    """Spectrum of the tube at ``kvp`` (80 to 140), in 1 keV bins or re-binned to ``count``.

    Between the table's voltages (every 5 kV) the photons of two spectra are interpolated energy by
    energy and cut at ``kvp``; the mean energy is then within 0.1 keV of the model's.

    :raises InputError: voltage or count out of range.
    """
    low, high = KVP_RANGE
    if not low <= kvp <= high:
        raise InputError(f"tube voltage {kvp:g} kVp has no spectrum; use {low:.0f} to {high:.0f}")
    kvps, energies, table = _table()
    upper = min(int(np.searchsorted(kvps, kvp)), len(kvps) - 1)
    lower = upper if kvps[upper] == kvp else upper - 1
    share = 0.0 if upper == lower else (kvp - kvps[lower]) / (kvps[upper] - kvps[lower])
    photons = (1.0 - share) * table[:, lower] + share * table[:, upper]
    photons = np.where(energies < kvp, photons, 0.0)
    keep = photons > 0
    spectrum = Spectrum(float(kvp), energies[keep], photons[keep] / photons[keep].sum())
    return spectrum if count is None else spectrum.rebinned(count)


def monoenergetic(energy_kev: float) -> Spectrum:
    """Photons of one energy."""
    return Spectrum(0.0, np.array([float(energy_kev)]), np.array([1.0]))


@cache
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voltages ``(m,)``, energies ``(n,)`` and photons ``(n, m)`` of the shipped table."""
    with (DATA / "spectra.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    kvps = np.array([float(name.removeprefix("kvp_")) for name in rows[0][1:]])
    values = np.array(rows[1:], dtype=np.float64)
    return kvps, values[:, 0], values[:, 1:]
