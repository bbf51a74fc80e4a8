"""One slice at a time, corrected in a process that stays: what is seen before the whole volume.

Libraries, networks and projector are loaded once. The newest request counts: one that still runs
is given up, and its answer never shown. Requests and answers are files in the job's folder, each
with a number and in place only when it is whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..correction.options import CorrectionOptions
from ..errors import Cancelled, MARError
from ..progress import Cancel
from ..volume import CTVolume
from .job import Job
from .task import TaskRequest, TaskResult

MARGIN_SLICES = 3
"""Of a request on each side of its slice, where the volume has them: metal is told from specks by
its size, and a slice is corrected as much as the ones beside it need."""

_SOME_PIXELS = 8
_ASKED, _ANSWER = "asked", "answer"
_LOOK_S = 0.03


@dataclass(frozen=True)
class PreviewAnswer:
    """What came of the newest request.

    :param hu: ``(rows, cols)``, None where there is none. :param problem: why not, in one line,
        without the remedy, which a panel has buttons for.
    :param strength: how much of the change the slice got, 0..1. :param seconds: of computing.
    """

    hu: np.ndarray | None = None
    problem: str = ""
    strength: float = 0.0
    seconds: float = 0.0


class Preview:
    """Asks for slices; driven by :meth:`poll`, without waiting."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._asked = self._answered = 0

    @property
    def busy(self) -> bool:
        """The newest request has no answer yet."""
        return self._answered < self._asked

    def warm(self, slab: CTVolume, middle: int, options: CorrectionOptions) -> None:
        """Start the process, and correct a slice for a metal of no account that nobody will see:
        libraries, networks and projector are there when one is asked for.

        See :meth:`ask`.
        """
        rows, cols = (size // 2 for size in slab.hu.shape[1:])
        metal = np.zeros_like(slab.hu)
        metal[:, rows : rows + _SOME_PIXELS, cols : cols + _SOME_PIXELS] = 1.0
        self.ask(slab, middle, metal, options)
        self._answered = self._asked

    def _started(self) -> Job:
        if self._job is None or self._job.ended:
            self.close()
            self._job = Job(f"{__name__}:serve", title="preview", grace_s=0.0)
            self._job.start()
        return self._job

    def ask(
        self,
        slab: CTVolume,
        middle: int,
        metal_fraction: np.ndarray | None,
        options: CorrectionOptions,
    ) -> None:
        """Correct one slice; what was asked before is given up.

        :param slab: the slice and up to :data:`MARGIN_SLICES` on each side.
        :param middle: index of the slice in it.
        :param metal_fraction: on the slab's grid, 0..1; found in the slab if None.
        :raises OutputError: no room for temporary files.
        """
        job = self._started()
        self._asked += 1
        metal = {} if metal_fraction is None else {"metal": np.asarray(metal_fraction, np.float32)}
        given = {"middle": middle, "options": options.anywhere().as_dict()}
        arrays = {"hu": slab.hu, "ijk_to_ras": slab.ijk_to_ras, **metal}
        _put(job.folder, _ASKED, self._asked, given, arrays)

    def poll(self) -> PreviewAnswer | None:
        """The newest request's answer, once; None while there is none."""
        job = self._job
        if job is None or not self.busy:
            return None
        job.poll()
        path = job.folder / f"{_ANSWER}-{self._asked}.npz"
        if path.exists():
            self._answered = self._asked
            given, arrays = _read(path)
            return PreviewAnswer(arrays.get("hu"), **given)
        if job.ended:
            self._answered = self._asked
            return PreviewAnswer(problem=job.error.removesuffix(job.remedy))
        return None

    def close(self) -> None:
        """End the process at once, as it has nothing to finish; the next request starts another."""
        if self._job is not None:
            self._job.close()
        self._job, self._answered = None, self._asked


def serve(request: TaskRequest) -> TaskResult:
    """The child's half of :class:`Preview`: until it is asked to stop."""
    from ..tomography import Reprojection  # with all that it needs, while the first slice comes

    scan_of = lru_cache(maxsize=1)(Reprojection)
    folder, done = Path.cwd(), 0
    while not request.cancel():
        newest = _newest(folder)
        if newest == done:
            time.sleep(_LOOK_S)
            continue
        done = newest
        path = folder / f"{_ASKED}-{done}.npz"
        try:
            given_up = partial(_given_up, request.cancel, folder, done)
            answer = _corrected(scan_of, *_read(path), given_up)
        except Cancelled:
            continue
        except MARError as error:
            answer = PreviewAnswer(problem=" ".join(str(error).removesuffix(error.remedy).split()))
        given = {name: value for name, value in vars(answer).items() if name != "hu"}
        arrays = {} if answer.hu is None else {"hu": answer.hu}
        _put(folder, _ANSWER, done, given, arrays)
    return TaskResult()


def _given_up(cancel: Cancel, folder: Path, number: int) -> bool:
    return cancel() or _newest(folder) > number


def _corrected(
    scan_of: Callable[..., Any], given: Any, arrays: dict[str, np.ndarray], cancel: Cancel
) -> PreviewAnswer:
    from ..correction.artifact_strength import COUNTED_MM
    from ..correction.correct import corrected_by
    from ..metal import segment_metal

    began = time.monotonic()
    options = CorrectionOptions.from_dict(given["options"])
    slab, middle = CTVolume(arrays["hu"], arrays["ijk_to_ras"]), given["middle"]
    fraction = arrays.get("metal")
    if fraction is None:
        fraction = segment_metal(
            slab, options.segmentation, threshold_hu=options.threshold_hu, clean_up=options.clean_up
        ).fraction
    if not fraction[middle].any():
        return PreviewAnswer(problem="no metal in this slice")
    # How much of the change a slice gets depends on the ones beside it, and those on their metal.
    beside = int(COUNTED_MM / slab.spacing_mm[0])
    only = range(max(middle - beside, 0), middle + beside + 1)
    result = corrected_by(scan_of, slab, fraction, None, options, None, cancel, only)
    strength = 1.0 if result.strength is None else float(result.strength[middle])
    return PreviewAnswer(result.corrected.hu[middle], "", strength, time.monotonic() - began)


def _put(
    folder: Path, kind: str, number: int, given: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """A file with a number, in place once it is whole."""
    unfinished = folder / f"{kind}.partial"
    with unfinished.open("wb") as file:
        np.savez(file, given=np.array(json.dumps(given)), **arrays)  # type: ignore[arg-type]
    unfinished.rename(folder / f"{kind}-{number}.npz")


def _read(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("given"))), arrays


def _newest(folder: Path) -> int:
    """Number of the last request; 0 without one."""
    return max((int(one.stem.split("-")[1]) for one in folder.glob(f"{_ASKED}-*.npz")), default=0)
