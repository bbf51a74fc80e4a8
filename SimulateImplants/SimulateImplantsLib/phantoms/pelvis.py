"""The pelvis phantom: both hips, sacrum and thighs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from MetalArtifactReductionLib.progress import Progress, report
from MetalArtifactReductionLib.volume import CTVolume

from .canvas import grain, scanner
from .lumbar import canal_parts, disc_parts, placed_grid, sacrum_bone, vertebra_bone
from .pelvic_bones import (
    FemurShape,
    acetabulum_axis,
    femur_cortex_mm,
    femur_distance,
    femur_marrow_distance,
    hip_bone_distance,
    sample_femur,
)
from .scene import Bone, paint_bones, paint_parts
from .sdf import Points
from .spine_pose import Pose, Spine, sample_spine
from .thighs import pelvis_parts
from .truth import HipTruth, Phantom, PhantomTruth

_JOINT_SPACE_MM = 3.2


def _femur_bone(femur: FemurShape, density: float) -> Bone:
    ends = np.stack([femur.head, femur.neck_base, femur.neck_base + femur.shaft_axis * 400])
    low, high = ends.min(axis=0) - 45, ends.max(axis=0) + 45
    return Bone(
        "femur_right" if femur.sign > 0 else "femur_left",
        lambda p: femur_distance(femur, p),
        low,
        high,
        cortex_mm=lambda p: femur_cortex_mm(femur, p),
        cortex_hu=1250.0,
        cancellous_hu=density,
        marrow=lambda p: femur_marrow_distance(femur, p),
        marrow_hu=-45.0,
    )


def _hip_bone(femur: FemurShape, density: float) -> Bone:
    def distance(p: Points) -> np.ndarray:
        return hip_bone_distance(femur.sign, femur.head, femur.head_radius, _JOINT_SPACE_MM, p)

    return Bone(
        "hip_right" if femur.sign > 0 else "hip_left",
        distance,
        femur.head - np.array([95.0, 115.0, 90.0]),
        femur.head + np.array([95.0, 80.0, 145.0]),
        cortex_mm=1.5,
        cortex_hu=850.0,
        cancellous_hu=density * 0.8,
    )


def _moved(spine: Spine, to: np.ndarray) -> Spine:
    """The spine with the middle of S1's endplate at ``to``."""
    top = spine.sacrum_pose.to_patient(np.array([0.0, 0.0, spine.sacrum.half_height]))
    shift = to - top
    return replace(
        spine,
        poses=tuple(Pose(p.origin + shift, p.axes) for p in spine.poses),
        sacrum_pose=Pose(spine.sacrum_pose.origin + shift, spine.sacrum_pose.axes),
    )


def _hip_truth(femur: FemurShape) -> HipTruth:
    return HipTruth(
        side="right" if femur.sign > 0 else "left",
        head_centre_ras=femur.head,
        head_radius_mm=femur.head_radius,
        acetabulum_radius_mm=femur.head_radius + _JOINT_SPACE_MM,
        acetabulum_axis=acetabulum_axis(femur.sign),
        neck_axis=femur.neck_axis,
        neck_radius_mm=femur.neck_radius,
        shaft_point_ras=femur.neck_base,
        shaft_axis=femur.shaft_axis,
        shaft_radius_mm=femur.shaft_radius,
        canal_radius_mm=femur.canal_radius,
        neck_shaft_angle_deg=femur.neck_shaft_angle_deg,
        anteversion_deg=femur.anteversion_deg,
    )


def pelvis_phantom(
    seed: int,
    spacing_mm: Sequence[float] = (2.5, 1.5, 1.5),
    shape: Sequence[int] = (120, 256, 256),
    *,
    patient_rotation_deg: Sequence[float] = (0.0, 0.0, 0.0),
    grid_rotation_deg: Sequence[float] = (0.0, 0.0, 0.0),
    noise_hu: float = 16.0,
    blur_mm: float = 0.6,
    progress: Progress | None = None,
) -> Phantom:
    """A CT of a pelvis with both hips and the thighs; another patient for every seed.

    The origin of RAS lies in the middle of the volume, 30 mm below the line through the heads.

    :param spacing_mm: voxel size (slice, row, col).
    :param shape: (slices, rows, cols).
    :param patient_rotation_deg: turns the patient about the R, A and S axes (in this order).
    :param grid_rotation_deg: turns the volume instead: oblique slices.
    :param noise_hu: standard deviation of the noise. :param blur_mm: in-plane point spread.
    :raises InputError: shape or spacing no CT has.
    """
    rng = np.random.default_rng(seed)
    grid, ijk_to_ras, rotation, shift = placed_grid(
        shape,
        spacing_mm,
        np.array([0.0, -10.0, -30.0]),
        patient_rotation_deg,
        grid_rotation_deg,
    )
    half = rng.uniform(84, 91)
    femora = [sample_femur(s, np.array([s * half, 0.0, 0.0]), rng) for s in (-1.0, 1.0)]
    # The two sides of a patient are alike.
    femora[1] = replace(femora[1], head_radius=femora[0].head_radius + rng.uniform(-0.4, 0.4))
    spine = _moved(sample_spine(rng), np.array([0.0, -26.0, 104.0]))
    density = rng.uniform(170, 260)
    report(progress, 0.0, "soft tissue")
    texture = grain(grid.shape, 0.9, grid.spacing_mm, rng)
    hu = np.full(grid.shape, -1000.0, np.float32)
    parts = pelvis_parts(rng, femora) + canal_parts(spine, rng) + disc_parts(spine)
    paint_parts(hu, grid, parts, texture)
    report(progress, 0.5, "bones")
    lowest = range(len(spine.shapes) - 2, len(spine.shapes))
    bones = [vertebra_bone(spine, i, 0.7 * density) for i in lowest]
    bones.append(sacrum_bone(spine, 0.7 * density))
    bones += [_hip_bone(f, density) for f in femora] + [_femur_bone(f, density) for f in femora]
    labels = paint_bones(hu, grid, bones, texture)
    report(progress, 0.9, "scanner")
    hu = scanner(hu, grid.spacing_mm, noise_hu, blur_mm, rng)
    truth = PhantomTruth(hips=tuple(_hip_truth(f) for f in femora)).transformed(rotation, shift)
    return Phantom(CTVolume(hu, ijk_to_ras), labels, truth, seed)
