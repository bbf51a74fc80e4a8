"""Embolisation coil: platinum wire wound up in an aneurysm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Implant, ImplantPart
from .tube import tube


@dataclass(frozen=True)
class EmbolisationCoil(Implant):
    """Coil mass as spirals on shells about each other.

    Frame: origin in the middle.

    :param diameter_mm: of the filled aneurysm.
    :param wire_mm: of the coil, itself wound of thinner wire and taken as solid.
    :param packing: share of the aneurysm that the coil fills.
    """

    kind: ClassVar[str] = "embolisation-coil"

    diameter_mm: float = 6.0
    wire_mm: float = 0.3
    packing: float = 0.25
    material: str = "platinum-tungsten"

    def parts(self) -> list[ImplantPart]:
        """One closed surface a shell."""
        # Loops and shells at the same distance p fill pi/4 (wire / p)^2 of the space.
        pitch = self.wire_mm * np.sqrt(0.25 * np.pi / self.packing)
        outer = 0.5 * (self.diameter_mm - self.wire_mm)
        rng = np.random.default_rng(0)
        parts = []
        for number in range(max(1, int(outer / pitch))):
            radius = outer - number * pitch
            turns = np.pi * radius / pitch
            if turns < 1.5:
                break
            polar = np.linspace(0.6 * pitch / radius, np.pi - 0.6 * pitch / radius, 4000)
            azimuth = 2 * turns * polar
            line = radius * np.stack(
                [np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)],
                axis=-1,
            )
            at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
            even = np.linspace(0.0, at[-1], int(at[-1] / (0.7 * self.wire_mm)) + 2)
            line = np.stack([np.interp(even, at, line[:, k]) for k in range(3)], axis=-1)
            turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
            mesh = tube(line @ turn.T, 0.5 * self.wire_mm, segments=8)
            parts.append(ImplantPart(f"shell {number + 1}", mesh, self.material, "wire"))
        return parts
