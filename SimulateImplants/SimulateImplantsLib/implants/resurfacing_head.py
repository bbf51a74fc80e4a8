"""Resurfacing of a femoral head: a cap with a guide pin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Implant, ImplantPart
from .mesh import arc, revolve

_SKIRT_DEG = 112.0


@dataclass(frozen=True)
class ResurfacingHead(Implant):
    """Cap over the milled head, its pin down the neck.

    Frame: origin in the centre, +z along the neck to the pole.

    :param diameter_mm: of the cap. :param wall_mm: thickness at its skirt.
    :param pin_mm: from the centre to the pin's tip.
    """

    kind: ClassVar[str] = "resurfacing-head"

    diameter_mm: float = 48.0
    wall_mm: float = 3.5
    pin_mm: float = 50.0
    material: str = "CoCrMo"

    def parts(self) -> list[ImplantPart]:
        """Cap, and the pin from its roof."""
        ball = 0.5 * self.diameter_mm
        skirt = np.deg2rad(_SKIRT_DEG)
        mouth, low = ball * np.sin(skirt), ball * np.cos(skirt)
        inner, roof = mouth - self.wall_mm, 0.62 * ball
        outside = arc(ball, 0.0, float(skirt), 61)
        outside[0], outside[-1] = [0.0, ball], [mouth, low]
        inside = [[inner, low], [inner, 0.25 * ball], [0.55 * inner, roof], [0.0, roof]]
        cap = revolve(np.concatenate([outside, inside]), 72)
        pin = [[0.0, roof + 1.0], [4.5, roof + 1.0], [3.0, 4 - self.pin_mm], [0.0, -self.pin_mm]]
        return [
            ImplantPart("cap", cap, self.material, "head"),
            ImplantPart("pin", revolve(np.array(pin), 32), self.material, "stem"),
        ]
