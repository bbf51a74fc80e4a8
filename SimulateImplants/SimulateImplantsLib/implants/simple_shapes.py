"""Spheres, boxes and the like as implants, and any implant described in one line of text."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ..placement.geometry import Vector, frame_placement
from ..voxels.voxelize import PlacedImplant
from . import Implant, Rod, implant_from_dict, implant_kinds
from .base import ImplantPart
from .mesh import Mesh, arc, revolve

SEGMENTS = 96
SMALLEST_MM, LARGEST_MM = 0.2, 500.0
_DIRECTIONS = {
    "R": (1.0, 0.0, 0.0),
    "L": (-1.0, 0.0, 0.0),
    "A": (0.0, 1.0, 0.0),
    "P": (0.0, -1.0, 0.0),
    "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}


class _Shape(Implant):
    """A body of three extents, its centre in the origin."""

    def check(self) -> None:
        """Every extent has to be that of something implanted."""
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if item.name.endswith("_mm") and not SMALLEST_MM <= value <= LARGEST_MM:
                raise InputError(
                    f"{self.kind}: {item.name} of {value:g} is outside {SMALLEST_MM:g} to "
                    f"{LARGEST_MM:g} mm"
                )


@dataclass(frozen=True)
class Sphere(_Shape):
    """A ball.

    :param diameter_mm: of the ball.
    """

    kind: ClassVar[str] = "sphere"

    diameter_mm: float = 28.0
    material: str = "CoCrMo"

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        return [ImplantPart("sphere", _ball(self.diameter_mm), self.material, "sphere")]


@dataclass(frozen=True)
class Ellipsoid(_Shape):
    """An ellipsoid.

    :param x_mm, y_mm, z_mm: its three diameters.
    """

    kind: ClassVar[str] = "ellipsoid"

    x_mm: float = 10.0
    y_mm: float = 15.0
    z_mm: float = 20.0
    material: str = "Ti6Al4V"

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        ball = _ball(1.0)
        mesh = Mesh(ball.points * (self.x_mm, self.y_mm, self.z_mm), ball.triangles)
        return [ImplantPart("ellipsoid", mesh, self.material, "ellipsoid")]


@dataclass(frozen=True)
class Box(_Shape):
    """A rectangular block.

    :param x_mm, y_mm, z_mm: its three sides.
    """

    kind: ClassVar[str] = "box"

    x_mm: float = 10.0
    y_mm: float = 15.0
    z_mm: float = 20.0
    material: str = "Ti6Al4V"

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        corners = np.array(list(np.ndindex(2, 2, 2)), float) - 0.5
        faces = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
        triangles = np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))])
        mesh = Mesh(corners * (self.x_mm, self.y_mm, self.z_mm), triangles).outward()
        return [ImplantPart("box", mesh, self.material, "box")]


def _ball(diameter_mm: float) -> Mesh:
    profile = arc(0.5 * diameter_mm, 0.0, np.pi, SEGMENTS // 2 + 1)
    profile[[0, -1], 0] = 0.0
    return revolve(profile, SEGMENTS)


def shape_kinds() -> dict[str, type[Implant]]:
    """Simple shapes and the implants of the library, by ``kind``."""
    return {shape.kind: shape for shape in (Sphere, Ellipsoid, Box)} | implant_kinds()


def shape_from_dict(description: Mapping[str, Any]) -> Implant:
    """A simple shape or an implant from ``{"kind": ..., parameter: value}``.

    :raises InputError: unknown kind or parameter, or a value out of range.
    """
    kind = description.get("kind")
    family = shape_kinds().get(str(kind))
    if family is None:
        raise InputError(f"unknown shape {kind!r}; there are: {', '.join(shape_kinds())}")
    if not issubclass(family, _Shape):
        return implant_from_dict(description)
    values = {key: value for key, value in description.items() if key != "kind"}
    _check_names(family, values)
    return family(**values)


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
    family = shape_kinds().get(kind)
    if family is None:
        close = difflib.get_close_matches(kind, shape_kinds(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(shape_kinds())}"
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
    return ShapeText(shape_from_dict({"kind": kind} | values), axis)


def _check_names(family: type[Implant], values: Mapping[str, Any]) -> None:
    known = [item.name for item in fields(family)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise InputError(f"{family.kind} has no parameter {key!r}; it has: {', '.join(known)}")


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
