"""Femoral head with the bore for a 12/14 taper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .mesh import arc, revolve

TAPER_TIP_MM = 12.0
"""Diameter of the stem's taper at its tip, and of the bore at its bottom."""

TAPER_SLOPE = 0.1
"""Diameter gained per mm of length: 5 deg 40 min, the usual 12/14 taper (one half 2 deg 50 min)."""

TAPER_TO_CENTRE_MM = 1.0
"""From the taper's tip to the centre of a head of neck length 0."""


@dataclass(frozen=True)
class FemoralHead(Implant):
    """Ball on the stem's taper.

    Frame: origin at the ball's centre, +z along the neck to the pole, the bore on the side of -z.

    :param diameter_mm: of the ball.
    :param neck_length_mm: how much farther out (+) or in (-) than the standard head it sits.
    :param material: CoCrMo as a rule.
    """

    kind: ClassVar[str] = "femoral-head"

    diameter_mm: float = 32.0
    neck_length_mm: float = 0.0
    material: str = "CoCrMo"

    def check(self) -> None:
        """The taper needs some bore to sit in."""
        if self.engagement_mm < 3.0:
            raise InputError(
                f"femoral-head: neck_length_mm of {self.neck_length_mm:g} leaves "
                f"{self.engagement_mm:.1f} mm of bore in a head of {self.diameter_mm:g} mm; take a "
                "shorter neck or a larger head"
            )
        if self.bore_depth_z_mm > 0.5 * self.diameter_mm - 4.5:
            raise InputError(
                f"femoral-head: neck_length_mm of {self.neck_length_mm:g} bores through a head of "
                f"{self.diameter_mm:g} mm; take a longer neck or a larger head"
            )

    @property
    def bore_depth_z_mm(self) -> float:
        """Height of the bore's bottom (the taper's tip) in the head's frame."""
        return -TAPER_TO_CENTRE_MM - self.neck_length_mm

    @property
    def mouth_mm(self) -> tuple[float, float]:
        """Radius and height of the circle where the bore meets the sphere's flat."""
        ball, tip = 0.5 * self.diameter_mm, self.bore_depth_z_mm
        # Cone r = tip radius + slope/2 * (tip - z); the flat is a little wider than the mouth.
        low, high = -ball, tip
        for _ in range(60):
            middle = 0.5 * (low + high)
            radius = 0.5 * (TAPER_TIP_MM + TAPER_SLOPE * (tip - middle)) + 0.6
            inside = middle**2 + radius**2 < ball**2
            low, high = (low, middle) if inside else (middle, high)
        radius = 0.5 * (TAPER_TIP_MM + TAPER_SLOPE * (tip - high))
        return radius, high

    @property
    def engagement_mm(self) -> float:
        """Length of the bore."""
        return self.bore_depth_z_mm - self.mouth_mm[1]

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        ball = 0.5 * self.diameter_mm
        radius, mouth = self.mouth_mm
        tip = self.bore_depth_z_mm
        outside = arc(ball, 0.0, float(np.arccos(mouth / ball)), 61)
        outside[-1] = [np.sqrt(ball**2 - mouth**2), mouth]
        outside[0] = [0.0, ball]
        bore = [[radius, mouth], [0.5 * TAPER_TIP_MM, tip], [0.0, tip]]
        mesh = revolve(np.concatenate([outside, bore]), 72)
        return [ImplantPart("head", mesh, self.material, "head")]
