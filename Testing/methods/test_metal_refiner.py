"""Metal without its blur: the network, its training, and what is given back with the metal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analytic import Ellipse, rasterize
from bank_support import write_small_bank
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.methods.base import InpaintingContext
from MetalArtifactReductionLib.methods.metal_refiner.network import (
    CHANNELS,
    MetalRefiner,
    refiner_channels,
)
from MetalArtifactReductionLib.methods.metal_refiner.refinement import MetalRefinement
from MetalArtifactReductionLib.methods.metal_refiner.task import make_task, segmented
from MetalArtifactReductionLib.tomography import ImageGrid, ParallelProjector, parallel_geometry_for
from MetalArtifactReductionLib.tomography.attenuation import hu_to_mu
from MetalArtifactReductionLib.tomography.smoothing import gaussian_smooth
from MetalArtifactReductionLib.training.parameters import TrainerParameters
from MetalArtifactReductionLib.training.trainer import train
from MetalArtifactReductionLib.weights import WeightsFacts, load_weights, save_weights

CPU = torch.device("cpu")
SIDE = 48
OPTIONS: dict[str, Any] = {
    "bank": "bank.npz",
    "features": 8,
    "dilations": [1, 2],
    "gantries": 2,
    "size": 64,
    "slices": 3,
    "pieces": 4,
    "piece": 32,
    "uses": 2,
    "window": 2,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_small_bank(tmp_path / "bank.npz")
    return tmp_path


def discs(count: int, seed: int, metal_hu: float = 9000.0) -> tuple[torch.Tensor, ...]:
    """Images of blurred discs clipped at 3071 HU, their thresholds' masks, and the true shares."""
    rng = np.random.default_rng(seed)
    grid = ImageGrid(SIDE, SIDE, (1.0, 1.0))
    truth = np.zeros((count, SIDE, SIDE), np.float32)
    for index in range(count):
        for _ in range(int(rng.integers(1, 3))):
            a, b = rng.uniform(2.0, 5.0, 2)
            x, y = rng.uniform(-12, 12, 2)
            truth[index] += rasterize([Ellipse(1.0, a, b, x, y, rng.uniform(0, 180))], grid)
    shares = torch.from_numpy(truth).clamp(0.0, 1.0)
    blurred = gaussian_smooth(shares, [1.1, 1.1])
    hu = (40 + blurred * metal_hu + 15 * torch.from_numpy(rng.standard_normal(truth.shape))).float()
    hu = hu.clamp_max(3071.0)
    return hu, (hu > 2000).float(), shares


def dice(found: torch.Tensor, true: torch.Tensor) -> float:
    a, b = found >= 0.5, true >= 0.5
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def batch_of(count: int, seed: int) -> dict[str, torch.Tensor]:
    hu, found, shares = discs(count, seed)
    weight = torch.nn.functional.max_pool2d(found, 7, 1, 3)
    return {"channels": refiner_channels(hu, hu, hu, found), "metal": shares, "weight": weight}


def test_channels_by_hand() -> None:
    hu = torch.tensor([[[-2000.0, 500.0, 3071.0, 20000.0, 3070.5]]])
    found = torch.tensor([[[0.0, 0.0, 1.0, 1.0, 0.5]]])
    below, here, above, bright, clipped, mask = refiner_channels(hu - 100, hu, hu + 100, found)[0]
    assert here[0].tolist() == pytest.approx([-1.0, 0.5, 3.071, 3.1, 3.0705])
    assert below[0].tolist() == pytest.approx([-1.0, 0.4, 2.971, 3.1, 2.9705])
    assert above[0].tolist() == pytest.approx([-1.0, 0.6, 3.1, 3.1, 3.1])
    assert bright[0].tolist() == pytest.approx(np.log([1.0, 1.5, 4.071, 21.0, 4.0705]).tolist())
    assert clipped[0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]
    assert torch.equal(mask, found[0])


def test_the_network_looks_at_a_neighbourhood_and_at_nothing_else() -> None:
    torch.manual_seed(0)
    network = MetalRefiner(8, (1, 2))
    channels = torch.randn(2, CHANNELS, 33, 40, requires_grad=True)
    logits = network(channels)
    assert logits.shape == (2, 33, 40) and logits.dtype == torch.float32
    logits[0, 16, 20].backward()
    assert channels.grad is not None and not channels.grad[1].any()
    seen = torch.nonzero(channels.grad[0].abs().sum(dim=0))
    # A first layer of 3 x 3 and dilations of 1 and 2: 4 pixels to each side.
    assert seen.amin(dim=0).tolist() == [12, 16] and seen.amax(dim=0).tolist() == [20, 24]


