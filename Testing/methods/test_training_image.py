"""Training of the image prior: samples, who simulates them, the loss, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bank_support import small_bank, write_small_bank
from cli_support import assert_refused, run
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.methods.image_prior.channels import CHANNELS
from MetalArtifactReductionLib.methods.image_prior.network import ImagePrior
from MetalArtifactReductionLib.methods.image_prior.samples import (
    ImageBlock,
    ImageSampleParameters,
    ImageSampler,
    _found_metal,
    block_maker,
)
from MetalArtifactReductionLib.methods.image_prior.task import ImageTask, make_task, measured
from MetalArtifactReductionLib.training.block_workers import BlockWorkers
from MetalArtifactReductionLib.training.parameters import TrainerParameters
from MetalArtifactReductionLib.training.trainer import train
from MetalArtifactReductionLib.weights import load_weights

CPU = torch.device("cpu")
SMALL = ImageSampleParameters(gantries=2, size=64, window=2, slices=2, crops=2, crop=48)
OPTIONS: dict[str, Any] = {
    "bank": "bank.npz",
    "features": [8, 8],
    "blocks": [1, 1],
    "gantries": 2,
    "size": 64,
    "window": 2,
    "slices": 2,
    "crops": 2,
    "crop": 48,
}
METAL, MISSING = 5, 6


def sampler(seed: int = 3, **changes: Any) -> ImageSampler:
    return ImageSampler(small_bank(), replace(SMALL, **changes), seed)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_small_bank(tmp_path / "bank.npz")
    return tmp_path


def test_sample_k_follows_from_seed_and_k_alone() -> None:
    one = sampler()
    one.samples(range(8), CPU)
    late, first = one.samples([8, 11], CPU), sampler().samples([11], CPU)
    assert first["channels"].shape == (1, CHANNELS, 48, 48)
    assert first["target"].shape == first["weight"].shape == (1, 48, 48)
    for name, tensor in first.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor[0], late[name][1]), name
    assert not torch.equal(sampler(4).samples([11], CPU)["target"], first["target"])


@pytest.mark.usefixtures("forked")
def test_processes_make_the_same_samples(data: Path) -> None:
    """From the second turn on, as a resumed training does."""
    workers = BlockWorkers(2, block_maker, data / "bank.npz", SMALL, 3, "cpu")
    try:
        beside = ImageSampler(small_bank(), SMALL, 3, workers).samples(range(8, 12), CPU)
    finally:
        workers.close()
    for name, tensor in sampler().samples(range(8, 12), CPU).items():
        assert torch.equal(tensor, beside[name]), name


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize("first", [1, 8 + 3])
def test_training_that_is_resumed_amid_a_turn_goes_on(data: Path, first: int) -> None:
    """The first sample that is asked for need not be of the turn's first block."""
    workers = BlockWorkers(1, block_maker, data / "bank.npz", SMALL, 3, "cpu")
    try:
        resumed = ImageSampler(small_bank(), SMALL, 3, workers)
        beside = [resumed.samples([k], CPU) for k in range(first, first + 7)]
    finally:
        workers.close()
    whole = sampler()
    for k, sample in enumerate(beside, start=first):
        assert torch.equal(whole.samples([k], CPU)["channels"], sample["channels"]), k


def test_a_block_is_a_scan_with_and_without_metal() -> None:
    made = sampler(clipped=1.0, true_mask=0.0)
    bright = 0
    for number in range(6):
        block = made.block(number, CPU)
        assert block.channels.shape == (2, CHANNELS, 64, 64)
        assert {t.dtype for t in (block.channels, block.target, block.weight)} == {torch.float16}
        channels, target = block.channels.float(), block.target.float()
        with_metal = block.metal.flatten(1).any(dim=1)
        # The truth knows no metal, the scan does.
        assert float(target.max()) < 1.6
        bright += int((channels[with_metal, 1] > 1.9).any())
        # Where no metal is near, data are not missing and nothing counts.
        for k in torch.nonzero(~with_metal).flatten().tolist():
            assert not block.weight[k].any()
        # Masks are thresholded in the corrupted image, near the true metal.
        found = channels[:, METAL] > 0
        assert bool((channels[:, MISSING][found] > 0.5).all())
        away = torch.nn.functional.max_pool2d((block.metal.float() > 0).float(), 7, 1, 3) == 0
        assert not bool((found & away).any())
        # Metal hardly counts, what is near it counts most.
        weight = block.weight.float()
        assert bool((weight[block.metal > 0.05] <= 0.06).all())
        tissue = (target > -0.5) & (block.metal == 0) & with_metal[:, None, None]
        assert set(weight[tissue].unique().tolist()) <= {1.0, 3.0}
    assert bright >= 4


