"""Places for implants that are found in a CT by themselves: teeth, skull, chest, vessels, limbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.base import Implant
from .geometry import Vector
from .plan import PlannedImplant

_CLICK_MM = 25.0


@dataclass(frozen=True, eq=False)
class Spot:
    """A place that implants of one region can take.

    :param name: what it is, for people and for those who draw: "lower tooth", "vault".
    :param matrix: ``(4, 4)``, its frame to RAS; what the axes are says the region's file.
    :param size_mm: measures by name.
    :param side: "left", "right" or "".
    """

    name: str
    matrix: np.ndarray
    size_mm: Mapping[str, float] = field(default_factory=dict)
    side: str = ""

    @property
    def origin(self) -> np.ndarray:
        """In RAS."""
        result: np.ndarray = self.matrix[:3, 3]
        return result

    def turned(self, rng: np.random.Generator) -> Spot:
        """Turned anyhow about its origin."""
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        pose = self.matrix.copy()
        pose[:3, :3] = turn * np.linalg.det(turn)
        return replace(self, matrix=pose)

    def planned(
        self, implant: Implant, shift: Vector = (0.0, 0.0, 0.0), **more: Any
    ) -> PlannedImplant:
        """An implant in this frame, moved within it by ``shift`` (mm)."""
        matrix = self.matrix.copy()
        matrix[:3, 3] += matrix[:3, :3] @ np.asarray(shift, float)
        attributes = {"side": self.side, "site": self.name} | more
        return PlannedImplant(implant.to_dict(), matrix, attributes)


def frame(origin: Vector, x: Vector, y: Vector, z: Vector) -> np.ndarray:
    """A right-handed ``(4, 4)``: z exactly, x as nearly as it can; y tells x's sign."""
    third = np.asarray(z, float) / np.linalg.norm(z)
    first = np.asarray(x, float) - third * float(np.dot(x, third))
    first /= np.linalg.norm(first)
    second = np.cross(third, first)
    if second @ np.asarray(y, float) < 0:
        first, second = -first, -second
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([first, second, third], axis=1)
    matrix[:3, 3] = origin
    return matrix


def coarser(volume: CTVolume, mm: float) -> CTVolume:
    """A view with pixels of about ``mm`` in each slice; of the same slices."""
    step = max(1, round(mm / volume.spacing_mm[1]))
    matrix = volume.ijk_to_ras @ np.diag([step, step, 1.0, 1.0])
    return CTVolume(volume.hu[:, ::step, ::step], matrix)


def nearest_spots(spots: Sequence[Spot], clicks: Mapping[str, Vector]) -> tuple[Spot, ...]:
    """The spots next to points that a user clicked, each once; all without points.

    :raises InputError: a click far from all spots.
    """
    if not clicks:
        return tuple(spots)
    chosen = []
    for name, point in clicks.items():
        away = [float(np.linalg.norm(spot.origin - np.asarray(point, float))) for spot in spots]
        nearest = int(np.argmin(away))
        if away[nearest] > _CLICK_MM:
            raise InputError(
                f"click {name}: the nearest {spots[nearest].name} is {away[nearest]:.0f} mm away; "
                "click nearer, or give no click"
            )
        chosen.append(nearest)
    return tuple(spots[k] for k in dict.fromkeys(chosen))