def test_it_learns_what_blur_is(data: Path) -> None:
    """On blurred, clipped discs whose true shares are known: Dice above the threshold's."""
    task = make_task(OPTIONS | {"learning_rate": 5e-3}, data, 0)
    task.batch = lambda indices, device: batch_of(8, int(indices[0]))  # type: ignore[method-assign]
    p = TrainerParameters(steps=80, batch_size=8, ema=None, log_every=1)
    result = train(task, p)
    held_out = batch_of(24, 10**6)
    share = torch.sigmoid(result.network(held_out["channels"])) * held_out["weight"]
    before = dice(held_out["channels"][:, -1], held_out["metal"])
    after = dice(share, held_out["metal"])
    assert 0.5 < before < 0.88, "a threshold takes the blur for metal"
    assert after > before + 0.06 and after > 0.9
    # Too much metal before, about as much as there is after.
    true = float(held_out["metal"].sum())
    assert float(held_out["channels"][:, -1].sum()) > 1.2 * true
    assert float(share.sum()) == pytest.approx(true, rel=0.1)
    loss, figures = task.loss("generator", {"generator": result.network}, held_out)
    assert figures["dice"] == pytest.approx(after, abs=1e-6)
    assert figures["dice_of_segmentation"] == pytest.approx(before, abs=1e-6)
    assert float(loss) < 0.25


def test_pieces_of_simulated_scans(data: Path) -> None:
    sampler = make_task(OPTIONS, data, 3).sampler
    with_metal = 0
    for number in range(4):
        made = sampler.block(number, CPU)
        assert made["channels"].shape == (4, CHANNELS, 32, 32)
        assert made["metal"].shape == made["weight"].shape == (4, 32, 32)
        assert all(x.dtype == np.float16 for x in made.values())
        assert made["metal"].min() >= 0 and made["metal"].max() <= 1
        assert set(np.unique(made["weight"])) <= {0.0, 1.0}
        found = made["channels"][:, -1]
        assert (made["weight"][found > 0] == 1).all(), "what is segmented counts"
        assert made["channels"][:, :3].max() <= 3.102
        with_metal += int((made["metal"].max(axis=(1, 2)) > 0.2).sum())
        again = sampler.block(number, CPU)
        assert all(np.array_equal(made[name], again[name]) for name in made)
    assert with_metal >= 8


def test_segmentations_that_find_nothing_fall_back_to_a_threshold() -> None:
    truth = torch.zeros(3, 40, 40)
    truth[:, 18:22, 18:22] = 1.0
    hu = torch.where(truth > 0, 1500.0, 40.0)
    found = [segmented(hu, truth, 1.0, np.random.default_rng(seed)) for seed in range(12)]
    areas = {int(x[1].sum()) for x in found}
    # None, the metal, or a pixel more; never what is not beside metal.
    assert areas <= {0, 16, 36} and 16 in areas
    assert all(set(x.unique().tolist()) <= {0.0, 1.0} for x in found)


@pytest.mark.usefixtures("undrawn")
def test_training_resumes_and_makes_weights(data: Path) -> None:
    options = OPTIONS | {"validation": "bank.npz", "validation_blocks": 1}
    p = TrainerParameters(steps=6, batch_size=3, ema=None, log_every=1, checkpoint_every=2)
    train(make_task(options, data, 1), p, data / "whole")
    short = TrainerParameters(
        steps=6, batch_size=3, ema=None, log_every=1, checkpoint_every=2, minutes=1e-9
    )
    train(make_task(options, data, 1), short, data / "parts")
    result = train(make_task(options, data, 1), p, data / "parts", resume=True)
    assert {"loss", "dice", "dice_of_segmentation"} <= result.figures.keys()
    one, two = (
        load_weights(data / n / "weights.safetensors", "metal-refiner", MetalRefiner)
        for n in ("whole", "parts")
    )
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, two.network.state_dict()[name]), name
    assert one.facts.architecture == "metal-refiner"
    assert one.facts.method["volumes"] == ["one", "two"]


