"""Filling the trace: against numpy, against what NMAR promises, and the registry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal import metal_trace
from MetalArtifactReductionLib.methods import (
    InpaintingContext,
    Method,
    create_method,
    methods,
)
from MetalArtifactReductionLib.methods.linear import interpolate_trace
from MetalArtifactReductionLib.methods.nmar.inpainter import NMAR, normalised_interpolation
from MetalArtifactReductionLib.methods.nmar.prior_image import prior_image
from MetalArtifactReductionLib.tomography import (
    FilteredBackProjection,
    ImageGrid,
    ParallelProjector,
    metal_path_mm,
    parallel_geometry_for,
)
from MetalArtifactReductionLib.tomography.attenuation import MU_WATER_PER_MM, hu_to_mu, mu_to_hu
from MetalArtifactReductionLib.tomography.smoothing import gaussian_smooth


@pytest.mark.parametrize("density", [0.05, 0.5, 0.95])
def test_interpolation_equals_numpy(density: float) -> None:
    rng = np.random.default_rng(5)
    sinogram = rng.normal(size=(3, 40, 57)).astype(np.float32)
    trace = rng.random(sinogram.shape) < density
    trace[0, 0] = False  # nothing to do
    trace[0, 1, :20] = True  # starts at the first bin
    trace[0, 2, 30:] = True  # ends at the last bin
    trace[1, 3] = True  # all trace
    trace[1, 4] = True
    trace[1, 4, 11] = False  # one bin known
    filled = interpolate_trace(torch.from_numpy(sinogram), torch.from_numpy(trace), fill=-3.0)
    expected = sinogram.copy()
    bins = np.arange(57)
    for s, v in np.ndindex(3, 40):
        m = trace[s, v]
        expected[s, v, m] = np.interp(bins[m], bins[~m], sinogram[s, v, ~m]) if (~m).any() else -3
    assert np.abs(filled.numpy() - expected).max() < 1e-5
    assert np.array_equal(filled.numpy()[~trace], sinogram[~trace])


def test_interpolation_leaves_its_input_alone() -> None:
    sinogram = torch.arange(10.0)[None, None] ** 2
    before = sinogram.clone()
    trace = torch.zeros(1, 1, 10, dtype=torch.bool)
    trace[..., 3:6] = True
    interpolate_trace(sinogram, trace)
    assert torch.equal(sinogram, before)


def test_normalised_interpolation_is_exact_with_a_proportional_prior() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.uniform(1, 5, (2, 30, 64)).astype(np.float32))
    trace = torch.zeros_like(truth, dtype=torch.bool)
    trace[..., 20:33] = True
    measured = torch.where(trace, truth + 7.0, truth)
    floor = 2.0 * MU_WATER_PER_MM
    prior = (truth + floor) / 1.3 - floor
    filled = normalised_interpolation(measured, trace, prior, 2.0)
    assert (filled - truth).abs().max() < 1e-4
    assert torch.equal(filled[~trace], measured[~trace])


def test_normalised_interpolation_beside_the_body_does_not_divide_by_nothing() -> None:
    sinogram = torch.zeros(1, 1, 20)
    sinogram[..., 8:12] = 0.01
    trace = torch.zeros_like(sinogram, dtype=torch.bool)
    trace[..., 5:9] = True
    filled = normalised_interpolation(sinogram, trace, torch.zeros_like(sinogram), 2.0)
    assert torch.isfinite(filled).all() and filled.abs().max() <= 0.011
    full = torch.ones_like(trace)
    prior = torch.rand(1, 1, 20)
    assert torch.allclose(normalised_interpolation(sinogram, full, prior, 2.0), prior, atol=1e-6)


def test_gaussian_equals_scipy() -> None:
    image = np.random.default_rng(1).normal(size=(2, 30, 41)).astype(np.float32)
    ours = gaussian_smooth(torch.from_numpy(image), [1.0, 2.0]).numpy()
    theirs = ndimage.gaussian_filter(image, (0, 1.0, 2.0), mode="nearest", truncate=3.0)
    assert np.abs(ours - theirs).max() < 1e-5


def scene(size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Body with two bones, and a metal disc between them."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    hu = np.where((x / 55) ** 2 + (y / 42) ** 2 <= 1, 40.0, -1000.0)
    hu[np.hypot(x - 25, y) <= 9] = 900.0
    hu[np.hypot(x + 25, y) <= 9] = 900.0
    metal = (np.hypot(x, y) <= 5).astype(np.float32)
    return hu.astype(np.float32), metal


def context_of(hu: np.ndarray, metal: np.ndarray) -> InpaintingContext:
    grid = ImageGrid(*hu.shape, (1.0, 1.0))
    operator = ParallelProjector(grid, parallel_geometry_for(grid))
    return InpaintingContext(
        hu_to_mu(torch.from_numpy(hu[None])), torch.from_numpy(metal[None]), operator
    )


def test_the_blur_of_metal_on_the_skin_is_not_carried_across_the_body() -> None:
    """A ray beside the body has the blur of 10 mm of water where the prior has air."""
    body = MU_WATER_PER_MM * torch.linspace(0, 200, 41)
    prior = torch.cat([torch.zeros(20), body, torch.full((20,), float(body[-1]))])[None, None]
    trace = torch.zeros_like(prior, dtype=torch.bool)
    trace[..., 20:61] = True
    measured = torch.where(trace, prior + 9.0, prior)
    measured[..., 19] = 10 * MU_WATER_PER_MM
    wrong_mm = (normalised_interpolation(measured, trace, prior, 2.0) - prior) / MU_WATER_PER_MM
    assert wrong_mm[trace].min() >= 0 and wrong_mm[trace].max() < 30


def test_prior_keeps_bone_and_flattens_tissue() -> None:
    hu, metal = scene()
    clean = hu_to_mu(torch.from_numpy(hu[None]))
    rng = np.random.default_rng(0)
    streaky = np.clip(hu + rng.normal(0, 300, (1, 1, 128)) * (hu > -500), -1000, 3071)
    corrupted = hu_to_mu(torch.from_numpy(np.where(metal > 0, 3071, streaky)[0:1].astype("f4")))
    prior = prior_image(corrupted, clean, torch.from_numpy(metal[None]), (1.0, 1.0))
    relative = prior[0].numpy() / MU_WATER_PER_MM
    y, x = np.mgrid[:128, :128] - 63.5
    assert relative[np.hypot(x - 25, y) <= 6] == pytest.approx(1.9, abs=0.15)
    assert relative[np.hypot(x, y) <= 5] == pytest.approx(1.0, abs=0.05)
    assert relative[(np.hypot(x, y) > 8) & (np.abs(x) < 12) & (np.abs(y) < 30)] == pytest.approx(
        1.0, abs=0.05
    )
    assert (relative[:10] == 0).all()


def test_prior_has_air_in_place_of_metal_on_the_skin_and_tissue_within_the_body() -> None:
    hu, _ = scene()
    y, x = np.mgrid[:128, :128] - 63.5
    clip, deep = np.hypot(x, y + 45) <= 2, np.hypot(x, y) <= 12
    metal = (clip | deep).astype(np.float32)
    image = hu_to_mu(torch.from_numpy(hu[None]))
    prior = prior_image(image, image, torch.from_numpy(metal[None]), (1.0, 1.0))
    relative = prior[0].numpy() / MU_WATER_PER_MM
    assert relative[clip & (hu < -500)].mean() < 0.3
    assert relative[deep] == pytest.approx(1.0, abs=0.05)


def test_prior_keeps_bone_that_is_free_of_streaks_in_the_interpolated_image_alone() -> None:
    hu, metal = scene()
    y, x = np.mgrid[:128, :128] - 63.5
    hu[np.hypot(x, y - 33) <= 7] = 550.0
    streaks = np.random.default_rng(0).normal(0, 500, (1, 128)) * (hu > -500)
    corrupted = np.where(metal > 0, 3071, np.clip(hu + streaks, -1000, 3071)).astype("f4")
    images = (hu_to_mu(torch.from_numpy(image[None])) for image in (corrupted, hu))
    prior = prior_image(*images, torch.from_numpy(metal[None]), (1.0, 1.0))
    relative = prior[0].numpy() / MU_WATER_PER_MM
    assert relative[np.hypot(x, y - 33) <= 3] == pytest.approx(1.55, abs=0.1)


def test_nmar_restores_bone_shadows_that_li_loses() -> None:
    hu, metal = scene()
    context = context_of(hu, metal)
    truth = context.projector(context.image_mu)
    trace = metal_trace(context.projector, context.metal_fraction)
    metal_mu = 3.0 * MU_WATER_PER_MM * metal_path_mm(context.projector, context.metal_fraction)
    sinogram = truth + metal_mu
    images = InpaintingContext(
        context.image_mu + 3 * MU_WATER_PER_MM * context.metal_fraction,
        context.metal_fraction,
        context.projector,
    )
    errors = {}
    for name in ("li", "nmar"):
        filled = create_method(name)(sinogram, trace, images)
        assert torch.equal(filled[~trace], sinogram[~trace])
        errors[name] = float(((filled - truth)[trace] ** 2).mean().sqrt())
    assert errors["nmar"] < 0.5 * errors["li"]


def hips(radius_mm: float, size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Pelvis on pixels of 2 mm: a disc of metal in each hip, within bone 8 mm thick."""
    y, x = 2.0 * (np.mgrid[:size, :size] - (size - 1) / 2)
    hu = np.where((x / 175) ** 2 + (y / 115) ** 2 <= 1, 40.0, -1000.0)
    hu[np.hypot(x, y - 75) <= 18] = 500.0
    middles = np.stack([np.hypot(x - 90, y), np.hypot(x + 90, y)]).min(axis=0)
    hu[middles <= radius_mm + 8] = 450.0
    return hu.astype(np.float32), (middles <= radius_mm).astype(np.float32)


