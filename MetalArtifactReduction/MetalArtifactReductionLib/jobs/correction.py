"""Correction and segmentation as jobs: each a function of the child and what its parent calls.

The parent's half needs no torch: a user interface stays quick, and the process loads it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ..correction.options import CorrectionOptions
from ..correction.result import CorrectionResult
from ..volume import CTVolume
from .job import Job
from .task import TaskRequest, TaskResult

if TYPE_CHECKING:
    from ..metal import CleanUpParameters, MetalSegmentation


def correction_job(
    volume: CTVolume,
    metal_fraction: np.ndarray | None = None,
    options: CorrectionOptions | None = None,
    *,
    measure: bool = False,
    title: str = "",
    on_progress: Callable[[Job], None] | None = None,
    on_end: Callable[[Job], None] | None = None,
) -> Job:
    """:func:`..correction.correct_volume` as a job; the result by :func:`correction_result`.

    :param options: paths among a method's own absolute.
    :param measure: also compare before and after, see ``evaluation.before_after``.
    :raises OutputError: no room for the inputs.
    """
    options = options or CorrectionOptions()
    arrays = {"hu": _compact(volume)}
    if metal_fraction is not None:
        arrays["metal"] = np.asarray(metal_fraction)
    arguments = {
        "ijk_to_ras": volume.ijk_to_ras.tolist(),
        "options": options.anywhere().as_dict(),
        "measure": measure,
    }
    return Job(
        f"{__name__}:correct",
        arguments,
        arrays,
        title=title or options.method,
        on_progress=on_progress,
        on_end=on_end,
    )


def correction_result(job: Job, *, mapped: bool = False) -> CorrectionResult:
    """What a job of :func:`correction_job` found, without the volume's source; before it is closed.

    :param mapped: volumes from their files, which must be let go of before the job is closed.

    Its ``values["facts"]`` are the result's; ``values["measures"]`` the fields of each ``Measure``.
    """
    return CorrectionResult(
        corrected=CTVolume(
            job.array("corrected", mapped=mapped), np.array(job.values["ijk_to_ras"])
        ),
        metal_fraction=job.array("metal"),
        change_hu=job.array("change", mapped=mapped),
        expected_error_hu=job.array("expected_error", mapped=mapped)
        if job.values["knows_error"]
        else None,
        strength=job.array("strength") if job.values["knows_strength"] else None,
        method=job.values["method"],
        parameters=job.values["parameters"],
        timings=job.values["timings"],
    )


def correct(request: TaskRequest) -> TaskResult:
    """The child's half of :func:`correction_job`."""
    from ..correction import correct_volume
    from ..evaluation.report_pictures import shown_changes

    affine = request.arguments["ijk_to_ras"]
    volume = CTVolume(_float32(request.arrays["hu"]), np.array(affine))
    result = correct_volume(
        volume,
        request.arrays.get("metal"),
        options=CorrectionOptions.from_dict(request.arguments["options"]),
        progress=request.progress,
        cancel=request.cancel,
    )
    values = {
        "ijk_to_ras": affine,
        "method": result.method,
        "parameters": plain(result.parameters),
        "timings": dict(result.timings),
        "knows_error": result.expected_error_hu is not None,
        "knows_strength": result.strength is not None,
        "facts": result.facts(),
        "shown": shown_changes(volume.hu, result.change_hu),
        "measures": _figures(volume, result) if request.arguments["measure"] else [],
    }
    arrays = {
        "corrected": result.corrected.hu,
        "metal": result.metal_fraction,
        "change": result.change_hu,
    }
    if result.strength is not None:
        arrays["strength"] = result.strength
    if result.expected_error_hu is not None:
        arrays["expected_error"] = result.expected_error_hu
    return TaskResult(values, arrays)


