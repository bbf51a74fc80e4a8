"""Straight and curved wires: Kirschner wires, fiducial markers, pacing leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import ImplantPart
from .rod import Rod
from .tube import tube


@dataclass(frozen=True)
class Wire(Rod):
    """Kirschner wire, cerclage or any other round wire.

    Frame: as :class:`Rod`: straight from the origin along +z, or along its path.

    :param diameter_mm: of the wire. :param length_mm: of a straight one.
    :param path_mm: centre line of a curved one.
    """

    kind: ClassVar[str] = "wire"
    segments: ClassVar[int] = 16

    diameter_mm: float = 1.6
    length_mm: float = 150.0
    material: str = "316L"

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        return [ImplantPart("wire", self._body(), self.material, "wire")]


@dataclass(frozen=True)
class Fiducial(Wire):
    """Cylindrical marker for image-guided radiotherapy; frame as :class:`Wire`."""

    kind: ClassVar[str] = "fiducial"

    diameter_mm: float = 1.2
    length_mm: float = 3.0
    material: str = "gold"


@dataclass(frozen=True)
class Lead(Wire):
    """Pacing lead: the conductor coil, and ring and tip electrodes at the far end.

    Frame: as :class:`Wire`; the path runs from the generator to the tip.

    :param diameter_mm: of the conductor coil, taken as solid; the insulation is not drawn.
    :param electrode_diameter_mm, electrode_length_mm: of ring and tip.
    :param electrode_gap_mm: between them.
    :param electrode_material: of ring and tip.
    """

    kind: ClassVar[str] = "lead"

    diameter_mm: float = 1.0
    length_mm: float = 520.0
    material: str = "MP35N"
    electrode_diameter_mm: float = 2.0
    electrode_length_mm: float = 2.0
    electrode_gap_mm: float = 8.0
    electrode_material: str = "platinum-iridium"

    def parts(self) -> list[ImplantPart]:
        """The conductor and its two electrodes (the denser material counts)."""
        parts = [ImplantPart("conductor", self._body(), self.material, "wire")]
        line, tangent = self.centre_line()
        at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        end = at[-1] + 0.5  # the tip covers the conductor's end
        for name, back in (
            ("tip", 0.0),
            ("ring", self.electrode_length_mm + self.electrode_gap_mm),
        ):
            stop = end - back
            mid = np.clip(stop - 0.5 * self.electrode_length_mm, 0.0, at[-1])
            centre = np.array([np.interp(mid, at, line[:, k]) for k in range(3)])
            along = np.array([np.interp(mid, at, tangent[:, k]) for k in range(3)])
            along *= 0.5 * self.electrode_length_mm / np.linalg.norm(along)
            ends = np.linspace(centre - along, centre + along, 9)
            mesh = tube(ends, 0.5 * min(self.electrode_diameter_mm, self.electrode_length_mm))
            parts.append(ImplantPart(name, mesh, self.electrode_material, "electrode"))
        return parts
