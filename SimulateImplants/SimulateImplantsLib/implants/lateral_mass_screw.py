"""Polyaxial screw for the lateral masses of cervical vertebrae."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .pedicle_screw import PedicleScrew


@dataclass(frozen=True)
class LateralMassScrew(PedicleScrew):
    """As :class:`.PedicleScrew`, thinner and shorter, with a small head that tilts further.

    Lateral mass screws run upwards and outwards, far from square to their rod.
    """

    kind: ClassVar[str] = "lateral-mass-screw"
    most_head_angle_deg: ClassVar[float] = 45.0
    least_ball_mm: ClassVar[float] = 2.3
    arm_mm: ClassVar[float] = 2.4

    diameter_mm: float = 3.5
    length_mm: float = 14.0
    pitch_mm: float = 1.5
    core_taper_mm: float = 0.4
    rod_diameter_mm: float = 3.5
