"""Spheres, boxes and the like as implants."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh, arc, revolve

SEGMENTS = 96
SMALLEST_MM, LARGEST_MM = 0.2, 500.0


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
