"""The simulated scanner against the plain Radon transform, analytic cylinders and statistics."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.detector import TOUCHING_MM, Aperture, MetalPaths
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.physics.noise import (
    poisson_from_normals,
    smooth_starved,
    standard_normals,
)
from MetalArtifactReductionLib.physics.scanner import Scanner
from MetalArtifactReductionLib.physics.slice_models import physics_slice
from MetalArtifactReductionLib.physics.tissue import cortical_bone_hu, water_and_bone
from MetalArtifactReductionLib.physics.water import WaterCorrection
from MetalArtifactReductionLib.tomography import ImageGrid, ParallelGeometry
from MetalArtifactReductionLib.tomography.attenuation import MU_WATER_PER_MM, hu_to_mu

SIZE, PIXEL = 128, 2.5
GRID = ImageGrid(SIZE, SIZE, (PIXEL, PIXEL))
FAN = {"views": 240, "bins": 300, "bin_mm": 3.0}
PARALLEL = {"geometry": "parallel", "views": 240, "bins": 230, "bin_mm": 2.0}
PERFECT = {"photons_per_ray": None, "scatter_to_primary": 0.0, "floor_photons": 1e-12}


def disc(radius_mm, x_mm=0.0, y_mm=0.0, samples=8):
    """Share of each pixel inside a disc; x to the right, y up."""
    axis = (np.arange(SIZE * samples) + 0.5) / samples - SIZE / 2
    x, y = axis[None, :] * PIXEL - x_mm, -axis[:, None] * PIXEL - y_mm
    inside = (np.hypot(x, y) < radius_mm).astype(np.float32)
    share = inside.reshape(SIZE, samples, SIZE, samples).mean(axis=(1, 3))
    return torch.from_numpy(share)


def water_disc_hu(radius_mm):
    return disc(radius_mm) * 1000 - 1000


def without_metal(scanner, hu, normals=None):
    tissue_mm = scanner.tissue_paths(hu, torch.ones(1, SIZE, SIZE))[0]
    return scanner.line_integrals(scanner.transmitted(tissue_mm), normals)


def profile(image, radii_mm):
    """Mean of an image in rings."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    r = np.hypot(x, y) * PIXEL
    rings = itertools.pairwise(radii_mm)
    return np.array([float(image[(r >= a) & (r < b)].mean()) for a, b in rings])


@pytest.mark.parametrize("geometry", [FAN, PARALLEL], ids=["fan", "parallel"])
def test_monoenergetic_limit_is_the_plain_radon_transform(geometry):
    scanner = Scanner(GRID, preset("monoenergetic", **geometry))
    hu = water_disc_hu(120) + 80 * disc(40, 30, 20) + 900 * disc(15, -50) + 2500 * disc(8, 50, -40)
    hu[0, 0] = -3024
    metal = disc(9, -20, 45)
    scan = physics_slice(scanner, hu, metal[None], [material("CoCrMo")], None, True)
    assert bool(scanner.seen.all())
    plain = scanner.cells(hu_to_mu(hu)[None])[0]
    assert float((scan.sinograms[1] - plain).abs().max()) < 2e-5 * float(plain.max())
    # With metal: tissue displaced, metal's own path times its mu on the library's scale of water.
    mu = material("CoCrMo").mu_per_mm(70.0) / material("water").mu_per_mm(70.0) * MU_WATER_PER_MM
    left = scanner.cells((hu_to_mu(hu) * (1 - metal))[None])[0]
    expected = torch.where(scan.metal_path_mm > TOUCHING_MM, left + mu * scan.metal_path_mm, plain)
    assert float(expected.max()) > 15
    assert float((scan.sinograms[0] - expected).abs().max()) < 1e-4 * float(expected.max())