@pytest.mark.parametrize(("radius_mm", "large"), [(16.0, True), (7.0, False)])
def test_a_second_pass_lightens_the_wedge_between_two_large_prostheses_only(
    radius_mm: float, large: bool
) -> None:
    hu, metal = hips(radius_mm)
    fraction = torch.from_numpy(metal[None])
    grid = ImageGrid(*hu.shape, (2.0, 2.0))
    operator = ParallelProjector(grid, parallel_geometry_for(grid))
    reconstruct = FilteredBackProjection(operator)
    trace = metal_trace(operator, fraction)
    through = 10 * MU_WATER_PER_MM * metal_path_mm(operator, fraction)
    # The beam hardens: what metal adds is less, the longer the path.
    measured = operator(hu_to_mu(torch.from_numpy(hu[None]))) + 4 * (1 - torch.exp(-through / 4))
    context = InpaintingContext(reconstruct(measured), fraction, operator)
    once, twice = (
        mu_to_hu(reconstruct(NMAR(passes)(measured, trace, context)))[0].numpy()
        for passes in (1, 2)
    )
    if not large:
        assert np.array_equal(once, twice)
        return
    y, x = 2.0 * (np.mgrid[: hu.shape[0], : hu.shape[1]] - (hu.shape[0] - 1) / 2)
    between = (np.abs(x) < 55) & (np.abs(y) < 35)
    wrong = [float(np.sqrt(((image - hu)[between] ** 2).mean())) for image in (once, twice)]
    assert wrong[1] < 0.85 * wrong[0]


