"""The task of the trace CNN: crops of corrupted sinograms in, clean ones out.

Adam with learning rate 5e-3, decay 2.5e-5, batches of 16, mean squared error. The decay is
taken as weight decay; as a decay of the learning rate per step it would change it by a fortieth in
1000 steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...errors import InputError
from ...progress import Cancel, Progress
from ...training.config import from_options
from ...training.slice_bank import read_bank
from ...training.task import Batch, Task, Validation
from ...weights import WeightsFacts
from ..linear import interpolate_trace
from .brightness import brightness_factor, reference_quantiles
from .channels import MaxFillParameters
from .data import Hip, packed_hips, read_hips
from .network import CHANNELS, REACH, TraceCNN, channels_last
from .samples import HipSampleParameters, HipSamples

LEARNING_RATE, DECAY, BATCH_SIZE = 5e-3, 2.5e-5, 16

VALIDATION_CROPS = 256

LOSSES = ("matched", "plain")


@dataclass(frozen=True)
class TraceCNNParameters:
    """What to choose beside the samples.

    :param channels: of the network.
    :param loss: ``"plain"``: the mean squared error of the network's output. ``"matched"``: that
        of what the correction makes of it: inside the trace, after the line that meets the
        measured values at the trace's ends (see :func:`.inpainter.matched`). With that
        loss the output outside the trace means nothing.
    :param unit: line integral that the network calls 1. Small: the steps of the optimizer are then
        small against the differences that matter.
    :param freeze_after: steps after which batch normalisation keeps its statistics. As long as they
        change with every batch, the level of the output does.
    """

    channels: int = CHANNELS
    loss: str = "matched"
    unit: float = 0.05
    freeze_after: int = 200

    def __post_init__(self) -> None:
        """Reject what cannot be trained."""
        if self.loss not in LOSSES:
            raise ValueError(f"loss {self.loss!r} is unknown; use one of {', '.join(LOSSES)}")
        if not self.unit > 0:
            raise ValueError(f"unit is {self.unit!r}; give a line integral above 0")
        if self.freeze_after < 1:
            raise ValueError(f"freeze_after is {self.freeze_after!r}; give 1 step or more")


@dataclass(eq=False)
class TraceCNNTask(Task):
    """A ``TraceCNN`` on samples of one patient or several.

    :param samples: see :class:`.samples.HipSamples`.
    :param parameters: see :class:`TraceCNNParameters`.
    :param brightness_reference: see :mod:`.brightness`; None for one patient.
    :param record: what else the weights' file shall say: plain values.
    :param validation: of patients that are not trained on; None: no validation.
    """

    samples: HipSamples
    parameters: TraceCNNParameters = field(default_factory=TraceCNNParameters)
    brightness_reference: Sequence[float] | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    validation: HipSamples | None = None

    name = "trace-cnn"

    def networks(self) -> dict[str, nn.Module]:
        """One network; its last layer starts small."""
        network = TraceCNN(self.parameters.channels)
        last = network.layers[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()
        return {"generator": channels_last(network)}

    def optimizer(self, name: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Adam, see the module."""
        return torch.optim.Adam(parameters, lr=LEARNING_RATE, weight_decay=DECAY)

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """Crops ``(samples, views, bins)`` and the numbers of the samples."""
        crops = [self.samples.crop(k) for k in indices]
        names = ("corrupted", "clean", "trace")
        batch = {
            name: torch.stack(parts).to(device)
            for name, parts in zip(names, zip(*crops, strict=True), strict=True)
        }
        return {**batch, "number": torch.tensor(indices)}

    def loss(
        self, part: str, networks: Mapping[str, nn.Module], batch: Batch
    ) -> tuple[torch.Tensor, Mapping[str, float | torch.Tensor]]:
        """Mean squared error in squares of the unit, away from the crop's border.

        Figures: it, its root as a line integral, and that of linear interpolation in the trace.
        """
        p = self.parameters
        network = networks[part]
        # Crops are drawn one after the other, so a sample's number tells the step.
        if int(batch["number"][0]) >= p.freeze_after * BATCH_SIZE:
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        else:
            network.train()
        corrupted, clean, trace = batch["corrupted"], batch["clean"], batch["trace"]
        shown = corrupted[:, None].contiguous(memory_format=torch.channels_last)
        estimate = network(shown)[:, 0].float()
        wanted = clean / p.unit
        inner = torch.zeros_like(trace)
        inner[:, REACH:-REACH, REACH:-REACH] = True
        if p.loss == "matched":
            estimate = estimate + interpolate_trace(wanted - estimate, trace)
            inner &= trace
        squares = (estimate - wanted)[inner] ** 2
        loss = squares.sum() / max(1, squares.numel())
        lines = (interpolate_trace(clean, trace) - clean)[inner & trace]
        figures = {
            "loss": loss.detach(),
            "rmse": loss.detach().sqrt() * p.unit,
            "rmse_lines": (lines**2).sum().div(max(1, lines.numel())).sqrt(),
        }
        return loss, figures

    def validate(self, network: nn.Module, device: torch.device) -> Validation:
        """The loss's figures on crops that are always the same."""
        if self.validation is None:
            return Validation()
        held_out = replace(self, samples=self.validation)
        batch = held_out.batch(range(VALIDATION_CROPS), device)
        batch["number"] += self.parameters.freeze_after * BATCH_SIZE  # statistics stay
        _, figures = self.loss("generator", {"generator": network}, batch)
        return Validation({name: float(value) for name, value in figures.items()})

    def facts(self) -> WeightsFacts:
        """All that :class:`.inpainter.TraceCNNMethod` needs."""
        reference = self.brightness_reference
        return WeightsFacts(
            "trace-cnn",
            {"channels": self.parameters.channels},
            {
                "inpainter": "trace-cnn",
                "fill": self.samples.parameters.fill.as_dict(),
                "unit": self.parameters.unit,
                "loss": self.parameters.loss,
                "brightness_reference": None if reference is None else [*map(float, reference)],
                **self.record,
            },
        )

    def settings(self) -> Mapping[str, Any]:
        """What a resumed training must share."""
        p = self.parameters
        return {
            "channels": p.channels,
            "loss": p.loss,
            "unit": p.unit,
            "freeze_after": p.freeze_after,
            "masks": len(self.samples),
            "sample_seed": self.samples.parameters.seed,
            "data": self.samples.fingerprint,
        }


