"""A cervical column of known shape: bodies, pillars with slanted joints, laminae, foramina."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from MetalArtifactReductionLib.volume import CTVolume

LEVELS = ("C2", "C3", "C4", "C5", "C6", "C7")
PITCH_MM, RISE = 15.0, np.deg2rad(45.0)
MASS_MM = {"aside": 18.5, "half_width": 6.5, "back": -2.0, "front": 8.0}
JOINT_MM = 1.5
FORAMEN_MM = (17.0, 13.0, 2.6)  # aside, in front of the canal, radius
SPACING_MM = (0.7, 0.7, 1.25)


@dataclass(frozen=True, eq=False)
class Neck:
    """A CT, masks by TotalSegmentator's names, and where its own frame lies in RAS."""

    volume: CTVolume
    labels: dict[str, np.ndarray]
    axes: np.ndarray

    def body(self, level: str) -> np.ndarray:
        """RAS of a body's middle."""
        return self.axes @ [0.0, 15.0, height(level)]

    def local(self, ras: np.ndarray) -> np.ndarray:
        """Points in the neck's own frame: x right, y anterior, z along the canal."""
        return np.asarray(ras) @ self.axes


def height(level: str) -> float:
    return (2.5 - LEVELS.index(level)) * PITCH_MM


def joint_gap(points: np.ndarray, level: str) -> np.ndarray:
    """How far inside a level's joints points of the frame are, across the joints (mm)."""
    rise = (points[..., 1] - MASS_MM["back"]) * np.tan(RISE)
    above = points[..., 2] - rise - (height(level) - 5.0)
    return (0.5 * PITCH_MM - np.abs(above)) * np.cos(RISE) - 0.5 * JOINT_MM


def depth_in_mass(points: np.ndarray, level: str, side: str) -> np.ndarray:
    """Depth of points of the frame under the surface of one lateral mass, below 0 outside (mm)."""
    sign = -1.0 if side == "left" else 1.0
    aside = MASS_MM["half_width"] - np.abs(sign * points[..., 0] - MASS_MM["aside"])
    middle = 0.5 * (MASS_MM["back"] + MASS_MM["front"])
    deep = 0.5 * (MASS_MM["front"] - MASS_MM["back"]) - np.abs(points[..., 1] - middle)
    return np.minimum(np.minimum(aside, deep), joint_gap(points, level))


@lru_cache(maxsize=1)
def neck() -> Neck:
    """The column, leaning forward by 20 degrees."""
    axes = Rotation.from_euler("x", -20.0, degrees=True).as_matrix()
    matrix = np.diag([*SPACING_MM, 1.0])
    matrix[:3, 3] = [-42.0, -55.0, -62.0]
    ijk = np.moveaxis(np.indices((120, 150, 100)), 0, -1).transpose(2, 1, 0, 3)
    ras = ijk * SPACING_MM + matrix[:3, 3]
    hu = np.where(np.hypot(ras[..., 0] / 40, ras[..., 1] / 52) > 1, -1000.0, 50.0)
    labels = {}
    for level in LEVELS:
        bone = _vertebra(ras @ axes, level)
        hu = np.where(bone > 0, bone, hu)
        labels[f"vertebrae_{level}"] = bone > 0
    hu = ndimage.gaussian_filter(hu, 0.6) + np.random.default_rng(1).normal(0, 15, hu.shape)
    return Neck(CTVolume(hu.astype(np.float32), matrix), labels, axes)


def _vertebra(points: np.ndarray, level: str) -> np.ndarray:
    """HU of one vertebra, 0 elsewhere."""
    x, y = np.abs(points[..., 0]), points[..., 1]
    z = points[..., 2] - height(level)
    out = np.zeros(points.shape[:-1], np.float32)
    ring = (np.hypot(x / 14.5, y / 9.5) < 1) & (np.hypot(x / 12, y / 7) > 1)
    out[ring & (y < 1) & (np.abs(z + 5) < 6)] = 700.0
    foramen = np.hypot(x - FORAMEN_MM[0], y - FORAMEN_MM[1])
    out[(foramen < FORAMEN_MM[2] + 1.5) & (np.abs(z - 2) < 2.5)] = 500.0
    out[(x > 8) & (x < 16) & (y > 6) & (y < 12) & (np.abs(z - 3) < 3.0)] = 600.0
    out[(foramen < FORAMEN_MM[2]) | (np.hypot(x / 12, y / 7) < 1)] = 0.0
    out[(np.hypot(x / 9, (y - 15) / 7) < 1) & (np.abs(z) < 5.5)] = 350.0
    for side in ("left", "right"):
        depth = depth_in_mass(points, level, side)
        out[depth > 0] = 450.0
        out[(depth > 0) & (depth < 1.5)] = 750.0
    return out
