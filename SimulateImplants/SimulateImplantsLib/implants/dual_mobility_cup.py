"""Cup of one piece: with a polyethylene head that moves in it, or bare for a resurfaced hip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh, arc, revolve

_RIM = 0.3
"""Height of the mobile head's rim over its centre, as a share of its radius."""


@dataclass(frozen=True)
class DualMobilityCup(Implant):
    """Polished shell without holes; in it the mobile head, in that the bore of the stem's own head.

    Frame: as the acetabular cup's: origin in the centre, +z out of the opening.

    :param diameter_mm: outer. :param shell_mm: thickness.
    :param head_mm: of the stem's head; 0 for a bare shell.
    """

    kind: ClassVar[str] = "dual-mobility-cup"

    diameter_mm: float = 52.0
    shell_mm: float = 3.0
    head_mm: float = 28.0
    material: str = "CoCrMo"
    liner_material: str = "UHMWPE"

    def check(self) -> None:
        """The mobile head needs some wall."""
        if self.head_mm and (wall := self.inner_mm - 0.5 * self.head_mm) < 4.0:
            raise InputError(
                f"dual-mobility-cup: head_mm of {self.head_mm:g} leaves {wall:.1f} mm of mobile "
                f"head in a cup of {self.diameter_mm:g} mm; take a smaller head, or 0 for none"
            )

    @property
    def inner_mm(self) -> float:
        """Radius of the shell's inner face."""
        return 0.5 * self.diameter_mm - self.shell_mm

    def parts(self) -> list[ImplantPart]:
        """Shell, and mobile head if there is one."""
        shell = _bowl(0.5 * self.diameter_mm, self.inner_mm, 0.0)
        parts = [ImplantPart("shell", shell, self.material, "shell")]
        if self.head_mm:
            liner = _bowl(self.inner_mm, 0.5 * self.head_mm, _RIM * self.inner_mm)
            parts.append(ImplantPart("mobile head", liner, self.liner_material, "liner"))
        return parts


def _bowl(outer: float, inner: float, rim_z: float) -> Mesh:
    """Between two spheres up to a height; the bore is straight above their centre."""
    outside = arc(outer, np.pi, float(np.arccos(rim_z / outer)), 49)
    outside[-1] = [np.sqrt(outer**2 - rim_z**2), rim_z]
    inside = arc(inner, np.pi / 2, np.pi, 49)
    outside[0, 0] = inside[-1, 0] = 0.0
    inside[0] = [inner, 0.0]
    bore = [[inner, rim_z]] if rim_z > 0 else []
    return revolve(np.concatenate([outside, np.reshape(bore, (-1, 2)), inside]), 96)
