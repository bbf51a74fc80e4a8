"""What a phantom knows about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume


@dataclass(frozen=True)
class PedicleTruth:
    """Axis of one pedicle.

    :param entry_ras: where the axis leaves the bone at the back (mm, RAS).
    :param isthmus_ras: centre of the pedicle on its axis.
    :param direction: unit vector from back to front.
    :param width_mm: outer width across the axis (left-right), :param height_mm: the same upwards.
    """

    level: str
    side: str
    entry_ras: np.ndarray
    isthmus_ras: np.ndarray
    direction: np.ndarray
    width_mm: float
    height_mm: float


@dataclass(frozen=True)
class VertebraTruth:
    """Pose of one vertebra: centre of the body and unit axes in RAS."""

    level: str
    centre_ras: np.ndarray
    left: np.ndarray
    anterior: np.ndarray
    superior: np.ndarray
    canal_ras: np.ndarray
    body_depth_mm: float
    body_width_mm: float
    body_height_mm: float


@dataclass(frozen=True)
class HipTruth:
    """One hip: head and socket, neck and shaft axes (unit vectors, RAS)."""

    side: str
    head_centre_ras: np.ndarray
    head_radius_mm: float
    acetabulum_radius_mm: float
    acetabulum_axis: np.ndarray
    """Outwards: from the socket's floor through its opening."""
    neck_axis: np.ndarray
    """From the shaft to the head, through the head's centre."""
    neck_radius_mm: float
    shaft_point_ras: np.ndarray
    shaft_axis: np.ndarray
    """Downwards, from the trochanters to the knee."""
    shaft_radius_mm: float
    canal_radius_mm: float
    neck_shaft_angle_deg: float
    anteversion_deg: float


@dataclass(frozen=True)
class PhantomTruth:
    """All that is known by construction."""

    pedicles: tuple[PedicleTruth, ...] = ()
    vertebrae: tuple[VertebraTruth, ...] = ()
    hips: tuple[HipTruth, ...] = ()
    canal_axis_ras: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    """Points (n, 3) along the middle of the vertebral canal, from bottom to top."""
    sacral_facets_ras: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Feet of S1's superior articular processes by side, beside which its screws enter. S1 has no
    isthmus, hence no pedicle axis."""

    def transformed(self, rotation: np.ndarray, shift: np.ndarray) -> PhantomTruth:
        """The same after ``p -> rotation p + shift`` (points) and ``rotation v`` (directions)."""

        def point(v: np.ndarray) -> np.ndarray:
            result: np.ndarray = rotation @ np.asarray(v, float) + shift
            return result

        def vector(v: np.ndarray) -> np.ndarray:
            result: np.ndarray = rotation @ np.asarray(v, float)
            return result

        return PhantomTruth(
            pedicles=tuple(
                replace(
                    t,
                    entry_ras=point(t.entry_ras),
                    isthmus_ras=point(t.isthmus_ras),
                    direction=vector(t.direction),
                )
                for t in self.pedicles
            ),
            vertebrae=tuple(
                replace(
                    t,
                    centre_ras=point(t.centre_ras),
                    canal_ras=point(t.canal_ras),
                    left=vector(t.left),
                    anterior=vector(t.anterior),
                    superior=vector(t.superior),
                )
                for t in self.vertebrae
            ),
            hips=tuple(
                replace(
                    t,
                    head_centre_ras=point(t.head_centre_ras),
                    shaft_point_ras=point(t.shaft_point_ras),
                    acetabulum_axis=vector(t.acetabulum_axis),
                    neck_axis=vector(t.neck_axis),
                    shaft_axis=vector(t.shaft_axis),
                )
                for t in self.hips
            ),
            canal_axis_ras=self.canal_axis_ras @ rotation.T + shift,
            sacral_facets_ras={k: point(v) for k, v in self.sacral_facets_ras.items()},
        )


@dataclass(frozen=True)
class Phantom:
    """A procedural patient.

    :param volume: the CT.
    :param labels: boolean masks on the volume's grid by TotalSegmentator's names
        (``vertebrae_L1`` ..., ``vertebrae_S1``, ``sacrum``, ``hip_left``, ``femur_left``, ...).
    :param truth: axes, centres and radii in RAS mm.
    """

    volume: CTVolume
    labels: dict[str, np.ndarray]
    truth: PhantomTruth
    seed: int

    def bone_mask(self) -> np.ndarray:
        """Union of the labelled bones, boolean (slices, rows, cols)."""
        out = np.zeros(self.volume.hu.shape, bool)
        for mask in self.labels.values():
            out |= mask
        return out
