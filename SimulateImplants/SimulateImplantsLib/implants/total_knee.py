"""Total knee: femoral component, tibial tray with keel, polyethylene insert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.interpolate import CubicSpline

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import Mesh, circle, loft, revolve
from .sheet import thicken, triangulate

# Sagittal outlines of the femoral component as shares of its depth, from the flange's top in front
# round the condyles to their top behind: what slides, and the five cuts of the bone.
_OUTER = np.array(
    [
        [0.44, 0.62],
        [0.49, 0.42],
        [0.48, 0.25],
        [0.38, 0.09],
        [0.20, 0.015],
        [0.0, 0.0],
        [-0.20, 0.03],
        [-0.38, 0.13],
        [-0.48, 0.28],
        [-0.47, 0.42],
        [-0.41, 0.51],
    ]
)
_CUTS_AT = np.array([0.0, 0.23, 0.38, 0.60, 0.77, 1.0])
_CUTS = np.array(
    [[0.395, 0.61], [0.37, 0.30], [0.24, 0.145], [-0.20, 0.145], [-0.355, 0.30], [-0.365, 0.50]]
)
_TRAY_MM = 4.0
_ROUNDED = 0.3
"""How much of its thickness the femoral component loses at its sides."""


@dataclass(frozen=True)
class TotalKnee(Implant):
    """Bicondylar knee prosthesis in extension, alike on both sides.

    Frame: origin in the middle of the joint line, where the condyles rest on the insert, +x across,
    +y to the front, +z up the femur.

    :param width_mm, depth_mm: of the femoral component, side to side and front to back.
    :param tray_width_mm, tray_depth_mm: of tray and insert.
    :param insert_mm: thickness of the insert. :param keel_mm: length of the tray's keel.
    :param material: of the femoral component.
    """

    kind: ClassVar[str] = "total-knee"

    width_mm: float = 66.0
    depth_mm: float = 60.0
    tray_width_mm: float = 70.0
    tray_depth_mm: float = 46.0
    insert_mm: float = 9.0
    keel_mm: float = 40.0
    material: str = "CoCrMo"
    tray_material: str = "Ti6Al4V"
    insert_material: str = "UHMWPE"

    def check(self) -> None:
        """Components are wider than deep."""
        for name in ("", "tray_"):
            width, depth = getattr(self, f"{name}width_mm"), getattr(self, f"{name}depth_mm")
            if not 0.55 * width <= depth <= 1.05 * width:
                raise InputError(
                    f"total-knee: {name}depth_mm of {depth:g} does not go with a {name}width_mm of "
                    f"{width:g}; take 0.55 to 1.05 times the width"
                )

    def parts(self) -> list[ImplantPart]:
        """Four closed surfaces; the keel's begins in the tray."""
        top = -self.insert_mm
        keel = np.array([[0, top - 0.5], [7.5, top - 0.5], [7.0, top - 12.0], [6.0, 0.0], [0, 0.0]])
        keel[3:, 1] = top - _TRAY_MM - self.keel_mm
        return [
            ImplantPart("femoral component", self._femoral(), self.material, "femoral"),
            ImplantPart("tray", self._slab(top - _TRAY_MM, top, 1.0), self.tray_material, "tray"),
            ImplantPart("keel", revolve(keel, 40), self.tray_material, "keel"),
            ImplantPart("insert", self._slab(top, 0.0, 0.97), self.insert_material, "insert"),
        ]

    def _femoral(self) -> Mesh:
        """A flange in front and two condyles behind a notch, between the two outlines."""
        half, depth = 0.5 * self.width_mm, self.depth_mm
        at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(_OUTER, axis=0), axis=1))])
        length = depth * at[-1]
        outer = CubicSpline(at / at[-1], _OUTER)
        front, notch = 0.75 * half, 0.26 * half
        outline = np.array(
            [
                [-front, 0.0],
                [front, 0.0],
                [half, 0.36 * length],
                [half, length],
                [notch, length],
                [notch, 0.55 * length],
                [-notch, 0.55 * length],
                [-notch, length],
                [-half, length],
                [-half, 0.36 * length],
            ]
        )
        points, triangles = triangulate([outline], 1.6)

        def cuts(p: np.ndarray) -> np.ndarray:
            t = p[:, 1] / length
            y, z = (np.interp(t, _CUTS_AT, _CUTS[:, k]) for k in range(2))
            return np.column_stack([p[:, 0], depth * y, depth * z])

        def slides(p: np.ndarray) -> np.ndarray:
            y, z = depth * outer(p[:, 1] / length).T
            share = _ROUNDED * (p[:, 0] / half)[:, None] ** 4
            result: np.ndarray = (1 - share) * np.column_stack([p[:, 0], y, z]) + share * cuts(p)
            return result

        return thicken(points, triangles, slides, cuts)

    def _slab(self, low: float, high: float, size: float) -> Mesh:
        """Level slab of the tray's outline: rounded, hollow behind."""
        turn = circle(72)
        x = np.sign(turn[:, 0]) * np.abs(turn[:, 0]) ** 0.8
        y = np.sign(turn[:, 1]) * np.abs(turn[:, 1]) ** 0.7
        y += 0.22 * np.clip(-y, 0, 1) * np.exp(-((x / 0.35) ** 2))
        rings = np.empty((2, len(turn), 3))
        rings[..., 0] = 0.5 * size * self.tray_width_mm * x
        rings[..., 1] = 0.5 * size * self.tray_depth_mm * y
        rings[..., 2] = [[low], [high]]
        return loft(rings)
