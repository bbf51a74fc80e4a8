"""The image prior: its network, and that the strict mode keeps every measured value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analytic import head_phantom, parallel_sinogram
from cli_support import ct_hu, metal_truth
from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.methods import Method, create_method
from MetalArtifactReductionLib.methods.image_prior.channels import CHANNELS
from MetalArtifactReductionLib.methods.image_prior.inpainter import (
    matched_to_edges,
)
from MetalArtifactReductionLib.methods.image_prior.network import ImagePrior
from MetalArtifactReductionLib.methods.registry import methods, require_method
from MetalArtifactReductionLib.tomography import ImageGrid, parallel_geometry_for
from MetalArtifactReductionLib.volume import CTVolume
from MetalArtifactReductionLib.weights import WeightsFacts, load_weights, save_weights

TINY = {"in_channels": CHANNELS, "features": [8, 8], "blocks": [1, 1]}
METHOD = {"inpainter": "image-prior", "name": "prior"}
OPTIONS = {"refine_metal": False}  # the segmentation itself is given back


def tiny_network(*, tail: float = 0.3) -> ImagePrior:
    """A small network; with a tail its output depends on all that it sees."""
    torch.manual_seed(4)
    network = ImagePrior(**TINY)  # type: ignore[arg-type]
    torch.nn.init.normal_(network.tail.weight, std=tail)
    return network.eval().requires_grad_(False)


def images(n: int, rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Channels, corrupted, NMAR."""
    rng = torch.Generator().manual_seed(rows)
    channels = torch.randn(n, CHANNELS, rows, cols, generator=rng)
    return channels, channels[:, 1], channels[:, 4]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "prior.safetensors"
    save_weights(path, tiny_network(tail=0.1), WeightsFacts("image-prior", TINY, METHOD))
    return path


# The network


def test_untrained_it_is_the_mean_of_the_uncorrected_image_and_nmar() -> None:
    channels, corrupted, nmar = images(2, 40, 32)
    proposed, log_scale = ImagePrior()(channels, corrupted, nmar)
    assert torch.allclose(proposed, (corrupted + nmar) / 2, atol=1e-6)
    assert proposed.dtype == torch.float32 and proposed.shape == corrupted.shape
    assert torch.allclose(log_scale, torch.tensor(-3.0)), "50 HU expected before it has learned"


def test_two_slices_are_each_what_they_are_alone() -> None:
    network = tiny_network()
    given = images(2, 36, 44)
    both = network(*given)
    for k in range(2):
        alone = network(*(x[k : k + 1] for x in given))
        for one, other in zip(alone, both, strict=True):
            assert torch.allclose(one[0], other[k], atol=1e-5)


def test_an_image_moved_by_the_stride_gives_the_moved_result() -> None:
    network = tiny_network()
    assert network.stride == 4
    given = images(1, 96, 96)
    plain, scale = network(*given)
    inside = (..., slice(32, 64), slice(32, 64))
    for shift in ((4, 0), (-8, 12)):
        moved = network(*(x.roll(shift, (-2, -1)) for x in given))
        for one, other in zip(moved, (plain, scale), strict=True):
            assert torch.allclose(one.roll((-shift[0], -shift[1]), (-2, -1))[inside], other[inside])
    # Not by a constant network: the image counts.
    assert float((network(*(x.flip(-1) for x in given))[0] - plain).abs().max()) > 0.1


def test_odd_sides_change_nothing_away_from_the_border() -> None:
    network = tiny_network()
    given = images(1, 96, 96)
    whole = network(*given)
    cut = network(*(x[..., :61, :75] for x in given))
    for one, other in zip(cut, whole, strict=True):
        assert one.shape == (1, 61, 75) and bool(one.isfinite().all())
        assert torch.allclose(one[..., :30, :44], other[..., :30, :44], atol=1e-5)


def test_the_scale_of_the_error_stays_in_bounds() -> None:
    network = tiny_network(tail=100.0)
    channels, corrupted, nmar = images(1, 32, 32)
    _, log_scale = network(100 * channels, corrupted, nmar)
    # From 1 HU, below every noise, to 2700 HU, as much as metal differs from air.
    assert float(log_scale.min()) == -7.0 and float(log_scale.max()) == 1.0


