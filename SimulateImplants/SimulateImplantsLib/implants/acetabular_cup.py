"""Acetabular cup: metal shell with screw holes, polyethylene liner, cup screws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .bone_screw import BoneScrew
from .mesh import Mesh, arc, circle, revolve
from .sheet import thicken, triangulate

_HOLES = ((38.0, -32.0), (38.0, 32.0), (60.0, 0.0))
"""Polar angle from the pole and azimuth from +x of the holes, degrees: a cluster of three."""

HOLE_MM = 7.6


@dataclass(frozen=True)
class AcetabularCup(Implant):
    """Press-fit hemispherical shell with liner.

    Frame: origin at the centre of the hemisphere (the hip's centre of rotation), +z out of the
    opening, the pole at -z. The screw holes are around +x: turn +x to the back and top of the
    acetabulum, where screws are safe.

    :param diameter_mm: outer diameter of the shell.
    :param head_mm: inner diameter of the liner.
    :param shell_mm: thickness of the shell.
    :param liner: with the liner (False: a cup before its liner).
    :param screws: number of cup screws, 0 to 3.
    :param screw_length_mm: of the cup screws.
    :param material: of shell and screws.
    :param liner_material: UHMWPE as a rule; it is no metal and still attenuates.
    """

    kind: ClassVar[str] = "acetabular-cup"

    diameter_mm: float = 52.0
    head_mm: float = 32.0
    shell_mm: float = 3.5
    liner: bool = True
    screws: int = 0
    screw_length_mm: float = 25.0
    material: str = "Ti6Al4V"
    liner_material: str = "UHMWPE"

    def check(self) -> None:
        """The liner needs some wall."""
        if self.liner and self.liner_wall_mm < 3.0:
            largest = self.diameter_mm - 2 * (self.shell_mm + 3.0)
            raise InputError(
                f"acetabular-cup: head_mm of {self.head_mm:g} leaves {self.liner_wall_mm:.1f} mm "
                f"of liner in a cup of {self.diameter_mm:g} mm; heads up to {largest:g} mm fit"
            )

    @property
    def liner_wall_mm(self) -> float:
        """Thickness of the liner."""
        return 0.5 * (self.diameter_mm - self.head_mm) - self.shell_mm

    def parts(self) -> list[ImplantPart]:
        """Shell, liner, screws (their heads lie in the shell's holes)."""
        parts = [ImplantPart("shell", self._shell(), self.material, "shell")]
        if self.liner:
            parts.append(ImplantPart("liner", self._liner(), self.liner_material, "liner"))
        screw = self._screw() if self.screws else None
        for number in range(self.screws):
            assert screw is not None
            moved = screw.transformed(self.screw_pose(number))
            parts.append(ImplantPart(f"screw {number + 1}", moved, self.material, "screw"))
        return parts

    def _shell(self) -> Mesh:
        """Two spherical sheets over the azimuthal-equidistant map of the hemisphere."""
        outer = 0.5 * self.diameter_mm
        inner = outer - self.shell_mm
        quarter = 0.5 * np.pi * outer
        spacing = 1.2
        loops = [quarter * circle(int(np.ceil(2 * np.pi * quarter / spacing)))]
        for index in range(len(_HOLES)):
            axis, across, along = self._hole_frame(index)
            turn = circle(36)
            opening = 0.5 * HOLE_MM / outer
            on_sphere = np.cos(opening) * axis + np.sin(opening) * (
                turn[:, :1] * across + turn[:, 1:] * along
            )
            polar = np.arccos(-on_sphere[:, 2])
            flat = on_sphere[:, :2] / np.linalg.norm(on_sphere[:, :2], axis=1, keepdims=True)
            loops.append(outer * polar[:, None] * flat)
        points, triangles = triangulate(loops, spacing)
        # Facets lie inside a sphere: this much larger, their volume is the sphere's.
        grown = 1.0 + 0.25 * (spacing / outer) ** 2 / 3.0

        def sphere(radius: float, domain: np.ndarray) -> np.ndarray:
            distance = np.linalg.norm(domain, axis=1)
            polar = distance / outer
            direction = domain / np.maximum(distance, 1e-12)[:, None]
            z = np.where(distance > quarter - 1e-6, 0.0, -np.cos(polar))
            return radius * grown * np.column_stack([np.sin(polar)[:, None] * direction, z])

        return thicken(points, triangles, lambda p: sphere(outer, p), lambda p: sphere(inner, p))

    def _liner(self) -> Mesh:
        outer = 0.5 * self.diameter_mm - self.shell_mm
        inner = 0.5 * self.head_mm
        outside = arc(outer, np.pi, np.pi / 2, 49)
        inside = arc(inner, np.pi / 2, np.pi, 49)
        outside[0, 0] = inside[-1, 0] = 0.0
        outside[-1, 1] = inside[0, 1] = 0.0
        return revolve(np.concatenate([outside, inside]), 96)

    def _hole_frame(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        polar, azimuth = np.deg2rad(_HOLES[index])
        axis = np.array(
            [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), -np.cos(polar)]
        )
        across = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
        return axis, across, np.cross(axis, across)

    def screw_pose(self, index: int) -> np.ndarray:
        """Screw frame (origin on the shell, +z to the tip) -> cup frame of a hole, 0 to 2."""
        axis, across, along = self._hole_frame(index)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([across, along, axis], axis=1)
        pose[:3, 3] = 0.5 * self.diameter_mm * axis
        return pose

    def _screw(self) -> Mesh:
        # A head as thin as the shell stays clear of the liner.
        return BoneScrew(
            6.5,
            self.screw_length_mm,
            head_diameter_mm=HOLE_MM - 0.4,
            head_height_mm=self.shell_mm - 0.3,
            pitch_mm=2.6,
            thread_depth_mm=1.1,
            material=self.material,
        ).mesh()