def test_masks_are_as_wide_as_their_threshold_says() -> None:
    row, col = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    distance = torch.hypot(row - 20, col - 20)
    truth = (distance < 5).float()[None].repeat(200, 1, 1)
    # Blurred metal: 3000 HU inside, falling by 500 HU a pixel outside; bone far away.
    hu = (3000 - 500 * (distance - 5).clamp_min(0)).clamp_min(0).repeat(200, 1, 1)
    hu[:, :6, :6] = 2600
    found = _found_metal(hu, truth, 0.25, np.random.default_rng(0))
    assert not found[:, :7, :7].any()
    assert set(found.unique().tolist()) == {0.0, 1.0}
    areas = found.flatten(1).sum(dim=1)
    true = int(truth[0].sum())
    same = float((found == truth).flatten(1).all(dim=1).float().mean())
    assert 0.15 < same < 0.45 and bool((areas >= true).all())
    assert len(areas.unique()) > 4
    dim = _found_metal(torch.zeros(5, 40, 40), truth[:5], 0.0, np.random.default_rng(0))
    assert torch.equal(dim, truth[:5]), "metal that no threshold finds: the true mask"


def _constant_network(hu: float, log_scale: float) -> Any:
    def network(channels, corrupted, nmar):  # type: ignore[no-untyped-def]
        return torch.full_like(nmar, hu / 1000), torch.full_like(nmar, log_scale)

    return network


def _plain_batch(side: int = 16) -> dict[str, torch.Tensor]:
    """One piece of 0 HU in which everything counts alike; NMAR is wrong by 200 HU."""
    channels = torch.zeros(1, CHANNELS, side, side)
    channels[:, 4] = 0.2
    return {
        "channels": channels,
        "target": torch.zeros(1, side, side),
        "weight": torch.ones(1, side, side),
    }


def _loss(task: ImageTask, batch: dict[str, torch.Tensor], network: Any) -> Any:
    with torch.no_grad():
        total, figures = task.loss("generator", {"generator": network}, batch)
    return float(total), {name: float(value) for name, value in figures.items()}


def test_the_loss_by_hand(data: Path) -> None:
    plain = make_task(OPTIONS | {"gradient_weight": 0.0, "scale_weight": 0.0}, data, 0)
    total, figures = _loss(plain, _plain_batch(), _constant_network(100.0, 0.0))
    # 100 HU are 1: root mean square and mean of the absolute values.
    assert total == pytest.approx(2.0, abs=2e-3)
    assert figures["rms"] == pytest.approx(1.0, abs=1e-3)
    assert figures["rms_of_nmar"] == pytest.approx(2.0, abs=1e-3)
    batch = _plain_batch()
    batch["weight"][:, :, 8:] = 0.0
    batch["target"][:, :, 8:] = 5.0  # of no weight
    assert _loss(plain, batch, _constant_network(100.0, 0.0))[0] == pytest.approx(2.0, abs=2e-3)
    # A step of 100 HU between two columns: 16 of 240 pairs, in each 1.
    edges = make_task(OPTIONS | {"gradient_weight": 1.0, "scale_weight": 0.0}, data, 0)
    stepped = _plain_batch()
    stepped["target"][:, :, 8:] = 0.1
    with_edges, without = (
        _loss(task, stepped, _constant_network(0.0, 0.0))[0] for task in (edges, plain)
    )
    assert with_edges - without == pytest.approx(16 / 256, abs=1e-6)


def test_the_most_likely_scale_is_the_mean_error(data: Path) -> None:
    """The error's Laplace likelihood is best where the scale is the mean absolute error."""
    task = make_task(OPTIONS, data, 0)
    scales = np.array([20.0, 60.0, 100.0, 140.0, 400.0])
    found = [
        _loss(task, _plain_batch(), _constant_network(100.0, float(np.log(s / 1000))))[1]["scale"]
        for s in scales
    ]
    assert scales[int(np.argmin(found))] == 100.0
    assert found[2] == pytest.approx(1 + np.log(0.1), abs=1e-5)


