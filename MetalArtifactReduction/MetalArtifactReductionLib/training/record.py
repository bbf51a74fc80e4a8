"""What a training tells and keeps: progress, curves, validation pictures, the best weights."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files.leftovers import locked
from ..files.whole import check_name
from ..progress import Progress, report
from .curves import draw_curves, write_curves
from .task import Validation

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"

DRAWN_S = 30.0
"""Curves are drawn no more often than this before the end: it takes as long as many steps."""


class Record:
    """Rows of the curves and the best validation so far; writes them if there is a folder.

    :param folder: of the training, or None to write nothing.
    :param steps: in all, for the progress.
    :param log_every: steps that one row averages.
    """

    def __init__(
        self, folder: Path | None, steps: int, log_every: int, progress: Progress | None
    ) -> None:
        self.folder, self.steps, self.log_every, self.progress = folder, steps, log_every, progress
        self.best = math.inf
        self.curve: list[dict[str, float]] = []
        self.recent: list[dict[str, float]] = []
        self.validation = Validation()
        self.validated_at = 0
        self._drawn = time.monotonic()

    def tell(self, step: int, text: str) -> None:
        """Report progress."""
        report(self.progress, step / self.steps, text)

    def log(self, step: int, seconds: float, figures: Mapping[str, float]) -> None:
        """Take in one step's figures."""
        self.recent.append(dict(figures))
        shown = ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if k != "learning_rate")
        self.tell(step, f"step {step} of {self.steps}: {shown}")
        if len(self.recent) == self.log_every or step == self.steps:
            names = dict.fromkeys(name for row in self.recent for name in row)
            mean = {
                name: sum(row[name] for row in self.recent if name in row)
                / sum(name in row for row in self.recent)
                for name in names
            }
            self.curve.append({"step": step, "seconds": round(seconds, 1), **mean})
            self.recent.clear()

    def validated(self, step: int, seconds: float, validation: Validation, score: float) -> bool:
        """Take in a validation: its figures and its picture; True if it is the best so far."""
        self.validation, self.validated_at = validation, step
        figures = {f"validation_{k}": float(v) for k, v in validation.figures.items()}
        if figures:
            self.curve.append({"step": step, "seconds": round(seconds, 1), **figures})
        if self.folder is not None and validation.images:
            self._picture(step)
        best = score < self.best
        self.best = min(self.best, score)
        return best

    def write(self, last: bool) -> None:
        """The curves, if there is a folder; drawn at the last and every :data:`DRAWN_S`."""
        if self.folder is None:
            return
        write_curves(self.curve, self.folder)
        if last or time.monotonic() - self._drawn > DRAWN_S:
            draw_curves(self.curve, self.folder)
            self._drawn = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return {
            "best": None if math.isinf(self.best) else self.best,
            "curve": self.curve,
            "recent": self.recent,
            "validated_at": self.validated_at,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back from :meth:`state`."""
        self.best = math.inf if state["best"] is None else float(state["best"])
        self.curve, self.recent = list(state["curve"]), list(state["recent"])
        self.validated_at = int(state.get("validated_at", 0))

    def _picture(self, step: int) -> None:
        from ..files.pictures import comparison_picture

        assert self.folder is not None
        pictures = self.folder / "pictures"
        pictures.mkdir(exist_ok=True)
        comparison_picture(
            self.validation.images,
            pictures / f"step-{step:06d}.png",
            pixel_mm=self.validation.pixel_mm,
            overwrite=True,
        )


@contextmanager
def training_folder(folder: Path, resume: bool) -> Iterator[None]:
    """Keep a second training out of a folder; it goes again where nothing came into it.

    Of the processes of one training, the first does so.

    :raises OutputError: as :func:`check_folder`, or another training runs there.
    """
    check_name(folder)
    there = folder.exists()
    check_folder(folder, resume)
    if is_another_process():
        yield
        return
    try:
        with locked(folder):
            yield
    finally:
        if not there:
            with suppress(OSError):
                folder.rmdir()


def is_another_process() -> bool:
    """Of several that train together, not the first."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def check_folder(folder: Path, resume: bool) -> None:
    """Make the folder; refuse one that holds a training unless it is to be resumed.

    :raises OutputError: a file, a missing parent, or a training that would be overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give the name of a folder")
    if not resume and (folder / CHECKPOINT).exists():
        raise OutputError(
            f"{folder}: holds a training already; go on with it (resume=True, --resume) or name"
            " another folder"
        )
    if not folder.parent.resolve().is_dir():
        raise OutputError(f"{folder}: the folder {folder.parent} does not exist; create it first")
    folder.mkdir(exist_ok=True)
