"""Anatomic total shoulder: humeral stem, head, and polyethylene glenoid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh, arc, revolve
from .tube import tube

_MISMATCH_MM = 4.0
"""The glenoid's radius is so much larger than the head's."""
_GLENOID_MM, _PEG_MM = 4.0, 12.0


@dataclass(frozen=True)
class TotalShoulder(Implant):
    """Stem in the humerus, a head on it, and the glenoid's face that it rests on.

    Frame: origin in the centre of the head's sphere, +z up the humerus along its shaft, +x medial,
    to the glenoid; the head is cut where the neck was.

    :param radius_mm, head_mm: of the head's sphere; height of the head over its cut.
    :param neck_shaft_angle_deg: between the head's axis and the shaft below.
    :param offset_mm: from the shaft's axis to the centre.
    :param stem_mm, stem_diameter_mm: from the centre to the tip; at the middle.
    :param glenoid_mm: height of the glenoid. :param glenoid_deg: from +x up to its middle; the arm
        hangs at 0 and is lifted below.
    :param material: of the head.
    """

    kind: ClassVar[str] = "total-shoulder"

    radius_mm: float = 24.0
    head_mm: float = 18.0
    neck_shaft_angle_deg: float = 135.0
    offset_mm: float = 7.0
    stem_mm: float = 110.0
    stem_diameter_mm: float = 11.0
    glenoid_mm: float = 34.0
    glenoid_deg: float = 0.0
    material: str = "CoCrMo"
    stem_material: str = "Ti6Al4V"
    glenoid_material: str = "UHMWPE"

    def check(self) -> None:
        """A head is a part of its sphere, and the glenoid no larger than it."""
        if self.head_mm > self.radius_mm:
            raise InputError(
                f"total-shoulder: head_mm of {self.head_mm:g} is more than half of a sphere with a "
                f"radius_mm of {self.radius_mm:g}; take a lower head"
            )
        if self.glenoid_mm > 1.7 * self.radius_mm:
            raise InputError(
                f"total-shoulder: glenoid_mm of {self.glenoid_mm:g} is too high for a radius_mm of "
                f"{self.radius_mm:g}; take a smaller glenoid"
            )

    def parts(self) -> list[ImplantPart]:
        """Four closed surfaces; the neck joins head and stem."""
        angle = np.deg2rad(self.neck_shaft_angle_deg)
        axis = np.array([np.sin(angle), 0.0, -np.cos(angle)])
        cut = self.radius_mm - self.head_mm
        cap = arc(self.radius_mm, 0.0, float(np.arccos(cut / self.radius_mm)), 49)
        cap[0], cap[-1] = [0.0, self.radius_mm], [np.sqrt(self.radius_mm**2 - cut**2), cut]
        head = _about(revolve(np.concatenate([cap, [[0.0, cut]]]), 64), axis)
        r, tip = 0.5 * self.stem_diameter_mm, -self.stem_mm
        profile = [[0, -10], [1.35 * r, -11], [1.25 * r, -25], [r, 0.5 * tip - 10]]
        profile += [[0.8 * r, tip + 4], [0.5 * r, tip + 1], [0, tip]]
        stem = revolve(np.array(profile, float), 48)
        foot = np.array([-self.offset_mm, 0.0, -16.0])
        stem = Mesh(stem.points - np.array([self.offset_mm, 0.0, 0.0]), stem.triangles)
        neck = tube(np.linspace(foot, axis * (cut + 2.0), 12), min(6.5, 1.2 * r))
        return [
            ImplantPart("head", head, self.material, "head"),
            ImplantPart("stem", stem, self.stem_material, "stem"),
            ImplantPart("neck", neck, self.stem_material, "neck"),
            ImplantPart("glenoid", self._glenoid(), self.glenoid_material, "glenoid"),
        ]

    def _glenoid(self) -> Mesh:
        """A dish with a peg; it touches the head in its middle."""
        inner = self.radius_mm + _MISMATCH_MM
        reach = float(np.arcsin(0.5 * self.glenoid_mm / inner))
        face = arc(inner, 0.0, reach, 25, -_MISMATCH_MM)
        back = arc(inner + _GLENOID_MM, reach, 0.12, 25, -_MISMATCH_MM)
        face[0, 0] = 0.0
        top = back[-1, 1]
        peg = [[2.5, top + 1.0], [2.5, top + _PEG_MM], [0.0, top + _PEG_MM]]
        turn = np.deg2rad(self.glenoid_deg)
        axis = np.array([np.cos(turn), 0.0, np.sin(turn)])
        return _about(revolve(np.concatenate([face, back, peg]), 48), axis)


def _about(mesh: Mesh, axis: np.ndarray) -> Mesh:
    """What was made about +z, about an axis across y."""
    y = np.array([0.0, 1.0, 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(y, axis), y, axis], axis=1)
    return mesh.transformed(pose)
