"""Cross-link: a bar that ties two rods together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh, circle, loft, revolve
from .sheet import thicken, triangulate


@dataclass(frozen=True)
class CrossLink(Implant):
    """Bar with a hook and a set screw on each rod.

    Frame: origin midway between the axes of the two rods, +x from the one rod to the other,
    +z along the rods, +y away from the bone (the bar passes over the rods on this side).

    :param distance_mm: between the axes of the rods.
    :param rod_diameter_mm: of the rods that the hooks hold.
    :param material: of all parts.
    """

    kind: ClassVar[str] = "cross-link"

    distance_mm: float = 40.0
    rod_diameter_mm: float = 5.5
    material: str = "Ti6Al4V"

    @staticmethod
    def between(
        first: np.ndarray,
        second: np.ndarray,
        rod_direction: np.ndarray,
        *,
        up: np.ndarray | None = None,
        rod_diameter_mm: float = 5.5,
        material: str = "Ti6Al4V",
    ) -> tuple[CrossLink, np.ndarray]:
        """A cross-link for two rods and its placement.

        :param first: point ``(3,)`` on the axis of the one rod, mm.
        :param second: point on the axis of the other, at the same level.
        :param rod_direction: mean direction of the rods; made perpendicular to the link.
        :param up: away from the bone; None takes what makes the frame right-handed, otherwise
            the rods' direction is reversed where needed.
        :return: the implant and the ``(4, 4)`` matrix from its frame.
        """
        first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
        x = second - first
        distance = float(np.linalg.norm(x))
        if distance < 1e-6:
            raise InputError("cross-link: both points are the same; give one point on each rod")
        x /= distance
        z = np.asarray(rod_direction, dtype=float)
        z = z - (z @ x) * x
        if np.linalg.norm(z) < 1e-6:
            raise InputError("cross-link: the rods run along the line between the two points")
        z /= np.linalg.norm(z)
        y = np.cross(z, x)
        if up is not None and np.asarray(up, dtype=float) @ y < 0:
            y, z = -y, -z
        placement = np.eye(4)
        placement[:3, :3] = np.stack([x, y, z], axis=1)
        placement[:3, 3] = 0.5 * (first + second)
        return CrossLink(distance, rod_diameter_mm, material), placement

    def parts(self) -> list[ImplantPart]:
        """Bar, two hooks, two set screws: overlapping closed surfaces."""
        half = 0.5 * self.distance_mm
        parts = [ImplantPart("bar", self._bar(), self.material, "bar")]
        for name, side in (("first", -1.0), ("second", 1.0)):
            shift = np.eye(4)
            shift[0, 3] = side * half
            if side < 0:
                shift[0, 0] = -1.0  # the hooks open towards each other's outside: mirrored
            hook = self._hook().transformed(shift)
            parts.append(ImplantPart(f"{name} hook", hook, self.material, "hook"))
            screw = self._set_screw().transformed(shift)
            parts.append(ImplantPart(f"{name} set screw", screw, self.material, "set screw"))
        return parts

    def _bar(self) -> Mesh:
        """Rounded bar, arched over the dura."""
        half = 0.5 * self.distance_mm
        x = np.linspace(-half, half, 25)
        base = 0.5 * self.rod_diameter_mm + 1.6
        y = base + min(2.5, 0.06 * self.distance_mm) * (1 - (x / half) ** 2)
        section = circle(24) * [1.6, 2.4]  # 3.2 mm high, 4.8 mm along the rods
        rings = np.stack(
            [
                np.broadcast_to(x[:, None], (25, 24)),
                y[:, None] + section[None, :, 0],
                np.broadcast_to(section[None, :, 1], (25, 24)),
            ],
            axis=-1,
        )
        return loft(rings)

    def _hook(self) -> Mesh:
        """J-shaped block around the rod from above, open below towards the middle."""
        inner = 0.5 * self.rod_diameter_mm + 0.02
        outer = inner + 2.0
        top = inner + 3.4
        turn = np.deg2rad(np.linspace(180.0, -60.0, 25))
        around = inner * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        outside = np.deg2rad(np.linspace(-60.0, 0.0, 9))
        back = outer * np.stack([np.cos(outside), np.sin(outside)], axis=-1)
        loop = np.concatenate(
            [
                around,
                back,
                [[outer, top - 1.0], [outer - 1.0, top], [1.0 - outer, top], [-outer, top - 1.0]],
                [[-outer, 0.0]],
            ]
        )
        points, triangles = triangulate([loop], 0.8)
        depth = 4.0

        def face(z: float, domain: np.ndarray) -> np.ndarray:
            return np.concatenate([domain, np.full((len(domain), 1), z)], axis=1)

        return thicken(points, triangles, lambda p: face(depth, p), lambda p: face(-depth, p))

    def _set_screw(self) -> Mesh:
        """Short cylinder on top of the hook, its axis along y."""
        low = 0.5 * self.rod_diameter_mm
        high = low + 5.2
        body = revolve(
            np.array(
                [[0, low], [2.6, low], [2.6, high], [1.4, high], [1.4, high - 2], [0, high - 2]]
            ),
            32,
        )
        turn = np.eye(4)
        turn[:3, :3] = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
        return body.transformed(turn)