@pytest.mark.parametrize("geometry", [FAN, PARALLEL], ids=["fan", "parallel"])
def test_metal_path_against_the_chord_of_a_disc(geometry):
    parameters = preset("monoenergetic", **geometry)
    rays = parameters.geometry_for(GRID)
    radius, x, y = 20.0, 45.0, -30.0
    paths = MetalPaths(GRID, rays, torch.device("cpu"))(disc(radius, x, y)[None])[0].numpy()
    if isinstance(rays, ParallelGeometry):
        theta, s = rays.angles_rad[:, None], rays.bin_positions_mm[None]
    else:  # the ray of fan angle g from the source at angle b has the normal b + g + 90 degrees
        fan = rays.fan_angles_rad[None]
        theta = rays.angles_rad[:, None] + fan + math.pi / 2
        s = -rays.source_isocentre_mm * np.sin(fan)
    distance = np.abs(x * np.cos(theta) + y * np.sin(theta) - s)
    chord = 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0))
    assert paths.min() >= 0
    inside = distance < radius - 2 * PIXEL
    assert np.abs(paths - chord)[inside].max() < 1.0
    assert abs(paths - chord)[inside].mean() < 0.2
    assert paths[distance > radius + 2 * PIXEL].max() < 1e-3
    # Area is kept: over the bins of a parallel view, over all views of a fan.
    if isinstance(rays, ParallelGeometry):
        area = paths.sum(axis=1) * rays.bin_mm
        np.testing.assert_allclose(area, math.pi * radius**2, rtol=3e-3)


def test_uncorrected_line_integral_of_a_cylinder_is_the_analytic_one():
    radius = 120.0
    scanner = Scanner(GRID, preset("beam-hardening-only", **PARALLEL, samples_per_bin=1))
    tissue_mm = scanner.tissue_paths(water_disc_hu(radius), torch.ones(1, SIZE, SIZE))[0]
    measured = -torch.log(scanner.transmitted(tissue_mm)[0]).numpy()
    s = scanner.geometry.bin_positions_mm
    chord = 2 * np.sqrt(np.maximum(radius**2 - s**2, 0))
    energies = scanner.spectrum.energies_kev
    signal = scanner.spectrum.photons * energies
    mu = material("water").mu_per_mm(energies)
    analytic = -np.log(np.exp(-chord[:, None] * mu) @ signal / signal.sum())
    inside = np.abs(s) < 0.9 * radius
    error = np.abs(measured - analytic)[:, inside]
    assert error.max() < 0.02 * analytic.max()
    assert error.mean() < 0.003 * analytic.max()


@pytest.mark.parametrize("kvp", [80, 120, 140])
def test_beam_hardening_of_a_water_cylinder_before_and_after_correction(kvp):
    hu = water_disc_hu(120)
    rings = np.arange(0, 110, 15)
    ideal = Scanner(GRID, preset("monoenergetic", **PARALLEL))
    # The projector and its reconstruction have a small bias of their own: taken off.
    base = profile(ideal.reconstruct(without_metal(ideal, hu)[None])[0], rings)
    images = {}
    for correction in (False, True):
        scanner = Scanner(
            GRID,
            preset(
                "beam-hardening-only", kvp=kvp, water_correction=correction, **PARALLEL
            ).with_changes(samples_per_bin=1),
        )
        sinogram = without_metal(scanner, hu)[None]
        images[correction] = profile(scanner.reconstruct(sinogram)[0], rings) - base
    cupping = images[False]
    assert (np.diff(cupping) > 0).all()  # darkest in the middle
    assert cupping[0] < -25 and cupping[-1] - cupping[0] > 8
    assert np.abs(images[True]).max() < 1.0


def test_water_correction_inverts_the_beam_for_any_thickness():
    parameters = preset("reference")
    spectrum = parameters.spectrum()
    correct = WaterCorrection(spectrum, parameters.detector, True, torch.device("cpu"))
    path = np.linspace(0, 900, 200)
    measured = spectrum.line_integral(material("water"), path)
    corrected = correct(torch.from_numpy(measured).float()).numpy()
    np.testing.assert_allclose(corrected, path * MU_WATER_PER_MM, atol=3e-5 * 900)
    small = correct(torch.tensor([-1e-3, 0.0, 1e-3]))
    assert abs(float(small[1])) < 1e-9 and float(small[0]) == pytest.approx(
        -float(small[2]), rel=1e-3
    )


