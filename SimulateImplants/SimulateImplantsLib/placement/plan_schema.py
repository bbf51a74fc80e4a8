"""What the JSON of a placement plan may hold, for :func:`..files.schema.check_values`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

Point = tuple[float, float, float]
Axes = tuple[Point, Point, Point]
Row = tuple[float, float, float, float]
Matrix = tuple[Row, Row, Row, Row]
_Positive = Annotated[float, Field(gt=0)]
_LONGEST_NAME = 200


def _even(rows: list[str]) -> list[str]:
    if not rows or not rows[0] or {len(row) for row in rows} != {len(rows[0])}:
        raise ValueError("rows of one length")
    return rows


@dataclass(frozen=True)
class _Shape:
    centre_ras: Point
    material: str


@dataclass(frozen=True)
class _Ellipsoid(_Shape):
    type: Literal["ellipsoid"]
    radii_mm: tuple[_Positive, _Positive, _Positive]
    axes: Axes


@dataclass(frozen=True)
class _Rod(_Shape):
    type: Literal["rod"]
    radius_mm: _Positive
    length_mm: _Positive
    axes: Axes


@dataclass(frozen=True)
class _Mask(_Shape):
    type: Literal["mask"]
    mask: Annotated[list[str], AfterValidator(_even)]
    width_mm: _Positive
    height_mm: _Positive
    turn_deg: float


Shape = Annotated[_Ellipsoid | _Rod | _Mask, Field(discriminator="type")]


@dataclass(frozen=True)
class _Implant:
    implant: dict[str, Any]
    matrix: Matrix
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanRecord:
    """A plan as it stands in a file; implants' own parameters are checked by their families."""

    implants: list[_Implant]
    format: int = 0
    seed: int | None = None
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
