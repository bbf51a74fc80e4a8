"""Total hip: stem, head and cup in place to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .acetabular_cup import AcetabularCup
from .base import Implant, ImplantPart
from .femoral_head import FemoralHead
from .hip_stem import HipStem


@dataclass(frozen=True)
class TotalHip(Implant):
    """A stem with its head, and the cup around the head.

    Frame: the stem's (+z proximal along the stem, +x medial). The cup's angles are to this
    frame, as if the stem stood upright in a patient seen from the front (radiographic angles,
    Murray 1993).

    :param stem: :class:`HipStem`.
    :param head: :class:`FemoralHead`; its diameter has to be the liner's.
    :param cup: :class:`AcetabularCup`.
    :param side: "left" or "right": tells front from back.
    :param inclination_deg: of the cup's opening plane to the horizontal.
    :param anteversion_deg: forward turn of the opening.
    :param material: of the stem.
    """

    kind: ClassVar[str] = "total-hip"

    stem: HipStem = field(default_factory=HipStem)
    head: FemoralHead = field(default_factory=FemoralHead)
    cup: AcetabularCup = field(default_factory=AcetabularCup)
    side: str = "left"
    inclination_deg: float = 42.0
    anteversion_deg: float = 15.0

    @property
    def material(self) -> str:  # type: ignore[override]
        """Of the stem."""
        return self.stem.material

    def check(self) -> None:
        """The components have to fit each other."""
        for name, kind in (("stem", HipStem), ("head", FemoralHead), ("cup", AcetabularCup)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"total-hip: {name} has to be a {kind.kind}")
        if self.side not in ("left", "right"):
            raise InputError(f"total-hip: side of {self.side!r} is neither 'left' nor 'right'")
        if self.head.diameter_mm != self.cup.head_mm:
            raise InputError(
                f"total-hip: a head of {self.head.diameter_mm:g} mm does not fit a liner of "
                f"{self.cup.head_mm:g} mm; give both the same diameter"
            )

    def component_poses(self) -> dict[str, np.ndarray]:
        """Component frame -> stem frame, ``(4, 4)`` each, for "stem", "head" and "cup"."""
        poses = {"stem": np.eye(4), "head": self.stem.head_pose(self.head.neck_length_mm)}
        inclination, version = np.deg2rad([self.inclination_deg, self.anteversion_deg])
        front = 1.0 if self.side == "left" else -1.0
        # Opening: lateral and down by the inclination, then turned to the front.
        axis = np.array(
            [
                -np.cos(version) * np.sin(inclination),
                front * np.sin(version),
                -np.cos(version) * np.cos(inclination),
            ]
        )
        # Screw holes to the top and back.
        x = np.array([0.0, -0.5 * front, 1.0])
        x -= (x @ axis) * axis
        x /= np.linalg.norm(x)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([x, np.cross(axis, x), axis], axis=1)
        pose[:3, 3] = poses["head"][:3, 3]
        return poses | {"cup": pose}

    def parts(self) -> list[ImplantPart]:
        """All parts of the three components."""
        parts = []
        for name, pose in self.component_poses().items():
            component: Implant = getattr(self, name)
            for part in component.parts():
                label = name if part.name == name else f"{name} {part.name}"
                mesh = part.mesh.transformed(pose)
                parts.append(ImplantPart(label, mesh, part.material, part.role))
        return parts
