"""Pairs for training: which slices, which masks, which brightness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hip_support import METAL, PIXEL_MM, clean_hip, rod
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.methods.trace_cnn.brightness import (
    body_quantiles,
    brightness_factor,
    reference_quantiles,
)
from MetalArtifactReductionLib.methods.trace_cnn.channels import MaxFillParameters
from MetalArtifactReductionLib.methods.trace_cnn.near_metal import (
    NearMetalParameters,
    near_metal_slices,
)
from MetalArtifactReductionLib.methods.trace_cnn.network import REACH
from MetalArtifactReductionLib.methods.trace_cnn.samples import (
    HipPatient,
    HipSampleParameters,
    HipSamples,
)
from MetalArtifactReductionLib.methods.trace_cnn.task import (
    TraceCNNParameters,
    TraceCNNTask,
    make_task,
)
from MetalArtifactReductionLib.training.parameters import TrainerParameters
from MetalArtifactReductionLib.training.trainer import train

FILL = MaxFillParameters(views=96)


def patient(brightness: float = 1.0) -> HipPatient:
    hu, metal = clean_hip().hu, rod()
    return HipPatient("hip", hu[:6], metal[METAL], (PIXEL_MM, PIXEL_MM), brightness)


def samples(seed: int = 0, brightness: float = 1.0, masks: int = 10) -> HipSamples:
    return HipSamples([patient(brightness)], HipSampleParameters(masks, seed, fill=FILL))


def test_slices_are_taken_from_both_sides_past_the_margin_and_empty_ones() -> None:
    hu = np.zeros((20, 8, 8))
    hu[16] = -1000  # shows no body
    metal = np.zeros((20, 8, 8))
    metal[[8, 10], 4, 4] = 1
    chosen = near_metal_slices(metal, hu, NearMetalParameters(above=5, below=3, margin=2))
    assert chosen.tolist() == [3, 4, 5, 13, 14, 15, 17, 18]
    own = NearMetalParameters(margin=0, chosen=(9, 2, 2, 0, 1))
    assert near_metal_slices(metal, hu, own).tolist() == [0, 1, 2, 9]
    with pytest.raises(InputError, match="mask is empty"):
        near_metal_slices(0 * metal, hu)


def test_a_pair_is_a_clean_slice_with_its_trace_overwritten() -> None:
    made = samples()
    assert len(made) == 10
    levels = set()
    for k in range(len(made)):
        corrupted, clean, trace = made.pair(k)
        again = made.fills[0].corrupted(clean[None], trace[None])[0]
        assert torch.allclose(corrupted, again, atol=0.005)
        inside = (corrupted - clean)[trace].mean()
        assert inside > 1.0  # the maximum against a mean
        assert (corrupted - clean)[~trace].abs().mean() < 0.2 * inside
        levels.add(int(trace.sum()))
    assert len(levels) > 5  # masks of many sizes


def test_samples_follow_from_seed_and_number_alone() -> None:
    one, two, other = samples(), samples(), samples(seed=1)
    two.crop(3)  # what was drawn before has no influence
    for a, b in zip(one.crop(7), two.crop(7), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.crop(7)[1], other.crop(7)[1])
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.crop(0)[0].shape == (80, 80)


def test_brightness_scales_the_sinogram_and_the_fill() -> None:
    plain, twice = samples(), samples(brightness=2.0)
    for a, b in zip(plain.pair(4)[:2], twice.pair(4)[:2], strict=True):
        assert torch.allclose(2 * a, b, atol=0.01)


def test_brightness_factor_undoes_a_factor() -> None:
    relative = 1 + clean_hip().hu / 1000
    quantiles = body_quantiles(relative)
    assert brightness_factor(body_quantiles(relative / 1.25), quantiles) == pytest.approx(1.25)
    # The reference of two patients lies between them, and both are brought to it.
    mean = reference_quantiles([quantiles, quantiles / 1.25])
    assert brightness_factor(quantiles, mean) == pytest.approx(0.9)
    assert brightness_factor(quantiles / 1.25, mean) == pytest.approx(1.125)
    # It is the best factor: no other brings the quantiles closer.
    other = body_quantiles(relative**1.3)
    best = brightness_factor(other, quantiles)
    distances = [np.mean((f * other - quantiles) ** 2) for f in (0.99 * best, best, 1.01 * best)]
    assert np.argmin(distances) == 1


def test_brightness_ignores_air_metal_and_scale() -> None:
    relative = 1 + clean_hip().hu / 1000
    with_metal = relative + 6 * rod()
    assert body_quantiles(with_metal) == pytest.approx(body_quantiles(relative), rel=0.02)
    with pytest.raises(ValueError, match="nothing brighter than air"):
        body_quantiles(np.zeros(10))


def test_training_overfits_one_pair() -> None:
    fill = MaxFillParameters(views=96, start="linear")
    made = HipSamples([patient()], HipSampleParameters(1, fill=fill, crop=(56, 56), off_trace=0))
    task = TraceCNNTask(made, TraceCNNParameters(channels=8, freeze_after=80))
    curve = train(task, TrainerParameters(steps=160, batch_size=4, ema=None)).curve
    assert curve[-1]["rmse"] < 0.6 * curve[-1]["rmse_lines"]
    assert curve[-1]["loss"] < 0.4 * curve[0]["loss"]


def test_loss_leaves_out_what_sees_the_padding() -> None:
    task = TraceCNNTask(samples(), TraceCNNParameters(channels=4, loss="plain", unit=1.0))
    networks = task.networks()
    batch = task.batch([0, 1], torch.device("cpu"))
    loss, _ = task.loss("generator", networks, batch)
    batch["clean"][:, :REACH] += 5
    batch["clean"][..., -REACH:] -= 5
    again, _ = task.loss("generator", networks, batch)
    assert float(again.detach()) == pytest.approx(float(loss.detach()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hips": ["knee"]}, "hip 'knee' is unknown"),
        ({"hips": []}, "no hips named"),
        ({"hips": ["ov"], "colour": 1}, "unknown option 'colour'"),
        ({"hips": ["ov"], "loss": "l1"}, "loss 'l1' is unknown"),
        ({"hips": ["ov"], "start": "zero"}, "start 'zero' is unknown"),
        ({"hips": ["ov"], "masks": 0}, "masks is 0"),
        ({"hips": ["ov"]}, "folder with the CTs is not given"),
    ],
)
def test_configurations_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_task(options, None, 0)


def test_unusable_patients_are_refused() -> None:
    given = patient()
    for changed, message in (
        (HipPatient("a", given.slices_hu[:0], given.masks, given.spacing_mm), "no clean slice"),
        (HipPatient("a", given.slices_hu, 0 * given.masks, given.spacing_mm), "hold no metal"),
        (
            HipPatient("a", given.slices_hu, given.masks[:, :60], given.spacing_mm),
            "resample the masks",
        ),
    ):
        with pytest.raises(InputError, match=message):
            HipSamples([changed])
    with pytest.raises(InputError, match="at least one volume"):
        HipSamples([])
