"""How good the implants of a plan lie, as a table of text and as data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..placement.anatomy import Anatomy
from ..placement.collision import meant_to_touch
from ..placement.plan import PlacementPlan
from ..placement.quality import PlacedItem, Quality, measure_placement
from .plan_files import implant_name

_TITLES = (
    "implant",
    "size",
    "material",
    "grade",
    "breach",
    "in bone",
    "contact",
    "mean HU",
    "min HU",
    "converg.",
    "inclin.",
    "leg",
    "offset",
    "remark",
)


def plan_quality(plan: PlacementPlan, anatomy: Anatomy) -> list[Quality]:
    """Measure every implant of a plan against the bone.

    :raises InputError: an implant that cannot be made.
    """
    items = [
        PlacedItem(
            item.make(),
            item.matrix,
            implant_name(item),
            str(item.attributes.get("level") or ""),
            str(item.attributes.get("side") or ""),
        )
        for item in plan.implants
    ]
    return measure_placement(
        items, anatomy, lambda i, j: meant_to_touch(plan.implants[i], plan.implants[j])
    )


def quality_text(rows: Sequence[Quality]) -> str:
    """The table for a terminal."""
    table = [_TITLES, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(_TITLES))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join(lines)


def quality_records(rows: Sequence[Quality]) -> list[dict[str, Any]]:
    """JSON types; NaN becomes None."""
    return [
        {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in (asdict(row) | {"touches": list(row.touches)}).items()
        }
        for row in rows
    ]


def _cells(row: Quality) -> tuple[str, ...]:
    remarks = [f"touches {', '.join(row.touches)}"] if row.touches else []
    if row.outside > 0:
        remarks.append(f"{100 * row.outside:.0f} % outside the CT")
    if row.note:
        remarks.append(row.note)
    breach = "" if math.isnan(row.breach_mm) else f"{row.breach_mm:.1f} mm {row.breach_direction}"
    return (
        row.name,
        row.size,
        row.material,
        row.grade,
        breach.replace("0.0 mm ", "0 mm"),
        _number(100 * row.share_in_bone, " %"),
        _number(100 * row.contact, " %"),
        _number(row.mean_hu),
        _number(row.min_hu),
        _number(row.convergence_deg, " deg"),
        _number(row.inclination_deg, " deg"),
        _change(row.leg_mm),
        _change(row.offset_mm),
        "; ".join(remarks),
    )


def _number(value: float, unit: str = "") -> str:
    return "" if math.isnan(value) else f"{round(value)}{unit}"


def _change(value: float) -> str:
    return "" if math.isnan(value) else f"{round(value, 1) + 0.0:+.1f} mm"
