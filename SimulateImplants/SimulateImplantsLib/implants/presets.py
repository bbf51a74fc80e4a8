"""Sizes as data: ranges of the parameters and named presets, from the CSV beside this file."""

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
def ranges_table() -> dict[str, dict[str, ParameterRange]]:
    """The rows of ``ranges.csv`` by family and parameter."""
    table: dict[str, dict[str, ParameterRange]] = {}
    for row in _rows("ranges.csv"):
        low, high, step = (float(row[name]) for name in ("minimum", "maximum", "step"))
        one = ParameterRange(low, high, step, row["unit"], row["source"])
        table.setdefault(row["kind"], {})[row["parameter"]] = one
    return table


@lru_cache(maxsize=1)
def sizes_table() -> dict[str, tuple[Preset, ...]]:
    """The rows of ``presets.csv`` by family, in order."""
    table: dict[str, tuple[Preset, ...]] = {}
    for row in _rows("presets.csv"):
        values = MappingProxyType(_parameters(row["parameters"]))
        one = Preset(row["kind"], row["name"], values, row["source"])
        table[one.kind] = (*table.get(one.kind, ()), one)
    return table


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