def test_thin_metal_has_the_attenuation_of_the_spectrum_and_thick_metal_less():
    scanner = Scanner(GRID, preset("beam-hardening-only", **PARALLEL))
    titanium = material("Ti6Al4V")
    weights = scanner.spectrum.photons * scanner.spectrum.response("energy-integrating")
    thin_mu = float(weights @ titanium.mu_per_mm(scanner.spectrum.energies_kev))
    scale = MU_WATER_PER_MM / float(
        weights @ material("water").mu_per_mm(scanner.spectrum.energies_kev)
    )
    hu = torch.full((SIZE, SIZE), -1000.0)
    seen = []
    for share in (0.002, 1.0):
        fraction = share * disc(20)
        scan = physics_slice(scanner, hu, fraction[None], [titanium], None, False)
        path = scan.metal_path_mm
        ray = path > 0.9 * path.max()
        seen.append(float((scan.sinograms[0][ray] / path[ray]).mean()))
    assert seen[0] == pytest.approx(thin_mu * scale, rel=0.01)
    # 40 mm of titanium: between the open beam's mean and that of the hardest photons.
    at_120 = float(titanium.mu_per_mm(110.0))
    assert at_120 < seen[1] < 0.85 * seen[0]


def test_cell_sees_mean_intensity_not_mean_line_integral():
    """A cell half covered by opaque metal still sees half of the photons."""
    rays = {"geometry": "parallel", "views": 180, "bins": 220, "bin_mm": 2.1}
    parameters = preset("monoenergetic", **rays, focal_spot_mm=0.0)
    metal = torch.zeros(1, SIZE, SIZE)
    metal[0, 40:90, 60:70] = 1.0
    air = torch.full((SIZE, SIZE), -1000.0)
    steel = [material("316L")]
    fine = Scanner(GRID, parameters.with_changes(samples_per_bin=7))
    coarse = Scanner(GRID, parameters.with_changes(samples_per_bin=1))
    with_rays = physics_slice(fine, air, metal, steel, None, False)
    without = physics_slice(coarse, air, metal, steel, None, False)
    np.testing.assert_allclose(with_rays.metal_path_mm, without.metal_path_mm, atol=0.02)
    difference = (without.sinograms - with_rays.sinograms)[0]
    assert float(difference.min()) > -0.05  # Jensen: the mean of intensities is never darker
    # View 0 looks along the metal's 125 mm; its sides at -10 and 15 mm do not fall on the
    # edges of bins, which are multiples of 2.1 mm.
    edge = (without.metal_path_mm[0] > 5) & (without.metal_path_mm[0] < 120)
    assert float(difference[0][edge].max()) > 5
    path = without.metal_path_mm[0][edge]
    covered = path / 125.0
    seen = torch.exp(-with_rays.sinograms[0][0][edge])
    # Seven rays resolve the covered share of the cell to about one ray.
    assert float((seen - (1 - covered)).abs().max()) < 1.2 / 7


def test_aperture_is_a_normalised_trapezoid():
    for focal in (0.0, 0.3, 0.58, 1.1):
        aperture = Aperture(0.58, focal, 4, 1)
        weights = aperture.weights.numpy()
        assert weights.sum() == pytest.approx(1.0, abs=1e-6)
        np.testing.assert_allclose(weights, weights[::-1], atol=1e-6)
        offset = (np.arange(len(weights)) - (len(weights) - 1) / 2) * 0.58 / 4
        # The variances of the two boxes add; the rays' spacing adds or takes at most its own.
        spacing = (0.58 / 4) ** 2 / 12
        assert (weights * offset**2).sum() == pytest.approx(
            (0.58**2 + focal**2) / 12, abs=1.1 * spacing
        )


def test_aperture_interpolates_smooth_tissue():
    bins, period = 64, 16.0
    for tissue_samples in (1, 2):
        aperture = Aperture(1.0, 0.5, 4, tissue_samples)
        place = (np.arange(bins * tissue_samples) + 0.5) / tissue_samples - 0.5
        tissue = torch.from_numpy(np.sin(2 * np.pi * place / period)).float()[None, None]
        cells = torch.zeros(1, bins, dtype=torch.bool)
        cells[0, 5:20] = cells[0, 21] = cells[0, 40:60] = True
        groups = aperture.ray_groups(cells)
        rays = aperture.tissue_rays(tissue, groups)
        first = 4 * groups[1][:, None].numpy() - (aperture.rays - 4) / 2  # of each group
        place = (first + np.arange(4) + 0.5) / 4 - 0.5
        np.testing.assert_allclose(rays[0], np.sin(2 * np.pi * place / period), atol=2e-3)
        mean = aperture.cell_means(rays, cells, groups)[0]
        np.testing.assert_allclose(mean, aperture.average(tissue)[:, cells][0], atol=1e-5)


