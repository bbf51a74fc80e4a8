"""Any function as a job: called in a process of its own with what was pickled for it."""

from __future__ import annotations

import inspect
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from ..volume import CTVolume, VolumeSource
from .job import Job
from .task import TaskRequest, TaskResult


def call_job(function: Callable[..., Any], *arguments: Any, title: str = "", **named: Any) -> Job:
    """``function(*arguments, **named)`` as a job; what it returns by :func:`result_of`.

    The pickle lies in the job's own folder, which nobody else may write to.

    :param function: of a module; given ``progress`` and ``cancel`` too where it takes them.
    :raises OutputError: no room for temporary files.
    """
    call = _pickled((function, arguments, named))
    return Job(f"{__name__}:run", {}, {"call": call}, title=title or function.__name__)


def result_of(job: Job) -> Any:
    """What the function returned; before the job is closed."""
    return pickle.loads(job.array("result", mapped=True).data)


def run(request: TaskRequest) -> TaskResult:
    """The child's half of :func:`call_job`."""
    function, arguments, named = pickle.loads(request.arrays["call"].data)
    known = inspect.signature(function).parameters
    more = {name: getattr(request, name) for name in ("progress", "cancel") if name in known}
    return TaskResult({}, {"result": _pickled(function(*arguments, **named, **more))})


class _Pickler(pickle.Pickler):
    """Masks with a bit a voxel, as a patient has dozens of them; HU in the type they came in."""

    def reducer_override(self, given: Any) -> Any:
        if isinstance(given, CTVolume):
            return _volume, (given.hu, given.ijk_to_ras, given.source)
        if isinstance(given, np.ndarray) and given.dtype == bool:
            return _unpacked, (np.packbits(given), given.shape)
        return NotImplemented


def _volume(hu: np.ndarray, ijk_to_ras: np.ndarray, source: VolumeSource | None) -> CTVolume:
    return CTVolume(np.ascontiguousarray(hu, np.float32), ijk_to_ras, source)


def _unpacked(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).view(bool)


def _pickled(given: Any) -> np.ndarray:
    file = io.BytesIO()
    _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(given)
    return np.frombuffer(file.getbuffer(), np.uint8)
