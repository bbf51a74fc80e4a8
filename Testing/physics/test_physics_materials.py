"""Materials against published values and against xraydb."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.physics.materials import (
    element_mass_attenuation,
    material,
    materials,
)

# Mass attenuation in cm2/g at 20, 60, 100, 150 keV: NIST, "Tables of X-Ray Mass Attenuation
# Coefficients" (Hubbell and Seltzer, NISTIR 5632), tables 3 and 4.
NIST_KEV = np.array([20.0, 60.0, 100.0, 150.0])
NIST = {
    "water": [0.8096, 0.2059, 0.1707, 0.1505],
    "air": [0.7779, 0.1875, 0.1541, 0.1356],
    "soft-tissue": [0.8230, 0.2048, 0.1693, 0.1492],
    "adipose": [0.5677, 0.1974, 0.1688, 0.1500],
    "cortical-bone": [4.001, 0.3148, 0.1855, 0.1480],
}


@pytest.mark.parametrize("name", NIST)
def test_tissues_against_nist(name):
    ours = material(name).mass_attenuation_cm2_g(NIST_KEV)
    np.testing.assert_allclose(ours, NIST[name], rtol=0.02)


@pytest.mark.parametrize(
    ("name", "mu_per_cm"),
    [("Ti6Al4V", 2.30), ("CoCrMo", 7.79), ("316L", 6.87), ("water", 0.1929)],
)
def test_alloys_at_70_kev(name, mu_per_cm):
    assert 10 * float(material(name).mu_per_mm(70.0)) == pytest.approx(mu_per_cm, rel=2e-3)


def test_every_material_against_xraydb():
    xraydb = pytest.importorskip("xraydb")
    energies = np.arange(11.0, 150.0, 0.37)
    edges = [
        edge.energy / 1000
        for m in materials().values()
        for symbol, _ in m.composition
        for edge in xraydb.xray_edges(symbol).values()
    ]
    away = np.abs(energies[:, None] - np.array(edges)).min(axis=1) > 0.01
    energies = energies[away]
    for m in materials().values():
        theirs = sum(w * xraydb.mu_elam(e, energies * 1000) for e, w in m.composition)
        np.testing.assert_allclose(
            m.mu_per_mm(energies), theirs * m.density_g_cm3 / 10, rtol=5e-3, err_msg=m.name
        )


@pytest.mark.parametrize(("symbol", "edge_kev"), [("Ta", 67.416), ("Ba", 37.441), ("Au", 80.725)])
def test_k_edges_are_steps(symbol, edge_kev):
    # Published edges (Bearden and Burr, Rev. Mod. Phys. 39, 1967); K jumps lie between 4 and 6.
    below, above = element_mass_attenuation(symbol, np.array([edge_kev - 0.02, edge_kev + 0.02]))
    assert 4 < above / below < 6
    just_above, higher = element_mass_attenuation(symbol, np.array([edge_kev + 0.02, edge_kev + 2]))
    assert higher < just_above


def test_compositions_are_complete():
    for m in materials().values():
        assert sum(w for _, w in m.composition) == pytest.approx(1.0)
        assert m.source and m.title and m.density_g_cm3 > 0


@pytest.mark.parametrize(
    ("name", "formula", "rtol"),
    [
        ("PEEK", {"C": 19, "H": 12, "O": 3}, 2e-3),
        ("UHMWPE", {"C": 2, "H": 4}, 2e-3),
        ("alumina", {"Al": 2, "O": 3}, 2e-3),
        ("water", {"H": 2, "O": 1}, 2e-3),
    ],
)
def test_compounds_follow_their_formula(name, formula, rtol):
    atomic_mass = {"H": 1.008, "C": 12.011, "O": 15.999, "Al": 26.982}
    total = sum(atomic_mass[e] * n for e, n in formula.items())
    for element, fraction in material(name).composition:
        assert fraction == pytest.approx(atomic_mass[element] * formula[element] / total, rel=rtol)


def test_bone_cement_is_ten_percent_barium_sulphate():
    barium_in_sulphate = 137.327 / (137.327 + 32.06 + 4 * 15.999)
    composition = dict(material("bone-cement").composition)
    assert composition["Ba"] == pytest.approx(0.10 * barium_in_sulphate, rel=0.01)
    # 90 % PMMA (1.18 g/cm3) and 10 % BaSO4 (4.5 g/cm3) by mass.
    density = 1 / (0.9 / 1.18 + 0.1 / 4.5)
    assert material("bone-cement").density_g_cm3 == pytest.approx(density, rel=0.01)


def test_what_counts_as_metal():
    metals = {name for name, m in materials().items() if m.is_metal}
    assert {"Ti6Al4V", "cp-Ti", "CoCrMo", "316L", "tantalum", "amalgam"} <= metals
    assert not metals & {"water", "cortical-bone", "PEEK", "UHMWPE", "bone-cement", "alumina"}


def test_names_ignore_case_and_errors_help():
    assert material("ti6al4v") is material("Ti6Al4V")
    with pytest.raises(InputError, match=r"unobtainium.*CoCrMo"):
        material("unobtainium")
    with pytest.raises(InputError, match=r"5 keV.*10 to 150"):
        material("water").mu_per_mm(5.0)
    with pytest.raises(InputError, match="150"):
        material("water").mu_per_mm(np.array([60.0, np.nan]))
