"""Where each vertebra stands: lordosis, scoliosis and rotation of a spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pelvic_bones import SacrumShape, sample_sacrum
from .sdf import Points, rotation_xyz, to_local
from .vertebra import LEVELS, VertebraShape, sample_vertebra


@dataclass(frozen=True)
class Pose:
    """Origin (mm) and axes (columns: right, anterior, superior) in patient coordinates."""

    origin: np.ndarray
    axes: np.ndarray

    def local(self, p: Points) -> Points:
        """Patient points in this frame."""
        return to_local(p, self.origin, self.axes)

    def to_patient(self, point: np.ndarray) -> np.ndarray:
        """A point of this frame (or an array of them, last axis 3) in patient coordinates."""
        result: np.ndarray = self.origin + np.asarray(point, float) @ self.axes.T
        return result

    def from_patient(self, point: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`to_patient`."""
        result: np.ndarray = (np.asarray(point, float) - self.origin) @ self.axes
        return result


@dataclass(frozen=True)
class Spine:
    """Vertebrae from top to bottom, and the sacrum."""

    shapes: tuple[VertebraShape, ...]
    poses: tuple[Pose, ...]
    sacrum: SacrumShape
    sacrum_pose: Pose

    def canal_points(self) -> np.ndarray:
        """Points along the middle of the canal from bottom to top, (n, 3)."""
        points = [self.sacrum_pose.to_patient(np.array([0.0, -24.0, 5.0]))]
        for shape, pose in zip(reversed(self.shapes), reversed(self.poses), strict=True):
            for z in (-0.7, 0.0, 0.7):
                local = np.array([0.0, shape.canal_y, z * shape.half_height])
                points.append(pose.to_patient(local))
        return np.array(points)

    def centre_at(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (x, y) of the column of bodies at the heights ``z`` (a smooth curve)."""
        origins = np.array([self.sacrum_pose.origin, *[p.origin for p in reversed(self.poses)]])
        t = np.clip(z / np.float32(100.0), -1.7, 1.7)
        out = []
        for axis in (0, 1):
            coefficients = np.polyfit(origins[:, 2] / 100.0, origins[:, axis], 4)
            value = np.float32(coefficients[0]) * t
            for c in coefficients[1:-1]:
                value = (value + np.float32(c)) * t
            out.append(value + np.float32(coefficients[-1]))
        return out[0], out[1]


def sample_spine(rng: np.random.Generator, scoliosis_deg: float | None = None) -> Spine:
    """T11 to the sacrum; the middle of L3's body lies at the origin.

    Sacral slope and segmental lordosis after Roussouly et al. 2005 (Spine 30:346).

    :param scoliosis_deg: Cobb angle of the curve; sampled between -8 and 8 when None.
    """
    scale = rng.uniform(0.94, 1.06)
    shapes = [sample_vertebra(level, rng, scale) for level in LEVELS]
    sacrum = sample_sacrum(rng)
    slope = rng.uniform(33, 44)
    lordosis = np.array([15.0, 13.0, 9.5, 7.0, 4.0, 2.0, -2.0]) * rng.uniform(0.85, 1.15)
    lordosis *= slope / 38.0
    discs = np.array([11.0, 11.5, 10.5, 9.5, 8.5, 7.0, 6.0]) * scale * rng.uniform(0.9, 1.1, 7)
    cobb = rng.uniform(-8, 8) if scoliosis_deg is None else scoliosis_deg
    phase = rng.uniform(-0.5, 0.5)
    count = len(shapes)
    height = np.linspace(0, 1, count + 1)
    coronal = 0.5 * cobb * np.sin(np.pi * (1.5 * height + phase))
    axial = -0.4 * coronal + rng.normal(0, 1.2, count + 1)

    sacrum_axes = rotation_xyz(np.deg2rad(-slope))
    origin = np.zeros(3)
    poses: list[Pose] = []
    pitch = slope
    below_half, below_axes = sacrum.half_height, sacrum_axes
    for i, shape in enumerate(reversed(shapes)):
        pitch -= lordosis[i]
        axes = rotation_xyz(
            np.deg2rad(-pitch), np.deg2rad(coronal[i + 1]), np.deg2rad(axial[i + 1])
        )
        middle = below_axes[:, 2] + axes[:, 2]
        middle /= np.linalg.norm(middle)
        origin = (
            origin
            + below_axes[:, 2] * below_half
            + middle * discs[i]
            + axes[:, 2] * shape.half_height
        )
        poses.append(Pose(origin, axes))
        below_half, below_axes = shape.half_height, axes
    poses.reverse()
    shift = poses[[s.level for s in shapes].index("L3")].origin.copy()
    return Spine(
        shapes=tuple(shapes),
        poses=tuple(Pose(p.origin - shift, p.axes) for p in poses),
        sacrum=sacrum,
        sacrum_pose=Pose(-shift, sacrum_axes),
    )
