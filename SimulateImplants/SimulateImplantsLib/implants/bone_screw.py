"""Screws without a tulip: plate, cup, lag and locking screws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh
from .thread import threaded_body


@dataclass(frozen=True)
class BoneScrew(Implant):
    """Bone screw with a domed head and a hexagonal socket.

    Frame: origin at the junction of head and shaft, +z along the shaft to the tip, the head on
    the side of -z.

    :param diameter_mm: outer diameter over the thread.
    :param length_mm: origin to tip.
    :param head_diameter_mm: widest diameter of the head; equal to the shank's for a headless one.
    :param head_height_mm: height of the head.
    :param thread_length_mm: threaded length from the tip; None for the whole shaft.
    :param pitch_mm: axial distance of two crests.
    :param thread_depth_mm: depth of the thread.
    :param material: of the screw.
    """

    kind: ClassVar[str] = "bone-screw"

    diameter_mm: float = 6.5
    length_mm: float = 25.0
    head_diameter_mm: float = 8.0
    head_height_mm: float = 3.5
    thread_length_mm: float | None = None
    pitch_mm: float = 2.0
    thread_depth_mm: float = 0.9
    material: str = "Ti6Al4V"

    def check(self) -> None:
        """Thread and head have to fit."""
        if self.diameter_mm - 2 * self.thread_depth_mm < 1.0:
            raise InputError(
                f"bone-screw: thread_depth_mm of {self.thread_depth_mm:g} leaves a core under "
                f"1 mm in a screw of {self.diameter_mm:g} mm; take a shallower thread"
            )
        if self.thread_length_mm is not None and self.thread_length_mm > self.length_mm:
            raise InputError(
                f"bone-screw: thread_length_mm of {self.thread_length_mm:g} is longer than the "
                f"screw ({self.length_mm:g} mm)"
            )

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        return [ImplantPart("screw", self._body(), self.material, "screw")]

    def _body(self) -> Mesh:
        outer = 0.5 * self.diameter_mm
        core = outer - self.thread_depth_mm
        length = self.length_mm
        threaded = length if self.thread_length_mm is None else self.thread_length_mm
        # A partly threaded screw (lag screw) has a smooth shank almost as thick as the thread.
        shank = core if threaded > 0.95 * length else outer - 0.25 * self.thread_depth_mm
        tip = min(0.7 * self.diameter_mm, 0.3 * length)
        runout = min(0.6, 0.1 * threaded)
        start = max(length - threaded, 0.5)
        head, height = 0.5 * self.head_diameter_mm, self.head_height_mm
        # Dome above, cone of 45 degrees towards the shaft below.
        cone = min(max(head - shank, 0.0), 0.45 * height)
        dome = np.linspace(0.0, 1.0, 6)
        face = 0.62 * head
        dome_z = -height + 0.4 * height * dome
        dome_r = face + (head - face) * np.sqrt(1 - (1 - dome) ** 2)
        z = np.concatenate([dome_z, [-cone, 0.0, 0.2, start]])
        core_r = np.concatenate([dome_r, [head, shank, shank, shank]])
        crest_r = core_r.copy()
        z = np.concatenate([z, [start + runout, length - tip, length - 0.2 * tip, length]])
        core_r = np.concatenate([core_r, [core, core, 0.75 * core, 0.3 * core]])
        crest_r = np.concatenate([crest_r, [outer, outer, 0.85 * core, 0.3 * core]])
        return threaded_body(
            z, core_r, crest_r, self.pitch_mm, socket_mm=(1.25 * face, 0.55 * height)
        )
