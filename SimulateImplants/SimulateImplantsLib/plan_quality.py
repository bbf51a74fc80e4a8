"""How good the implants of a plan lie, as a table of text and as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume

from .implants import Implant, PedicleScrew
from .placement.collision import collisions
from .placement.grading import ScrewGrade
from .placement.plan import PlacementPlan, PlannedImplant
from .placement.propose import VertebraModel
from .plan_files import implant_name

NEAR_MM = 0.5
"""Surfaces with vertices this near touch: the vertices of each are about 1 mm apart."""
_CAPSULES = ("pedicle-screw", "rod")
_TITLES = (
    "implant",
    "size",
    "material",
    "grade",
    "breach",
    "in bone",
    "mean HU",
    "min HU",
    "converg.",
    "inclin.",
    "remark",
)


@dataclass(frozen=True)
class PlanQuality:
    """One implant of a plan.

    :param size: as people say it: "6.5 x 45 mm".
    :param grade: of a pedicle screw in a known vertebra, else None.
    :param touches: names of the implants that it runs into.
    :param outside: share of its surface outside the CT.
    """

    name: str
    level: str
    side: str
    size: str
    material: str
    grade: ScrewGrade | None
    touches: tuple[str, ...]
    outside: float


def plan_quality(
    plan: PlacementPlan, volume: CTVolume, vertebrae: Mapping[str, VertebraModel]
) -> list[PlanQuality]:
    """Measure every implant of a plan against the bone.

    :param vertebrae: by level; screws of other levels get no grade.
    :raises InputError: an implant that cannot be made.
    """
    touching = _touching(plan)
    rows = []
    for index, item in enumerate(plan.implants):
        implant = item.make()
        rows.append(
            PlanQuality(
                implant_name(item),
                str(item.attributes.get("level", "")),
                str(item.attributes.get("side", "")),
                size_text(implant),
                implant.material,
                _grade(item, implant, volume, vertebrae),
                touching.get(index, ()),
                _outside(item, implant, volume),
            )
        )
    return rows


def size_text(implant: Implant) -> str:
    """Diameter and length, where the implant has them."""
    diameter = getattr(implant, "diameter_mm", None)
    length = None if getattr(implant, "path_mm", None) else getattr(implant, "length_mm", None)
    numbers = [f"{value:g}" for value in (diameter, length) if value is not None]
    return " x ".join(numbers) + " mm" if numbers else ""


def quality_text(rows: Sequence[PlanQuality]) -> str:
    """The table for a terminal."""
    table = [_TITLES, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(_TITLES))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join(lines)


def quality_records(rows: Sequence[PlanQuality]) -> list[dict[str, Any]]:
    """JSON types; NaN becomes None."""
    records = []
    for row in rows:
        record = asdict(row) | {"touches": list(row.touches)}
        if row.grade is not None:
            record["grade"] = {
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in asdict(row.grade).items()
            }
        records.append(record)
    return records


def _cells(row: PlanQuality) -> tuple[str, ...]:
    grade = row.grade
    remarks = [f"touches {', '.join(row.touches)}"] if row.touches else []
    if row.outside > 0:
        remarks.append(f"{100 * row.outside:.0f} % outside the CT")
    if grade is None:
        return (row.name, row.size, row.material, *[""] * 7, "; ".join(remarks))
    breach = f"{grade.breach_mm:.1f} mm {grade.breach_direction}" if grade.breach_mm > 0 else "0 mm"
    return (
        row.name,
        row.size,
        row.material,
        grade.grade,
        breach,
        f"{100 * grade.share_in_bone:.0f} %",
        f"{grade.mean_hu:.0f}",
        f"{grade.min_hu:.0f}",
        f"{round(grade.convergence_deg)} deg",
        f"{round(grade.inclination_deg)} deg",
        "; ".join(remarks),
    )


def _grade(
    item: PlannedImplant,
    implant: Implant,
    volume: CTVolume,
    vertebrae: Mapping[str, VertebraModel],
) -> ScrewGrade | None:
    vertebra = vertebrae.get(str(item.attributes.get("level", "")))
    if vertebra is None or not isinstance(implant, PedicleScrew):
        return None
    entry = item.matrix[:3, 3]
    target = entry + implant.length_mm * item.matrix[:3, 2]
    side = str(item.attributes.get("side") or "")
    if not side:
        side = "left" if vertebra.frame.local(entry)[0] < 0 else "right"
    return vertebra.grade(side, entry, target, implant.diameter_mm, volume)


def _outside(item: PlannedImplant, implant: Implant, volume: CTVolume) -> float:
    matrix = np.linalg.inv(volume.ijk_to_ras) @ item.matrix
    ijk = implant.mesh().points @ matrix[:3, :3].T + matrix[:3, 3]
    upper = np.array(volume.hu.shape[::-1]) - 0.5
    return float(1.0 - ((ijk >= -0.5) & (ijk <= upper)).all(axis=1).mean())


def _touching(plan: PlacementPlan) -> dict[int, tuple[str, ...]]:
    names = [implant_name(item) for item in plan.implants]
    found: dict[int, tuple[str, ...]] = {}
    for pair in collisions(plan.implants, NEAR_MM):
        kinds = {plan.implants[pair.first].kind, plan.implants[pair.second].kind}
        # Capsules are exact; only a gap measured at vertices never gets negative.
        if pair.gap_mm > 0 and kinds & set(_CAPSULES):
            continue
        for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
            found[one] = (*found.get(one, ()), names[other])
    return found
