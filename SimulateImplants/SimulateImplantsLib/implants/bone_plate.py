"""Plate with screws on the shaft of a long bone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .bone_screw import BoneScrew
from .sheet import polygon_circle, rounded_rectangle, thicken, triangulate


@dataclass(frozen=True)
class BonePlate(Implant):
    """Straight plate, its face round as the bone; screws across the bone on both sides of a gap.

    Frame: origin in the middle of the face on the bone, +x across, +y away from the bone, +z along
    it. Screws run towards -y.

    :param holes: in a row, ``pitch_mm`` apart. :param free: holes in the middle without a screw.
    :param width_mm, thickness_mm: of the plate. :param curvature_mm: radius of its face.
    :param screw_diameter_mm, screw_length_mm: of the screws, from the plate's face to the tip.
    """

    kind: ClassVar[str] = "bone-plate"

    holes: int = 8
    free: int = 2
    pitch_mm: float = 18.0
    width_mm: float = 17.5
    thickness_mm: float = 5.2
    curvature_mm: float = 15.0
    screw_diameter_mm: float = 5.0
    screw_length_mm: float = 36.0
    material: str = "316L"

    def check(self) -> None:
        """Some hole has a screw, and some plate beside it."""
        if self.free >= self.holes:
            raise InputError(
                f"bone-plate: free of {self.free} leaves none of {self.holes} holes a screw"
            )
        if self.screw_diameter_mm + 3.0 > min(self.width_mm, self.pitch_mm):
            raise InputError(
                f"bone-plate: holes for screw_diameter_mm of {self.screw_diameter_mm:g} do not fit "
                f"on a width_mm of {self.width_mm:g}; take thinner screws or a wider plate"
            )

    @property
    def length_mm(self) -> float:
        """End to end."""
        return self.holes * self.pitch_mm

    def _hole_heights(self) -> np.ndarray:
        result: np.ndarray = (np.arange(self.holes) - 0.5 * (self.holes - 1)) * self.pitch_mm
        return result

    def parts(self) -> list[ImplantPart]:
        """The plate and one closed surface a screw."""
        heights = self._hole_heights()
        outline = rounded_rectangle(self.width_mm, self.length_mm, 0.45 * self.width_mm)
        hole = 0.5 * self.screw_diameter_mm + 0.6
        points, triangles = triangulate(
            [outline, *(polygon_circle((0.0, float(z)), hole) for z in heights)], 1.2
        )

        def sheet(p: np.ndarray, height: float) -> np.ndarray:
            angle, radius = p[:, 0] / self.curvature_mm, self.curvature_mm + height
            y = radius * np.cos(angle) - self.curvature_mm
            return np.column_stack([radius * np.sin(angle), y, p[:, 1]])

        plate = thicken(
            points, triangles, lambda p: sheet(p, self.thickness_mm), lambda p: sheet(p, 0)
        )
        screw = BoneScrew(
            self.screw_diameter_mm,
            self.screw_length_mm,
            head_diameter_mm=2 * hole - 0.1,
            head_height_mm=self.thickness_mm,
            pitch_mm=1.75,
            thread_depth_mm=0.14 * self.screw_diameter_mm,
            material=self.material,
        ).mesh()
        parts = [ImplantPart("plate", plate, self.material, "plate")]
        first = (self.holes - self.free) // 2
        for number, z in enumerate(heights):
            if not first <= number < first + self.free:
                pose = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, z], [0, 0, 0, 1]])
                mesh = screw.transformed(pose)
                parts.append(ImplantPart(f"screw {number + 1}", mesh, self.material, "screw"))
        return parts
