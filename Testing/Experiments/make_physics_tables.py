"""Make the physics tables that ship with the library from maintained libraries.

    python Testing/Experiments/make_physics_tables.py

writes ``mass_attenuation.csv`` (elements, from xraydb) and ``spectra.csv`` (tube spectra, from
spekpy) into ``MetalArtifactReductionLib/physics/data``. ``materials.csv`` there is written by hand;
it says which elements are needed. xraydb and spekpy are needed here and in tests only.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import spekpy
import xraydb

DATA = (
    Path(__file__).resolve().parents[2]
    / "MetalArtifactReduction/MetalArtifactReductionLib/physics/data"
)
ENERGY_MIN_KEV, ENERGY_MAX_KEV = 10.0, 150.0
POINTS = 48  # log-spaced: log-log interpolation stays within 0.1 % of xraydb
EDGE_GAP_KEV = 0.005  # both sides of an edge are tabulated; xraydb steps within 3 eV of it
ALSO = ("Al",)  # half-value layers are given in aluminium

KVPS = range(80, 141, 5)
ANODE_ANGLE_DEG = 10.0
FILTERS_MM = (("Al", 3.0), ("Cu", 0.25))  # total filtration of radiation quality RQT 9, IEC 61267
NEGLIGIBLE = 1e-7  # share of photons below which a bin is left out


def elements() -> list[str]:
    """Symbols that the materials need, by atomic number."""
    with (DATA / "materials.csv").open(newline="", encoding="utf-8") as file:
        symbols = {
            part.split(":")[0]
            for row in csv.DictReader(file)
            for part in row["composition"].split()
        }
    return sorted(symbols.union(ALSO), key=xraydb.atomic_number)


def energies_of(symbol: str) -> np.ndarray:
    """Energies in keV: a logarithmic grid and both sides of every edge in range."""
    grid = np.geomspace(ENERGY_MIN_KEV, ENERGY_MAX_KEV, POINTS).round(3)
    edges = [edge.energy / 1000.0 for edge in xraydb.xray_edges(symbol).values()]
    inside = [e for e in edges if e - EDGE_GAP_KEV > ENERGY_MIN_KEV and e < ENERGY_MAX_KEV]
    sides = [e + side for e in inside for side in (-EDGE_GAP_KEV, EDGE_GAP_KEV)]
    return np.unique(np.concatenate([grid, np.round(sides, 4)]))


def write_attenuation() -> None:
    """Total mass attenuation (photoelectric, coherent, incoherent), cm2/g, one row an energy."""
    with (DATA / "mass_attenuation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["element", "energy_kev", "mass_attenuation_cm2_g"])
        for symbol in elements():
            energies = energies_of(symbol)
            values = xraydb.mu_elam(symbol, energies * 1000.0)
            for energy, value in zip(energies, values, strict=True):
                writer.writerow([symbol, f"{energy:g}", f"{value:.6g}"])


def tube_spectrum(kvp: float) -> tuple[np.ndarray, np.ndarray]:
    """Energies in keV and relative photon fluence per 1 keV bin of the filtered tube."""
    tube = spekpy.Spek(kvp=kvp, th=ANODE_ANGLE_DEG, dk=1.0, physics="kqp")
    for filter_name, thickness_mm in FILTERS_MM:
        tube.filter(filter_name, thickness_mm)
    energies, fluence = tube.get_spectrum(edges=False)
    return np.asarray(energies), np.asarray(fluence)


def write_spectra() -> None:
    """Photons per 1 keV bin (given by its centre), each column summing to 1."""
    spectra = {}
    for kvp in KVPS:
        energies, fluence = tube_spectrum(kvp)
        share = fluence / fluence.sum()
        spectra[kvp] = dict(zip(energies.tolist(), share.tolist(), strict=True))
    seen = sorted({e for column in spectra.values() for e, v in column.items() if v > NEGLIGIBLE})
    with (DATA / "spectra.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["energy_kev", *(f"kvp_{kvp}" for kvp in KVPS)])
        for energy in seen:
            values = (spectra[kvp].get(energy, 0.0) for kvp in KVPS)
            writer.writerow([energy, *(f"{v if v > NEGLIGIBLE else 0.0:.6g}" for v in values)])


if __name__ == "__main__":
    write_attenuation()
    write_spectra()
    for path in sorted(DATA.glob("*.csv")):
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
