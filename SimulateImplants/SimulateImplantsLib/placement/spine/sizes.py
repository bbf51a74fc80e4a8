"""Sizes that implants come in, and how a proposal is snapped to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .levels import LEVELS

_USUAL_WIDTH_MM = dict(
    zip(
        LEVELS[7:24],
        (7.9, 7.0, 5.6, 4.7, 4.5, 5.2, 5.3, 5.9, 6.1, 6.3, 7.8, 7.1, 8.7, 8.9, 10.3, 12.9, 18.0),
        strict=True,
    )
)
"""Mean width of pedicles from T1 to L5 (Zindrick et al. 1987, Spine 12:160)."""
_UNUSUAL_SHARE = 1 / 3
"""Of what is wider than that, so much counts: a rib or a transverse process that the image hardly
parts from a pedicle widens it."""


@dataclass(frozen=True)
class ScrewSizes:
    """Available pedicle screws and the margins kept (mm).

    :param diameters_mm, lengths_mm: what the manufacturer offers.
    :param pedicle_margin_mm: bone left between the thread and the pedicle's outer surface.
    :param wider_share: of what a pedicle is wider than the thinnest screw and its margins need, so
        much is added to the screw. Threads of over 0.8 of the width deform and break pedicles
        (Misenhimer et al. 1989, Spine 14:367); so chosen they fill 0.73 of one 5.5 mm wide and
        0.6 of one 12 mm wide, less where that is wider than usual.
    :param tip_margin_mm: bone left between the tip and the front of the body.
    :param depth_share: largest share of the way from entry to the front of the bone.
    """

    diameters_mm: tuple[float, ...] = (4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5)
    lengths_mm: tuple[float, ...] = (25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0)
    pedicle_margin_mm: float = 0.75
    wider_share: float = 0.5
    tip_margin_mm: float = 5.0
    depth_share: float = 0.88

    def __post_init__(self) -> None:
        for name in ("diameters_mm", "lengths_mm"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise InputError(f"screw {name} {values}: at least one size above 0 is needed")

    def diameter(self, width_mm: float, clearance_mm: float, level: str = "") -> float | None:
        """The thickest screw for a pedicle of a width; None if even the thinnest is too thick.

        :param clearance_mm: of its axis from the surface; no thread comes out there.
        :param level: where it is wider than usual; "" where that is not known.
        """
        thinnest = min(self.diameters_mm)
        needed = thinnest + 2 * self.pedicle_margin_mm
        spare = width_mm - needed
        if spare < 0:
            return None
        beyond = max(width_mm - max(_USUAL_WIDTH_MM.get(level, width_mm), needed), 0.0)
        spare -= (1 - _UNUSUAL_SHARE) * beyond
        return snap_down(
            min(thinnest + self.wider_share * spare, 2 * clearance_mm), self.diameters_mm
        )

    def length(self, depth_mm: float) -> float | None:
        """The longest screw for ``depth_mm`` of bone along the axis; None if none is so short."""
        room = min(depth_mm - self.tip_margin_mm, depth_mm * self.depth_share)
        return snap_down(room, self.lengths_mm)


def snap_down(value: float, sizes: Sequence[float]) -> float | None:
    """The largest size not above ``value``."""
    fitting = [s for s in sizes if s <= value + 1e-6]
    return max(fitting) if fitting else None


def snap_nearest(value: float, sizes: Sequence[float]) -> float:
    """The size next to ``value``."""
    return float(min(sizes, key=lambda s: abs(s - value)))


def steps(low: float, high: float, step: float) -> tuple[float, ...]:
    """Sizes from ``low`` to ``high``."""
    return tuple(float(v) for v in np.arange(low, high + 0.5 * step, step))
