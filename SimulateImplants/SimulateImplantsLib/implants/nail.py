"""Cephalomedullary nail with lag screw and distal locking screws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .bone_screw import BoneScrew
from .mesh import Mesh, circle
from .sheet import thicken, triangulate

PROXIMAL_MM = 62.0
"""Length of the thick part, of which the upper half lies above the lag screw."""

BEND_START_MM = -25.0
STRETCH = 2.0
"""Triangles are this much longer along the nail than around it."""


@dataclass(frozen=True)
class CephalomedullaryNail(Implant):
    """Cannulated proximal femoral nail.

    Frame: origin where the lag screw's axis crosses the nail's axis, +z proximal along the
    proximal part of the nail, +x medial (to the femoral head), the distal end at -z. Front and
    back as for the hip stem: y is to the front in a left femur.

    :param length_mm: end to end along the nail.
    :param diameter_mm: of the distal part.
    :param proximal_diameter_mm: of the thick part.
    :param cannula_mm: diameter of the bore.
    :param neck_shaft_angle_deg: between lag screw and the thick part of the nail.
    :param bend_deg: mediolateral bend: the distal part turns to lateral by this much, seen from
        the thick part, which leans to the tip of the trochanter.
    :param bow_radius_mm: radius of the anterior bow of the distal part; 0 for a straight nail.
    :param side: "left" or "right": which way the bow goes.
    :param lag_diameter_mm: thread diameter of the lag screw.
    :param lag_length_mm: of the lag screw; it begins at the lateral cortex.
    :param locking_screws: distal screws, 0 to 2.
    :param locking_diameter_mm: of the distal screws.
    :param locking_length_mm: of the distal screws.
    :param material: of all parts.
    """

    kind: ClassVar[str] = "cephalomedullary-nail"

    length_mm: float = 180.0
    diameter_mm: float = 11.0
    proximal_diameter_mm: float = 15.5
    cannula_mm: float = 4.8
    neck_shaft_angle_deg: float = 125.0
    bend_deg: float = 4.0
    bow_radius_mm: float = 0.0
    side: str = "left"
    lag_diameter_mm: float = 10.5
    lag_length_mm: float = 95.0
    locking_screws: int = 1
    locking_diameter_mm: float = 5.0
    locking_length_mm: float = 40.0
    material: str = "Ti6Al4V"

    def check(self) -> None:
        """Holes have to leave metal beside them."""
        if self.side not in ("left", "right"):
            raise InputError(f"{self.kind}: side of {self.side!r} is neither 'left' nor 'right'")
        if self.lag_diameter_mm > self.proximal_diameter_mm - 3.0:
            raise InputError(
                f"{self.kind}: lag_diameter_mm of {self.lag_diameter_mm:g} does not pass a nail of "
                f"{self.proximal_diameter_mm:g} mm; it takes 3 mm less than the nail"
            )
        if self.locking_screws and self.locking_diameter_mm > self.diameter_mm - 3.0:
            raise InputError(
                f"{self.kind}: locking_diameter_mm of {self.locking_diameter_mm:g} does not pass "
                f"a nail of {self.diameter_mm:g} mm; it takes 3 mm less than the nail"
            )
        if self.cannula_mm > self.diameter_mm - 3.0:
            raise InputError(
                f"{self.kind}: cannula_mm of {self.cannula_mm:g} leaves a wall under 1.5 mm in a "
                f"nail of {self.diameter_mm:g} mm"
            )
        if self.bow_radius_mm and self.bow_radius_mm < 500:
            raise InputError(
                f"{self.kind}: bow_radius_mm of {self.bow_radius_mm:g} is tighter than a femur's; "
                "take 800 to 3000 mm, or 0 for a straight nail"
            )

    @property
    def _top(self) -> float:
        return 0.5 * PROXIMAL_MM

    @property
    def _bottom(self) -> float:
        return self._top - self.length_mm

    @property
    def lag_axis(self) -> np.ndarray:
        """Unit vector ``(3,)`` along the lag screw to the femoral head."""
        angle = np.deg2rad(self.neck_shaft_angle_deg)
        return np.array([np.sin(angle), 0.0, -np.cos(angle)])

    @property
    def _lag_start(self) -> float:
        """Where along its axis the lag screw begins (lateral, 15 mm outside the nail)."""
        return -(0.5 * self.proximal_diameter_mm / float(self.lag_axis[0]) + 13.0)

    @property
    def lag_tip_mm(self) -> np.ndarray:
        """Tip ``(3,)`` of the lag screw."""
        return self.lag_axis * (self._lag_start + self.lag_length_mm)

    def axis_points(self, heights_mm: np.ndarray) -> np.ndarray:
        """The nail's own axis, bent as it is.

        :param heights_mm: ``(n,)``, along the straight nail, 0 at the lag screw, negative distally.
        :return: points ``(n, 3)``.
        """
        heights = np.asarray(heights_mm, float)
        return self._bend(np.stack([0 * heights, 0 * heights, heights], axis=-1))

    def _locking_levels(self) -> list[float]:
        return [self._bottom + 14.0 + 20.0 * k for k in range(self.locking_screws)]

    def parts(self) -> list[ImplantPart]:
        """Nail, lag screw and locking screws (they fill the nail's holes)."""
        parts = [ImplantPart("nail", self._nail(), self.material, "nail")]
        lag = BoneScrew(
            self.lag_diameter_mm,
            self.lag_length_mm,
            head_diameter_mm=self.lag_diameter_mm - 0.8,
            head_height_mm=2.0,
            thread_length_mm=min(27.0, 0.45 * self.lag_length_mm),
            pitch_mm=3.0,
            thread_depth_mm=0.16 * self.lag_diameter_mm,
            material=self.material,
        ).mesh()
        pose = np.eye(4)
        z, y = self.lag_axis, np.array([0.0, 1.0, 0.0])
        pose[:3, :3] = np.stack([np.cross(y, z), y, z], axis=1)
        pose[:3, 3] = self._lag_start * z
        parts.append(ImplantPart("lag screw", lag.transformed(pose), self.material, "lag screw"))
        if not self.locking_screws:
            return parts
        locking = BoneScrew(
            self.locking_diameter_mm,
            self.locking_length_mm,
            head_diameter_mm=1.6 * self.locking_diameter_mm,
            head_height_mm=3.5,
            pitch_mm=1.8,
            thread_depth_mm=0.35,
            material=self.material,
        ).mesh()
        for number, height in enumerate(self._locking_levels(), start=1):
            centre = self.axis_points(np.array([height]))[0]
            pose = np.eye(4)
            # From lateral to medial, square to the bent part like its holes.
            bend = np.deg2rad(self.bend_deg)
            medial = np.array([np.cos(bend), 0.0, -np.sin(bend)])
            y = np.array([0.0, 1.0, 0.0])
            pose[:3, :3] = np.stack([np.cross(y, medial), y, medial], axis=1)
            pose[:3, 3] = centre - 0.5 * self.locking_length_mm * medial
            moved = locking.transformed(pose)
            parts.append(
                ImplantPart(f"locking screw {number}", moved, self.material, "locking screw")
            )
        return parts

    def _radius(self, z: np.ndarray) -> np.ndarray:
        proximal, distal = 0.5 * self.proximal_diameter_mm, 0.5 * self.diameter_mm
        top, bottom = self._top, self._bottom
        start = top - PROXIMAL_MM
        result: np.ndarray = np.interp(
            z,
            [bottom, bottom + 5.0, start - 25.0, start, top - 1.0, top],
            [0.72 * distal, distal, distal, proximal, proximal, proximal - 0.8],
        )
        return result

    def _nail(self) -> Mesh:
        """Tube with holes; domain is (angle times proximal radius, height), its seam at -y."""
        scale = 0.5 * self.proximal_diameter_mm
        half = np.pi * scale
        low, high = self._bottom, self._top
        breaks = np.array([low, low + 5.0, high - PROXIMAL_MM - 25, high - PROXIMAL_MM])
        seam = np.concatenate([breaks, [high - 1.0, high]])
        loops = [
            np.concatenate(
                [
                    np.stack([np.full(len(seam), half), seam], axis=-1),
                    np.stack([np.full(len(seam), -half), seam[::-1]], axis=-1),
                ]
            )
        ]
        # Angle 0 is +y; medial (+x) is at +90 deg of the domain's angle.
        lag_angle = np.deg2rad(self.neck_shaft_angle_deg)
        for side in (1.0, -1.0):
            turn = circle(40)
            width = 0.5 * self.lag_diameter_mm * turn[:, 0]
            theta = np.arcsin(width / scale)
            out = scale * np.cos(theta) * side
            # Points of the lag screw's cylinder on the nail's: z from both equations.
            z = (0.5 * self.lag_diameter_mm * turn[:, 1] - out * np.cos(lag_angle)) / np.sin(
                lag_angle
            )
            loops.append(np.stack([side * (0.5 * np.pi + theta) * scale, z], axis=-1))
        distal = 0.5 * self.diameter_mm
        for height in self._locking_levels():
            for side in (1.0, -1.0):
                turn = circle(24)
                radius = 0.5 * self.locking_diameter_mm
                theta = np.arcsin(radius * turn[:, 0] / distal)
                z = height + radius * turn[:, 1]
                loops.append(np.stack([side * (0.5 * np.pi + theta) * scale, z], axis=-1))
        points, triangles = triangulate([loop / [1.0, STRETCH] for loop in loops], 1.0)
        points = points * [1.0, STRETCH]

        def sheet(outside: bool, domain: np.ndarray) -> np.ndarray:
            theta = domain[:, 0] / scale
            radius = self._radius(domain[:, 1]) if outside else np.full(len(domain), 0.0)
            radius = radius if outside else radius + 0.5 * self.cannula_mm
            # Exactly the same point at both ends of the seam.
            theta = np.where(theta < -np.pi + 1e-9, np.pi, theta)
            x, y = radius * np.sin(theta), radius * np.cos(theta)
            return self._bend(np.stack([x, y, domain[:, 1]], axis=-1))

        return thicken(points, triangles, lambda p: sheet(True, p), lambda p: sheet(False, p))

    def _bend(self, points: np.ndarray) -> np.ndarray:
        """Bend the distal part: by an angle over 20 mm towards lateral, and along the bow."""
        below = np.maximum(BEND_START_MM - points[:, 2], 0.0)
        bent: np.ndarray = points.copy()
        # The axis as an arc of 20 mm that turns by the bend, then straight.
        angle = -np.deg2rad(self.bend_deg)
        turned = angle * np.minimum(below / 20.0, 1.0)
        arc = np.minimum(below, 20.0)
        rest = below - arc
        x = 0.5 * arc * turned + rest * np.sin(turned)
        z = arc + rest * np.cos(turned)
        # Keep sections perpendicular to the axis.
        bent[:, 0] = points[:, 0] * np.cos(turned) + x
        bent[:, 2] = np.where(
            below > 0, BEND_START_MM - z + points[:, 0] * np.sin(turned), points[:, 2]
        )
        if self.bow_radius_mm:
            # The bow starts below the thick part; the femur's convexity is to the front.
            front = 1.0 if self.side == "left" else -1.0
            start = np.maximum(BEND_START_MM - 40.0 - points[:, 2], 0.0)
            bent[:, 1] -= front * 0.5 * start**2 / self.bow_radius_mm
        return bent
