"""One trainer for every method: Lightning Fabric moves it from a CPU to many GPUs by parameters."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import Cancelled, DeviceError, InputError
from ..files.whole import moved_at_once
from ..progress import Cancel, Progress, out_of_memory
from ..weights import save_weights
from . import checkpoint as on_disk
from .engine import heard_between_layers, launched, mixed_seed, own_randomness, undoing
from .parameters import MAY_CHANGE, TrainerParameters
from .record import BEST, CHECKPOINT, WEIGHTS, Record, check_folder
from .schedule import MovingAverage, learning_rate_factor
from .task import Batch, Task, TrainingError

KEPT_S = 60.0
"""A checkpoint is never older, for what ends a training without asking it."""


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a training leaves.

    :param network: the trained one (averaged if there is an average), evaluation mode, on the CPU.
    :param step: optimizer steps done, those before a resumption included.
    :param seconds: of all of them.
    :param figures: of the last validation.
    :param curve: one row a logged step.
    :param main: of several processes this is the one that validates and writes.
    """

    network: torch.nn.Module
    step: int
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[Mapping[str, float]] = ()
    main: bool = True


def train(
    task: Task,
    parameters: TrainerParameters | None = None,
    folder: Path | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> TrainingResult:
    """Train a task's networks.

    The same parameters, seed and task give the same weights, in one go or resumed: sample ``k`` of
    a seed is always the same, step ``n`` takes the samples ``n B`` to ``(n + 1) B - 1``, and
    its other random numbers follow from ``(seed, n)``. The caller's random state is left alone.

    :param folder: gets the checkpoint, the weights, the best weights, curves and pictures; made if
        absent. None: nothing is written.
    :param resume: go on from the folder's checkpoint.
    :param progress: told after every step.
    :param cancel: asked before every step; the checkpoint is written before stopping, as it is
        where Ctrl-C comes, in the middle of a step or not.
    :raises InputError: nothing to resume, or a checkpoint of other settings.
    :raises OutputError: the folder holds a training already, or cannot be written.
    :raises TrainingError: the loss is no longer finite; the last good weights are kept.
    :raises DeviceError: not enough memory for a single sample.
    :raises Cancelled: when ``cancel`` said so, or at Ctrl-C.
    """
    parameters = parameters or TrainerParameters()
    if folder is not None:
        check_folder(folder, resume)
    elif resume:
        raise InputError("there is no folder to resume from; give the training's folder")
    with own_randomness():
        run = _Run(task, parameters, folder, progress)
        if resume:
            run.restore()
        return run.go(cancel)


class _Run:
    """Networks, optimizers and everything else that changes during a training."""

    def __init__(
        self, task: Task, parameters: TrainerParameters, folder: Path | None, progress: Any
    ) -> None:
        self.task, self.parameters, self.folder = task, parameters, folder
        self.record = Record(folder, parameters.steps, parameters.log_every, progress)
        self.fabric = launched(parameters)
        torch.manual_seed(parameters.seed)
        self.plain = task.networks()
        self.trainable = {
            name: [p for p in network.parameters() if p.requires_grad]
            for name, network in self.plain.items()
        }
        self.wrapped: dict[str, Any] = {}
        self.optimizers: dict[str, Any] = {}
        self.base_rates: dict[str, list[float]] = {}
        for name, network in self.plain.items():
            optimizer = task.optimizer(name, self.trainable[name])
            self.base_rates[name] = [group["lr"] for group in optimizer.param_groups]
            self.wrapped[name], self.optimizers[name] = self.fabric.setup(network, optimizer)
        followed = self.plain[task.trained]
        self.average = MovingAverage(followed, parameters.ema) if parameters.ema else None
        self.step = 0
        self.sound = True
        self.kept = time.monotonic()
        self.seconds = 0.0
        self.at_once = parameters.batch_size // self.fabric.world_size

    def _steps(self, cancel: Cancel | None) -> None:
        p = self.parameters
        started, before = time.monotonic(), self.seconds
        self._validate_if_due()
        while self.step < p.steps:
            late = p.minutes is not None and time.monotonic() - started > 60 * p.minutes
            asked = cancel is not None and cancel()
            late, asked = self.fabric.broadcast((late, asked)) if self._many else (late, asked)
            if asked:
                self._save()
                raise Cancelled(f"training stopped on request at step {self.step}; " + self._kept)
            if late:
                break
            with moved_at_once() as whole:
                figures = self._step(whole)
                self.seconds = before + time.monotonic() - started
                self.record.log(self.step, self.seconds, figures)
            self._validate_if_due()
            if self.step % p.checkpoint_every == 0:
                self._save(last=False)
            elif not self._many and time.monotonic() - self.kept > KEPT_S:
                self._write_checkpoint()
        self._validate()
        self._save()

    def go(self, cancel: Cancel | None) -> TrainingResult:
        """Every step that is left."""
        try:
            self._steps(cancel)
        except KeyboardInterrupt:
            if self.sound:
                self._write_checkpoint()
            self.record.write(last=True)
            raise Cancelled(f"training stopped at step {self.step}; {self._kept}") from None
        record = self.record
        return TrainingResult(
            self._trained(),
            self.step,
            self.seconds,
            record.validation.figures,
            tuple(record.curve),
            bool(self.fabric.is_global_zero),
        )

    @property
    def _many(self) -> bool:
        return bool(self.fabric.world_size > 1)

    @property
    def _kept(self) -> str:
        there = self.folder is not None and (self.folder / CHECKPOINT).exists()
        return f"resume it from {self.folder}" if there else "nothing was written"

    def _step(self, whole: Callable[[], None]) -> dict[str, float]:
        """One step, or nothing of it.

        :param whole: called where it can only be finished any more.
        """
        undo = undoing(self.plain, self.optimizers)
        self.sound = False
        try:
            figures = self._stepped(whole, undo)
        except KeyboardInterrupt:
            undo()
            self.sound = True
            raise
        self.sound = True
        return figures

    def _stepped(self, whole: Callable[[], None], undo: Callable[[], None]) -> dict[str, float]:
        p, fabric = self.parameters, self.fabric
        seed = (p.seed, self.step, fabric.global_rank)
        torch.manual_seed(mixed_seed(*seed))
        first = self.step * p.batch_size
        indices = range(first + fabric.global_rank, first + p.batch_size, fabric.world_size)
        factor = learning_rate_factor(p.schedule, self.step, p.steps, p.warmup_steps)
        figures: dict[str, float] = {"learning_rate": 0.0}
        batches: list[Batch] = []
        for part, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.base_rates[part], strict=True):
                group["lr"] = rate * factor
            figures["learning_rate"] = max(
                figures["learning_rate"], *(g["lr"] for g in optimizer.param_groups)
            )
            while True:
                try:
                    batches = batches or self._batches(indices)
                    figures |= self._gradients(part, batches)
                    break
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error):
                        raise
                    self._fewer(error)
                    batches = []
            norm = float(
                fabric.clip_gradients(
                    self.wrapped[part],
                    optimizer,
                    max_norm=p.gradient_clip or math.inf,
                    error_if_nonfinite=False,
                )
            )
            # With scaled half-precision gradients an overflow is ordinary: the scaler skips it.
            if not math.isfinite(norm) and p.precision != "16-mixed":
                undo()
                self._stop_at_nan(part)
            if part == list(self.optimizers)[-1]:
                whole()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.plain[self.task.trained], self.step)
        self.step += 1
        return figures

    def _batches(self, indices: Sequence[int]) -> list[Batch]:
        parts = [
            indices[i : i + self.at_once] for i in range(0, len(indices), max(1, self.at_once))
        ]
        return [self.task.batch(list(part), self.fabric.device) for part in parts]

    def _gradients(self, part: str, batches: Sequence[Batch]) -> dict[str, float]:
        """Back-propagate the mean loss over the batches into one network."""
        for name, own in self.trainable.items():
            for parameter in own:
                parameter.requires_grad_(name == part)
        self.optimizers[part].zero_grad(set_to_none=True)
        networks = {n: self.wrapped[n] if n == part else m for n, m in self.plain.items()}
        sizes = [len(next(iter(batch.values()))) for batch in batches]
        total: dict[str, float] = {}
        for batch, size in zip(batches, sizes, strict=True):
            share = size / sum(sizes)
            with heard_between_layers():
                with self.fabric.autocast():
                    loss, figures = self.task.loss(part, networks, batch)
                self.fabric.backward(loss * share)
            for name, value in figures.items():
                total[name] = total.get(name, 0.0) + share * float(value)
        return total

    def _fewer(self, error: BaseException) -> None:
        """Halve what is computed at once; the gradient stays that of the whole batch."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if self.at_once == 1 or self._many:
            remedy = (
                "give a smaller batch_size"
                if self._many
                else "use smaller images or another device"
            )
            raise DeviceError(
                f"not enough memory on {self.fabric.device} to train on {self.at_once} sample(s) "
                f"at once; {remedy}"
            ) from error
        self.at_once = self.at_once // 2
        if self.fabric.device.type == "cuda":
            torch.cuda.empty_cache()
        self.record.tell(
            self.step, f"memory is short: going on with {self.at_once} samples at once"
        )

    def _stop_at_nan(self, part: str) -> None:
        """Keep the weights as they were before this step."""
        network = self._trained()
        where = "nothing was written"
        if self.folder is not None and self.fabric.is_global_zero:
            self._write_weights(self.folder / WEIGHTS, network)
            self.record.write(last=True)
            where = f"the last good weights are in {self.folder / WEIGHTS}"
        raise TrainingError(
            f"the gradient of the {part} is not finite at step {self.step + 1}; lower the learning "
            f"rate or the gradient_clip, or check the data; {where}",
            network,
        )

    def _trained(self) -> torch.nn.Module:
        """A copy of the network that is wanted, with averaged weights."""
        network = copy.deepcopy(self.plain[self.task.trained])
        if self.average is not None:
            self.average.write_to(network)
        return network.cpu().eval().requires_grad_(False)

    def _validate_if_due(self) -> None:
        """In the middle of a training; after one that was stopped meanwhile, too."""
        every = self.parameters.validate_every
        due = every and self.step and self.step % every == 0 and self.step < self.parameters.steps
        if due and self.record.validated_at != self.step:
            self._validate()

    def _validate(self) -> None:
        if self.fabric.is_global_zero:
            network = self._trained().to(self.fabric.device)
            with torch.no_grad():
                validation = self.task.validate(network, self.fabric.device)
            score = validation.figures.get(self.task.best, math.inf)
            with moved_at_once() as whole:
                whole()
                best = self.record.validated(self.step, self.seconds, validation, score)
                if best and self.folder is not None:
                    self._write_weights(self.folder / BEST, network)
        self.fabric.barrier()

    def _write_weights(self, path: Path, network: torch.nn.Module) -> None:
        task = self.task
        save_weights(path, network, task.facts(), half=task.half_weights, overwrite=True)

    def _write_checkpoint(self) -> None:
        if self.folder is not None and self.fabric.is_global_zero:
            with moved_at_once() as whole:
                whole()
                on_disk.write_checkpoint(self.folder / CHECKPOINT, self._state())
        self.kept = time.monotonic()

    def _save(self, last: bool = True) -> None:
        self._write_checkpoint()
        if self.folder is not None and self.fabric.is_global_zero:
            self._write_weights(self.folder / WEIGHTS, self._trained())
            self.record.write(last)
        self.fabric.barrier()

    def _settings(self) -> dict[str, Any]:
        kept = {k: v for k, v in asdict(self.parameters).items() if k not in MAY_CHANGE}
        settings: dict[str, Any] = json.loads(
            json.dumps({"task": self.task.name, **kept, **self.task.settings()})
        )
        return settings

    def _state(self) -> on_disk.TrainingState:
        tensors: dict[str, torch.Tensor] = {}
        optimizers: dict[str, Any] = {}
        for name, network in self.plain.items():
            tensors |= on_disk.network_state(name, network)
            own, optimizers[name] = on_disk.optimizer_state(name, self.optimizers[name].optimizer)
            tensors |= own
        if self.average is not None:
            tensors |= on_disk.average_state(self.average.tensors)
        record = {
            "settings": self._settings(),
            "step": self.step,
            "seconds": self.seconds,
            "record": self.record.state(),
            "optimizers": optimizers,
            "scaler": self.fabric.strategy.precision.state_dict(),
        }
        return on_disk.TrainingState(tensors, record)

    def restore(self) -> None:
        """Go back to where the folder's checkpoint was written."""
        assert self.folder is not None
        state = on_disk.read_checkpoint(self.folder / CHECKPOINT)
        record, own = state.record, self._settings()
        for name in sorted({*own, *record["settings"]}):
            before, now = record["settings"].get(name), own.get(name)
            if before != now:
                raise InputError(
                    f"{self.folder}: was trained with {name} {before!r}, now it is {now!r}; resume "
                    "with the same settings or start in a new folder"
                )
        for name, network in self.plain.items():
            on_disk.restore_network(name, network, state)
            on_disk.restore_optimizer(name, self.optimizers[name].optimizer, state)
        if self.average is not None:
            on_disk.restore_average(self.average.tensors, state)
        self.step, self.seconds = int(record["step"]), float(record["seconds"])
        self.record.restore(record["record"])
        if record["scaler"]:
            self.fabric.strategy.precision.load_state_dict(record["scaler"])
