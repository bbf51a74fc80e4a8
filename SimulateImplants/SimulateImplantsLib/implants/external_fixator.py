"""External fixator: pins through a long bone and the bar that holds them outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh, revolve
from .tube import tube


@dataclass(frozen=True)
class ExternalFixator(Implant):
    """Pins in a plane, some at either end, and a bar beside them.

    Frame: origin where a pin in the middle would enter the bone, +y out of it, +z along it.

    :param pins: at either end. :param pin_mm: their diameter.
    :param span_mm: between the outermost. :param pair_mm: between neighbours at one end.
    :param bone_mm: threaded length in the bone.
    :param bar_mm: from the bone to the bar's axis. :param bar_diameter_mm: of the bar.
    :param material: of pins and clamps.
    """

    kind: ClassVar[str] = "external-fixator"

    pins: int = 2
    pin_mm: float = 5.0
    span_mm: float = 120.0
    pair_mm: float = 30.0
    bone_mm: float = 33.0
    bar_mm: float = 70.0
    bar_diameter_mm: float = 8.0
    material: str = "316L"
    bar_material: str = "Ti6Al4V"

    def check(self) -> None:
        """Pins come in two groups that do not meet."""
        if self.span_mm < (2 * self.pins - 1) * self.pair_mm:
            raise InputError(
                f"external-fixator: twice {self.pins} pins {self.pair_mm:g} mm apart do not fit in "
                f"a span_mm of {self.span_mm:g}; take fewer, or a wider span"
            )

    def parts(self) -> list[ImplantPart]:
        """A thread in the bone, a shaft and a clamp for each pin; the bar."""
        row = 0.5 * self.span_mm - self.pair_mm * np.arange(self.pins)
        aside = 0.5 * (self.pin_mm + self.bar_diameter_mm) + 1.0
        parts = []
        for number, z in enumerate(np.concatenate([row, -row]), start=1):
            for name, low, high, size in (
                ("thread", -self.bone_mm, 1.0, 0.9),
                ("pin", 0.0, self.bar_mm + 15.0, 1.0),
            ):
                line = np.linspace([0, low, z], [0, high, z], 24)
                mesh = tube(line, 0.5 * size * self.pin_mm)
                parts.append(ImplantPart(f"{name} {number}", mesh, self.material, name))
            at = np.array([0.5 * aside, self.bar_mm, z])
            clamp = _cylinder(at, aside + 12.0, 8.0)
            parts.append(ImplantPart(f"clamp {number}", clamp, self.material, "clamp"))
        end = 0.5 * self.span_mm + 20.0
        bar = tube(
            np.linspace([aside, self.bar_mm, -end], [aside, self.bar_mm, end], 60),
            0.5 * self.bar_diameter_mm,
            segments=24,
        )
        return [*parts, ImplantPart("bar", bar, self.bar_material, "bar")]


def _cylinder(at: np.ndarray, length: float, radius: float) -> Mesh:
    """About a point, along x."""
    h = 0.5 * length
    pose = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    pose[:3, 3] = at
    return revolve(np.array([[0, -h], [radius, -h], [radius, h], [0, h]]), 32).transformed(pose)
