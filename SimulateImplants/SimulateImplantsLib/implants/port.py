"""Port under the skin of the chest, and the catheter that leads from it to the heart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Implant, ImplantPart
from .mesh import revolve
from .wires import Wire

_FLOOR_MM, _FLANGE_MM = 1.8, 2.5


@dataclass(frozen=True)
class Port(Implant):
    """Titanium chamber, open where its septum of silicone is (which is not drawn).

    Frame: origin in the middle of the base, +z to the septum and the skin.

    :param diameter_mm: of the base. :param height_mm: base to septum.
    :param septum_mm: diameter of the chamber. :param wall_mm: between chamber and outside.
    """

    kind: ClassVar[str] = "port"

    diameter_mm: float = 27.0
    height_mm: float = 11.0
    septum_mm: float = 12.0
    wall_mm: float = 2.0
    material: str = "cp-Ti"

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        base, bore = 0.5 * self.diameter_mm, 0.5 * self.septum_mm
        rim = min(bore + self.wall_mm, base - 0.3)
        profile = [[0, 0], [base, 0], [base, _FLANGE_MM], [rim, self.height_mm]]
        profile += [[bore, self.height_mm], [bore, _FLOOR_MM], [0, _FLOOR_MM]]
        return [ImplantPart("chamber", revolve(np.array(profile, float), 64), self.material, "can")]


@dataclass(frozen=True)
class Catheter(Wire):
    """Catheter with barium sulphate, which its material stands for; frame as :class:`Wire`."""

    kind: ClassVar[str] = "catheter"

    diameter_mm: float = 2.4
    length_mm: float = 250.0
    material: str = "bone-cement"