@pytest.mark.usefixtures("forked")
def test_processes_make_the_same_pieces(data: Path) -> None:
    alone, beside = (make_task(OPTIONS | {"workers": n}, data, 3) for n in (0, 2))
    try:
        # From amid the first turn of 2 blocks, 4 pieces, twice; into the second.
        batches = [[t.batch(k, CPU) for t in (alone, beside)] for k in ([13, 14], [15, 16, 17])]
    finally:
        assert beside._workers is not None
        beside._workers.close()
    for one, other in batches:
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"piece": 96}, r"piece is 96; .*64"),
        ({"pieces": 0}, "pieces is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
        ({"slices": 5}, "one has 6 slices; 7 are needed"),
        ({"bank": "other.npz"}, "no such file"),
        ({"colour": 1}, "unknown option 'colour'"),
    ],
)
def test_options_that_cannot_be_used(data: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        make_task(OPTIONS | options, data, 0)
    assert "\n" not in str(caught.value)


# In use


def context_of(
    hu: torch.Tensor, found: torch.Tensor, slices: list[int], pixel_mm: float = 1.0
) -> InpaintingContext:
    grid = ImageGrid(*hu.shape[1:], (pixel_mm, pixel_mm))
    projector = ParallelProjector(grid, parallel_geometry_for(grid, fewest_views=8))
    return InpaintingContext(
        hu_to_mu(hu[slices]), found[slices], projector, np.array(slices), volume_hu=hu.numpy()
    )


def test_nothing_is_added_and_nothing_depends_on_the_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arguments = {"features": 8, "dilations": [1, 2]}
    network = MetalRefiner(8, [1, 2])
    torch.nn.init.normal_(network.tail.weight, std=2.0)
    path = tmp_path / "w.safetensors"
    save_weights(path, network, WeightsFacts("metal-refiner", arguments))
    refine = MetalRefinement(str(path))
    assert refine.identity["metal_weights"] == "w.safetensors"
    hu, found, _ = discs(4, 1)
    found[3] = 0.0
    out = refine(context_of(hu, found, [0, 1, 2, 3]))
    assert out.shape == found.shape and float(out.min()) >= 0.0 and float(out.max()) <= 1.0
    assert out.any() and not out[found == 0].any()
    assert torch.allclose(refine(context_of(hu, found, [1]))[0], out[1], atol=1e-5)
    assert not refine(context_of(hu, found, [3])).any()
    save_weights(path, network, WeightsFacts("trace-cnn", arguments), overwrite=True)
    with pytest.raises(InputError, match="'metal-refiner' is needed"):
        MetalRefinement(str(path))


def test_shipped_weights_take_the_blur_off() -> None:
    """Discs that no scanner made: nearer to the true metal than a threshold is."""
    hu, found, truth = discs(8, 5)
    refined = torch.cat([MetalRefinement()(context_of(hu, found, [k])) for k in range(8)])
    before, after = dice(found, truth), dice(refined, truth)
    assert after > before + 0.03
    errors = [abs(float(x.sum() / truth.sum()) - 1) for x in (refined, found)]
    assert errors[0] < 0.6 * errors[1]


def test_shipped_weights_show_no_metal_where_none_is() -> None:
    """A mask on soft tissue or on bone."""
    hu, found, _ = discs(8, 6, metal_hu=0.0)
    hu[4:] = discs(8, 6)[0][4:].clamp_max(900.0)
    found = discs(8, 6)[1]
    refined = torch.cat([MetalRefinement()(context_of(hu, found, [k])) for k in range(8)])
    assert float(refined.sum()) < 0.02 * float(found.sum())


# What is believed


@pytest.fixture
def blind(tmp_path: Path) -> MetalRefinement:
    """By a network that sees no metal anywhere."""
    network = MetalRefiner(8, (1,))
    torch.nn.init.zeros_(network.tail.weight)
    assert network.tail.bias is not None
    torch.nn.init.constant_(network.tail.bias, -9.0)
    path = tmp_path / "blind.safetensors"
    save_weights(path, network, WeightsFacts("metal-refiner", {"features": 8, "dilations": [1]}))
    return MetalRefinement(str(path))


@pytest.mark.parametrize(("pixel_mm", "believed"), [(0.3, False), (0.8, True), (3.0, False)])
def test_pixels_unlike_those_of_the_training_keep_the_segmentation(
    blind: MetalRefinement, pixel_mm: float, believed: bool
) -> None:
    hu, found = torch.full((1, SIDE, SIDE), 40.0), torch.zeros(1, SIDE, SIDE)
    hu[0, 20:24, 20:24], found[0, 20:24, 20:24] = 1500.0, 0.7
    kept = blind(context_of(hu, found, [0], pixel_mm))
    assert torch.equal(kept, torch.zeros_like(found) if believed else found)
