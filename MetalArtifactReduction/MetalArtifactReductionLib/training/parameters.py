"""How a training runs, whatever is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError, shown
from .schedule import SCHEDULES

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu", "mps")

MAY_CHANGE = (
    "minutes",
    "validate_every",
    "checkpoint_every",
    "log_every",
    "accelerator",
    "devices",
    "nodes",
    "strategy",
)
"""What a resumed training may have different from the interrupted one."""


@dataclass(frozen=True)
class TrainerParameters:
    """How a training runs; the configuration's ``[training]`` table.

    :param steps: optimizer steps in all; the learning rate's schedule ends there.
    :param batch_size: samples a step, over all devices together.
    :param seed: of the networks' start and of what is random in a step (dropout).
    :param precision: one of :data:`PRECISIONS`.
    :param gradient_clip: largest norm of the gradient; None for none.
    :param ema: decay of the averaged weights (see :class:`.schedule.MovingAverage`); None for none.
    :param schedule: one of :data:`.schedule.SCHEDULES`.
    :param warmup_steps: the learning rate rises over so many.
    :param validate_every: steps between validations; 0 for one at the end.
    :param checkpoint_every: steps between checkpoints.
    :param log_every: steps that one row of the curves averages.
    :param minutes: stop after so many, whatever step it is; None for no limit.
    :param accelerator: ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"mps"``.
    :param devices: how many of them in this machine.
    :param nodes: machines; start the same command on each with ``torchrun``.
    :param strategy: of Lightning Fabric: ``"auto"``, ``"ddp"``, ...
    """

    steps: int = 1000
    batch_size: int = 4
    seed: int = 0
    precision: str = "32-true"
    gradient_clip: float | None = 1.0
    ema: float | None = 0.999
    schedule: str = "cosine"
    warmup_steps: int = 0
    validate_every: int = 0
    checkpoint_every: int = 200
    log_every: int = 10
    minutes: float | None = None
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        """Check every value before any work starts.

        :raises InputError: names the value and what it may be.
        """
        for name in ("steps", "batch_size", "checkpoint_every", "log_every", "devices", "nodes"):
            whole_number(name, getattr(self, name), 1)
        for name in ("seed", "warmup_steps", "validate_every"):
            whole_number(name, getattr(self, name), 0)
        for name, value, known in (
            ("precision", self.precision, PRECISIONS),
            ("schedule", self.schedule, SCHEDULES),
            ("accelerator", self.accelerator, ACCELERATORS),
        ):
            if value not in known:
                raise InputError(f"{name} {shown(value)} is unknown; use one of {', '.join(known)}")
        for name in ("gradient_clip", "minutes"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise InputError(f"{name} is {shown(value)}; give a number above 0 or leave it out")
        if self.ema is not None and not (_is_number(self.ema) and 0 < self.ema < 1):
            raise InputError(f"ema is {shown(self.ema)}; give a decay from 0 to 1, or leave it out")
        if self.batch_size % (self.devices * self.nodes):
            raise InputError(
                f"batch_size {self.batch_size} cannot be shared by {self.devices * self.nodes} "
                "devices; give a multiple"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole_number(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of ``least`` or more.

    :raises InputError: names the option and its value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {shown(value)}; give a whole number of {least} or more")
