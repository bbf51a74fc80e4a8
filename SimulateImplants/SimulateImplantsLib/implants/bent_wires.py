"""Wires that are bent for one purpose: sternal wires, staples, surgical and aneurysm clips."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .tube import smooth_corners, tube


class _Bent(Implant):
    """A wire along a line that the family's parameters give."""

    wire_mm: float

    @abstractmethod
    def lines(self) -> dict[str, np.ndarray]:
        """Centre lines ``(n, 3)`` by name; they may meet."""

    def parts(self) -> list[ImplantPart]:
        """One closed surface a line."""
        return [
            ImplantPart(name, tube(line, 0.5 * self.wire_mm), self.material, "wire")
            for name, line in self.lines().items()
        ]


@dataclass(frozen=True)
class SternalWire(_Bent):
    """Cerclage about the two halves of a sternum, its ends twisted in front.

    Frame: origin in the middle of the sternum, +x across, +y to the front, +z cranial.

    :param wire_mm: diameter. :param width_mm, depth_mm: of the loop.
    :param twist_mm: length of the twisted ends, laid down on the bone.
    """

    kind: ClassVar[str] = "sternal-wire"

    wire_mm: float = 0.9
    width_mm: float = 36.0
    depth_mm: float = 14.0
    twist_mm: float = 8.0
    material: str = "316L"

    def lines(self) -> dict[str, np.ndarray]:
        """Round the bone, and the two ends of the twist."""
        w, d, gap = 0.5 * self.width_mm, 0.5 * self.depth_mm, 0.6 * self.wire_mm
        turns = max(2, round(self.twist_mm / (3.0 * self.wire_mm)))
        t = np.linspace(0.0, 1.0, 16 * turns)
        phase = np.pi * turns * t
        across = np.stack([gap * np.cos(phase), gap * np.sin(phase), 0 * t], axis=-1)
        out = np.stack([0 * t, d + 2 * gap + 0 * t, self.twist_mm * t], axis=-1)
        loop = [[gap, d, 0], [w, d, 0], [w, -d, 0], [-w, -d, 0], [-w, d, 0], [-gap, d, 0]]
        ring = smooth_corners(np.array(loop, float), 0.45 * self.depth_mm)
        return {"loop": ring, "end 1": out + across, "end 2": out - across}


@dataclass(frozen=True)
class Staple(_Bent):
    """Bone or skin staple: a bridge and two legs.

    Frame: origin in the middle of the bridge, +x along it, the legs run along +z.

    :param wire_mm: thickness. :param width_mm: between the legs. :param leg_mm: their length.
    """

    kind: ClassVar[str] = "staple"

    wire_mm: float = 1.6
    width_mm: float = 15.0
    leg_mm: float = 15.0
    material: str = "nitinol"

    def lines(self) -> dict[str, np.ndarray]:
        """Leg, bridge, leg."""
        w = 0.5 * self.width_mm
        corners = np.array([[-w, 0, self.leg_mm], [-w, 0, 0], [w, 0, 0], [w, 0, self.leg_mm]])
        line = smooth_corners(corners.astype(float), 1.2 * self.wire_mm, 0.25 * self.wire_mm)
        return {"staple": line}


@dataclass(frozen=True)
class SkinStaple(Staple):
    """Staple of a stapler for skin, bent to a rectangle; frame as :class:`Staple`."""

    kind: ClassVar[str] = "skin-staple"

    wire_mm: float = 0.55
    width_mm: float = 6.9
    leg_mm: float = 3.9
    material: str = "316L"


@dataclass(frozen=True)
class SurgicalClip(_Bent):
    """Closed ligating clip, a folded wire.

    Frame: origin in the middle, +z along the legs to the fold, +x across them.

    :param wire_mm: thickness. :param length_mm: of the closed clip.
    """

    kind: ClassVar[str] = "surgical-clip"

    wire_mm: float = 0.7
    length_mm: float = 6.0
    material: str = "cp-Ti"

    def lines(self) -> dict[str, np.ndarray]:
        """One leg to the fold and back."""
        gap, half = 0.75 * self.wire_mm, 0.5 * self.length_mm
        corners = np.array([[-gap, 0, -half], [-gap, 0, half], [gap, 0, half], [gap, 0, -half]])
        return {"clip": smooth_corners(corners, 0.74 * self.wire_mm, 0.2 * self.wire_mm)}


@dataclass(frozen=True)
class AneurysmClip(_Bent):
    """Spring clip: two blades that meet, and the coil of the spring behind.

    Frame: origin between the blades at their middle, +z to the tips, +x across the blades.

    :param wire_mm: thickness of blades and spring. :param blade_mm: length of the blades.
    :param spring_mm: diameter of the spring's coil.
    """

    kind: ClassVar[str] = "aneurysm-clip"

    wire_mm: float = 1.2
    blade_mm: float = 9.0
    spring_mm: float = 5.0
    material: str = "Ti6Al4V"

    def check(self) -> None:
        """The spring has to be wound about something."""
        if self.spring_mm < 3 * self.wire_mm:
            raise InputError(
                f"aneurysm-clip: spring_mm of {self.spring_mm:g} is too narrow for a wire of "
                f"{self.wire_mm:g} mm; take three times the wire or more"
            )

    def lines(self) -> dict[str, np.ndarray]:
        """The blades, each with a shank to the other side, and the spring between the shanks."""
        gap, half = 0.55 * self.wire_mm, 0.5 * self.blade_mm
        r = 0.5 * (self.spring_mm - self.wire_mm)
        centre = -half - 1.2 * self.spring_mm - r
        angle = np.linspace(0.0, 3 * np.pi, 96)
        rise = 0.85 * self.wire_mm * np.linspace(-1.0, 1.0, 96)
        coil = np.stack([r * np.cos(angle), rise, centre - r * np.sin(angle)], axis=-1)
        lines = {"spring": coil}
        for name, side, end in (("blade 1", -1.0, coil[0]), ("blade 2", 1.0, coil[-1])):
            corners = np.array([[side * gap, 0, half], [side * gap, 0, -half], end])
            lines[name] = smooth_corners(corners, 2 * self.wire_mm, 0.25 * self.wire_mm)
        return lines
