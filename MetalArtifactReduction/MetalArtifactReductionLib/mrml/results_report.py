"""The report of a result in the scene."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..evaluation.before_after import REGION_PREFIX, Measure, measure_regions
from ..evaluation.line_profile import Line
from ..evaluation.outside_trace import outside_trace_text
from ..evaluation.report import ReportCase, write_report
from ..jobs.call import call_job
from ..jobs.job import Job
from ..methods.registry import methods
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
from .volumes import view_of


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


def report_job(
    scene: Any,
    corrected: Any,
    path: str | PathLike[str],
    *,
    line_node: Any = None,
    facts: Mapping[str, str] | None = None,
) -> Job:
    """Write a result's report as one HTML file, over an earlier one; the path by ``result_of``.

    The title is the name of the CT's node; nothing else about the patient is in it.

    :param corrected: a corrected volume node.
    :param line_node: markups line to plot along; across the metal if None.
    :param facts: further label -> value lines for its head (application, date, ...).
    :raises InputError: not a result. The job ends with OutputError: it cannot be written there.
    """
    original = original_of(corrected)
    before, after, fraction = corrected_volumes(corrected, view_of)
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
    case = ReportCase(
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
    title = f"{corrected.GetName()}: report"
    return call_job(write_report, case, Path(path).absolute(), title=title, overwrite=True)


def _measures(table: Any) -> tuple[Measure, ...]:
    return measures_in(table) if table is not None else ()
