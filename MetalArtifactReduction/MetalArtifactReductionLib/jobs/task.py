"""What a job and its process say to each other: a folder of files that both sides read here.

The folder is private to one job. ``request.json`` and ``inputs/NAME.npy`` go in; ``events.jsonl``
(the standard output of the process, one JSON object a line), ``log.txt`` (its error stream) and
``results/NAME.npy`` come out; a file ``cancel`` asks it to stop, as a line on its standard input
does, or its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..progress import Cancel, Progress

if TYPE_CHECKING:
    import numpy as np

REQUEST, INPUTS, EVENTS, LOG, CANCEL = "request.json", "inputs", "events.jsonl", "log.txt", "cancel"
RESULTS = "results"
UNFINISHED = "results.partial"

NO_MEMORY = "not enough memory; close other programs, crop the volume or take fewer slices at once"


class ExitCode(IntEnum):
    """How the process ended, also where its last line could not be written any more."""

    DONE = 0
    FAULT = 1
    REFUSED = 2
    NO_MEMORY = 70
    DISK_FULL = 74
    CANCELLED = 130


@dataclass(frozen=True)
class TaskRequest:
    """What a task is given.

    :param arguments: plain values, as JSON knows them.
    :param arrays: by name, mapped from their files: reading does not load what is not used.
    :param progress: to be told how far it is. :param cancel: to be asked between small steps.
    """

    arguments: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    progress: Progress
    cancel: Cancel


@dataclass(frozen=True)
class TaskResult:
    """What a task gives back.

    :param values: plain values, as JSON knows them. :param arrays: by name.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


Task = Callable[[TaskRequest], TaskResult]
"""A function that a process can import by ``"package.module:name"``."""


def array_file(folder: Path, kind: str, name: str) -> Path:
    """Where an array lies in a job's folder.

    :param kind: :data:`INPUTS`, :data:`RESULTS` or :data:`UNFINISHED`.
    :raises ValueError: a name that is not a plain word.
    """
    if not name.isidentifier():
        raise ValueError(f"array name {name!r} is not a plain word")
    return folder / kind / f"{name}.npy"


def disk_full(folder: Path) -> str:
    """The line for the user where a job's folder has no room left."""
    return (
        f"{folder.parent}: the disk with temporary files is full; free space, or set the "
        "environment variable TMPDIR (on Windows TEMP) to a folder on another disk"
    )
