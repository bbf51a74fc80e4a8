"""Artifact simulation of volumes: bookkeeping, seeds, batches, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from MetalArtifactReductionLib.errors import Cancelled, InputError
from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters, preset
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.physics.scanner import Scanner
from MetalArtifactReductionLib.physics.simulation import MODELS, simulate_volume
from MetalArtifactReductionLib.tomography import ImageGrid
from MetalArtifactReductionLib.volume import CTVolume

SLICES, ROWS, COLS, PIXEL = 6, 96, 112, 3.0
PARAMETERS = preset("reference", views=180, bins=260, bin_mm=3.0, samples_per_bin=2)


def body():
    y, x = np.mgrid[:ROWS, :COLS]
    x, y = (x - (COLS - 1) / 2) * PIXEL, (y - (ROWS - 1) / 2) * PIXEL
    hu = np.full((ROWS, COLS), -1000.0, np.float32)
    hu[(x / 130) ** 2 + (y / 100) ** 2 < 1] = 20.0
    hu[np.hypot(x - 60, y) < 25] = 700.0
    hu[np.hypot(x + 60, y) < 25] = 700.0
    return hu


@pytest.fixture(scope="module")
def volume():
    hu = np.repeat(body()[None], SLICES, axis=0)
    hu += np.arange(SLICES, dtype=np.float32)[:, None, None]
    affine = np.diag([PIXEL, PIXEL, 2.0, 1.0])
    return CTVolume(hu, affine)


@pytest.fixture(scope="module")
def implants():
    titanium = np.zeros((SLICES, ROWS, COLS), np.float32)
    titanium[1:5, 44:52, 73:78] = 1.0
    titanium[1:5, 43, 73:78] = 0.4
    plastic = np.zeros_like(titanium)
    plastic[1:3, 40:43, 73:78] = 1.0
    plastic[1:3, 43, 73:78] = 0.6
    return {"Ti6Al4V": titanium, "PEEK": plastic}


@pytest.fixture(scope="module")
def result(volume, implants):
    return simulate_volume(volume, implants, PARAMETERS, seed=7, keep_sinograms=True)


def test_input_is_untouched_and_geometry_kept(volume, implants, result):
    assert np.array_equal(volume.hu[2], body() + 2)
    for out in (result.corrupted, result.ideal, result.reference):
        assert out.hu.shape == volume.hu.shape and out.hu.dtype == np.float32
        assert np.array_equal(out.ijk_to_ras, volume.ijk_to_ras)


def test_slices_without_implant_are_bit_identical(volume, result):
    for out in (result.corrupted, result.ideal, result.reference):
        assert np.array_equal(out.hu[[0, 5]], volume.hu[[0, 5]])
    for index in (1, 2, 3, 4):
        assert not np.array_equal(result.corrupted.hu[index], volume.hu[index])
    assert result.parameters["slices"] == [1, 2, 3, 4]
    assert result.sinograms.slices.tolist() == [1, 2, 3, 4]


def test_ideal_shows_materials_at_the_reference_energy(volume, implants):
    open_scale = PARAMETERS.with_changes(hu_clip=None)
    r = simulate_volume(volume, implants, open_scale, slices=[2], model="trace-maximum")
    for name, place in (("Ti6Al4V", np.s_[2, 47, 75]), ("PEEK", np.s_[2, 41, 75])):
        ratio = material(name).mu_per_mm(70.0) / material("water").mu_per_mm(70.0)
        assert r.ideal.hu[place] == pytest.approx(1000 * (float(ratio) - 1), rel=1e-4)
    titanium, peek = r.ideal.hu[2, 47, 75], r.ideal.hu[2, 41, 75]
    assert r.ideal.hu[2, 43, 75] == pytest.approx(0.4 * titanium + 0.6 * peek, rel=1e-4)
    untouched = sum(implants.values())[2] == 0
    assert np.array_equal(r.ideal.hu[2][untouched], volume.hu[2][untouched])


def test_fraction_and_labels(implants, result):
    assert np.array_equal(result.metal_fraction, implants["Ti6Al4V"])  # PEEK is no metal
    assert result.labels[2, 47, 75] == 1 and result.labels[2, 41, 75] == 2
    assert result.labels[2, 43, 75] == 2  # 0.6 PEEK against 0.4 titanium
    assert result.labels[4, 43, 75] == 0  # 0.4 titanium alone is less than half
    assert result.labels[0].max() == 0


def test_only_rays_through_implants_are_corrupted(volume, implants):
    exact = PARAMETERS.with_changes(scatter_to_primary=0.0, starvation_filter_photons=0.0)
    titanium = {"Ti6Al4V": implants["Ti6Al4V"]}
    s = simulate_volume(volume, titanium, exact, slices=[3], keep_sinograms=True).sinograms
    near = np.zeros_like(s.metal_path_mm, bool)
    for shift in (-2, -1, 0, 1, 2):  # the focal spot sees past the edges of a cell
        near |= np.roll(s.metal_path_mm > 1e-4, shift, axis=-1)
    assert 0.02 < near.mean() < 0.3
    assert np.array_equal(s.corrupted[~near], s.reference[~near])
    assert (s.corrupted - s.reference)[s.metal_path_mm > 10].min() > 0.5


def test_slices_side_by_side_are_those_one_by_one(volume, implants, result):
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            other = simulate_volume(volume, implants, PARAMETERS, seed=7, keep_sinograms=True)
            assert torch.get_num_threads() == count
            np.testing.assert_allclose(other.corrupted.hu, result.corrupted.hu, atol=5e-3)
            np.testing.assert_allclose(
                other.sinograms.corrupted, result.sinograms.corrupted, atol=1e-4
            )
    finally:
        torch.set_num_threads(threads)


def test_reference_holds_the_implants_that_are_no_metal(volume, implants, result):
    plastic = {"PEEK": implants["PEEK"]}
    alone = simulate_volume(volume, plastic, PARAMETERS, slices=[1, 2], seed=7).corrupted.hu
    np.testing.assert_allclose(result.reference.hu[1:3], alone[1:3], atol=5e-3)
    traced = simulate_volume(volume, implants, PARAMETERS, model="missing-trace", slices=[2])
    shown = traced.reference.hu[2, 41, 75] - volume.hu[2, 41, 75]
    assert abs(shown - (traced.ideal.hu - volume.hu)[2, 41, 75]) < 40


def test_artifacts_are_there(result):
    s = result.sinograms
    assert s.corrupted.shape == s.reference.shape == s.metal_path_mm.shape == (4, 180, 260)
    difference = np.abs(result.corrupted.hu - result.reference.hu)[3]
    assert difference[40:56, 60:70].mean() > 10  # beside the metal, along its long side
    assert difference[:10, :10].mean() < difference[40:56, 60:70].mean() / 3


def test_reference_is_the_input_through_the_scanner(volume, result):
    inside = body() == 20.0
    inside[:, 60:] = False
    error = (result.reference.hu - volume.hu)[3][inside]
    assert abs(np.median(error)) < 10
    assert error.std() < 60


@pytest.mark.parametrize("model", MODELS)
def test_same_seed_same_volume_whatever_the_batch_or_subset(volume, implants, model):
    runs = [
        simulate_volume(volume, implants, PARAMETERS, model=model, seed=7, **options)
        for options in (
            {"batch_slices": 1},
            {"batch_slices": 3},
            {"slices": [4, 2]},
            {"every_slice": True, "with_reference": False},
        )
    ]
    for other in runs[1:3]:
        assert np.array_equal(other.corrupted.hu[[2, 4]], runs[0].corrupted.hu[[2, 4]])
        assert np.array_equal(other.reference.hu[[2, 4]], runs[0].reference.hu[[2, 4]])
    # One image is back-projected instead of two: the same sums in another order.
    np.testing.assert_allclose(runs[3].corrupted.hu[2], runs[0].corrupted.hu[2], atol=5e-3)
    assert np.array_equal(runs[2].corrupted.hu[[1, 3]], volume.hu[[1, 3]])
    assert runs[2].metal_fraction[[1, 3]].max() == 0
    assert runs[3].reference is None
    assert not np.array_equal(runs[3].corrupted.hu[0], volume.hu[0])


def test_seed_changes_noise_only_and_slices_differ(volume, implants, result):
    other = simulate_volume(volume, implants, PARAMETERS, seed=8)
    again = simulate_volume(volume, implants, PARAMETERS, seed=7)
    assert np.array_equal(again.corrupted.hu, result.corrupted.hu)
    noise = other.reference.hu[3] - result.reference.hu[3]
    inside = body() == 20.0
    assert 1 < noise[inside].std() < 80
    assert abs(noise[inside].mean()) < 3
    first = result.reference.hu[3] - result.reference.hu[4] + 1
    assert first[inside].std() > 1  # no two slices share their noise


def test_clip(volume, implants):
    r = simulate_volume(volume, implants, PARAMETERS, slices=[3])
    assert r.corrupted.hu.max() == 3071.0 and r.corrupted.hu.min() >= -1024.0
    assert r.ideal.hu.max() == 3071.0
    r = simulate_volume(volume, implants, PARAMETERS.with_changes(hu_clip=None), slices=[3])
    assert r.corrupted.hu.max() > 5000


def test_record_makes_the_same_again(volume, implants, result):
    record = json.loads(result.parameters_json())
    assert record == result.parameters
    assert record["seed"] == 7 and record["model"] == "physics"
    assert [i["material"] for i in record["implants"]] == ["Ti6Al4V", "PEEK"]
    expected = float(implants["Ti6Al4V"].sum()) * PIXEL * PIXEL * 2.0
    assert record["implants"][0]["volume_mm3"] == pytest.approx(expected)
    again = simulate_volume(
        volume,
        implants,
        AcquisitionParameters.from_dict(record["acquisition"]),
        model=record["model"],
        seed=record["seed"],
    )
    assert np.array_equal(again.corrupted.hu, result.corrupted.hu)


def test_monoenergetic_metal_is_its_own_attenuation(volume):
    """Perfect acquisition of a large implant: its HU is that of the material, and no streaks."""
    steel = np.zeros((SLICES, ROWS, COLS), np.float32)
    y, x = np.mgrid[:ROWS, :COLS]
    steel[2] = np.hypot(y - 48, x - 55) < 5
    parameters = preset("monoenergetic", geometry="parallel", views=None, bins=None, bin_mm=None)
    r = simulate_volume(volume, {"316L": steel}, parameters.with_changes(window="ramp"))
    inside = np.hypot(y - 48, x - 55) < 3
    mu = float(material("316L").mu_per_mm(70.0) / material("water").mu_per_mm(70.0))
    assert r.corrupted.hu[2][inside].mean() == pytest.approx(1000 * (mu - 1), rel=0.02)
    # The inconsistency left is that of pixels, per mille of 35 000 HU.
    streaks = (r.corrupted.hu - r.reference.hu)[2][np.hypot(y - 48, x - 55) > 12]
    assert np.sqrt((streaks**2).mean()) < 0.002 * 1000 * mu


def test_trace_maximum_and_missing_trace(volume, implants):
    scans = {
        model: simulate_volume(
            volume,
            implants,
            PARAMETERS,
            model=model,
            slices=[3],
            keep_sinograms=True,
        )
        for model in ("trace-maximum", "missing-trace")
    }
    for model, r in scans.items():
        s = r.sinograms
        trace = s.metal_path_mm > 0.1 * PIXEL
        assert 0.01 < trace.mean() < 0.3
        fill = s.reference.max() if model == "trace-maximum" else 0.0
        assert (s.corrupted[trace] == np.float32(fill)).all()
        assert np.array_equal(s.corrupted[~trace], s.reference[~trace])
    metal = np.s_[3, 46:50, 74:77]
    assert scans["trace-maximum"].corrupted.hu[metal].min() > 1000
    assert scans["missing-trace"].corrupted.hu[metal].max() < -500
    # The reference of these models is free of noise: the body comes back as it was.
    reference = scans["missing-trace"].reference.hu[3]
    inside = body() == 20.0
    assert abs(np.median((reference - volume.hu[3])[inside])) < 4


def test_pixels_outside_the_field_of_view_are_kept(volume, implants):
    narrow = PARAMETERS.with_changes(bins=140, samples_per_bin=1)
    r = simulate_volume(volume, implants, narrow, slices=[3])
    s = Scanner(ImageGrid(ROWS, COLS, (PIXEL, PIXEL)), narrow)
    outside = ~s.seen.numpy()
    assert 0.1 < outside.mean() < 0.6
    assert np.array_equal(r.corrupted.hu[3][outside], volume.hu[3][outside])
    assert s.field_of_view_mm == pytest.approx(2 * 550 * np.sin(139 / 2 * 3 / 950), rel=1e-6)


def test_progress_and_cancel(volume, implants):
    seen = []
    report = lambda fraction, message: seen.append((fraction, message))  # noqa: E731
    simulate_volume(volume, implants, PARAMETERS, batch_slices=2, progress=report)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) == 3
    with pytest.raises(Cancelled):
        simulate_volume(
            volume,
            implants,
            PARAMETERS,
            batch_slices=1,
            cancel=lambda: True,
        )


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda f: {}, {}, "no implant given"),
        (lambda f: {"kryptonite": f}, {}, "unknown material 'kryptonite'"),
        (lambda f: {"CoCrMo": f * 0}, {}, "every fraction is 0"),
        (lambda f: {"CoCrMo": f[:, :-1]}, {}, r"shape \(6, 95, 112\)"),
        (lambda f: {"CoCrMo": f * 2}, {}, "0 to 2"),
        (lambda f: {"CoCrMo": f - 0.5}, {}, "-0.5 to 0.5"),
        (lambda f: {"CoCrMo": f * np.nan}, {}, "nan"),
        (lambda f: {"CoCrMo": f, "316L": f}, {}, "count overlaps once"),
        (lambda f: {"CoCrMo": f}, {"model": "magic"}, "unknown simulation model 'magic'"),
        (lambda f: {"CoCrMo": f}, {"seed": -1}, "seed -1"),
        (lambda f: {"CoCrMo": f}, {"seed": 1.5}, "seed 1.5"),
        (lambda f: {"CoCrMo": f}, {"slices": [0]}, "every_slice"),
        (lambda f: {"CoCrMo": f}, {"slices": [6]}, "slice 6 .* 0 to 5"),
        (lambda f: {"CoCrMo": f}, {"batch_slices": 0}, "batch_slices 0"),
        (lambda f: {"CoCrMo": np.roll(f, 34, axis=2)}, {"narrow": True}, "field of view of"),
    ],
)
def test_bad_input_is_named_before_any_work(volume, make, options, message):
    fraction = np.zeros((SLICES, ROWS, COLS), np.float32)
    fraction[2, 44:52, 73:78] = 1.0
    options = dict(options)
    parameters = PARAMETERS
    if options.pop("narrow", False):
        parameters = PARAMETERS.with_changes(bins=140, samples_per_bin=1)
    with pytest.raises(InputError, match=message) as error:
        simulate_volume(volume, make(fraction), parameters, **options)
    assert "\n" not in str(error.value)


def test_a_kept_gantry_changes_no_simulation(volume, implants, result):
    """Whatever tube, dose and grid were simulated in between."""
    low = PARAMETERS.with_changes(photons_per_ray=1e5, kvp=80.0)
    other = simulate_volume(volume, implants, low, seed=7)
    half = CTVolume(volume.hu[:, :, 8:], volume.ijk_to_ras)
    simulate_volume(half, {k: f[:, :, 8:] for k, f in implants.items()}, PARAMETERS)
    fresh = simulate_volume(volume, implants, low, seed=7)
    assert np.array_equal(other.corrupted.hu, fresh.corrupted.hu)
    noise = []
    for parameters in (low, PARAMETERS):
        one, two = (
            simulate_volume(volume, implants, parameters, seed=seed, slices=[3]).reference.hu[3]
            for seed in (7, 8)
        )
        noise.append((one - two).std())
    assert noise[0] > 3 * noise[1]  # far fewer photons, of less energy
    again = simulate_volume(volume, implants, PARAMETERS, seed=7)
    assert np.array_equal(again.corrupted.hu, result.corrupted.hu)


def test_gpu_agrees_with_cpu(volume, implants, result):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    r = simulate_volume(volume, implants, PARAMETERS, seed=7, device="cuda")
    difference = np.abs(r.corrupted.hu - result.corrupted.hu)
    # A starved ray may count one photon more or less; everything else is rounding.
    assert np.percentile(difference, 99) < 0.1
    assert difference.max() < 50