@dataclass(frozen=True)
class HipTaskOptions:
    """The ``[options]`` of a configuration.

    :param hips: keys of :data:`.data.CASES`; none: the CTs of the bank.
    :param bank, validation: packed slices and implants in the data folder, see
        :mod:`...training.slice_bank`.
    :param masks: number of varied masks.
    :param start: what overwrites the trace, see :class:`.channels.MaxFillParameters`.
    :param brightness: scale each patient's brightness, see :mod:`.brightness`.
    :param off_trace: see :class:`.samples.HipSampleParameters`.
    :param channels, loss, unit, freeze_after: see :class:`TraceCNNParameters`.
    """

    hips: tuple[str, ...] = ()
    bank: str | None = None
    validation: str | None = None
    masks: int = 1000
    start: str = "linear"
    brightness: bool = True
    off_trace: float = 0.1
    channels: int = CHANNELS
    loss: str = "matched"
    unit: float = 0.05
    freeze_after: int = 200


def make_task(options: Mapping[str, Any], data: Path | None, seed: int) -> TraceCNNTask:
    """The task of a configuration.

    :raises InputError: unknown options or hips, values that cannot be used, missing CTs.
    """
    chosen = from_options(HipTaskOptions, options, "[options]")
    try:
        parameters = TraceCNNParameters(
            chosen.channels, chosen.loss, chosen.unit, chosen.freeze_after
        )
        samples = HipSampleParameters(
            chosen.masks,
            seed,
            fill=MaxFillParameters(start=chosen.start),
            off_trace=chosen.off_trace,
        )
    except ValueError as error:
        raise InputError(f"[options]: {error}") from None
    if chosen.bank is None or data is None:
        return hip_task(read_hips(chosen.hips, data), samples, parameters, chosen.brightness)
    hips = packed_hips(read_bank(data / chosen.bank))
    task = hip_task(hips, samples, parameters, chosen.brightness)
    if chosen.validation is not None:
        held_out = packed_hips(read_bank(data / chosen.validation))
        fewer = replace(samples, masks=min(samples.masks, VALIDATION_CROPS), seed=seed + 1)
        factors = [1.0] * len(held_out)
        if (reference := task.brightness_reference) is not None:
            factors = [brightness_factor(hip.quantiles, np.array(reference)) for hip in held_out]
        patients = [hip.patient(hip.near, f) for hip, f in zip(held_out, factors, strict=True)]
        task.validation = HipSamples(patients, fewer)
    return task


def hip_task(
    hips: Sequence[Hip],
    samples: HipSampleParameters,
    parameters: TraceCNNParameters,
    brightness: bool,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> TraceCNNTask:
    """Training on the clean slices above and below the hips of one patient or several.

    :param brightness: scale each patient's brightness to the mean of all.
    """
    reference = reference_quantiles([hip.quantiles for hip in hips]) if brightness else None
    patients = []
    for hip in hips:
        factor = 1.0 if reference is None else brightness_factor(hip.quantiles, reference)
        patients.append(hip.patient(hip.near, factor))
    record = {
        "trained_on": {hip.name: [int(k) for k in hip.near] for hip in hips},
        "brightness": {patient.name: patient.brightness for patient in patients},
    }
    made = HipSamples(patients, samples, progress=progress, cancel=cancel)
    return TraceCNNTask(made, parameters, None if reference is None else reference.tolist(), record)
