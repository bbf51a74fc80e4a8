"""Generator of a pacemaker or defibrillator; its leads are a family of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Implant, ImplantPart
from .mesh import Mesh, circle, loft

_EDGE = np.array([[-0.5, 0.88], [-0.42, 0.96], [-0.3, 1.0], [0.3, 1.0], [0.42, 0.96], [0.5, 0.88]])
"""Height as a share of the thickness, and width there: the can's rounded edge."""


@dataclass(frozen=True)
class Pacemaker(Implant):
    """Rounded titanium can with a polymer header.

    Frame: origin in its middle, +z through its thickness to the skin, +y to the header.

    :param width_mm, height_mm: of the can and its header. :param thickness_mm: of both.
    :param header_mm: height of the header.
    """

    kind: ClassVar[str] = "pacemaker"

    width_mm: float = 46.0
    height_mm: float = 48.0
    thickness_mm: float = 7.0
    header_mm: float = 12.0
    material: str = "cp-Ti"
    header_material: str = "PEEK"

    @property
    def connector_mm(self) -> np.ndarray:
        """Where leads leave the header, ``(3,)``."""
        return np.array([0.4 * self.width_mm, 0.5 * self.height_mm - 0.5 * self.header_mm, 0.0])

    def parts(self) -> list[ImplantPart]:
        """Two closed surfaces."""
        can = self.height_mm - self.header_mm
        low, middle = -0.5 * self.header_mm, 0.5 * (self.height_mm - self.header_mm)
        return [
            ImplantPart("can", self._slab(self.width_mm, can, low), self.material, "can"),
            ImplantPart(
                "header",
                self._slab(0.8 * self.width_mm, self.header_mm, middle),
                self.header_material,
                "header",
            ),
        ]

    def _slab(self, width: float, height: float, at: float) -> Mesh:
        """A pebble: superellipses over its thickness."""
        turn = circle(64)
        outline = np.sign(turn) * np.abs(turn) ** 0.65
        rings = np.empty((len(_EDGE), len(turn), 3))
        rings[..., :2] = _EDGE[:, 1, None, None] * outline * [0.5 * width, 0.5 * height]
        rings[..., 1] += at
        rings[..., 2] = _EDGE[:, 0, None] * self.thickness_mm
        return loft(rings)
