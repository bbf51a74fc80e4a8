"""Sizes as data: ranges of the parameters and named presets, read from CSV beside this file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from MetalArtifactReductionLib.errors import InputError

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ParameterRange:
    """What values of one parameter exist: limits (both allowed), slider step, unit and source."""

    minimum: float
    maximum: float
    step: float
    unit: str
    source: str

    def check(self, label: str, value: float) -> None:
        """Raise InputError where ``value`` is outside the limits."""
        if not self.minimum <= value <= self.maximum:
            raise InputError(
                f"{label} of {value:g} {self.unit} is outside "
                f"{self.minimum:g} to {self.maximum:g} {self.unit}".replace("  ", " ").strip()
            )


@dataclass(frozen=True)
class Preset:
    """A named size of one implant family and where it comes from."""

    kind: str
    name: str
    parameters: MappingProxyType[str, Any]
    source: str


def _rows(name: str) -> list[dict[str, str]]:
    with (_FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@lru_cache(maxsize=1)
def _all_ranges() -> dict[str, dict[str, ParameterRange]]:
    table: dict[str, dict[str, ParameterRange]] = {}
    for row in _rows("ranges.csv"):
        table.setdefault(row["kind"], {})[row["parameter"]] = ParameterRange(
            float(row["minimum"]),
            float(row["maximum"]),
            float(row["step"]),
            row["unit"],
            row["source"],
        )
    return table


def parameter_ranges(kind: str) -> dict[str, ParameterRange]:
    """Ranges of a family's parameters by name (empty for a family without limits)."""
    return dict(_all_ranges().get(kind, {}))


@lru_cache(maxsize=1)
def _all_presets() -> tuple[Preset, ...]:
    return tuple(
        Preset(
            row["kind"],
            row["name"],
            MappingProxyType(_parameters(row["parameters"])),
            row["source"],
        )
        for row in _rows("presets.csv")
    )


def presets(kind: str | None = None) -> list[Preset]:
    """Named sizes in the order of the table, of one family or of all."""
    return [preset for preset in _all_presets() if kind is None or preset.kind == kind]


def find_preset(kind: str, name: str) -> Preset:
    """The preset of that name; InputError lists those that exist."""
    for preset in presets(kind):
        if preset.name == name:
            return preset
    names = ", ".join(preset.name for preset in presets(kind)) or "none"
    raise InputError(f"no preset {name!r} of {kind}; there are: {names}")


def _parameters(text: str) -> dict[str, Any]:
    """``a=1.5 b=Ti6Al4V c=true`` -> values of their type."""
    return {key: _value(value) for key, value in (item.split("=") for item in text.split())}


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number == int(number) and "." not in text else number