def test_measured_figures_by_hand() -> None:
    """Errors of 30, 50 and 200 HU: where the body is, and twice as large near metal."""
    side = 12
    channels = torch.zeros(1, CHANNELS, side, side)
    metal, weight = torch.zeros(1, side, side), torch.full((1, side, side), 0.1)
    target = torch.full((1, side, side), -1.0)
    target[:, 2:10, 2:10], weight[:, 2:10, 2:10] = 0.0, 1.0
    near = (slice(None), slice(4, 8), slice(4, 8))
    weight[near], metal[0, 5, 5], weight[0, 5, 5] = 3.0, 1.0, 0.05
    channels[:, 1], channels[:, 4] = 0.2, 0.05
    for channel in (1, 4):
        channels[(slice(None), channel, *near[1:])] *= 2
    block = ImageBlock(channels.half(), target.half(), weight.half(), metal.half(), 0.7)
    found = measured(_constant_network(30.0, 0.0), [block])
    assert found.pixel_mm == (0.7, 0.7)
    figures = found.figures
    assert figures["rmse_body_hu"] == pytest.approx(30.0, abs=0.1)
    assert figures["nmar_rmse_near_metal_hu"] == pytest.approx(100.0, abs=0.1)
    assert figures["uncorrected_rmse_near_metal_hu"] == pytest.approx(400.0, abs=0.3)
    # 63 pixels of the body, 15 of them near metal.
    expected = np.sqrt((48 * 50**2 + 15 * 100**2) / 63)
    assert figures["nmar_rmse_body_hu"] == pytest.approx(expected, abs=0.1)


@pytest.mark.usefixtures("undrawn")
def test_it_learns_and_a_resumed_training_ends_alike(data: Path) -> None:
    options = OPTIONS | {"crops": 64, "learning_rate": 1e-2, "validation": "bank.npz"}
    options |= {"validation_blocks": 1}
    parameters = TrainerParameters(steps=30, batch_size=8, ema=None, log_every=1)
    whole = train(make_task(options, data, 1), parameters, data / "whole")
    assert {"rmse_body_hu", "nmar_rmse_near_metal_hu"} <= whole.figures.keys()
    # Two blocks are seen again and again. At first the result is the mean of the uncorrected image
    # and NMAR's, at last better than both.
    task = make_task(options, data, 1)
    batch = task.batch(range(16), CPU)
    start, before = _loss(task, batch, task.networks()["generator"])
    end, after = _loss(task, batch, whole.network)
    assert end < 0.75 * start
    assert after["rms"] < 0.8 * before["rms"] and after["rms"] < 0.7 * before["rms_of_nmar"]

    class Stop:
        asked = 0

        def __call__(self) -> bool:
            self.asked += 1
            return self.asked > 7

    from MetalArtifactReductionLib.errors import Cancelled

    with pytest.raises(Cancelled):
        train(make_task(options, data, 1), parameters, data / "parts", cancel=Stop())
    train(make_task(options, data, 1), parameters, data / "parts", resume=True)
    one, two = (load_file(data / n / "weights.safetensors") for n in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert {t.dtype for t in one.values()} == {torch.float16}
    weights = load_weights(data / "whole" / "weights.safetensors", "image-prior", ImagePrior)
    assert weights.facts.method["inpainter"] == "image-prior"
    assert weights.facts.method["volumes"] == ["one", "two"]
    # They are a start for another training, of the same network only.
    path = str(data / "whole" / "weights.safetensors")
    started = make_task(OPTIONS | {"pretrained": path}, data, 1).networks()["generator"]
    assert torch.equal(started.state_dict()["head.bias"], one["head.bias"].float())
    other = make_task(OPTIONS | {"pretrained": path, "features": [8, 16]}, data, 1)
    with pytest.raises(InputError, match="the configuration says"):
        other.networks()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gantries": 0}, "gantries is 0"),
        ({"window": 1.5}, "window"),
        ({"crop": 50}, r"crop 50 .*multiples of 16"),
        ({"size": 100}, r"size 100 .*multiples of 16"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"colour": 1}, "unknown option 'colour'"),
        ({"bank": "other.npz"}, r"other\.npz: no such file; make it with mar train"),
        ({"validation": "other.npz"}, r"other\.npz: no such file"),
        ({"slices": 5}, r"bank\.npz: one has 6 slices; 7 are needed"),
        ({"features": [8, 8, 8]}, r"\[8, 8, 8\]"),
    ],
)
def test_options_that_cannot_be_used(data: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        make_task(OPTIONS | options, data, 0).networks()
    assert "\n" not in str(caught.value)


def test_mar_train_refuses_a_missing_bank(tmp_path: Path, capfd: Any) -> None:
    config = tmp_path / "prior.toml"
    config.write_text('task = "image-prior"\n[training]\nsteps = 1\n[options]\nbank = "b.npz"\n')
    command = ("train", config, "--output", tmp_path / "run", "--quiet")
    assert_refused(run(capfd, *command), "--data")
    refused = run(capfd, *command, "--data", tmp_path)
    assert_refused(refused, "b.npz", "no such file", "mar train METHOD --cts")
    assert not any((tmp_path / "run").rglob("*"))
