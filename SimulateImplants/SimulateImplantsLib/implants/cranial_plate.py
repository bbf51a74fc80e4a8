"""Plates on the skull: titanium mesh, PEEK or bone-cement plates, covers of burr holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import revolve
from .sheet import polygon_circle, thicken, triangulate

_SCREW_MM, _HEAD_MM = 1.5, 2.8


@dataclass(frozen=True)
class CranialPlate(Implant):
    """Oval plate bent to the vault, with holes and screws along its rim.

    Frame: origin in the middle of the face on the bone, +z out of the head, curved about x and y.

    :param width_mm, length_mm: along x and y, flat. :param thickness_mm: of the plate.
    :param curvature_x_mm, curvature_y_mm: radii of the bone along x and y.
    :param hole_mm: diameter of the mesh's holes; 0 for a solid plate.
    :param pitch_mm: distance of the holes.
    :param screws: along the rim. :param screw_mm: their length.
    """

    kind: ClassVar[str] = "cranial-plate"

    width_mm: float = 60.0
    length_mm: float = 70.0
    thickness_mm: float = 0.6
    curvature_x_mm: float = 75.0
    curvature_y_mm: float = 85.0
    hole_mm: float = 3.0
    pitch_mm: float = 5.0
    screws: int = 6
    screw_mm: float = 5.0
    material: str = "Ti6Al4V"
    screw_material: str = "Ti6Al4V"

    def check(self) -> None:
        """Holes must leave metal between them, and the plate must stay on its side of the head."""
        if self.hole_mm and self.hole_mm > self.pitch_mm - 0.8:
            raise InputError(
                f"{self.kind}: hole_mm of {self.hole_mm:g} leaves no metal at a pitch_mm of "
                f"{self.pitch_mm:g}; take smaller holes"
            )
        for side, curve in (("width", "curvature_x"), ("length", "curvature_y")):
            size, radius = getattr(self, f"{side}_mm"), getattr(self, f"{curve}_mm")
            if size > 1.4 * radius:
                raise InputError(
                    f"{self.kind}: {side}_mm of {size:g} reaches round a head of {curve}_mm "
                    f"{radius:g}; take a smaller plate"
                )

    def parts(self) -> list[ImplantPart]:
        """The plate and one closed surface a screw."""
        half = 0.5 * np.array([self.width_mm, self.length_mm])
        outline = polygon_circle((0.0, 0.0), 1.0, 96) * half
        holes = []
        if self.hole_mm:
            columns, rows = (int(h // self.pitch_mm) + 1 for h in half)
            for j in range(-rows, rows + 1):
                for i in range(-columns, columns + 1):
                    centre = self.pitch_mm * np.array([i + 0.5 * (j % 2), j * np.sqrt(0.75)])
                    if ((centre / (half - 0.5 * self.hole_mm - 0.8)) ** 2).sum() < 1.0:
                        holes.append(polygon_circle(tuple(centre), 0.5 * self.hole_mm, 8))
        points, triangles = triangulate([outline, *holes], 1.2 if holes else 2.5)
        mesh = thicken(points, triangles, lambda p: self.on(p, self.thickness_mm), self.on)
        parts = [ImplantPart("plate", mesh, self.material, "plate")]
        head, core = 0.5 * _HEAD_MM, 0.5 * _SCREW_MM  # threads of 0.2 mm are not drawn
        end = self.screw_mm
        profile = [[0, -0.6], [head, -0.4], [core, 0.4], [core, end - 1.0], [0, end]]
        screw = revolve(np.array(profile), 16)
        for number in range(self.screws):
            angle = 2 * np.pi * (number + 0.25) / self.screws
            at = (half - min(3.0, 0.3 * half.min())) * [np.cos(angle), np.sin(angle)]
            foot, normal = self.on(at[None])[0], self.normal(at[None])[0]
            pose = np.eye(4)
            x = np.cross(normal, [0.0, 1.0, 0.0])
            x /= np.linalg.norm(x)
            pose[:3, :3] = np.stack([x, np.cross(-normal, x), -normal], axis=1)
            pose[:3, 3] = foot + self.thickness_mm * normal
            name = f"screw {number + 1}"
            parts.append(ImplantPart(name, screw.transformed(pose), self.screw_material, "screw"))
        return parts

    def normal(self, flat: np.ndarray) -> np.ndarray:
        """Unit vectors out of the head at points ``(n, 2)``."""
        slope = flat / (self.curvature_x_mm, self.curvature_y_mm)
        n = np.column_stack([slope, np.ones(len(flat))])
        result: np.ndarray = n / np.linalg.norm(n, axis=1, keepdims=True)
        return result

    def on(self, flat: np.ndarray, height: float = 0.0) -> np.ndarray:
        """Points ``(n, 2)`` on the bone, or so high over it ``(n, 3)``."""
        sag = (flat**2 / (2 * self.curvature_x_mm, 2 * self.curvature_y_mm)).sum(axis=1)
        result: np.ndarray = np.column_stack([flat, -sag]) + height * self.normal(flat)
        return result


@dataclass(frozen=True)
class BurrHoleCover(CranialPlate):
    """Round cover of a trepanation; frame and parameters as :class:`CranialPlate`."""

    kind: ClassVar[str] = "burr-hole-cover"

    width_mm: float = 18.0
    length_mm: float = 18.0
    thickness_mm: float = 0.5
    hole_mm: float = 2.0
    pitch_mm: float = 4.0
    screws: int = 4
    screw_mm: float = 5.0
