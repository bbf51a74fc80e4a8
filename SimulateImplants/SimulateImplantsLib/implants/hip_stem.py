"""Cementless tapered hip stem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.interpolate import PchipInterpolator

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .femoral_head import TAPER_SLOPE, TAPER_TIP_MM, TAPER_TO_CENTRE_MM
from .mesh import Mesh, loft

SECTION_POINTS = 48
TAPER_LENGTH_MM = 14.0
NECK_RADIUS_MM = 6.2


@dataclass(frozen=True)
class HipStem(Implant):
    """Straight stem, tapered in three planes, with a 12/14 neck taper.

    Frame: origin where the neck's axis meets the stem's axis, +z proximal along the stem's axis,
    +x medial (to the head), the tip at -z. The stem is symmetric front to back, so the frame fits
    left and right hips alike: y is to the front in a left hip and to the back in a right one.

    :param length_mm: from the origin's level (near the usual resection) to the tip.
    :param neck_shaft_angle_deg: between the neck's axis and the stem's axis below.
    :param offset_mm: from the stem's axis to the centre of the standard head.
    :param distal_diameter_mm: medial to lateral where the rounded tip ends.
    :param proximal_width_mm: medial to lateral, from the lateral side to where the medial flare
        has become the neck's lower edge.
    :param proximal_depth_mm: front to back in the metaphysis.
    :param material: Ti6Al4V as a rule; CoCrMo or 316L for cemented stems.
    """

    kind: ClassVar[str] = "hip-stem"

    length_mm: float = 140.0
    neck_shaft_angle_deg: float = 135.0
    offset_mm: float = 40.0
    distal_diameter_mm: float = 9.0
    proximal_width_mm: float = 30.0
    proximal_depth_mm: float = 14.0
    material: str = "Ti6Al4V"

    def check(self) -> None:
        """The neck has to be long enough for the taper outside the body of the stem."""
        if self.proximal_width_mm < 2 * self.distal_diameter_mm - 2:
            raise InputError(
                f"hip-stem: proximal_width_mm of {self.proximal_width_mm:g} is too narrow over a "
                f"distal_diameter_mm of {self.distal_diameter_mm:g}; it takes nearly twice that"
            )
        if self.neck_length_mm < self._body_end + TAPER_LENGTH_MM + 2.0:
            shortest = (self._body_end + TAPER_LENGTH_MM + 2.0) * self._neck_axis[0]
            raise InputError(
                f"hip-stem: offset_mm of {self.offset_mm:g} leaves no neck beside a "
                f"proximal_width_mm of {self.proximal_width_mm:g}; take {shortest:.0f} mm or more"
            )

    @property
    def _neck_axis(self) -> np.ndarray:
        angle = np.deg2rad(self.neck_shaft_angle_deg)
        return np.array([np.sin(angle), 0.0, -np.cos(angle)])

    @property
    def neck_length_mm(self) -> float:
        """From the origin to the centre of the standard head, along the neck."""
        return self.offset_mm / float(self._neck_axis[0])

    @property
    def _lateral_x(self) -> float:
        half_tip = 0.5 * self.distal_diameter_mm
        return -(half_tip + 0.18 * (self.proximal_width_mm - 2 * half_tip))

    @property
    def _body_end(self) -> float:
        """Where along the neck's axis the medial flare has become the neck's lower edge."""
        n = self._neck_axis
        medial = self._lateral_x + self.proximal_width_mm
        return float((medial - 1.1 * NECK_RADIUS_MM * n[2]) / n[0])

    def head_centre_mm(self, neck_length_mm: float = 0.0) -> np.ndarray:
        """Centre ``(3,)`` of a head of that neck length."""
        return self._neck_axis * (self.neck_length_mm + neck_length_mm)

    def head_pose(self, neck_length_mm: float = 0.0) -> np.ndarray:
        """Head frame (+z along the neck) -> stem frame, ``(4, 4)``."""
        axis = self._neck_axis
        pose = np.eye(4)
        y = np.array([0.0, 1.0, 0.0])
        pose[:3, :3] = np.stack([np.cross(y, axis), y, axis], axis=1)
        pose[:3, 3] = self.head_centre_mm(neck_length_mm)
        return pose

    def parts(self) -> list[ImplantPart]:
        """One closed surface: body, neck and taper."""
        return [ImplantPart("stem", self._body(), self.material, "stem")]

    def _body(self) -> Mesh:
        """Sections from a lateral to a medial line; they turn from level to across the neck."""
        table = np.concatenate([self._distal_rows(), self._metaphysis_rows(), self._neck_rows()])
        return _sections(table)

    def _flare_start(self) -> tuple[float, float, float]:
        """Lateral x, medial x and z where the straight distal part ends."""
        half_tip = 0.5 * self.distal_diameter_mm
        return -1.22 * half_tip, 1.28 * half_tip, -0.45 * self.length_mm

    def _distal_rows(self) -> np.ndarray:
        half_tip = 0.5 * self.distal_diameter_mm
        lateral, medial, top = self._flare_start()
        length = self.length_mm
        z = np.array([0.0, 1.0, 3.0, 7.0, 14.0]) - length
        size = np.array([0.45, 0.68, 0.88, 0.99, 1.02])
        ap = 1.75 * half_tip * size
        square = np.array([2.0, 2.1, 2.4, 2.8, 3.0])
        rows = [-half_tip * size, z, half_tip * size, z, ap, square]
        count = 12
        t = np.linspace(0.0, 1.0, count + 1)[1:-1]

        def line(start: float, end: float) -> np.ndarray:
            return start + (end - start) * t

        straight = line(float(z[-1]), top)
        upper = [
            line(float(rows[0][-1]), lateral),
            straight,
            line(float(rows[2][-1]), medial),
            straight,
            line(float(ap[-1]), self._flare_depth),
            line(3.0, 3.4),
        ]
        return np.concatenate([np.stack(rows, axis=-1), np.stack(upper, axis=-1)])

    @property
    def _flare_depth(self) -> float:
        return 0.55 * self.proximal_depth_mm + 0.45 * 1.75 * 0.5 * self.distal_diameter_mm

    def _metaphysis_rows(self) -> np.ndarray:
        """Medial side: an arc from the shaft into the neck. Lateral: straight to the shoulder."""
        n = self._neck_axis
        across = np.array([-n[2], 0.0, n[0]])  # perpendicular to the neck, up and lateral
        lateral, medial, start_z = self._flare_start()
        end = self._body_end * n
        low = (end - 1.1 * NECK_RADIUS_MM * across)[[0, 2]]
        high = (end + 1.2 * NECK_RADIUS_MM * across)[[0, 2]]
        t = np.linspace(0.0, 1.0, 36)

        first = np.array([medial, start_z])
        reach = float(np.linalg.norm(low - first))
        # Along the shaft at first, then the calcar's curve, then the neck: cubic Bezier.
        handles = [
            first,
            first + 0.34 * reach * np.array([0.09, 1.0]),
            low - 0.30 * reach * (n[[0, 2]] + [0.0, 0.55]),
            low,
        ]
        weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
        inner = sum(w[:, None] * h for w, h in zip(weights, handles, strict=True))

        edge = self._lateral_x
        key = np.array([0.0, 0.35, 0.62, 0.74, 0.85, 1.0])
        knots = np.array(
            [
                [lateral, start_z],
                [lateral + 0.62 * (edge - lateral), 0.52 * start_z],
                [edge - 0.8, 0.08 * start_z],
                [edge - 0.6, 3.5],
                [edge + 0.30 * (high[0] - edge), 0.62 * high[1]],
                high,
            ]
        )
        outer = PchipInterpolator(key, knots, axis=0)(t)
        depth = self.proximal_depth_mm
        ap = PchipInterpolator(
            [0.0, 0.45, 0.72, 1.0], [self._flare_depth, 0.97 * depth, depth, 2.1 * NECK_RADIUS_MM]
        )(t)
        square = np.interp(t, [0.0, 0.6, 1.0], [3.4, 3.2, 2.1])
        return np.column_stack([outer, inner, ap, square])

    def _neck_rows(self) -> np.ndarray:
        n = self._neck_axis
        across = np.array([-n[2], 0.0, n[0]])
        tip = self.neck_length_mm - TAPER_TO_CENTRE_MM
        base = tip - TAPER_LENGTH_MM
        start = self._body_end
        rings: list[tuple[float, float, float]] = []
        for s in np.linspace(start, base - 0.6, 7)[2:]:
            rings.append((s, 0.98 * NECK_RADIUS_MM, 0.94 * NECK_RADIUS_MM))
        for s in np.linspace(base, tip - 0.6, 6):
            r = 0.5 * (TAPER_TIP_MM + TAPER_SLOPE * (tip - s))
            rings.append((s, r, r))
        rings.append((tip, 0.5 * TAPER_TIP_MM - 0.5, 0.5 * TAPER_TIP_MM - 0.5))
        rows = []
        for s, r, front in rings:
            high, low = s * n + r * across, s * n - r * across
            rows.append((high[0], high[2], low[0], low[2], 2 * front, 2.0))
        return np.array(rows)


def _sections(table: np.ndarray) -> Mesh:
    """Loft over rows (lateral x, z, medial x, z, front-to-back, exponent) of superellipses."""
    lateral = np.stack([table[:, 0], 0 * table[:, 0], table[:, 1]], axis=-1)
    medial = np.stack([table[:, 2], 0 * table[:, 2], table[:, 3]], axis=-1)
    centre, half = 0.5 * (lateral + medial), 0.5 * (medial - lateral)
    turn = np.arange(SECTION_POINTS) * (2 * np.pi / SECTION_POINTS)
    power = 2.0 / table[:, 5, None]
    along = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    front = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
    rings = centre[:, None] + along[..., None] * half[:, None]
    rings[..., 1] += front * 0.5 * table[:, 4, None]
    return loft(rings)
