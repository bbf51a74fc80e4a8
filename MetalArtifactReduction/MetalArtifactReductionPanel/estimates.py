"""How long a correction will take on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .background import BackgroundJobs


class Estimates:
    """Measures this machine in the background, once for each choice of options and a matrix.

    :param jobs: where the measurements run, while nothing else does.
    :param resources: folder of the requirements files; nothing is measured before they are met.
    """

    def __init__(self, jobs: BackgroundJobs, resources: Path) -> None:
        self._jobs, self._resources = jobs, resources
        self._estimator: Any = None
        self._measuring: list[Any] = []
        self._held = False

    def hold(self, on: bool) -> None:
        """Measure nothing while somebody waits for something else; what is measured gives way."""
        self._held = on
        if on:
            self.cancel()

    def text(self, volumeNode: Any, options: Any, slices: int | None) -> str:
        """How long a correction will take, in words.

        :param options: ``CorrectionOptions``.
        :param slices: how many hold metal, None while unknown.
        """
        seconds = self.seconds(volumeNode, options, slices)
        if seconds is None:
            return _("measuring this machine...") if self.measuring else "-"
        text = _("about {time} on the {device} for {slices} slices with metal")
        if slices is None:
            text = _("at most about {time} on the {device}, if every slice holds metal")
        device = _device(self._estimator.device(options.device))
        return text.format(time=_duration(seconds), device=device, slices=slices)

    def seconds(self, volumeNode: Any, options: Any, slices: int | None) -> float | None:
        """Seconds that a correction will take; None while they are not known.

        :param slices: how many hold metal; all of them if None.
        """
        from MetalArtifactReductionLib.jobs.estimate import Estimator

        from .installation import nothing_missing

        if self._held or not nothing_missing(self._resources) or not self._jobs.idle:
            return None

        queue = self._jobs.queue.queue
        if self._estimator is None:
            self._estimator = Estimator(queue)
        before = list(queue.jobs)
        columns, rows, every = volumeNode.GetImageData().GetDimensions()
        seconds = self._estimator.seconds(options, (rows, columns), slices or every)
        self._measuring += [job for job in queue.jobs if job not in before]
        if seconds is None:
            self._jobs.started()
        return None if seconds is None else float(seconds)

    @property
    def measuring(self) -> bool:
        """Whether this machine is being measured."""
        return any(not job.ended for job in self._measuring)

    def cancel(self) -> None:
        """A measurement that still runs gives way to the work itself."""
        if self.measuring:
            for job in self._measuring:
                job.cancel()
            self._estimator = None  # it would wait for the answer for ever
        self._measuring = []

    def close(self) -> None:
        """The queue of the measurements has ended."""
        self._estimator, self._measuring = None, []


def _device(name: str) -> str:
    """A device's name for people."""
    names = {"cpu": _("processor (CPU)"), "cuda": _("graphics card (CUDA)"), "mps": _("GPU (MPS)")}
    return names.get(name.split(":", maxsplit=1)[0], name)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return _("{seconds:.0f} s").format(seconds=max(1.0, seconds))
    return _("{minutes:.0f} min").format(minutes=seconds / 60)