def measure(request: TaskRequest) -> TaskResult:
    """Before and after, of a correction that is there, in a process of its own.

    Arrays ``original``, ``corrected``, ``fraction`` and, if known, ``expected_error``; argument
    ``ijk_to_ras`` (4 x 4).

    :returns: value ``measures``: the fields of each ``evaluation.before_after.Measure``.
    """
    request.progress(0.0, "measuring before and after")
    arrays = request.arrays
    affine = np.array(request.arguments["ijk_to_ras"], dtype=np.float64)
    volume = CTVolume(_float32(arrays["original"]), affine)
    found = _measures(volume, arrays["corrected"], arrays["fraction"], arrays.get("expected_error"))
    return TaskResult({"measures": found})


def _figures(volume: CTVolume, result: CorrectionResult) -> list[dict[str, Any]]:
    images = result.corrected.hu, result.metal_fraction, result.expected_error_hu
    try:
        return _measures(volume, *images)
    except ValueError:  # no reason to lose the correction; asked for again they say what is wrong
        logging.getLogger("mar").exception("before and after could not be measured")
        return []


def _measures(
    volume: CTVolume, corrected_hu: np.ndarray, fraction: np.ndarray, error_hu: np.ndarray | None
) -> list[dict[str, Any]]:
    from ..evaluation.before_after import compare_before_after

    found = compare_before_after(volume, corrected_hu, fraction, expected_error_hu=error_hu)
    return [asdict(one) for one in found]


def segmentation_job(
    volume: CTVolume,
    method: str = "threshold",
    *,
    threshold_hu: float | None = None,
    clean_up: CleanUpParameters | None = None,
    title: str = "",
    on_progress: Callable[[Job], None] | None = None,
    on_end: Callable[[Job], None] | None = None,
) -> Job:
    """:func:`..metal.segment_metal` as a job; the result by :func:`segmentation_result`.

    :raises OutputError: no room for the inputs.
    """
    arguments = {
        "ijk_to_ras": volume.ijk_to_ras.tolist(),
        "method": method,
        "threshold_hu": threshold_hu,
        "clean_up": None if clean_up is None else asdict(clean_up),
    }
    return Job(
        f"{__name__}:segment",
        arguments,
        {"hu": _compact(volume)},
        title=title or "metal",
        on_progress=on_progress,
        on_end=on_end,
    )


def segmentation_result(job: Job) -> MetalSegmentation:
    """What a job of :func:`segmentation_job` found; before it is closed."""
    from ..metal import MetalComponent, MetalSegmentation

    parts = []
    for given in job.values["components"]:
        rows = {name: tuple(given[name]) for name in ("centre_ijk", "centre_ras", "slices")}
        parts.append(MetalComponent(**{**given, **rows}))
    return MetalSegmentation(
        job.array("fraction"), job.values["threshold_hu"], job.values["method"], tuple(parts)
    )


def segment(request: TaskRequest) -> TaskResult:
    """The child's half of :func:`segmentation_job`."""
    from ..metal import CleanUpParameters, segment_metal

    request.progress(0.0, "looking for metal")
    given = request.arguments
    volume = CTVolume(_float32(request.arrays["hu"]), np.array(given["ijk_to_ras"]))
    found = segment_metal(
        volume,
        given["method"],
        threshold_hu=given["threshold_hu"],
        clean_up=CleanUpParameters.from_dict(given["clean_up"] or {}),
    )
    values = {
        "threshold_hu": float(found.threshold_hu),
        "method": found.method,
        "components": plain([asdict(component) for component in found.components]),
    }
    return TaskResult(values, {"fraction": found.fraction})


def plain(value: Any) -> Any:
    """The same with what JSON knows: numpy's numbers as Python's, the rest as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _compact(volume: CTVolume) -> np.ndarray:
    """The HU in the source's integer type where it holds them exactly: half the file."""
    dtype = np.dtype(volume.source.dtype if volume.source is not None else "float32")
    if dtype == volume.hu.dtype:
        return volume.hu
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits, low, high = np.iinfo(dtype), volume.hu.min(), volume.hu.max()
        if limits.min <= low and high <= limits.max:
            stored = volume.hu.astype(dtype)
            if np.array_equal(stored, volume.hu):
                return stored
    return volume.hu


def _float32(hu: np.ndarray) -> np.ndarray:
    return np.array(hu, dtype=np.float32, order="C")
