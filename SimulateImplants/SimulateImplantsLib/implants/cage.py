"""Interbody fusion cage: titanium, or PEEK with tantalum markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh, revolve
from .sheet import inside, resample, rounded_rectangle, thicken, triangulate

TOOTH_PITCH_MM = 2.0


@dataclass(frozen=True)
class InterbodyCage(Implant):
    """Ring-shaped cage with teeth on both endplates and one or two graft windows.

    Frame: origin at the middle of the disc space, +x across, +y to the front (the higher side
    of a lordotic cage), +z cranial.

    :param width_mm: across.
    :param depth_mm: front to back.
    :param height_mm: at the middle, over the teeth.
    :param lordosis_deg: angle between the endplates, open to the front.
    :param wall_mm: thickness of the ring and of the strut between two windows.
    :param windows: graft windows, 1 or 2 (side by side along the longer side).
    :param corner: roundness of the outline, 0 square to 1 as round as it gets.
    :param tooth_height_mm: height of the teeth; 0 for smooth endplates.
    :param material: of the ring; "PEEK" comes with markers.
    :param markers: tantalum pins near the corners; None: with PEEK only.
    :param marker_diameter_mm: diameter of the pins.
    """

    kind: ClassVar[str] = "interbody-cage"

    width_mm: float = 30.0
    depth_mm: float = 24.0
    height_mm: float = 12.0
    lordosis_deg: float = 6.0
    wall_mm: float = 4.0
    windows: int = 1
    corner: float = 0.6
    tooth_height_mm: float = 0.7
    material: str = "Ti6Al4V"
    markers: bool | None = None
    marker_diameter_mm: float = 1.0

    def check(self) -> None:
        """Walls, windows and pins have to fit."""
        shorter, longer = sorted((self.width_mm, self.depth_mm))
        struts = self.windows + 1
        if shorter - 2 * self.wall_mm < 1.5 or longer - struts * self.wall_mm < 1.5 * self.windows:
            raise InputError(
                f"interbody-cage: wall_mm of {self.wall_mm:g} leaves no graft window in "
                f"{self.width_mm:g} x {self.depth_mm:g} mm; take a thinner wall"
            )
        low = self.height_mm - self.depth_mm * np.tan(np.deg2rad(self.lordosis_deg))
        low -= 2 * self.tooth_height_mm
        if low < 2.0:
            raise InputError(
                f"interbody-cage: lordosis_deg of {self.lordosis_deg:g} leaves {low:.1f} mm at the "
                f"back of a cage of {self.height_mm:g} mm; take a higher cage"
            )
        outline, *windows = self._outlines()
        for window in windows:
            gaps = np.linalg.norm(window[:, None] - resample(outline, 0.3)[None], axis=-1)
            if not inside([outline], window).all() or gaps.min() < 0.8:
                raise InputError(
                    f"interbody-cage: corner of {self.corner:g} rounds the outline into a graft "
                    "window; take a smaller value"
                )
        if self.has_markers and self.marker_diameter_mm > self.wall_mm - 0.6:
            raise InputError(
                f"interbody-cage: marker_diameter_mm of {self.marker_diameter_mm:g} does not fit "
                f"into a wall of {self.wall_mm:g} mm"
            )

    @property
    def has_markers(self) -> bool:
        """Whether the cage carries tantalum pins."""
        return self.material == "PEEK" if self.markers is None else self.markers

    def parts(self) -> list[ImplantPart]:
        """The ring and its markers (pins inside the ring: the denser material counts)."""
        parts = [ImplantPart("ring", self._ring(), self.material, "cage")]
        if self.has_markers:
            for number, mesh in enumerate(self._pins(), start=1):
                parts.append(ImplantPart(f"marker {number}", mesh, "tantalum", "marker"))
        return parts

    def _radius(self) -> float:
        return max(1.0, self.corner * (0.5 * min(self.width_mm, self.depth_mm) - 0.01))

    def _half_height(self, y: np.ndarray | float) -> np.ndarray:
        """Half the height under the teeth's tips at a depth."""
        result: np.ndarray = 0.5 * self.height_mm + np.asarray(y) * np.tan(
            np.deg2rad(0.5 * self.lordosis_deg)
        )
        return result

    def _outlines(self) -> list[np.ndarray]:
        """Outline and windows, polygons in x and y."""
        width, depth, wall = self.width_mm, self.depth_mm, self.wall_mm
        loops = [rounded_rectangle(width, depth, self._radius())]
        along_x = width >= depth
        longer, shorter = (width, depth) if along_x else (depth, width)
        length = (longer - (self.windows + 1) * wall) / self.windows
        across = shorter - 2 * wall
        for number in range(self.windows):
            centre = -0.5 * longer + wall + 0.5 * length + number * (length + wall)
            radius = min(max(self._radius() - wall, 0.8), 0.49 * min(length, across))
            if along_x:
                loops.append(rounded_rectangle(length, across, radius, (centre, 0.0)))
            else:
                loops.append(rounded_rectangle(across, length, radius, (0.0, centre)))
        return loops

    def _ring(self) -> Mesh:
        points, triangles = triangulate(self._outlines(), 0.7, rows=TOOTH_PITCH_MM / 4)

        def endplate(sign: float, domain: np.ndarray) -> np.ndarray:
            phase = np.mod(domain[:, 1] / TOOTH_PITCH_MM, 1.0)
            valley = self.tooth_height_mm * np.minimum(2 * phase, 2 - 2 * phase)
            return np.column_stack([domain, sign * (self._half_height(domain[:, 1]) - valley)])

        return thicken(points, triangles, lambda p: endplate(1.0, p), lambda p: endplate(-1.0, p))

    def _pins(self) -> list[Mesh]:
        """Upright pins in the middle of the wall, two in front and two at the back."""
        # On the diagonal of the corner, in the middle between outer and inner outline.
        corner = self._radius()
        inset = corner - (corner - 0.5 * self.wall_mm) * np.sqrt(0.5)
        inset = max(inset, 0.5 * self.wall_mm)
        x, y = 0.5 * self.width_mm - inset, 0.5 * self.depth_mm - inset
        pins = []
        for px, py in ((-x, y), (x, y), (-x, -y), (x, -y)):
            half = float(self._half_height(py)) - self.tooth_height_mm - 0.4
            radius = 0.5 * self.marker_diameter_mm
            pin = revolve(np.array([[0, -half], [radius, -half], [radius, half], [0, half]]), 24)
            shift = np.eye(4)
            shift[:2, 3] = px, py
            pins.append(pin.transformed(shift))
        return pins
