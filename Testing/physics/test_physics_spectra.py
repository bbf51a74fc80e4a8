"""Tube spectra against a standard beam quality, against spekpy, and against arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.physics.materials import element_mass_attenuation, material
from MetalArtifactReductionLib.physics.spectra import monoenergetic, tube_spectrum

# Mass energy-absorption of dry air in cm2/g: NISTIR 5632, table 4.
AIR_KEV = [10, 15, 20, 30, 40, 50, 60, 80, 100, 150]
AIR_CM2_G = [4.742, 1.334, 0.5389, 0.1537, 0.06833, 0.04098, 0.03041, 0.02407, 0.02325, 0.02496]

FILTERS_MM = (("Al", 3.0), ("Cu", 0.25))


def half_value_layer_mm_al(spectrum):
    """Aluminium that halves the air kerma."""
    energy = spectrum.energies_kev
    absorbed = np.exp(np.interp(np.log(energy), np.log(AIR_KEV), np.log(AIR_CM2_G)))
    kerma = spectrum.photons * energy * absorbed
    mu = element_mass_attenuation("Al", energy) * 2.699 / 10
    remaining = lambda t: (kerma * np.exp(-mu * t)).sum() / kerma.sum() - 0.5  # noqa: E731
    return brentq(remaining, 0.1, 50)


def test_120_kvp_is_the_standard_ct_beam():
    # IEC 61267: radiation quality RQT 9 (120 kV) has a half-value layer of 8.4 mm aluminium.
    assert half_value_layer_mm_al(tube_spectrum(120)) == pytest.approx(8.4, rel=0.02)


def test_harder_with_voltage_and_nothing_above_it():
    spectra = [tube_spectrum(kvp) for kvp in range(80, 141, 4)]
    assert (np.diff([s.mean_energy_kev for s in spectra]) > 0.5).all()
    assert (np.diff([half_value_layer_mm_al(s) for s in spectra]) > 0.1).all()
    for s in spectra:
        assert s.energies_kev.max() < s.kvp
        assert s.photons.sum() == pytest.approx(1.0)
        assert (s.photons > 0).all()


@pytest.mark.parametrize("kvp", [80, 93.5, 120, 127, 140])
def test_mean_energy_and_half_value_layer_against_spekpy(kvp):
    spekpy = pytest.importorskip("spekpy")
    tube = spekpy.Spek(kvp=kvp, th=10.0, dk=2.0, physics="kqp")
    for name, thickness in FILTERS_MM:
        tube.filter(name, thickness)
    ours = tube_spectrum(kvp)
    assert ours.mean_energy_kev == pytest.approx(tube.get_emean(), abs=0.15)
    assert half_value_layer_mm_al(ours) == pytest.approx(tube.get_hvl1(), rel=0.015)


def test_characteristic_lines_of_tungsten():
    spectrum = tube_spectrum(120)
    at = lambda kev: spectrum.photons[np.abs(spectrum.energies_kev - kev).argmin()]  # noqa: E731
    assert at(59.3) > 1.3 * at(62.5)  # K alpha 1 at 59.3 keV
    assert at(67.2) > 1.2 * at(64.5)  # K beta 1 at 67.2 keV


@pytest.mark.parametrize("count", [1, 2, 6, 12, 40, 100])
def test_rebinning_keeps_photons_and_mean(count):
    fine, coarse = tube_spectrum(120), tube_spectrum(120, count)
    assert len(coarse.energies_kev) == count
    assert (np.diff(coarse.energies_kev) > 0).all()
    assert coarse.photons.sum() == pytest.approx(1.0, abs=1e-12)
    assert coarse.mean_energy_kev == pytest.approx(fine.mean_energy_kev, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "path_mm", "tolerance"),
    [("water", 350.0, 0.004), ("cortical-bone", 60.0, 0.004), ("Ti6Al4V", 30.0, 0.015)],
)
def test_twelve_energies_are_enough(name, path_mm, tolerance):
    fine, coarse = tube_spectrum(120), tube_spectrum(120, 12)
    exact = fine.line_integral(material(name), path_mm)
    assert coarse.line_integral(material(name), path_mm) == pytest.approx(exact, abs=tolerance)


def test_line_integral_thin_thick_and_mono():
    water, spectrum = material("water"), tube_spectrum(120)
    weights = spectrum.photons * spectrum.response("energy-integrating")
    thin = spectrum.line_integral(water, 1e-6) / 1e-6
    assert thin == pytest.approx(weights @ water.mu_per_mm(spectrum.energies_kev), rel=1e-4)
    path = np.linspace(0, 2000, 50)
    p = spectrum.line_integral(water, path)
    assert (np.diff(p) > 0).all() and (np.diff(p, 2) < 0).all()  # hardens, never turns
    assert np.isfinite(spectrum.line_integral(material("tantalum"), 500.0))
    mono = monoenergetic(70.0).line_integral(water, 123.0)
    assert mono == pytest.approx(123.0 * float(water.mu_per_mm(70.0)))


def test_effective_energy_rises_with_depth_and_is_near_the_reference():
    spectrum = tube_spectrum(120)
    depths = [spectrum.effective_energy_kev(mm) for mm in (10, 100, 200, 400)]
    assert (np.diff(depths) > 0).all()
    assert spectrum.effective_energy_kev(300) == pytest.approx(70.0, abs=2.0)


def test_detector_weights():
    spectrum = tube_spectrum(100, 8)
    integrating = spectrum.response("energy-integrating")
    assert spectrum.photons @ integrating == pytest.approx(1.0)
    assert (spectrum.response("photon-counting") == 1).all()
    # Counting gives soft photons more weight, so water attenuates more.
    water = material("water")
    counted = spectrum.line_integral(water, 200.0, "photon-counting")
    assert counted > spectrum.line_integral(water, 200.0, "energy-integrating")


@pytest.mark.parametrize("kvp", [60, 79.9, 140.1, float("nan")])
def test_voltage_out_of_range(kvp):
    with pytest.raises(InputError, match="80 to 140"):
        tube_spectrum(kvp)


def test_bad_bins_and_detector():
    with pytest.raises(InputError, match="0 energies"):
        tube_spectrum(120, 0)
    with pytest.raises(InputError, match="film"):
        tube_spectrum(120).response("film")
