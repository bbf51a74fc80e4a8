"""Any implant, and where its axis points, described in one line of text."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ..implants import implant_from_dict, implant_kinds
from ..implants.base import Implant
from ..implants.rod import Rod
from ..placement.geometry import Vector, frame_placement
from ..voxels.voxelize import PlacedImplant

_DIRECTIONS = {
    "R": (1.0, 0.0, 0.0),
    "L": (-1.0, 0.0, 0.0),
    "A": (0.0, 1.0, 0.0),
    "P": (0.0, -1.0, 0.0),
    "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}


@dataclass(frozen=True)
class ShapeText:
    """One line of text as an implant with a direction.

    :param implant: the body.
    :param axis: RAS direction of its z axis.
    """

    implant: Implant
    axis: tuple[float, float, float]

    def at(self, ras: Vector, name: str = "") -> PlacedImplant:
        """In the patient: simple shapes and straight rods centred there, else their origin."""
        place = frame_placement(ras, (0.0, 1.0, 0.0), self.axis)
        if isinstance(self.implant, Rod):
            place[:3, 3] -= 0.5 * self.implant.length_mm * place[:3, 2]
        return PlacedImplant(self.implant, place, name)


def parse_shape(text: str, material: str | None = None) -> ShapeText:
    """``sphere:diameter=28`` or ``rod:diameter=5.5,length=60,axis=S`` as an implant.

    :param text: ``KIND[:name=value,...]``; lengths in mm, their names with or without ``_mm``;
        ``axis`` is one of R L A P S I or a direction such as ``0.2/0/1`` in RAS.
    :param material: overrides the family's own; ``material=`` in the text goes before it.
    :raises InputError: unknown kind, name or value; says which.
    """
    kind, _, rest = text.strip().partition(":")
    family = implant_kinds().get(kind)
    if family is None:
        close = difflib.get_close_matches(kind, implant_kinds(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(implant_kinds())}"
        raise InputError(f"unknown shape {kind!r} in {text!r}; {hint}")
    known = [item.name for item in fields(family)]  # type: ignore[arg-type]
    values: dict[str, Any] = {} if material is None else {"material": material}
    axis = _DIRECTIONS["S"]
    for item in filter(None, rest.split(",")):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise InputError(f"shape {text!r}: {item!r} is not name=value, as in diameter=28")
        if name == "axis":
            axis = _direction(value, text)
            continue
        values[f"{name}_mm" if f"{name}_mm" in known else name] = _value(value)
    if "material" in values and "material" not in known:
        del values["material"]  # of several materials, each under its own name
    return ShapeText(implant_from_dict({"kind": kind} | values), axis)


def _direction(value: str, text: str) -> tuple[float, float, float]:
    if value.upper() in _DIRECTIONS:
        return _DIRECTIONS[value.upper()]
    try:
        r, a, s = (float(part) for part in value.split("/"))
    except ValueError:
        r = a = s = float("nan")
    if not np.isfinite([r, a, s]).all() or r == a == s == 0:
        raise InputError(
            f"shape {text!r}: axis {value!r} is no direction; use R, L, A, P, S, I or R/A/S as in "
            "0.2/0/1"
        )
    return r, a, s


def _value(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return {"true": True, "false": False}.get(text.lower(), text)
    return number