@pytest.mark.parametrize("wrong", [((8, 8), (1,)), ((8,), (1,)), ((8, 0), (1, 1))])
def test_networks_that_cannot_be_built(wrong: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        ImagePrior(9, *wrong)


def test_half_weights_are_the_nearest_16_bit_numbers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ImagePrior()
    torch.nn.init.normal_(network.tail.weight, std=0.05)
    path = tmp_path / "half.safetensors"
    save_weights(path, network, WeightsFacts("image-prior", {"in_channels": CHANNELS}), half=True)
    assert 13e6 < path.stat().st_size < 16e6
    assert {t.dtype for t in load_file(path).values()} == {torch.float16}
    loaded = load_weights(path, "image-prior", ImagePrior).network
    for name, tensor in network.state_dict().items():
        back = loaded.state_dict()[name]
        assert back.dtype == torch.float32
        # 11 significant bits, and 2^-24 steps below 2^-14.
        assert bool(((back - tensor).abs() <= tensor.abs() * 2**-11 + 2**-25).all()), name
    given = images(1, 32, 32)
    one, other = loaded(*given)[0], network.eval()(*given)[0]
    difference = (one - other).detach().abs().max()
    assert 0 < float(difference) < 1e-3 * float(other.detach().abs().max())


# Matching to the trace's edges


def measured(views: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Exact sinogram, a trace that wanders through it, and the sinogram with the trace ruined."""
    grid = ImageGrid(96, 96, (1.0, 1.0))
    geometry = parallel_geometry_for(grid)
    truth = torch.from_numpy(parallel_sinogram(head_phantom(45.0), geometry).astype(np.float32))
    truth = truth[None, ::3]
    angle = torch.linspace(0, np.pi, truth.shape[1])
    bins = torch.arange(truth.shape[2]) - truth.shape[2] / 2
    trace = torch.zeros_like(truth, dtype=torch.bool)
    for x, y, radius in ((12.0, 5.0, 6.0), (-20.0, -9.0, 3.0)):
        centre = x * angle.cos() + y * angle.sin()
        trace[0] |= (bins[None, :] - centre[:, None]).abs() < radius
    ruined = torch.where(trace, 7.0 + torch.rand(truth.shape), truth)
    return truth, trace, ruined


def test_a_perfect_prior_gives_the_true_sinogram() -> None:
    truth, trace, ruined = measured()
    filled = matched_to_edges(ruined, trace, truth)
    assert 0.05 < trace.float().mean() < 0.4
    assert float((filled - truth).abs().max()) < 1e-6
    assert torch.equal(filled[~trace], ruined[~trace])


def test_a_level_or_a_slope_of_the_prior_does_not_matter() -> None:
    """Each view may have its own: what is wrong so far is seen at the trace's edges."""
    truth, trace, ruined = measured()
    prior = truth + 0.3 * torch.sin(torch.arange(truth.shape[2]) / 5.0)
    plain = matched_to_edges(ruined, trace, prior)
    assert float((plain - truth)[trace].abs().max()) > 0.05
    levels = torch.randn(1, truth.shape[1], 1)
    slopes = 0.05 * torch.randn(1, truth.shape[1], 1) * torch.arange(truth.shape[2])
    for other in (prior + levels, prior + slopes, prior + levels + slopes):
        assert torch.allclose(matched_to_edges(ruined, trace, other), plain, atol=2e-5)


def test_where_a_trace_leaves_the_detector_or_fills_it() -> None:
    sinogram = torch.tensor([[[9.0, 9.0, 3.0, 4.0], [9.0, 9.0, 9.0, 9.0]]])
    trace = sinogram == 9.0
    prior = torch.tensor([[[1.0, 2.0, 2.5, 2.0], [1.0, 2.0, 3.0, 4.0]]])
    # The one neighbour's difference of 0.5; the prior as it is where there is no neighbour.
    expected = torch.tensor([[[1.5, 2.5, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]]])
    assert torch.allclose(matched_to_edges(sinogram, trace, prior), expected)


# The method in the correction


def volume() -> CTVolume:
    return CTVolume(ct_hu(dtype="float32"), np.diag([1.9, 2.0, 3.0, 1.0]))


def metal() -> np.ndarray:
    return metal_truth().astype(np.float32)


def test_strict_keeps_every_value_outside_the_trace_bit_by_bit(weights: Path) -> None:
    """In what the correction itself asks for, and reconstructs as it is."""
    method = create_method(str(weights), mode="strict", **OPTIONS)
    seen: list[tuple[torch.Tensor, ...]] = []

    class Spy(Method):
        name = "spy"

        def __call__(self, sinogram, trace, context):  # type: ignore[no-untyped-def]
            filled = method(sinogram, trace, context)
            interpolated = create_method("li")(sinogram, trace, context)
            seen.append((sinogram.clone(), trace, filled, interpolated))
            return filled

        def propose(self, sinogram, trace, context):  # type: ignore[no-untyped-def]
            return method.propose(sinogram, trace, context)  # type: ignore[attr-defined]

    found = correct_volume(volume(), metal(), Spy(), batch_slices=2)
    assert len(seen) == 2, "a strict method fills the trace in every batch"
    for sinogram, trace, filled, interpolated in seen:
        outside = (~trace).numpy()
        bits = [x.numpy().view(np.uint32)[outside] for x in (sinogram, filled)]
        assert np.array_equal(*bits)
        assert float((filled - interpolated)[trace].abs().mean()) > 0.01, "the network counts"
    options = {"mode": "strict", **OPTIONS}
    direct = correct_volume(volume(), metal(), str(weights), method_options=options)
    assert np.array_equal(direct.corrected.hu, found.corrected.hu)
    assert direct.method == "prior-strict" and direct.expected_error_hu is None


@pytest.mark.parametrize("mode", ["best", "strict"])
def test_neither_batch_nor_other_slices_change_a_slice(weights: Path, mode: str) -> None:
    results = [
        correct_volume(
            volume(),
            metal(),
            str(weights),
            method_options={"mode": mode, **OPTIONS},
            batch_slices=n,
            always=True,
        )
        for n in (1, 3)
    ]
    one, other = (r.corrected.hu for r in results)
    assert np.abs(one - other).max() < 0.01, "bfloat16 makes 1 HU of a rounding"
    assert np.array_equal(one[[0, 5]], volume().hu[[0, 5]]), "slices without metal"
    assert np.abs(one - volume().hu)[1:5].max() > 50
    assert np.array_equal(one[metal() == 1], volume().hu[metal() == 1]), "metal is given back"
    errors = results[0].expected_error_hu
    if mode == "strict":
        assert errors is None
        return
    assert errors is not None and errors.shape == one.shape and errors.dtype == np.float32
    assert not errors[[0, 5]].any() and (errors[1:5] > 0).all()
    assert results[0].method == "prior"
    record = results[0].parameters["method_parameters"]
    assert isinstance(record, dict) and record["mode"] == "best"
    assert record["weights"] == "prior.safetensors" and len(str(record["weights_sha256"])) == 64


def test_neighbours_are_seen_and_slices_farther_away_are_not(weights: Path) -> None:
    changed = volume()
    changed.hu[0, 20:70, 30:60] += 200  # a slice without metal, beside the first with metal
    options = {"mode": "best", **OPTIONS}
    one, other = (
        correct_volume(v, metal(), str(weights), method_options=options, always=True).corrected.hu
        for v in (volume(), changed)
    )
    differ = np.abs(one - other).reshape(6, -1).max(axis=1)
    assert differ[1] > 1 and not differ[2:].any()


def test_names_weights_and_modes() -> None:
    assert methods()["prior-strict"].weights == "prior"
    for name in ("prior", "prior-strict"):
        require_method(name)
        made = create_method(name, **OPTIONS)
        assert made.name == name
        assert made.parameters["weights"] == "prior.safetensors"
    # A mode that is given wins over the name's.
    assert create_method("prior", mode="strict", **OPTIONS).name == "prior-strict"


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path, weights: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    tiny = {"features": 4, "dilations": [1]}
    from MetalArtifactReductionLib.methods.metal_refiner.network import MetalRefiner

    save_weights(foreign, MetalRefiner(4, [1]), WeightsFacts("metal-refiner", tiny, METHOD))
    other = tmp_path / "other.safetensors"
    fewer = TINY | {"in_channels": 5}
    save_weights(other, ImagePrior(5, [8, 8], [1, 1]), WeightsFacts("image-prior", fewer, METHOD))
    for path, options, words in (
        (weights, {"mode": "bold"}, "mode 'bold' is unknown; use one of best, strict"),
        (weights, {"colour": 1}, "colour"),
        (foreign, {}, "a 'metal-refiner'.*'image-prior' is needed"),
        (other, {}, "another input"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            create_method(str(path), **OPTIONS, **options)
        assert "\n" not in str(caught.value)
