"""Spinal rods, straight or through the heads of screws, and the cross-link between two rods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh
from .path import along, checked_path, smooth_line, spline_through
from .pedicle_screw import RodSeat
from .tube import tube


@dataclass(frozen=True)
class Rod(Implant):
    """Round rod with hemispherical ends.

    Frame: a straight rod begins at the origin and runs along +z. A rod with a path lies where
    its path lies: through screws in RAS, the rod's frame is RAS and its placement the identity.

    :param diameter_mm: 4.75, 5.5, 6.0 and 6.35 mm are on the market.
    :param length_mm: end to end, of a straight rod; ignored with a path.
    :param path_mm: centre line from end to end as points ``((x, y, z), ...)``, at least two, joined
        by a smooth curve; empty for a straight rod.
    :param material: of the rod.
    """

    kind: ClassVar[str] = "rod"
    segments: ClassVar[int] = 40

    diameter_mm: float = 5.5
    length_mm: float = 80.0
    path_mm: tuple[tuple[float, float, float], ...] = ()
    material: str = "Ti6Al4V"

    def check(self) -> None:
        """The path needs points apart from each other and bends that the rod can follow."""
        if not self.path_mm:
            return
        path = checked_path(self.kind, self.path_mm, self.diameter_mm)
        object.__setattr__(self, "path_mm", path)
        length = along(self.centre_line()[0])[-1]
        if length < 2 * self.diameter_mm:
            raise InputError(f"{self.kind}: path_mm is only {length:.1f} mm long")

    @staticmethod
    def through(
        seats: Sequence[RodSeat | Sequence[float] | np.ndarray],
        diameter_mm: float = 5.5,
        overhang_mm: float = 10.0,
        material: str = "Ti6Al4V",
    ) -> Rod:
        """A rod along a smooth curve through the seats of screws, in the seats' frame.

        :param seats: two or more, in order from one end to the other (a natural cubic spline
            over the chord length goes through all of them).
        :param overhang_mm: straight piece beyond the first and the last seat.
        """
        points = np.array(
            [seat.position if isinstance(seat, RodSeat) else seat for seat in seats], dtype=float
        )
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2:
            raise InputError(f"a rod needs two or more screws, {len(points)} given")
        gaps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        if gaps.min() < 1.0:
            raise InputError(
                f"rod: seats {gaps.argmin() + 1} and {gaps.argmin() + 2} are "
                f"{gaps.min():.2f} mm apart; give every screw once, in order along the rod"
            )
        if overhang_mm < 0:
            raise InputError(f"rod: overhang_mm of {overhang_mm:g} is negative")
        spline = spline_through(points)
        ends = np.array([spline.x[0], spline.x[-1]])
        tangent = spline(ends, 1)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        path = points.tolist()
        if overhang_mm >= 0.1:
            path = [
                (points[0] - overhang_mm * tangent[0]).tolist(),
                *path,
                (points[-1] + overhang_mm * tangent[1]).tolist(),
            ]
        return Rod(diameter_mm, path_mm=tuple(tuple(p) for p in path), material=material)

    def centre_line(self) -> tuple[np.ndarray, np.ndarray]:
        """Points ``(n, 3)`` along the centre line, end to end, and unit tangents."""
        if not self.path_mm:
            z = np.array([0.0, self.length_mm])
            line = np.stack([0 * z, 0 * z, z], axis=-1)
            return line, np.tile([0.0, 0.0, 1.0], (2, 1))
        return smooth_line(np.array(self.path_mm), min(1.5, 0.5 * self.diameter_mm))

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        return [ImplantPart("rod", self._body(), self.material, "rod")]

    def _body(self) -> Mesh:
        line, tangent = self.centre_line()
        return tube(line, 0.5 * self.diameter_mm, tangent, self.segments)
