"""The hip paper's network, its input, and what the correction takes from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from analytic import Ellipse, parallel_sinogram, rasterize, relative_error
from analytic import sinogram as line_integrals
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.methods.trace_cnn.channels import (
    MaxFill,
    MaxFillParameters,
    on_rays_of,
)
from MetalArtifactReductionLib.methods.trace_cnn.inpainter import TraceCNNMethod, matched
from MetalArtifactReductionLib.methods.trace_cnn.network import (
    REACH,
    TraceCNN,
    whole_sinograms,
    wrapped_views,
)
from MetalArtifactReductionLib.tomography import ImageGrid, ParallelGeometry, ParallelProjector
from MetalArtifactReductionLib.weights import Weights, WeightsFacts, load_weights, save_weights

GRID = ImageGrid(96, 96, (2.0, 2.0))
BODY = [Ellipse(0.02, 80, 60), Ellipse(0.015, 20, 12, 30, 10, 30)]


def test_the_papers_layers() -> None:
    kinds = [type(layer) for layer in TraceCNN(8).layers]
    block = [nn.Conv2d, nn.LeakyReLU, nn.BatchNorm2d]
    assert kinds == [*block * 5, nn.Conv2d]
    for layer in TraceCNN(8).layers:
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.stride, layer.padding) == ((5, 5), (1, 1), (2, 2))
            assert layer.padding_mode == "zeros"
        if isinstance(layer, nn.LeakyReLU):
            assert layer.negative_slope == 0.2
    assert TraceCNN(8)(torch.zeros(2, 1, 37, 41)).shape == (2, 1, 37, 41)


def test_an_output_sees_twelve_values_to_each_side() -> None:
    network = TraceCNN(4).eval()
    sinogram = torch.rand(1, 1, 41, 41, requires_grad=True)
    network(sinogram)[0, 0, 20, 20].backward()
    seen = torch.nonzero(sinogram.grad[0, 0])
    assert seen.min() == 20 - REACH
    assert seen.max() == 20 + REACH


def test_views_go_on_around_the_half_turn() -> None:
    full = ParallelGeometry(64, 101, 2.0)
    sinogram = torch.from_numpy(parallel_sinogram(BODY, full)).float()
    padded = wrapped_views(sinogram[None], 7)[0]
    # The view before the first and behind the last, from the formula of the ellipse.
    step = np.pi / 64
    for index, angle in ((6, -step), (64 + 7, np.pi)):
        moved = line_integrals(BODY, np.array([[angle]]), full.bin_positions_mm)
        assert relative_error(padded[index].numpy(), np.ravel(moved)) < 0.02


def test_slices_of_a_batch_do_not_influence_each_other() -> None:
    torch.manual_seed(0)
    network = TraceCNN(4).eval()
    sinograms = torch.rand(3, 48, 64)
    together = whole_sinograms(network, sinograms, at_once=3)
    alone = torch.cat([whole_sinograms(network, one[None]) for one in sinograms])
    assert torch.allclose(together, alone, atol=1e-6)


def test_the_trace_is_filled_with_the_largest_value_outside_it() -> None:
    fill = MaxFill(GRID, MaxFillParameters(views=90))
    image = torch.from_numpy(rasterize(BODY, GRID))[None]
    metal = torch.zeros(1, 96, 96)
    metal[0, 40:46, 58:64] = 1
    sinogram, trace = fill.sinogram(image), fill.trace(metal)
    filled = fill.filled(sinogram, trace)
    assert 0.005 < float(trace.float().mean()) < 0.2
    assert torch.equal(filled[~trace], sinogram[~trace])
    assert set(filled[trace].tolist()) == {float(sinogram[~trace].max())}
    # What metal does in the trace has no influence.
    assert torch.equal(fill.filled(sinogram + 9 * trace, trace), filled)
    # The input is the sinogram of the image of that, which is not quite the same.
    corrupted = fill.corrupted(sinogram, trace)
    assert relative_error(corrupted.numpy(), filled.numpy()) < 0.06
    lines = MaxFill(GRID, MaxFillParameters(views=90, start="linear")).filled(sinogram, trace)
    exact = np.interp(
        np.flatnonzero(trace[0, 10]),
        np.flatnonzero(~trace[0, 10]),
        sinogram[0, 10][~trace[0, 10]].numpy(),
    )
    assert np.allclose(lines[0, 10][trace[0, 10]].numpy(), exact, atol=1e-5)


def test_rays_are_no_closer_than_pixels() -> None:
    assert MaxFill(ImageGrid(32, 32, (3.0, 5.0))).geometry.bin_mm == 5.0
    assert MaxFill(ImageGrid(32, 32, (0.7, 0.7))).geometry.bin_mm == 2.0


def test_found_values_arrive_on_the_corrections_rays() -> None:
    coarse, fine = ParallelGeometry(144, 112, 2.0), ParallelGeometry(400, 223, 1.0)
    given = torch.from_numpy(parallel_sinogram(BODY, coarse)).float()[None]
    there = on_rays_of(given, coarse, fine)[0].numpy()
    assert relative_error(there, parallel_sinogram(BODY, fine)) < 0.01


def test_matched_meets_the_measured_values_and_changes_nothing_outside() -> None:
    measured = torch.rand(1, 3, 20)
    trace = torch.zeros(1, 3, 20, dtype=torch.bool)
    trace[:, :, 8:13] = True
    # An estimate that is wrong by a line alone is put right.
    truth = measured.clone()
    ramp = 0.3 + 0.05 * torch.arange(20.0)
    found = matched(truth + ramp, measured, trace)
    assert torch.equal(found[~trace], measured[~trace])
    assert torch.allclose(found, truth, atol=1e-5)


FACTS = {
    "inpainter": "trace-cnn",
    "fill": MaxFillParameters().as_dict(),
    "unit": 0.05,
    "brightness_reference": None,
}


def test_facts_round_trip_and_foreign_ones_are_refused(tmp_path) -> None:
    fill = MaxFillParameters(1.5, 100, "linear")
    assert MaxFillParameters.from_dict(fill.as_dict()) == fill
    path = tmp_path / "w.safetensors"
    save_weights(path, TraceCNN(4), WeightsFacts("trace-cnn", {"channels": 4}, FACTS))
    weights = load_weights(path, "trace-cnn", TraceCNN)
    assert TraceCNNMethod(weights).parameters["weights"] == "w.safetensors"
    with pytest.raises(InputError, match="holds weights of a 'trace-cnn'"):
        load_weights(path, "masked-unet", TraceCNN)
    with pytest.raises(ValueError, match="do not say how they were trained"):
        TraceCNNMethod(Weights(weights.network, WeightsFacts("trace-cnn"), path))
    for bad, message in (({"output": "x"}, "output 'x'"), ({"brightness": 0.0}, "brightness is")):
        with pytest.raises(ValueError, match=message):
            TraceCNNMethod(weights, **bad)


def test_a_network_that_finds_the_truth_gives_the_truth() -> None:
    """The whole path of the inpainter, with a network that is known to do nothing."""

    class Identity(nn.Module):
        def forward(self, sinogram: torch.Tensor) -> torch.Tensor:
            return sinogram / 0.05

    from MetalArtifactReductionLib.methods.base import InpaintingContext

    facts = {**FACTS, "fill": MaxFillParameters(start="linear").as_dict()}
    network = Identity()
    network.register_parameter("none", nn.Parameter(torch.zeros(1)))
    weights = Weights(network, WeightsFacts("trace-cnn", {}, facts), Path())
    projector = ParallelProjector(GRID, ParallelGeometry(400, 144, 2.0))
    # In the middle of a disc the starting lines are nearly the truth.
    image = torch.from_numpy(rasterize([Ellipse(0.02, 80, 80)], GRID))[None]
    metal = torch.zeros(1, 96, 96)
    metal[0, 44:52, 44:52] = 1
    context = InpaintingContext(image, metal, projector)
    sinogram = projector(image)
    trace = projector(metal) > 0
    found = TraceCNNMethod(weights)(sinogram, trace, context)
    assert torch.equal(found[~trace], sinogram[~trace])
    error = (found - sinogram)[trace]
    assert float(error.abs().max()) < 0.02 * float(sinogram.max())


def test_brightness_is_scaled_to_the_reference_and_undone() -> None:
    """A CT of any brightness is corrected as one of the reference's, whatever the network does."""
    from hip_support import METAL, PIXEL_MM, SHAPE, clean_hip, rod
    from MetalArtifactReductionLib.methods.base import InpaintingContext
    from MetalArtifactReductionLib.methods.trace_cnn.brightness import body_quantiles
    from MetalArtifactReductionLib.tomography.attenuation import hu_to_mu

    volume = clean_hip().hu
    facts = {
        **FACTS,
        "unit": 1.0,
        "brightness_reference": body_quantiles(1 + volume / 1000).tolist(),
    }
    torch.manual_seed(0)
    network = TraceCNN(4).eval()
    with torch.no_grad():
        network.layers[-1].bias.fill_(1.0)  # what it finds does not grow with its input
    weights = Weights(network, WeightsFacts("trace-cnn", {}, facts), Path())
    grid = ImageGrid(*SHAPE[1:], (PIXEL_MM, PIXEL_MM))
    projector = ParallelProjector(grid, ParallelGeometry(120, 96, PIXEL_MM))
    metal = torch.from_numpy(rod()[METAL])

    def found(factor: float, **options: object) -> torch.Tensor:
        hu = (factor * (volume + 1000) - 1000).astype(np.float32)
        image = hu_to_mu(torch.from_numpy(hu[METAL]))
        sinogram, trace = projector(image), projector(metal) > 0
        context = InpaintingContext(image, metal, projector, np.arange(len(hu))[METAL], hu)
        return TraceCNNMethod(weights, output="trace", **options)(sinogram, trace, context)

    one, dark = found(1.0), found(0.7)
    assert torch.allclose(dark, 0.7 * one, atol=0.01)
    assert not torch.allclose(found(0.7, brightness=1.0), 0.7 * one, atol=0.01)