@pytest.mark.parametrize("detector", ["energy-integrating", "photon-counting"])
def test_noise_has_the_mean_and_variance_of_theory(detector):
    photons, sigma, path = 2e4, 8.0, 150.0
    parameters = preset(
        "reference",
        detector=detector,
        photons_per_ray=photons,
        electronic_noise_photons=sigma,
        starvation_filter_photons=0.0,
        scatter_to_primary=0.0,
        water_correction=False,
        **FAN,
    )
    scanner = Scanner(GRID, parameters)
    water_mm = torch.zeros(2, *scanner.cells.sinogram_shape)
    water_mm[0] = path
    transmitted = scanner.transmitted(water_mm)
    noisy = scanner.line_integrals(transmitted, standard_normals(3, 0, transmitted.shape))
    energies, share = scanner.spectrum.energies_kev, scanner.spectrum.photons
    counts = photons * share * np.exp(-material("water").mu_per_mm(energies) * path)
    gain = scanner.spectrum.response(detector)
    mean, variance = (gain * counts).sum(), (gain**2 * counts).sum() + sigma**2
    slope = float(scanner.line_integrals(torch.full_like(transmitted, math.exp(-1.0)))[0, 0])
    values = noisy.double().numpy() / slope
    n = values.size
    # Delta method: var(-log S) = var(S) / S^2 (1 + O(1 / S)), mean shifted by half of that.
    expected = variance / mean**2
    assert values.var() == pytest.approx(expected, rel=5 * math.sqrt(2 / n) + 3 * expected)
    shift = values.mean() - (-math.log(mean / photons))
    assert shift == pytest.approx(expected / 2, abs=5 * math.sqrt(expected / n) + expected**2 * 3)
    neighbours = np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(n)


@pytest.mark.parametrize("mean", [0.05, 1.0, 7.0, 15.99, 16.01, 60.0, 1e5])
def test_counts_are_poisson(mean):
    z = standard_normals(11, 0, (400_000,))
    counts = poisson_from_normals(torch.full_like(z, mean), z).double().numpy()
    n = counts.size
    assert counts.mean() == pytest.approx(mean, abs=5 * math.sqrt(mean / n))
    kurtosis_term = math.sqrt((2 + 1 / mean) / n)
    assert counts.var() == pytest.approx(mean, rel=5 * kurtosis_term)
    skewness = ((counts - counts.mean()) ** 3).mean() / counts.std() ** 3
    assert skewness == pytest.approx(mean**-0.5, abs=0.03 + 0.03 * mean**-0.5)
    assert counts.min() >= 0


def test_few_counts_have_the_exact_distribution():
    z = standard_normals(5, 1, (300_000,))
    counts = poisson_from_normals(torch.full_like(z, 2.5), z).numpy()
    assert (counts == counts.round()).all()
    for k in range(8):
        probability = math.exp(-2.5) * 2.5**k / math.factorial(k)
        tolerance = 5 * math.sqrt(probability / counts.size)
        assert (counts == k).mean() == pytest.approx(probability, abs=tolerance)


def test_floor_bounds_the_line_integral():
    parameters = preset("reference", **FAN, water_correction=False, scatter_to_primary=0.0)
    scanner = Scanner(GRID, parameters)
    dark = torch.zeros(2, *scanner.cells.sinogram_shape)
    normals = standard_normals(0, 0, dark.shape)
    p = scanner.line_integrals(dark, normals)
    bright = float(scanner.line_integrals(torch.full_like(dark, math.exp(-1.0)))[0, 0])
    ceiling = math.log(parameters.photons_per_ray / parameters.floor_photons) * bright
    assert bool(torch.isfinite(p).all())
    assert float(p.max()) == pytest.approx(ceiling, rel=1e-4)


