"""The report of a result in the scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..evaluation.before_after import REGION_PREFIX, Measure, measure_regions
from ..evaluation.line_profile import Line
from ..evaluation.outside_trace import outside_trace_text
from ..evaluation.report import ReportCase, write_report
from ..files.whole import check_path_free
from ..jobs.call import call_job
from ..jobs.job import Job
from ..methods.registry import methods
from ..volume import CTVolume
from .hierarchy import METAL_REFERENCE, PREFIX
from .kept import expected_error_hu, original_of, parameters_of
from .parts import metal_parts
from .results import (
    corrected_volumes,
    line_of,
    measures_in,
    put_measures,
    region_masks,
    table_of,
)
from .volumes import view_of, volume_from_node


def update_regions(scene: Any, corrected: Any) -> Any:
    """Measure the user's boxes again and list them below the other figures.

    :returns: the table node.
    """
    table = table_of(scene, corrected)
    kept = [one for one in _measures(table) if not one.key.startswith(REGION_PREFIX)]
    before, after, fraction = corrected_volumes(corrected)
    masks = region_masks(scene, original_of(corrected))
    regions = measure_regions(before.hu, after.hu, masks, fraction)
    return put_measures(scene, corrected, [*kept, *regions])


def write_result_report(
    scene: Any,
    corrected: Any,
    path: str | PathLike[str],
    *,
    line_node: Any = None,
    facts: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a result's report as one HTML file.

    The title is the name of the CT's node; nothing else about the patient is in it.

    :param corrected: a corrected volume node.
    :param line_node: markups line to plot along; across the metal if None.
    :param facts: further label -> value lines for its head (application, date, ...).
    :raises InputError: not a result. :raises OutputError: it cannot be written there.
    """
    check_path_free(path, overwrite=overwrite)
    return write_report(_case(scene, corrected, line_node, facts), path, overwrite=overwrite)


def report_job(scene: Any, corrected: Any, path: str | PathLike[str], **more: Any) -> Job:
    """:func:`write_result_report`, over an earlier one, as a job; the path by ``result_of`` it.

    :param more: ``line_node``, ``facts``.
    """
    case = _case(scene, corrected, **more, read=view_of)
    title = f"{corrected.GetName()}: report"
    return call_job(write_report, case, Path(path).absolute(), title=title, overwrite=True)


def _case(
    scene: Any,
    corrected: Any,
    line_node: Any = None,
    facts: Mapping[str, str] | None = None,
    read: Callable[[Any], CTVolume] = volume_from_node,
) -> ReportCase:
    original = original_of(corrected)
    before, after, fraction = corrected_volumes(corrected, read)
    method = corrected.GetAttribute(PREFIX + "method") or ""
    summary = methods()[method].summary if method in methods() else method
    parts = metal_parts(corrected.GetNodeReference(METAL_REFERENCE), original)
    line: Line | None = None
    if line_node is not None:
        try:
            line = line_of(line_node, original)
        except InputError:  # not placed yet: the report takes its own
            line = None
    parameters = parameters_of(corrected)
    outside = outside_trace_text(parameters)
    told = {"Method": summary, **({"Changed outside the metal's rays": outside} if outside else {})}
    return ReportCase(
        title=original.GetName(),
        original=before,
        corrected_hu=after.hu,
        metal_fraction=fraction,
        method=method,
        facts={**told, **(facts or {})},
        parameters=parameters,
        measures=_measures(table_of(scene, corrected)) or None,
        line=line,
        expected_error_hu=expected_error_hu(scene, corrected),
        metal_parts=[
            {
                "Part": str(part.number),
                "Volume, cm³": f"{part.volume_mm3 / 1000:.2f}",
                "Highest HU": f"{part.highest_hu:.0f}",
                "Slices": f"{part.slices[0]} to {part.slices[1]}",
            }
            for part in parts
        ],
    )


def _measures(table: Any) -> tuple[Measure, ...]:
    return measures_in(table) if table is not None else ()
