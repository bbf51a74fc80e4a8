"""Anterior (cervical or lumbar) plate with its screws."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .bone_screw import BoneScrew
from .mesh import Mesh
from .sheet import polygon_circle, rounded_rectangle, thicken, triangulate


@dataclass(frozen=True)
class AnteriorPlate(Implant):
    """Curved plate over one or more disc levels, two screws in each vertebra.

    Frame: origin in the middle of the face on the bone, +x across, +y away from the bone (to
    the front), +z cranial. Screws run towards -y.

    :param length_mm: cranial to caudal end.
    :param width_mm: along the curved surface.
    :param thickness_mm: of the plate.
    :param levels: discs bridged; there are ``levels + 1`` pairs of screws.
    :param curvature_mm: radius of the face on the bone in the axial plane.
    :param screw_diameter_mm: of the screws; 0 for a plate without screws.
    :param screw_length_mm: of the screws.
    :param convergence_deg: of each screw towards the midline.
    :param divergence_deg: cranial tilt of the upper and caudal tilt of the lower pair.
    :param material: of plate and screws.
    """

    kind: ClassVar[str] = "anterior-plate"

    length_mm: float = 26.0
    width_mm: float = 17.0
    thickness_mm: float = 2.2
    levels: int = 1
    curvature_mm: float = 22.0
    screw_diameter_mm: float = 4.0
    screw_length_mm: float = 14.0
    convergence_deg: float = 6.0
    divergence_deg: float = 12.0
    material: str = "Ti6Al4V"

    def check(self) -> None:
        """Screws have to be of a size that exists and fit beside each other."""
        if self.screw_diameter_mm and self.screw_diameter_mm < 3.0:
            raise InputError(
                f"anterior-plate: screw_diameter_mm of {self.screw_diameter_mm:g} is under 3 mm; "
                "give 0 for a plate without screws"
            )
        if self.length_mm < (self._hole + 3.0) * (self.levels + 1) + 2.0:
            raise InputError(
                f"anterior-plate: {self.levels + 1} pairs of screws do not fit on a length_mm of "
                f"{self.length_mm:g}; take a longer plate or fewer levels"
            )
        if self.width_mm < 2 * self._hole + 4.5:
            raise InputError(
                f"anterior-plate: two screws of {self.screw_diameter_mm:g} mm do not fit on a "
                f"width_mm of {self.width_mm:g}; take a wider plate"
            )
        if self.width_mm > 2.0 * self.curvature_mm:
            raise InputError(
                f"anterior-plate: curvature_mm of {self.curvature_mm:g} is too tight for a "
                f"width_mm of {self.width_mm:g}"
            )

    @property
    def _hole(self) -> float:
        return (self.screw_diameter_mm or 4.0) + 1.2

    def _hole_centres(self) -> list[tuple[float, float]]:
        """(along the surface, z), pair by pair from the caudal end."""
        across = 0.5 * self.width_mm - 0.5 * self._hole - 1.5
        end = 0.5 * self.length_mm - 0.5 * self._hole - 1.8
        levels = np.linspace(-end, end, self.levels + 1)
        return [(side * across, float(z)) for z in levels for side in (-1.0, 1.0)]

    def parts(self) -> list[ImplantPart]:
        """The plate and one closed surface a screw."""
        parts = [ImplantPart("plate", self._plate(), self.material, "plate")]
        if not self.screw_diameter_mm:
            return parts
        screw = BoneScrew(
            self.screw_diameter_mm,
            self.screw_length_mm,
            head_diameter_mm=self._hole - 0.1,
            head_height_mm=self.thickness_mm,
            pitch_mm=1.6,
            thread_depth_mm=0.16 * self.screw_diameter_mm,
            material=self.material,
        ).mesh()
        for number, centre in enumerate(self._hole_centres(), start=1):
            moved = screw.transformed(self._screw_pose(*centre))
            parts.append(ImplantPart(f"screw {number}", moved, self.material, "screw"))
        return parts

    def _on_surface(self, along: np.ndarray, z: np.ndarray, height: float) -> np.ndarray:
        angle = along / self.curvature_mm
        radius = self.curvature_mm + height
        return np.stack(
            [radius * np.sin(angle), radius * np.cos(angle) - self.curvature_mm, z], axis=-1
        )

    def _screw_pose(self, along: float, z: float) -> np.ndarray:
        angle = along / self.curvature_mm
        tilt = np.deg2rad(self.convergence_deg) * -np.sign(along)
        lift = np.deg2rad(self.divergence_deg) * 2 * z / self.length_mm
        # From straight back: converging to the midline, the end pairs fanned out.
        direction = np.array([np.sin(tilt), -np.cos(tilt), 0.0]) * np.cos(lift)
        direction[2] = np.sin(lift)
        normal = np.array([np.sin(angle), np.cos(angle), 0.0])
        pose = np.eye(4)
        x = np.cross(normal, direction)
        helper = np.array([0.0, 0.0, 1.0]) if np.linalg.norm(x) < 1e-6 else x
        x = helper - (helper @ direction) * direction
        x /= np.linalg.norm(x)
        pose[:3, :3] = np.stack([x, np.cross(direction, x), direction], axis=1)
        pose[:3, 3] = self._on_surface(np.array(along), np.array(z), 0.0)
        return pose

    def _plate(self) -> Mesh:
        outline = rounded_rectangle(self.width_mm, self.length_mm, 3.5)
        holes = [polygon_circle(centre, 0.5 * self._hole) for centre in self._hole_centres()]
        rows = sorted({z for _, z in self._hole_centres()})
        for low, high in pairwise(rows):
            height = high - low - self._hole - 2.4
            width = min(5.0, self.width_mm - 8.0)
            if height > 2.0:  # window to look at the graft
                radius = 0.49 * min(width, height)
                holes.append(rounded_rectangle(width, height, radius, (0.0, 0.5 * (low + high))))
        points, triangles = triangulate([outline, *holes], 0.8)
        return thicken(
            points,
            triangles,
            lambda p: self._on_surface(p[:, 0], p[:, 1], self.thickness_mm),
            lambda p: self._on_surface(p[:, 0], p[:, 1], 0.0),
        )
