"""Training sinogram generators: samples simulated in the step, losses, and that it learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import write_volume
from MetalArtifactReductionLib.methods.sinogram_unet import samples
from MetalArtifactReductionLib.methods.sinogram_unet.losses import image_error, trace_error
from MetalArtifactReductionLib.methods.sinogram_unet.network import MaskedUNet, wrapped_views
from MetalArtifactReductionLib.methods.sinogram_unet.samples import (
    SampleParameters,
    SinogramSampler,
    take_views,
)
from MetalArtifactReductionLib.methods.sinogram_unet.task import make_task
from MetalArtifactReductionLib.methods.sinogram_unet.validation import SinogramValidation
from MetalArtifactReductionLib.tomography import ImageGrid, Reprojection
from MetalArtifactReductionLib.tomography.attenuation import hu_to_mu
from MetalArtifactReductionLib.training.clean_volumes import CleanVolume, read_clean
from MetalArtifactReductionLib.training.metal_source import SimpleMetal, metal_source
from MetalArtifactReductionLib.training.parameters import TrainerParameters
from MetalArtifactReductionLib.training.trainer import train
from MetalArtifactReductionLib.weights import load_weights, save_weights
from training_support import SPACING_MM, small_ct, small_sampler, small_task

CPU = torch.device("cpu")


def test_sample_k_follows_from_seed_and_k_alone() -> None:
    one, other = small_sampler(), small_sampler(seed=6)
    one.samples(range(0, 10), CPU)
    asked_late = one.samples([11, 12], CPU)
    asked_first = small_sampler().samples([12], CPU)
    for name, tensor in asked_first.items():
        assert torch.equal(tensor[0], asked_late[name][1]), name
    assert not torch.equal(other.samples([12], CPU)["target"], asked_first["target"])
    assert asked_first["channels"].shape == (1, 6, 64, 48)


@pytest.mark.parametrize(("start", "channels"), [("none", 3), ("li", 6), ("nmar", 6)])
def test_a_block_is_what_the_correction_would_see(start: str, channels: int) -> None:
    block = small_sampler(start).block(0, CPU)
    assert block.channels.shape[:2] == (2, channels)
    projector = block.scanner.projector
    again = projector(hu_to_mu(block.corrupted_hu))
    assert torch.equal(block.measured, again)
    assert torch.equal(block.channels[:, 1], again / 5.0)
    # The target is the clean CT's own sinogram, but for the noise of the simulated scan.
    clean = projector(hu_to_mu(torch.from_numpy(small_ct().hu[:2])))
    flipped = projector(hu_to_mu(torch.from_numpy(small_ct().hu[:2]).flip(-1)))
    error = min(float((block.target - x).square().mean().sqrt()) for x in (clean, flipped))
    assert error < 0.05 * float(clean.square().mean().sqrt())
    inside = block.trace
    assert 0.02 < inside.float().mean() < 0.5
    added = (block.measured - block.target)[inside].mean()
    assert added > 10 * (block.measured - block.target)[~inside].mean().abs()
    if start != "none":
        assert torch.equal(block.start[~inside], block.measured[~inside])
        wrong = [
            float(trace_error(x, block.target, inside).mean())
            for x in (block.start, block.measured)
        ]
        assert wrong[0] < 0.5 * wrong[1]


def test_pieces_continue_past_the_last_view_as_the_object_does() -> None:
    x = torch.randn(2, 3, 20, 9)
    around = wrapped_views(x, 20, 20)
    for top in (-13, -1, 0, 7, 15):
        expected = around[..., top + 20 : top + 20 + 13, 2:8]
        assert torch.equal(take_views(x, top, 13, 2, 6), expected), top


def test_trace_error_by_hand() -> None:
    filled, target = torch.zeros(2, 4, 8), torch.zeros(2, 4, 8)
    trace = torch.zeros(2, 4, 8, dtype=torch.bool)
    trace[0, 0, :4] = True
    trace[1, :2] = True
    filled[0, 0, :2] = 3.0  # 2 of 4 bins: 4.5
    filled[1] = 1.0  # all of 16 bins, and outside, which does not count: 1
    assert trace_error(filled, target, trace).tolist() == pytest.approx([4.5, 1.0])
    assert trace_error(target, target, torch.zeros_like(trace)).tolist() == [0.0, 0.0]


def test_image_error_is_the_reconstructions() -> None:
    """Its ratio to the image's squared error is the same for a coarse and a fine error."""
    grid = ImageGrid(128, 128, (1.0, 1.0))
    scanner = Reprojection(grid, CPU)
    views, bins = scanner.projector(torch.zeros(1, 128, 128)).shape[1:]
    trace = torch.zeros(1, views, bins, dtype=torch.bool)
    middle = slice(bins // 2 - 16, bins // 2 + 16)
    trace[..., middle] = True
    rng = torch.Generator().manual_seed(0)
    ratios, plain = [], []
    for width in (1, 7):
        error = torch.zeros(1, views, bins)
        noise = torch.randn(1, views, 64, generator=rng)
        kernel = torch.ones(1, 1, width) / width
        error[..., middle] = torch.nn.functional.conv1d(
            noise.transpose(0, 1), kernel, padding="same"
        ).transpose(0, 1)[..., 16:48]
        image = scanner.reconstruct(error).square().mean()
        ratios.append(float(image_error(error, torch.zeros_like(error), trace) / image))
        plain.append(float(trace_error(error, torch.zeros_like(error), trace) / image))
    assert ratios[0] == pytest.approx(ratios[1], rel=0.5)
    assert plain[1] > 2 * plain[0]  # the plain error is not in proportion


@pytest.mark.parametrize("start", ["none", "li"])
def test_a_batch_can_be_learned_by_heart(start: str) -> None:
    task = small_task(start, learning_rate=5e-3, image_weight=1.0, relative=start != "none")
    batch = task.batch([0, 1], CPU)
    task.batch = lambda indices, device: dict(batch)  # type: ignore[method-assign]
    # Without a filling to start from: better than the one level that fits best.
    level = batch["target"][batch["trace"]].mean().expand_as(batch["start"])
    known = level if start == "none" else batch["start"]
    before = trace_error(known, batch["target"], batch["trace"])
    p = TrainerParameters(steps=190, batch_size=2, ema=None, log_every=190)
    network = train(task, p).network
    names = ("channels", "start", "measured", "trace")
    filled = network(*(batch[name] for name in names))
    after = trace_error(filled, batch["target"], batch["trace"])
    assert bool((after < 0.1 * before).all())


@pytest.mark.usefixtures("undrawn")
def test_against_a_discriminator_both_learn_and_frozen_layers_stay(tmp_path: Path) -> None:
    first = small_task()
    weights = tmp_path / "start.safetensors"
    torch.manual_seed(1)
    save_weights(weights, first.networks()["generator"], first.facts())
    task = small_task(adversarial=0.1, pretrained=str(weights), freeze=("conv_0", "down"))
    p = TrainerParameters(steps=3, batch_size=2, ema=None, log_every=1, checkpoint_every=3)
    result = train(task, p, tmp_path / "run")
    before = load_weights(weights, "masked-unet", MaskedUNet).network.state_dict()
    for name, tensor in result.network.state_dict().items():
        frozen = name.startswith(("unet.conv_0", "unet.down"))
        assert torch.equal(tensor, before[name]) == frozen, name
    (row,) = (r for r in result.curve if r["step"] == 3)
    assert {"adversarial", "discriminator", "score_real", "score_filled"} <= row.keys()
    # A fresh discriminator's scores are near 0: each squared error is about 1, their mean 1.
    assert 0.2 < result.curve[0]["discriminator"] < 2.0
    other = small_task("none", pretrained=str(weights))
    with pytest.raises(InputError, match="the configuration says"):
        train(other, p)
    with pytest.raises(InputError, match=r"freeze.*'middle'"):
        train(small_task(freeze=("middle",)), p)


def test_validation_measures_the_start_when_nothing_is_learned() -> None:
    torch.manual_seed(0)
    task = small_task()
    validation = SinogramValidation(small_sampler(seed=9), 2)
    with torch.no_grad():
        found = validation.measure(task.networks()["generator"].eval(), CPU)
    figures = found.figures
    assert figures["rmse_near_metal_hu"] == pytest.approx(figures["start_rmse_near_metal_hu"])
    assert 1 < figures["rmse_body_hu"] < figures["rmse_near_metal_hu"] < 1000
    assert [image.shape for image in found.images.values()] == [(64, 64)] * 4
    assert found.pixel_mm == (SPACING_MM, SPACING_MM)
    truth = found.images["without metal"]
    assert np.median(np.abs(truth - small_ct().hu[0])) < 25


def test_nothing_is_trained_on_outside_the_slices_that_are_named(tmp_path: Path) -> None:
    volume = small_ct(9)
    volume.hu[:] += np.arange(9, dtype=np.float32)[:, None, None]
    write_volume(volume, tmp_path / "a.nii.gz")
    (clean,) = read_clean(["a.nii.gz:2-7"], tmp_path, 6)
    assert clean.name == "a" and len(clean.volume.hu) == 6
    assert np.allclose(clean.volume.hu, volume.hu[2:8], atol=0.51)
    assert np.allclose(
        clean.volume.ijk_to_ras @ (0, 0, 0, 1), volume.ijk_to_ras @ (0, 0, 2, 1), atol=1e-4
    )


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "no volumes to train on"),
        (["a.nii.gz:3-99"], "slices 0-5"),
        (["a.nii.gz:4-3"], "slices 0-5"),
        (["a.nii.gz:1-3"], "3 slices; 6 are needed"),
        (["b.nii.gz"], r"b\.nii\.gz"),
    ],
)
def test_volumes_that_cannot_be_used(tmp_path: Path, entries: Sequence[str], words: str) -> None:
    write_volume(small_ct(), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=words):
        read_clean(entries, tmp_path, 6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": "sideways"}, "'sideways'.*nmar"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"adversarial": -1}, "adversarial is -1"),
        ({"crop": [100, 64]}, "multiples of 16"),
        ({"window": 0}, "window is 0"),
        ({"l2_weight": 0}, "nothing to train"),
        ({"relative": True, "start": "none"}, "relative errors need a start"),
        ({"colour": 1}, "unknown option 'colour'"),
        ({"metal": "gold", "volumes": ["a.nii.gz"]}, "'gold'.*simple"),
        ({"metal": "simple", "volumes": ["a.nii.gz"], "metal_options": {"x": 1}}, "'simple'"),
        ({"volumes": ["a.nii.gz:0-2"]}, "6 are needed"),
    ],
)
def test_options_that_cannot_be_used(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    write_volume(small_ct(), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=words) as caught:
        make_task(options, tmp_path, 0)
    assert "\n" not in str(caught.value)


def test_simple_metal_has_the_radius_asked_for() -> None:
    metal = SimpleMetal((12.0, 12.0)).draw("x", small_ct(), 4, np.random.default_rng(1))
    fraction = metal.fractions["Ti6Al4V"]
    assert fraction.shape == (4, 64, 64) and 0 <= metal.first <= 2
    disc = np.pi * 12.0**2 / SPACING_MM**2
    assert 0.8 * disc < fraction[0].sum() < 3.3 * disc
    with pytest.raises(InputError, match="unknown kind"):
        metal_source("gold", {})


def test_a_ct_without_body_is_refused() -> None:
    empty = small_ct()
    empty.hu[:] = -1000
    sampler = SinogramSampler(
        [CleanVolume("air", empty)], SimpleMetal(), SampleParameters(slices=2), 0
    )
    with pytest.raises(InputError, match="air: no body"):
        sampler.block(0, CPU)


def test_scanners_of_many_cts_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_KEPT", 1)
    one, usual = small_sampler(), small_sampler()
    monkeypatch.setattr(samples, "BEAMS", ((100.0, 2e6), (140.0, 8e6)))
    blocks = [one.block(number, CPU) for number in range(3)]
    assert len(one._scanners) == 1
    monkeypatch.setattr(samples, "MOST_KEPT", 12)
    again = [usual.block(number, CPU) for number in range(3)]
    assert len(usual._scanners) == 2
    for block, other in zip(blocks, again, strict=True):
        assert torch.equal(block.measured, other.measured)
