"""The bones of a CT that implants are judged against: named masks, vertebrae as they are needed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from .bone_field import BoneField, mask_points
from .spine.levels import hip_masks, is_canal, vertebra_bones
from .spine.pedicle import vertebra_field
from .spine.propose import VertebraModel, spine_ups
from .spine.vertebra import VertebraFrame, vertebra_frame

_HELD_SHARE = 0.1
"""Share of a screw's shaft that a vertebra has to hold to be the screw's own."""


class Anatomy:
    """Bones that implants are judged against.

    :param labels: masks on the CT's grid by name, see ``label_files.read_bones``.
    :param vertebrae: measured already, by level; the others are measured from their masks.
    :ivar heads: native heads looked for: side, about which point, centre and radius or None.
    :raises InputError: a mask of another geometry.
    """

    def __init__(
        self,
        volume: CTVolume,
        labels: Mapping[str, np.ndarray] | None = None,
        vertebrae: Mapping[str, VertebraModel] | None = None,
    ) -> None:
        labels = dict(labels or {})
        for name, mask in labels.items():
            if mask.shape != volume.hu.shape:
                raise InputError(
                    f"segmentation {name} has the shape {mask.shape} and the CT {volume.hu.shape}; "
                    "resample it to the CT's geometry"
                )
        self.volume = volume
        self.bone = union(labels)
        """All bone, or None where none is known."""
        self._masks = vertebra_bones(labels)
        self._hips = hip_masks(labels)
        self._models = {k: (v.frame, v.field) for k, v in (vertebrae or {}).items()}
        self._ups: dict[str, np.ndarray | None] | None = None
        self.heads: list[tuple[str, np.ndarray, tuple[np.ndarray, float] | None]] = []

    def level_at(self, points: np.ndarray) -> str:
        """The vertebra that holds most of the RAS points ``(..., 3)``, "" for none."""
        shares = {k: float((field.at(points) > 0).mean()) for k, (_, field) in self._models.items()}
        for level, mask in self._masks.items():
            shares[level] = float(inside(mask, self.volume, points).mean())
        best = max(shares, key=lambda level: shares[level], default="")
        return best if best and shares[best] > _HELD_SHARE else ""

    def knows(self, level: str) -> bool:
        """Whether a level is segmented or measured."""
        return level in self._masks or level in self._models

    def labelled(self, level: str) -> bool:
        """Whether a mask was given for a level, not measured from a click."""
        return level in self._masks

    def vertebra(self, level: str) -> tuple[VertebraFrame, BoneField]:
        """Frame and depths of a level.

        :raises InputError: its mask is not that of a vertebra.
        """
        if level not in self._models:
            mask, matrix = self._masks[level], self.volume.ijk_to_ras
            if self._ups is None:
                centres = {k: mask_points(m, matrix).mean(axis=0) for k, m in self._masks.items()}
                self._ups = spine_ups(centres)
            up = self._ups[level]
            frame = vertebra_frame(mask, matrix, level, superior_hint=up, canal_direction=up)
            self._models[level] = frame, vertebra_field(mask, matrix, frame)
        return self._models[level]

    def femur(self, side: str) -> np.ndarray | None:
        """The labelled femur of a side, or all bone."""
        return self._hips.get(f"femur_{side}", self.bone)

    def hip_bone(self, side: str) -> np.ndarray | None:
        """The labelled hip bone of a side, or all bone."""
        return self._hips.get(f"hip_{side}", self.bone)


def union(labels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """All masks as one, without the canal; None for none."""
    bone: np.ndarray | None = None
    for name, mask in labels.items():
        if not is_canal(name):
            bone = mask > 0 if bone is None else bone | (mask > 0)
    for name, mask in labels.items():
        if is_canal(name) and bone is not None:
            bone &= mask == 0
    return bone


def inside(mask: np.ndarray, volume: CTVolume, ras: np.ndarray) -> np.ndarray:
    """Whether RAS points ``(..., 3)`` lie in a mask on the volume's grid; outside it: no."""
    inverse = np.linalg.inv(volume.ijk_to_ras)
    ijk = np.rint(ras.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    valid = ((ijk >= 0) & (ijk < np.array(mask.shape[::-1]))).all(axis=1)
    found = np.zeros(len(ijk), dtype=bool)
    i, j, k = ijk[valid].T
    found[valid] = mask[k, j, i]
    return found.reshape(ras.shape[:-1])
