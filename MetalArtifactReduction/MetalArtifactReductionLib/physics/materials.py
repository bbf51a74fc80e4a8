"""Materials: composition, density and attenuation against photon energy.

The compositions are data (``data/materials.csv``, each with its source). Attenuation is summed over
elements from ``data/mass_attenuation.csv``, made from the tables of Elam, Ravel and Sieber (Radiat.
Phys. Chem. 63, 2002) as xraydb ships them, by ``Testing/Experiments/make_physics_tables.py``.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import InputError

DATA = Path(__file__).parent / "data"
"""The tables that ship with the library."""

METAL_MU_PER_MM = 0.1
"""At 70 keV: above every tissue and polymer and the densest bone, below titanium (0.23)."""


@dataclass(frozen=True)
class Material:
    """A homogeneous material.

    :param name: key in ``data/materials.csv``.
    :param title: name for the user.
    :param density_g_cm3: mass density in g/cm3.
    :param composition: ``((element symbol, mass fraction), ...)``; the fractions sum to 1.
    :param source: where composition and density come from.
    """

    name: str
    title: str
    density_g_cm3: float
    composition: tuple[tuple[str, float], ...]
    source: str

    def mass_attenuation_cm2_g(self, energy_kev: float | np.ndarray) -> np.ndarray:
        """Total mass attenuation in cm2/g by the mixture rule; shape of ``energy_kev``."""
        parts = [w * element_mass_attenuation(e, energy_kev) for e, w in self.composition]
        result: np.ndarray = np.sum(parts, axis=0)
        return result

    def mu_per_mm(self, energy_kev: float | np.ndarray) -> np.ndarray:
        """Linear attenuation in 1/mm; shape of ``energy_kev``.

        :raises InputError: outside the table's 10 to 150 keV.
        """
        return self.mass_attenuation_cm2_g(energy_kev) * (self.density_g_cm3 / 10.0)

    @property
    def is_metal(self) -> bool:
        """True if correction has to treat it as metal: over 0.1 1/mm (4200 HU) at 70 keV.

        By attenuation and not by chemistry: zirconia counts, alumina and bone cement do not.
        """
        return bool(self.mu_per_mm(70.0) > METAL_MU_PER_MM)


def material(name: str) -> Material:
    """The material of that name; upper and lower case are the same.

    :raises InputError: unknown name; lists the known ones.
    """
    known = {key.lower(): value for key, value in materials().items()}
    try:
        return known[name.lower()]
    except KeyError:
        raise InputError(
            f"unknown material {name!r}; use one of {', '.join(materials())}"
        ) from None


@cache
def materials() -> dict[str, Material]:
    """All materials by name, in the table's order (tissues first)."""
    found: dict[str, Material] = {}
    with (DATA / "materials.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            pairs = (part.split(":") for part in row["composition"].split())
            composition = tuple((symbol, float(fraction)) for symbol, fraction in pairs)
            total = math.fsum(fraction for _, fraction in composition)
            if abs(total - 1.0) > 2e-3:
                raise ValueError(f"{row['name']}: mass fractions sum to {total}, not 1")
            composition = tuple((symbol, fraction / total) for symbol, fraction in composition)
            found[row["name"]] = Material(
                row["name"], row["title"], float(row["density_g_cm3"]), composition, row["source"]
            )
    return found


def element_mass_attenuation(symbol: str, energy_kev: float | np.ndarray) -> np.ndarray:
    """Total mass attenuation of an element in cm2/g, with coherent scatter.

    Log-log interpolation; both sides of every absorption edge are tabulated 5 eV from it, so edges
    stay steps. Within 0.5 % of xraydb away from these 10 eV.

    :param symbol: chemical symbol.
    :param energy_kev: photon energy, any shape.
    :raises InputError: unknown element, or energy outside the table.
    """
    try:
        log_energy, log_value = _elements()[symbol]
    except KeyError:
        raise InputError(
            f"no attenuation table for element {symbol!r}; use one of {', '.join(_elements())}"
        ) from None
    energy = np.asarray(energy_kev, dtype=np.float64)
    low, high = math.exp(log_energy[0]), math.exp(log_energy[-1])
    outside = ~((energy >= low * (1 - 1e-9)) & (energy <= high * (1 + 1e-9)))
    if outside.any():
        raise InputError(
            f"photon energy {energy[outside].flat[0]:g} keV is outside the attenuation table; "
            f"use {low:.0f} to {high:.0f} keV"
        )
    result: np.ndarray = np.exp(np.interp(np.log(energy), log_energy, log_value))
    return result


@cache
def _elements() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Natural logarithms of energy and mass attenuation for every element of the table."""
    columns: dict[str, list[tuple[float, float]]] = {}
    with (DATA / "mass_attenuation.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            columns.setdefault(row["element"], []).append(
                (float(row["energy_kev"]), float(row["mass_attenuation_cm2_g"]))
            )
    logs = {symbol: np.log(np.array(rows)) for symbol, rows in columns.items()}
    return {symbol: (table[:, 0], table[:, 1]) for symbol, table in logs.items()}
