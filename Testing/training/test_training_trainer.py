"""The trainer: exact resuming, averages, what stops it and what it keeps."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from MetalArtifactReductionLib.errors import Cancelled, DeviceError, InputError, OutputError
from MetalArtifactReductionLib.training.parameters import TrainerParameters
from MetalArtifactReductionLib.training.record import Record
from MetalArtifactReductionLib.training.schedule import learning_rate_factor
from MetalArtifactReductionLib.training.task import Batch, Task, TrainingError, Validation
from MetalArtifactReductionLib.training.trainer import train
from MetalArtifactReductionLib.weights import WeightsFacts


class Toy(Task):
    """Two networks in turns, with dropout and batch normalisation: all that a state can hold."""

    name = "toy"
    best = "error"

    def __init__(self, spoiled_at: int | None = None, fits: int = 99) -> None:
        self.spoiled_at, self.fits = spoiled_at, fits
        self.drawn: list[list[int]] = []

    def networks(self) -> dict[str, nn.Module]:
        generator = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1)
        )
        return {"generator": generator, "discriminator": nn.Linear(1, 1)}

    def optimizer(self, name: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=0.02)

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        if len(indices) > self.fits:
            raise RuntimeError("CUDA out of memory. Tried to allocate 9 GiB")
        self.drawn.append(list(indices))
        x = torch.stack(
            [torch.randn(3, generator=torch.Generator().manual_seed(i)) for i in indices]
        )
        if self.spoiled_at in indices:
            x[0, 0] = float("nan")
        return {"x": x.to(device), "y": x.sum(dim=1, keepdim=True).to(device)}

    def loss(
        self, part: str, networks: Mapping[str, nn.Module], batch: Batch
    ) -> tuple[torch.Tensor, Mapping[str, float | torch.Tensor]]:
        if part == "generator":
            found = networks["generator"](batch["x"])
            batch["found"] = found.detach()
            loss = (found - batch["y"]).square().mean()
            loss = loss + 0.01 * networks["discriminator"](found).mean()
        else:
            loss = (networks[part](batch["found"]) - batch["y"].sign()).square().mean()
        return loss, {part: loss.detach()}

    def validate(self, network: nn.Module, device: torch.device) -> Validation:
        assert not network.training and not torch.is_grad_enabled()
        batch = self.batch(range(1000, 1016), device)
        self.drawn.pop()
        error = float((network(batch["x"]) - batch["y"]).square().mean())
        return Validation({"error": error}, {"a": np.zeros((8, 8), np.float32)})

    def facts(self) -> WeightsFacts:
        return WeightsFacts("masked-unet", {}, {"inpainter": "none"})


SHORT = TrainerParameters(
    steps=10, batch_size=4, seed=3, ema=0.9, warmup_steps=2, checkpoint_every=5, log_every=2
)
VALIDATED = replace(SHORT, validate_every=3, checkpoint_every=100)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoint.safetensors")


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_five_and_five_steps_equal_ten_bit_by_bit(tmp_path: Path, precision: str) -> None:
    p = replace(SHORT, precision=precision)
    whole = train(Toy(), p, tmp_path / "whole")
    count = 0

    def after_five() -> bool:
        nonlocal count
        count += 1
        return count == 6

    with pytest.raises(Cancelled, match="step 5"):
        train(Toy(), p, tmp_path / "parts", cancel=after_five)
    torch.manual_seed(99)  # whatever the caller did meanwhile
    task = Toy()
    resumed = train(task, p, tmp_path / "parts", resume=True)
    assert task.drawn == [list(range(4 * n, 4 * n + 4)) for n in range(5, 10)]
    stored = tensors(tmp_path / "whole")
    assert {name.split("/")[0] for name in stored} == {"network", "optimizer", "average"}
    assert any("running_mean" in name for name in stored)
    assert_same(stored, tensors(tmp_path / "parts"))
    assert_same(dict(whole.network.state_dict()), dict(resumed.network.state_dict()))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert whole.figures == resumed.figures


class Interrupted(Toy):
    """Ctrl-C comes in the sixth step, at one of its moments."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        self.moment = moment

    def reached(self, moment: str) -> None:
        if moment == self.moment and len(self.drawn) == 6:
            signal.raise_signal(signal.SIGINT)

    def loss(
        self, part: str, networks: Mapping[str, nn.Module], batch: Batch
    ) -> tuple[torch.Tensor, Mapping[str, float | torch.Tensor]]:
        found = super().loss(part, networks, batch)
        self.reached(part)
        return found

    def optimizer(self, name: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = super().optimizer(name, parameters)
        optimizer.register_step_post_hook(lambda *_: self.reached(f"step of the {name}"))
        return optimizer

    def validate(self, network: nn.Module, device: torch.device) -> Validation:
        self.reached("validation")
        return super().validate(network, device)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, float]]:
    """A whole training: where it is, and its figures."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(Toy(), VALIDATED, folder).figures


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("moment", "step"),
    [
        ("generator", 5),
        ("step of the generator", 5),
        ("discriminator", 5),
        ("step of the discriminator", 6),
        ("validation", 6),
    ],
)
def test_an_interrupted_step_is_whole_or_not_done(
    tmp_path: Path,
    uninterrupted: tuple[Path, Mapping[str, float]],
    moment: str,
    step: int,
) -> None:
    whole, figures = uninterrupted
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Cancelled, match=f"stopped at step {step}; resume"):
            train(Interrupted(moment), VALIDATED, tmp_path / "parts")
    finally:
        signal.signal(signal.SIGINT, before)
    resumed = train(Toy(), VALIDATED, tmp_path / "parts", resume=True)
    assert_same(tensors(whole), tensors(tmp_path / "parts"))
    assert rows(whole) == rows(tmp_path / "parts")
    assert figures == resumed.figures


def test_the_seed_decides_and_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = train(Toy(), SHORT).network.state_dict()
    assert torch.equal(torch.rand(3), expected)
    two = train(Toy(), SHORT).network.state_dict()
    other = train(Toy(), replace(SHORT, seed=4)).network.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_it_learns_and_leaves_curves_pictures_and_the_best_weights(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    p = replace(SHORT, steps=200, validate_every=100, checkpoint_every=100, log_every=50)
    result = train(Toy(), p, tmp_path / "run", progress=lambda f, m: told.append((f, m)))
    assert result.step == 200 and result.figures["error"] < 0.6  # variance of the target: 3
    assert told[-1][0] == 1.0 and "step 200 of 200" in told[-1][1]
    assert sorted(f.relative_to(tmp_path / "run").as_posix() for f in tmp_path.rglob("*.*")) == [
        "best.safetensors",
        "checkpoint.safetensors",
        "curve.csv",
        "curve.png",
        "pictures/step-000100.png",
        "pictures/step-000200.png",
        "weights.safetensors",
    ]
    stored = load_file(tmp_path / "run" / "weights.safetensors")
    assert_same(stored, dict(result.network.state_dict()))


def test_curves_are_drawn_at_the_last_and_seldom_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, picture = Record(tmp_path, 9, 1, None), tmp_path / "curve.png"
    record.log(1, 0.1, {"loss": 1.0})
    record.write(last=False)
    assert (tmp_path / "curve.csv").exists() and not picture.exists()
    record.write(last=True)
    picture.unlink()
    monkeypatch.setattr("MetalArtifactReductionLib.training.record.DRAWN_S", -1.0)
    record.write(last=False)
    assert picture.exists()


def test_averaged_weights_are_the_mean_that_the_formula_says() -> None:
    """One parameter that falls by the learning rate at every step (Adam on a constant slope)."""

    class Slope(Toy):
        def networks(self) -> dict[str, nn.Module]:
            network = nn.Linear(1, 1, bias=False)
            nn.init.zeros_(network.weight)
            return {"generator": network}

        def loss(
            self, part: str, networks: Mapping[str, nn.Module], batch: Batch
        ) -> tuple[torch.Tensor, Mapping[str, Any]]:
            return networks[part](torch.ones(1, 1)).mean(), {}

        def validate(self, network: nn.Module, device: torch.device) -> Validation:
            return Validation()

    p = TrainerParameters(steps=8, ema=0.5, schedule="constant", gradient_clip=None)
    average = value = 0.0
    for n in range(8):
        value -= 0.02
        decay = min(0.5, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * value
    got = float(next(train(Slope(), p).network.parameters()))
    assert got == pytest.approx(average, abs=1e-6)
    plain = float(next(train(Slope(), replace(p, ema=None)).network.parameters()))
    assert plain == pytest.approx(value, abs=1e-6)


def test_schedule() -> None:
    factors = [learning_rate_factor("cosine", n, 110, 10) for n in range(111)]
    assert factors[:10] == pytest.approx([0.1 * (n + 1) for n in range(10)])
    assert factors[60] == pytest.approx(0.51) and factors[110] == pytest.approx(0.02)
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert learning_rate_factor("constant", 50, 110, 10) == 1.0


@pytest.mark.usefixtures("undrawn")
def test_nan_stops_and_keeps_the_last_good_weights(tmp_path: Path) -> None:
    good = train(Toy(), replace(SHORT, steps=7, schedule="constant"), tmp_path / "good")
    with pytest.raises(TrainingError, match=r"not finite at step 8.*learning rate") as caught:
        train(Toy(spoiled_at=28), replace(SHORT, schedule="constant"), tmp_path / "run")
    assert "\n" not in str(caught.value) and caught.value.network is not None
    kept = load_file(tmp_path / "run" / "weights.safetensors")
    assert_same(kept, dict(good.network.state_dict()))
    assert_same(kept, dict(caught.value.network.state_dict()))


def test_short_memory_means_smaller_batches_with_the_same_gradient() -> None:
    class Plain(Toy):
        """Without what differs between one batch of four and four of one."""

        def networks(self) -> dict[str, nn.Module]:
            return {"generator": nn.Linear(3, 1), "discriminator": nn.Linear(1, 1)}

    told: list[str] = []
    reference = train(Plain(), SHORT).network.state_dict()

    class Small(Plain):
        def validate(self, network: nn.Module, device: torch.device) -> Validation:
            return Validation()

    task = Small(fits=1)
    found = train(task, SHORT, progress=lambda _, m: told.append(m)).network.state_dict()
    assert [m for m in told if "memory" in m] == [
        f"memory is short: going on with {n} samples at once" for n in (2, 1)
    ]
    assert sorted(i for part in task.drawn for i in part) == list(range(40))
    for name in reference:
        assert torch.allclose(found[name], reference[name], atol=1e-5), name
    with pytest.raises(DeviceError, match=r"1 sample.*smaller images"):
        train(Small(fits=0), SHORT)


@pytest.mark.usefixtures("undrawn")
def test_minutes_stop_it_resumable(tmp_path: Path) -> None:
    stopped = train(Toy(), replace(SHORT, minutes=1e-9), tmp_path / "run")
    assert stopped.step < 10
    finished = train(Toy(), SHORT, tmp_path / "run", resume=True)
    whole = train(Toy(), SHORT)
    assert finished.step == 10
    assert_same(dict(finished.network.state_dict()), dict(whole.network.state_dict()))


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InputError, match="no checkpoint"):
        train(Toy(), SHORT, folder, resume=True)
    train(Toy(), SHORT, folder)
    with pytest.raises(OutputError, match="holds a training already"):
        train(Toy(), SHORT, folder)
    with pytest.raises(InputError, match="seed 3, now it is 4"):
        train(Toy(), replace(SHORT, seed=4), folder, resume=True)
    (folder / "checkpoint.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="corrupted"):
        train(Toy(), SHORT, folder, resume=True)
    with pytest.raises(InputError, match="no folder to resume"):
        train(Toy(), SHORT, resume=True)
    with pytest.raises(OutputError, match="does not exist"):
        train(Toy(), SHORT, tmp_path / "a" / "b")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="gpu") as caught:
        train(Toy(), replace(SHORT, accelerator="gpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"precision": "8-bit"}, "'8-bit'.*bf16-mixed"),
        ({"schedule": "wavy"}, "'wavy'.*cosine"),
        ({"accelerator": "tpu"}, "'tpu'.*gpu"),
        ({"gradient_clip": 0}, "gradient_clip is 0"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"batch_size": 3, "devices": 2}, "batch_size 3 cannot be shared by 2"),
    ],
)
def test_parameters_that_cannot_be_used(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TrainerParameters(**changes)
