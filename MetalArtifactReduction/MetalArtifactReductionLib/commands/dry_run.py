"""``--dry-run``: what would be done, and about how long and with how much memory; nothing is
written. A few slices are worked on, here and with the options given.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Cancelled, MARError, printable

if TYPE_CHECKING:
    from ..batch.case import Case
    from ..correction.options import CorrectionOptions
    from ..training.config import TrainingConfig
    from ..training.task import Task
    from ..volume import CTVolume

_BEGAN = time.monotonic()
"""About when the command was called: reading and finding the metal are done again by the run."""

_STEPS = 3
_RESULT_ARRAYS = 4
"""Of a correction, as large as the volume: corrected, change, metal, and what is on its way."""


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """``--dry-run``."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be done, with time and memory; write nothing",
    )


def told(*lines: str) -> None:
    """Print what would be done."""
    for line in (*lines, "nothing was written"):
        print(printable(line))


@dataclass(frozen=True)
class Cost:
    """:param seconds: None where a few slices do not tell. :param memory: bytes, None: unknown."""

    seconds: float | None
    memory: int | None

    def __str__(self) -> str:
        """In words."""
        lasts = "a time that only the training itself shows"
        if self.seconds is not None:
            lasts = duration(self.seconds)
        memory = "" if self.memory is None else f", {self.memory / 2**30:.1f} GiB of memory"
        return f"about {lasts}{memory}, as measured on this machine now"


def duration(seconds: float) -> str:
    """In the unit that a person would use."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1.0):.0f} s"


def peak_memory() -> int | None:
    """Of this process until now in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def correction_cost(options: CorrectionOptions, volume: CTVolume, slices: int) -> Cost:
    """Of a volume that is read already.

    :param slices: those that hold metal.
    """
    from ..jobs.estimate import SLICES_AT_ONCE, measure
    from ..methods.registry import methods

    entry = methods().get(options.method)
    if entry is not None and entry.trains_first:
        return Cost(None, None)
    spent_s = time.monotonic() - _BEGAN
    before = peak_memory()
    speed = measure(options, (volume.hu.shape[1], volume.hu.shape[2]))
    after = peak_memory()
    memory = None
    if before is not None and after is not None:
        batch = min(options.batch_slices, slices) / SLICES_AT_ONCE
        memory = before + int((after - before) * batch) + _RESULT_ARRAYS * volume.hu.nbytes
    return Cost(spent_s + speed.seconds(slices), memory)


def batch_cost(cases: Sequence[Case], workers: int) -> str:
    """Of the cases that are left, as the first one that can be read has it."""
    from ..files.masks import read_mask
    from ..files.volumes import read_volume
    from ..metal import segment_metal

    for case in cases:
        try:
            volume = read_volume(case.input, **case.reading())
            fraction = (
                segment_metal(volume).fraction
                if case.mask is None
                else read_mask(case.mask, volume)
            )
        except MARError:
            continue
        slices = int(fraction.any(axis=(1, 2)).sum())
        one = correction_cost(case.options.settled(), volume, slices)
        seconds = None if one.seconds is None else one.seconds * len(cases) / workers
        memory = None if one.memory is None else one.memory * workers
        shape = " x ".join(map(str, volume.hu.shape[::-1]))
        return f"{Cost(seconds, memory)}, if all are like {case.given} ({shape}, {slices} slices)"
    return "no case that is left can be read"


def training_cost(config: TrainingConfig, task: Task) -> Cost:
    """Of a training without its validations: a few steps, kept nowhere."""
    from ..training.trainer import train

    times: list[float] = []

    def cancel() -> bool:  # asked before every step
        times.append(time.monotonic())
        return len(times) > _STEPS

    with contextlib.suppress(Cancelled):
        train(task, config.training, cancel=cancel)
    step_s = (times[-1] - times[1]) / max(1, len(times) - 2)
    seconds, limit = step_s * config.training.steps, config.training.minutes
    return Cost(seconds if limit is None else min(seconds, 60 * limit), peak_memory())
