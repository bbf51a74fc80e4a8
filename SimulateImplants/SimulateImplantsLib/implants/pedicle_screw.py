"""Pedicle screw with conical core, thread and polyaxial tulip head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh, revolve
from .sheet import thicken, triangulate
from .thread import threaded_body


@dataclass(frozen=True)
class RodSeat:
    """Where a screw holds its rod.

    :param position: centre of the rod in the slot, ``(3,)`` mm.
    :param direction: unit vector along the slot.
    :param up: unit vector of the tulip's axis, away from the bone.
    """

    position: np.ndarray
    direction: np.ndarray
    up: np.ndarray

    def transformed(self, matrix: np.ndarray) -> RodSeat:
        """The seat moved by a rigid ``(4, 4)`` matrix."""
        turn = matrix[:3, :3]
        return RodSeat(turn @ self.position + matrix[:3, 3], turn @ self.direction, turn @ self.up)


@dataclass(frozen=True)
class PedicleScrew(Implant):
    """Polyaxial pedicle screw.

    Frame: origin where the shaft leaves the head (the entry point), +z along the shaft to the
    tip, the tulip on the side of -z. With no head angle the rod's slot runs along x.

    :param diameter_mm: outer diameter over the thread.
    :param length_mm: origin to tip.
    :param pitch_mm: axial distance of two crests (right-handed, single lead).
    :param thread_depth_mm: depth of the thread where the core is thinnest; None for 17 % of
        the diameter.
    :param core_taper_mm: how much thicker the core is at the head than at the tip, in diameter.
    :param head_angle_deg: tilt of the tulip from the shaft's axis, 0 to 30 degrees.
    :param head_azimuth_deg: the direction it tilts to, about +z from +x.
    :param slot_azimuth_deg: turn of the slot about the tulip's axis.
    :param rod_diameter_mm: rod that the tulip takes.
    :param set_screw: with the screw that locks the rod.
    :param material: of all parts.
    """

    kind: ClassVar[str] = "pedicle-screw"
    most_head_angle_deg: ClassVar[float] = 30.0
    least_ball_mm: ClassVar[float] = 3.4
    """Smallest radius of the ball joint."""
    arm_mm: ClassVar[float] = 3.4
    """Of the tulip's arms beside the rod; they reach about as far above it."""

    diameter_mm: float = 6.5
    length_mm: float = 45.0
    pitch_mm: float = 2.7
    thread_depth_mm: float | None = None
    core_taper_mm: float = 0.8
    head_angle_deg: float = 0.0
    head_azimuth_deg: float = 0.0
    slot_azimuth_deg: float = 0.0
    rod_diameter_mm: float = 5.5
    set_screw: bool = True
    material: str = "Ti6Al4V"

    def check(self) -> None:
        """Core and thread have to fit into the diameter."""
        if self.core_taper_mm >= 2 * self.depth_mm:
            raise InputError(
                f"{self.kind}: core_taper_mm of {self.core_taper_mm:g} leaves no thread at the "
                f"head; take less than twice the thread depth ({2 * self.depth_mm:g})"
            )
        if self.diameter_mm - 2 * self.depth_mm < 1.5:
            raise InputError(
                f"{self.kind}: thread_depth_mm of {self.depth_mm:g} leaves a core under 1.5 mm "
                f"in a screw of {self.diameter_mm:g} mm; take a shallower thread"
            )

    @property
    def depth_mm(self) -> float:
        """Depth of the thread where the core is thinnest."""
        return 0.17 * self.diameter_mm if self.thread_depth_mm is None else self.thread_depth_mm

    @property
    def core_diameters_mm(self) -> tuple[float, float]:
        """Core diameter at the head and where the tip begins."""
        thin = self.diameter_mm - 2 * self.depth_mm
        return thin + self.core_taper_mm, thin

    @property
    def ball_radius_mm(self) -> float:
        """Radius of the ball joint between shaft and tulip."""
        return max(0.5 * self.diameter_mm + 0.5, self.least_ball_mm)

    @property
    def _ball_z(self) -> float:
        return -(self.ball_radius_mm + 0.2)

    @property
    def _rod_height(self) -> float:
        """Rod's axis above the centre of the ball along the tulip's axis."""
        return self.ball_radius_mm + 0.5 * self.rod_diameter_mm + 0.3

    def _tulip_pose(self) -> np.ndarray:
        """Tulip frame (origin ball centre, x slot, z up) -> screw frame, ``(4, 4)``."""
        tilt, azimuth, slot = np.deg2rad(
            [self.head_angle_deg, self.head_azimuth_deg, self.slot_azimuth_deg]
        )
        up = np.array(
            [np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), -np.cos(tilt)]
        )
        # The shortest turn from -z to `up` carries x along, so that the slot stays where it was.
        flat = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
        x = np.array([1.0, 0.0, 0.0])
        along = flat @ x
        x = x - along * flat + along * (np.cos(tilt) * flat + np.sin(tilt) * np.array([0, 0, 1.0]))
        y = np.cross(up, x)
        matrix = np.eye(4)
        matrix[:3, 0] = np.cos(slot) * x + np.sin(slot) * y
        matrix[:3, 2] = up
        matrix[:3, 1] = np.cross(up, matrix[:3, 0])
        matrix[2, 3] = self._ball_z
        return matrix

    def rod_seat(self) -> RodSeat:
        """Where the rod lies, in the screw's frame."""
        pose = self._tulip_pose()
        up = pose[:3, 2]
        return RodSeat(pose[:3, 3] + self._rod_height * up, pose[:3, 0], up)

    def facing(self, rod_direction: np.ndarray) -> PedicleScrew:
        """The same screw, its tulip turned so that the slot follows a rod.

        The tulip tilts as little as possible, and never more than its joint allows (a rod steeper
        than that does not fit the slot exactly).

        :param rod_direction: direction of the rod in the screw's frame, any length.
        """
        length = float(np.linalg.norm(rod_direction))
        if not np.isfinite(length) or length < 1e-12:
            raise InputError(f"rod direction {rod_direction} has no length")
        d = np.asarray(rod_direction, dtype=float) / length
        rest = np.array([0.0, 0.0, -1.0])
        across = rest - (rest @ d) * d
        tilt = np.arccos(np.clip(np.linalg.norm(across), -1.0, 1.0))
        tilt = min(float(np.rad2deg(tilt)), self.most_head_angle_deg)
        azimuth = float(np.rad2deg(np.arctan2(across[1], across[0]))) if tilt > 1e-9 else 0.0
        turned = replace(self, head_angle_deg=tilt, head_azimuth_deg=azimuth, slot_azimuth_deg=0.0)
        pose = turned._tulip_pose()
        slot = float(np.rad2deg(np.arctan2(d @ pose[:3, 1], d @ pose[:3, 0])))
        slot = (slot + 90.0) % 180.0 - 90.0
        return replace(turned, slot_azimuth_deg=slot)

    def parts(self) -> list[ImplantPart]:
        """Shaft with ball, tulip and set screw: overlapping closed surfaces."""
        pose = self._tulip_pose()
        parts = [
            ImplantPart("shaft", self._shaft(), self.material, "screw"),
            ImplantPart("tulip", self._tulip().transformed(pose), self.material, "tulip"),
        ]
        if self.set_screw:
            mesh = self._set_screw().transformed(pose)
            parts.append(ImplantPart("set screw", mesh, self.material, "set screw"))
        return parts

    def _shaft(self) -> Mesh:
        outer = 0.5 * self.diameter_mm
        head, thin = (0.5 * d for d in self.core_diameters_mm)
        length = self.length_mm
        tip = 0.9 * self.diameter_mm
        ball = self.ball_radius_mm
        neck = min(head + 0.15, outer)
        # Ball from its flat top down to where the neck's cylinder leaves it.
        angle = np.linspace(np.deg2rad(35.0), np.pi - np.arcsin(min(neck / ball, 0.999)), 14)
        z = self._ball_z - ball * np.cos(angle)
        r = ball * np.sin(angle)
        bluntness = 0.35 * thin
        z = np.concatenate([z, [0.0, 1.0, 2.5, length - tip, length - 0.25 * tip, length]])
        core = np.concatenate([r, [neck, head, head, thin, 0.8 * thin, bluntness]])
        crest = np.concatenate([r, [neck, head, outer, outer, 0.9 * thin, bluntness]])
        socket = min(3.5, 1.1 * ball * np.sin(angle[0]) * np.sqrt(3))
        return threaded_body(
            z, core, crest, self.pitch_mm, socket_mm=(min(socket, r[0] * 1.6), 0.6 * ball)
        )

    def _tulip(self) -> Mesh:
        """U-shaped head; domain is (angle about the axis times radius, height)."""
        radius = 0.5 * self.rod_diameter_mm + self.arm_mm
        half_slot = 0.5 * self.rod_diameter_mm + 0.1
        ball, seat = self.ball_radius_mm, self._rod_height
        bottom, top = -0.55 * ball, seat + 0.5 * self.rod_diameter_mm + self.arm_mm + 0.2
        waist = ball + 0.9
        height = np.array([bottom, bottom + 0.4 * ball, 0.75 * ball, top - 0.8, top])
        profile = np.array([waist - 0.5, waist, radius, radius, radius - 0.6])
        flat = 0.82 * radius

        def half_angle(level: np.ndarray) -> np.ndarray:
            depth = np.maximum(seat - level, 0.0)
            half = np.sqrt(np.maximum(half_slot**2 - depth**2, 0.0))
            result: np.ndarray = np.arcsin(half / np.interp(level, height, profile))
            return result

        round_bottom = seat - half_slot * np.sin(np.linspace(0.0, np.pi / 2, 10))
        down = np.concatenate([[top, top - 0.8], round_bottom])
        right = np.stack([radius * half_angle(down), down], axis=-1)
        left = right[::-1][1:] * [-1.0, 1.0]
        side = 0.5 * np.pi * radius
        right_edge = np.stack([np.full(len(height), side), height], axis=-1)
        loop = np.concatenate([right_edge, right, left, (right_edge * [-1.0, 1.0])[::-1]])
        points, triangles = triangulate([loop], 0.7)

        def sheet(sign: float, domain: np.ndarray) -> np.ndarray:
            angle, level = domain[:, 0] / radius, domain[:, 1]
            r = np.interp(level, height, profile)
            across = np.where(np.abs(domain[:, 0]) > side - 1e-9, 0.0, r * np.cos(angle))
            return np.stack([sign * np.minimum(across, flat), r * np.sin(angle), level], axis=-1)

        return thicken(points, triangles, lambda p: sheet(1.0, p), lambda p: sheet(-1.0, p))

    def _set_screw(self) -> Mesh:
        """Cylinder between the tulip's arms, on top of the rod, with a round driver recess."""
        radius = 0.5 * self.rod_diameter_mm + self.arm_mm - 1.8
        low = self._rod_height + 0.5 * self.rod_diameter_mm - 0.05
        high, recess = low + self.arm_mm, 0.5 * self.arm_mm
        return revolve(
            np.array(
                [
                    [0.0, low],
                    [radius - 0.3, low],
                    [radius, low + 0.3],
                    [radius, high],
                    [recess, high],
                    [recess, high - self.arm_mm + 1.0],
                    [0.0, high - self.arm_mm + 1.0],
                ]
            ),
            48,
        )