def test_starvation_filter_smooths_only_starved_rays():
    z = standard_normals(2, 0, (60, 200))
    for level, kept in ((5.0, False), (1e5, True)):
        readings = level + math.sqrt(level) * z
        smooth = smooth_starved(readings, torch.full_like(z, level), 100.0)
        ratio = float(smooth.std() / readings.std())
        assert ratio > 0.99 if kept else ratio < 0.5
        assert float(smooth.mean()) == pytest.approx(level, rel=0.02)
    edge = torch.full((40, 40), 4.0)
    edge[:, 20:] = 4000.0
    assert float((smooth_starved(edge, edge.clone(), 100.0) - edge).abs()[:, :17].max()) < 1e-4
    assert float((smooth_starved(edge, edge.clone(), 100.0) - edge).abs()[:, 17:23].max()) < 60.0
    assert torch.equal(smooth_starved(edge, edge, 0.0), edge)


def test_starved_bins_are_smoothed_alike_however_wide_the_detector() -> None:
    rng = np.random.default_rng(4)
    level = torch.full((30, 200), 1e6)
    level[:, 90:110] = 150.0
    readings = level + torch.from_numpy(rng.standard_normal(level.shape, np.float32)) * level.sqrt()
    whole, part = (smooth_starved(x, x, 200.0) for x in (readings, readings[:, 80:120]))
    torch.testing.assert_close(whole[:, 80:120], part, rtol=1e-5, atol=1e-2)
    assert float(whole[:, 93:107].std()) < 0.5 * float(readings[:, 93:107].std())
    assert torch.equal(whole[:, :80], readings[:, :80])


def test_paths_in_an_implant_are_the_same_beside_another() -> None:
    near, far = disc(9.0, 4.0, 6.0), disc(5.0, -90.0, 80.0)
    for geometry in (FAN, PARALLEL | {"offset_bins": 0.25}):
        scanner = Scanner(GRID, preset("reference", **PERFECT, **geometry), "cpu")
        alone = scanner.implant_paths(near[None])[0]
        both = scanner.implant_paths(torch.stack([near, far]))
        np.testing.assert_allclose(both[0], alone, atol=1e-3)
        assert float(both[1].max()) > 9.0


def test_scatter_ratio_behind_the_cylinder_is_the_one_asked_for():
    hu = water_disc_hu(150)
    grid_parameters = {**FAN, **PERFECT, "samples_per_bin": 1, "water_correction": False}
    clean = Scanner(GRID, preset("reference", **{**grid_parameters}))
    hazy = Scanner(GRID, preset("reference", **{**grid_parameters, "scatter_to_primary": 0.05}))
    middle = clean.geometry.bins // 2
    slope = float(clean.line_integrals(torch.full((2, *clean.cells.sinogram_shape), 0.5))[0, 0])
    per_unit = slope / math.log(2)
    loss = (without_metal(clean, hu) - without_metal(hazy, hu))[:, middle].mean() / per_unit
    assert math.expm1(float(loss)) == pytest.approx(0.05, rel=0.05)
    # Outside the object the field is there too, but small against the open beam.
    edge = (without_metal(clean, hu) - without_metal(hazy, hu))[:, 5].mean() / per_unit
    assert 0 <= float(edge) < 0.005


def test_tissue_is_conserved_at_the_reference_energy():
    for energy in (50.0, 70.0, 100.0):
        hu = torch.linspace(-1500, 4000, 5501)
        water, bone = water_and_bone(hu, energy)
        mu = water * material("water").mu_per_mm(energy) + bone * material(
            "cortical-bone"
        ).mu_per_mm(energy)
        expected = material("water").mu_per_mm(energy) * (1 + hu / 1000).clamp_min(0)
        np.testing.assert_allclose(mu, expected, atol=2e-7)
        assert float(water.min()) >= 0 and float(bone.min()) >= 0
        assert bool((bone[hu < 50] == 0).all())
        assert bool((bone.diff() >= 0).all()) and float(bone.diff().max()) < 1.3e-3
        bone_hu = cortical_bone_hu(energy)
        _, at_cortical = water_and_bone(torch.tensor([bone_hu]), energy)
        assert float(at_cortical) == pytest.approx(1.0, rel=1e-4)
