"""How long a correction will take here: measured once on a few slices, by method and device.

A process measures, so that nobody waits for it; the answer is kept for the session. Reading and
writing files is not part of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..correction.options import CorrectionOptions
from ..metal.options import CleanUpParameters
from ..methods.registry import methods
from ..volume import CTVolume
from .job import Job
from .queue import JobQueue
from .task import TaskRequest, TaskResult

if TYPE_CHECKING:
    from ..methods.base import Method

SLICES_AT_ONCE = 4
"""Slices of each of the two batches that are measured."""


@dataclass(frozen=True)
class Speed:
    """What was measured.

    :param setup_s: seconds before the first slice: process, libraries, projector, weights.
    :param slice_s: seconds for each slice with metal.
    :param device: what it was measured on: "cpu", "cuda" or "mps".
    """

    setup_s: float
    slice_s: float
    device: str = ""

    def seconds(self, slices: int) -> float:
        """For a volume with so many slices that hold metal."""
        return self.setup_s + slices * self.slice_s


class Estimator:
    """Measures what it is asked for and does not know yet.

    :param queue: runs the measurements; whoever owns it polls it. Measure while nothing else runs.
    """

    def __init__(self, queue: JobQueue, on_known: Callable[[], None] | None = None) -> None:
        self._queue, self._on_known = queue, on_known
        self._known: dict[tuple[str, int, int], Speed | None] = {}
        self._devices: dict[str, str] = {}

    def measurable(self, method: str) -> bool:
        """Whether a few slices tell how long the method takes."""
        entry = methods().get(method)
        return entry is None or not entry.trains_first

    def device(self, device: str) -> str:
        """What "auto" comes to on this machine; "" until a measurement has told."""
        return self._devices.get(device, "")

    def seconds(
        self,
        options: CorrectionOptions,
        shape: tuple[int, int],
        slices: int,
    ) -> float | None:
        """How long the method will take; None while unknown, and then a measurement begins.

        :param shape: rows and columns. :param slices: slices that hold metal.
        """
        options = replace(options, threshold_hu=None, clean_up=CleanUpParameters())  # cost no time
        key = (str(options), *shape)
        if key not in self._known and self.measurable(options.method):
            self._known[key] = None
            arguments = {"options": options.anywhere().as_dict(), "shape": list(shape)}

            def measured(job: Job) -> None:
                if job.done:
                    # What the process took beside the correction it takes for every volume.
                    around_s = job.seconds - job.values["total_s"]
                    setup_s = around_s + job.values["setup_s"]
                    self._known[key] = Speed(setup_s, job.values["slice_s"], job.values["device"])
                    self._devices[options.device] = job.values["device"]
                    if self._on_known is not None:
                        self._on_known()

            self._queue.add(
                Job(
                    f"{__name__}:measure_task",
                    arguments,
                    title=f"how fast is {options.method}?",
                    grace_s=0.0,  # it gives way at once: nothing of it is worth an end
                    on_end=measured,
                )
            )
        speed = self._known.get(key)
        return speed.seconds(slices) if speed is not None else None


def measure_task(request: TaskRequest) -> TaskResult:
    """The child's half of :class:`Estimator`."""
    given = request.arguments
    rows, cols = given["shape"]
    began = time.monotonic()
    speed = measure(CorrectionOptions.from_dict(given["options"]), (rows, cols))
    values = {
        "setup_s": speed.setup_s,
        "slice_s": speed.slice_s,
        "device": speed.device,
        "total_s": time.monotonic() - began,
    }
    return TaskResult(values)


def measure(
    options: CorrectionOptions,
    shape: tuple[int, int],
    method: Method | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Correct two batches of slices of a body with two rods: the first warms up.

    :param method: instead of that of the options.
    :param clock: seconds.
    """
    from ..correction import correct_volume

    times: list[float] = []

    def progress(_fraction: float, _message: str) -> None:
        times.append(clock())

    began = clock()
    options = options.settled()
    volume, metal = small_phantom(shape)
    correct_volume(
        volume,
        metal,
        method,
        options=options,
        always=True,
        batch_slices=SLICES_AT_ONCE,
        progress=progress,
    )
    # Reports: looking for metal, first batch, second batch, end.
    first, second = times[1], times[2]
    slice_s = (second - first) / SLICES_AT_ONCE
    return Speed(max(0.0, first - began - SLICES_AT_ONCE * slice_s), slice_s, options.device)


def small_phantom(shape: tuple[int, int]) -> tuple[CTVolume, np.ndarray]:
    """An elliptic body with bones and two rods, and the rods: ``(2 SLICES_AT_ONCE, *shape)``."""
    rows, cols = shape
    y, x = np.mgrid[:rows, :cols]
    y, x = (y - rows / 2) / rows, (x - cols / 2) / cols
    hu = np.where(np.hypot(y / 0.33, x / 0.45) < 1, 40.0, -1000.0)
    metal = np.zeros(shape, dtype=bool)
    for centre in (-0.2, 0.2):
        radius = np.hypot(y, x - centre)
        hu[radius < 0.08] = 600
        metal |= radius < 0.025
    hu[metal] = 3071
    stack = np.repeat(hu[None].astype(np.float32), 2 * SLICES_AT_ONCE, axis=0)
    stack += np.random.default_rng(0).normal(0, 10, stack.shape).astype(np.float32)
    fraction = np.repeat(metal[None].astype(np.float32), len(stack), axis=0)
    return CTVolume(stack, np.diag([0.8, 0.8, 1.0, 1.0])), fraction