def test_result_does_not_depend_on_the_batch() -> None:
    hu, metal = scene(96)
    stack = np.stack([hu, np.roll(hu, 5, 0), hu[::-1]])
    fractions = np.stack([metal, np.roll(metal, 3, 1), metal])
    grid = ImageGrid(96, 96, (1.0, 1.0))
    operator = ParallelProjector(grid, parallel_geometry_for(grid))

    def run(part: slice) -> torch.Tensor:
        image = hu_to_mu(torch.from_numpy(np.ascontiguousarray(stack[part]))) + 0.1 * (
            torch.from_numpy(fractions[part])
        )
        fraction = torch.from_numpy(fractions[part])
        context = InpaintingContext(image, fraction, operator)
        return NMAR()(operator(image), metal_trace(operator, fraction), context)

    together = run(slice(0, 3))
    apart = torch.cat([run(slice(i, i + 1)) for i in range(3)])
    assert (together - apart).abs().max() < 1e-4


def test_what_is_shared_in_a_context_is_of_the_same_sinogram_and_parameters() -> None:
    hu, metal = scene(96)
    context = context_of(hu, metal)
    trace = metal_trace(context.projector, context.metal_fraction)
    sinogram = context.projector(context.image_mu)
    asked = [
        (method, given)
        for method in (NMAR(), NMAR(floor_mm=5.0), NMAR(passes=2))
        for given in (sinogram, 1.1 * sinogram)
    ]
    shared = [method(given, trace, context) for method, given in asked]
    for (method, given), filled in zip(asked, shared, strict=True):
        assert torch.equal(filled, method(given, trace, replace(context, shared={})))
    assert torch.equal(NMAR()(sinogram, trace, context), shared[0])


def test_registry_knows_and_refuses() -> None:
    assert {"li", "nmar"} <= set(methods())
    assert all(entry.summary for entry in methods().values())
    for name in ("li", "nmar"):
        inpainter = create_method(name)
        assert isinstance(inpainter, Method) and inpainter.name == name
    with pytest.raises(InputError, match=r"unknown method 'magic'; choose one of li, nmar"):
        create_method("magic")
    with pytest.raises(InputError, match="cannot be made with"):
        create_method("li", passes=2)
    assert create_method("nmar", passes=2).parameters["passes"] == 2
    assert create_method("nmar", floor_mm=3.0).parameters["floor_mm"] == 3.0
    for options in ({"passes": 0}, {"passes": 1.5}, {"floor_mm": 0.0}, {"smoothing_mm": -1.0}):
        with pytest.raises(InputError, match=f"{next(iter(options))} is .*; give a"):
            create_method("nmar", **options)
    mine = create_method("li")
    assert create_method(mine) is mine


def test_neighbours_are_repeated_at_the_ends() -> None:
    volume = np.stack([np.full((8, 8), 100.0 * k, np.float32) for k in range(4)])
    grid = ImageGrid(8, 8, (1.0, 1.0))
    operator = ParallelProjector(grid, parallel_geometry_for(grid))
    batch = torch.from_numpy(volume[[0, 3]])
    context = InpaintingContext(
        hu_to_mu(batch), torch.zeros_like(batch), operator, np.array([0, 3]), volume
    )
    below = context.neighbour_mu(-1)[:, 0, 0]
    assert torch.allclose(below, hu_to_mu(torch.tensor([0.0, 200.0])))
    above = context.neighbour_mu(1)[:, 0, 0]
    assert torch.allclose(above, hu_to_mu(torch.tensor([100.0, 300.0])))
