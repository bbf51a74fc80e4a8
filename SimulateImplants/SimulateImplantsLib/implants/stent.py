"""Stent of zigzag rings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .path import Path, along, carried, checked_path, smooth_line
from .tube import closed_tube, tube


@dataclass(frozen=True)
class Stent(Implant):
    """Zigzag rings in a row, joined by struts.

    Frame: origin in the middle of one end, +z along the stent; or where its path lies.

    :param diameter_mm: expanded, over the struts.
    :param length_mm: end to end, of a straight one; ignored with a path.
    :param path_mm: centre line of a bent one, as of :class:`Rod`; empty for a straight one.
    :param strut_mm: thickness of the wire. :param ring_mm: length of one ring.
    :param peaks: of a ring.
    """

    kind: ClassVar[str] = "stent"

    diameter_mm: float = 28.0
    length_mm: float = 100.0
    strut_mm: float = 0.4
    ring_mm: float = 12.0
    peaks: int = 8
    path_mm: Path = ()
    material: str = "nitinol"

    def check(self) -> None:
        """A ring has to fit, and its struts beside each other."""
        if self.path_mm:
            path = checked_path(self.kind, self.path_mm, self.diameter_mm)
            object.__setattr__(self, "path_mm", path)
        length = along(self.centre_line()[0])[-1]
        if self.ring_mm > length:
            raise InputError(
                f"stent: ring_mm of {self.ring_mm:g} is longer than the stent ({length:g} mm); "
                "take a shorter ring"
            )
        if np.pi * self.diameter_mm / (2 * self.peaks) < 2 * self.strut_mm:
            raise InputError(
                f"stent: {self.peaks} peaks do not fit round {self.diameter_mm:g} mm; take fewer"
            )

        ring = self._ring()[0]
        step = np.roll(ring, -1, axis=0) - ring
        turn = np.linalg.norm(np.diff(step / np.linalg.norm(step, axis=1)[:, None], axis=0), axis=1)
        bend = float((np.linalg.norm(step, axis=1)[1:] / turn.clip(1e-9)).min())
        if bend < 0.6 * self.strut_mm:
            raise InputError(
                f"stent: ring_mm of {self.ring_mm:g} with {self.peaks} peaks bends struts to a "
                f"radius of {bend:.2f} mm; take thinner struts, shorter rings or fewer peaks"
            )

    def centre_line(self) -> tuple[np.ndarray, np.ndarray]:
        """Points ``(n, 3)`` along the centre line, end to end, and unit tangents."""
        points = np.array(self.path_mm or ((0.0, 0.0, 0.0), (0.0, 0.0, self.length_mm)))
        return smooth_line(points, min(1.5, 0.5 * self.diameter_mm))

    def _ring(self) -> tuple[np.ndarray, np.ndarray]:
        """Closed zigzag line about the origin ``(n, 3)``, and its spokes."""
        angle = np.linspace(0.0, 2 * np.pi, 24 * self.peaks, endpoint=False)
        spoke = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
        # Straight struts with rounded peaks.
        wave = np.arcsin(0.9 * np.sin(self.peaks * angle)) / np.arcsin(0.9)
        height = np.outer(0.5 * (self.ring_mm - self.strut_mm) * wave, [0.0, 0.0, 1.0])
        return 0.5 * (self.diameter_mm - self.strut_mm) * spoke + height, spoke

    def parts(self) -> list[ImplantPart]:
        """One closed surface a ring, and one a strut between two rings."""
        bend = _Bend(*self.centre_line())
        radius = 0.5 * (self.diameter_mm - self.strut_mm)
        count = max(1, int((bend.at[-1] + 1.0) // (self.ring_mm + 1.0)))
        step = (bend.at[-1] - self.ring_mm) / max(count - 1, 1)
        ring, spoke = self._ring()
        height = 0.5 * (self.ring_mm - self.strut_mm)
        parts = []
        for number in range(count):
            middle = np.array([0.0, 0.0, 0.5 * self.ring_mm + number * step])
            line = bend.points(ring + middle)
            spokes = bend.points(ring + middle + spoke) - line
            mesh = closed_tube(line, 0.5 * self.strut_mm, spokes)
            parts.append(ImplantPart(f"ring {number + 1}", mesh, self.material, "strut"))
            if number + 1 < count:
                turn = 0.5 * np.pi / self.peaks + np.pi * number
                foot = radius * np.array([np.cos(turn), np.sin(turn), 0.0])
                ends = np.linspace(0.0, step, 9)[:, None] * [0.0, 0.0, 1.0]
                line = bend.points(foot + middle + [0.0, 0.0, height] + ends)
                strut = tube(line, 0.5 * self.strut_mm, segments=10)
                parts.append(ImplantPart(f"strut {number + 1}", strut, self.material, "strut"))
        return parts


class _Bend:
    """Lays what is about a straight line along +z about a bent one."""

    def __init__(self, line: np.ndarray, tangent: np.ndarray) -> None:
        self.at = along(line)
        self.line, self.first = line, carried(tangent, np.eye(3)[np.argmin(np.abs(tangent[0]))])
        self.second = np.cross(tangent, self.first)

    def points(self, straight: np.ndarray) -> np.ndarray:
        """Where points ``(n, 3)`` come to lie."""

        def there(values: np.ndarray) -> np.ndarray:
            return np.stack([np.interp(straight[:, 2], self.at, v) for v in values.T], axis=-1)

        x, y = straight[:, :1], straight[:, 1:2]
        bent: np.ndarray = there(self.line) + x * there(self.first) + y * there(self.second)
        return bent
