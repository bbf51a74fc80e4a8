"""The lumbar phantom: T11 to the sacrum and iliac wings in an abdomen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.progress import Progress, report
from MetalArtifactReductionLib.volume import CTVolume

from .canvas import Grid, Waves, grain, scanner
from .pelvic_bones import hip_bone_distance, sacrum_distance
from .scene import Bone, Part, paint_bones, paint_parts, part
from .sdf import Points, ellipse, polyline, rotation_xyz, smooth_max
from .spine_pose import Pose, Spine, sample_spine
from .torso import noisy, torso_parts
from .truth import PedicleTruth, Phantom, PhantomTruth, VertebraTruth
from .vertebra import SIDES, VertebraShape, pedicle_entry, vertebra_distance


def placed_grid(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    centre: np.ndarray,
    patient_rotation_deg: Sequence[float],
    grid_rotation_deg: Sequence[float],
) -> tuple[Grid, np.ndarray, np.ndarray, np.ndarray]:
    """Grid of a scan of a rotated patient, or of a rotated volume.

    :param centre: patient point (mm) in the middle of the volume.
    :return: the grid in patient coordinates, the ``ijk_to_ras`` (4, 4), and rotation (3, 3) and
        shift (3,) that take patient coordinates to RAS.
    """
    shape = tuple(int(n) for n in shape)
    spacing = np.asarray(spacing_mm, float)
    if len(shape) != 3 or min(shape) < 8 or max(shape) > 2048:
        raise InputError(f"phantom shape {shape}: three numbers from 8 to 2048 are needed")
    if spacing.shape != (3,) or not np.all((spacing >= 0.2) & (spacing <= 10)):
        raise InputError(f"phantom spacing {tuple(spacing)} mm: three numbers from 0.2 to 10")
    patient = rotation_xyz(*np.deg2rad(np.asarray(patient_rotation_deg, float)))
    scan = rotation_xyz(*np.deg2rad(np.asarray(grid_rotation_deg, float)))
    # Columns run to the patient's left, rows to the back, slices upwards, as scanners store them.
    axes = scan @ np.diag([-1.0, -1.0, 1.0])
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :3] = axes * spacing[::-1]
    middle = (np.array(shape[::-1]) - 1) / 2
    ijk_to_ras[:3, 3] = -ijk_to_ras[:3, :3] @ middle
    shift = -patient @ np.asarray(centre, float)
    kji_to_ras = ijk_to_ras[:, [2, 1, 0, 3]]
    to_patient = np.eye(4)
    to_patient[:3, :3] = patient.T @ kji_to_ras[:3, :3]
    to_patient[:3, 3] = patient.T @ (kji_to_ras[:3, 3] - shift)
    grid = Grid((shape[0], shape[1], shape[2]), to_patient)
    return grid, ijk_to_ras, patient, shift


def _joints(spine: Spine, index: int) -> dict[str, np.ndarray]:
    """Ends of the inferior articular processes of vertebra ``index``, in its own frame."""
    joints = {}
    for side, sign in SIDES.items():
        if index + 1 < len(spine.shapes):
            below, pose = spine.shapes[index + 1].inferior_joint(side), spine.poses[index + 1]
        else:
            below, pose = spine.sacrum.inferior_joint(sign), spine.sacrum_pose
        joints[side] = spine.poses[index].from_patient(pose.to_patient(below))
    return joints


def vertebra_bone(spine: Spine, index: int, density: float) -> Bone:
    """Vertebra ``index`` of the spine; ``density`` is the HU of its cancellous bone."""
    shape, pose = spine.shapes[index], spine.poses[index]
    joints = _joints(spine, index)

    def distance(p: Points) -> np.ndarray:
        return vertebra_distance(shape, pose.local(p), joints)

    reach = np.array([shape.transverse_span + 6, 40.0, 42.0])
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T * reach
    corners[:, 1] -= 32.0
    world = pose.to_patient(corners)
    return Bone(
        f"vertebrae_{shape.level}",
        distance,
        world.min(axis=0),
        world.max(axis=0),
        cortex_mm=1.1,
        cortex_hu=820.0,
        cancellous_hu=density,
    )


def sacrum_bone(spine: Spine, density: float) -> Bone:
    """One bone; labelled as S1 and the rest, as TotalSegmentator does."""
    pose = spine.sacrum_pose

    def distance(p: Points) -> np.ndarray:
        return sacrum_distance(spine.sacrum, pose.local(p))

    def cut(p: Points) -> np.ndarray:
        result: np.ndarray = pose.local(p)[2] + np.float32(12.5)
        return result

    low, high = pose.origin - 125.0, pose.origin + 75.0
    return Bone(
        "vertebrae_S1",
        distance,
        low,
        high,
        cortex_mm=1.0,
        cortex_hu=640.0,
        cancellous_hu=density * 0.75,
        lower_name="sacrum",
        cut=cut,
    )


def _hip_bones(spine: Spine, rng: np.random.Generator, density: float) -> list[Bone]:
    """The iliac wings beside the sacrum (the sockets usually lie below the volume)."""
    bones = []
    top = spine.sacrum_pose.to_patient(np.array([0.0, 0.0, spine.sacrum.half_height]))
    radius = rng.uniform(22, 26)
    for name, sign in (("hip_left", -1.0), ("hip_right", 1.0)):
        head = top + np.array([sign * 88.0, 38.0, -104.0])

        def distance(p: Points, sign: float = sign, head: np.ndarray = head) -> np.ndarray:
            return hip_bone_distance(sign, head, radius, 3.0, p)

        low = head - np.array([80.0, 110.0, 90.0])
        high = head + np.array([80.0, 80.0, 140.0])
        bones.append(Bone(name, distance, low, high, 1.6, 900.0, density))
    return bones


def _rib_bones(spine: Spine) -> list[Bone]:
    bones = []
    for number, index in ((11, 0), (12, 1)):
        pose, shape = spine.poses[index], spine.shapes[index]
        for side, sign in SIDES.items():
            start = np.array([sign * (shape.half_width + 3), -shape.half_depth - 3.0, 8.0])
            path = [
                pose.to_patient(start + np.array(offset) * np.array([sign, 1, 1]))
                for offset in ((0, 0, 0), (22, -26, -8), (62, -24, -26), (92, 12, -48))
            ]
            if number == 11:
                path.append(pose.to_patient(start + np.array([sign * 98, 52, -66])))
            radii = [4.2, 4.6, 5.0, 4.2, 3.2][: len(path)]

            def distance(
                p: Points, path: list[np.ndarray] = path, radii: list[float] = radii
            ) -> np.ndarray:
                return polyline(p, path, radii)

            low, high = np.min(path, axis=0) - 8, np.max(path, axis=0) + 8
            bones.append(Bone(f"rib_{side}_{number}", distance, low, high, 1.3, 700.0, 180.0))
    return bones


def _disc(upper: tuple[VertebraShape, Pose], lower_half: np.ndarray, lower: Pose) -> Part:
    """An intervertebral disc between the bodies of ``upper`` and the top at ``lower_half``."""
    shape, pose = upper
    top = pose.to_patient(np.array([0, 0, -shape.half_height]))
    bottom = lower.to_patient(lower_half)
    axes = pose.axes + lower.axes
    axes = axes / np.linalg.norm(axes, axis=0)
    frame = Pose(0.5 * (top + bottom), axes)
    half = 0.5 * float(np.linalg.norm(top - bottom)) + 4.0

    def distance(p: Points) -> np.ndarray:
        x, y, z = frame.local(p)
        ring = ellipse(x, y, shape.half_width - 0.5, shape.half_depth - 0.5, 2.4)
        return smooth_max(ring, np.abs(z) - np.float32(half), 3.0)

    def value(p: Points, texture: np.ndarray, depth: np.ndarray) -> np.ndarray:
        result: np.ndarray = 78 + 28 * np.clip(1 - depth / 7, 0, 1) + 7 * texture
        return result

    reach = np.array([32.0, 32.0, 32.0])
    return part(distance, value, frame.origin - reach, frame.origin + reach)


def disc_parts(spine: Spine) -> list[Part]:
    """All intervertebral discs."""
    tops = [np.array([0, 0, s.half_height]) for s in spine.shapes[1:]]
    tops.append(np.array([0, 0, spine.sacrum.half_height]))
    lower = [*spine.poses[1:], spine.sacrum_pose]
    upper = zip(spine.shapes, spine.poses, strict=True)
    return [_disc(u, top, pose) for u, top, pose in zip(upper, tops, lower, strict=True)]


def canal_parts(spine: Spine, rng: np.random.Generator) -> list[Part]:
    """Epidural fat, thecal sac, cord down to L1 and the roots below it."""
    points = spine.canal_points()
    points = np.vstack([points, points[-1] + (points[-1] - points[-3])])
    count = len(points)
    low, high = points.min(axis=0) - 20, points.max(axis=0) + 20
    levels = [s.level for s in spine.shapes]
    conus = float(spine.poses[levels.index("L1")].origin[2])
    roots = Waves.sample(rng, 3.2, 5, stretch=(1, 1, 12))

    def value(p: Points, texture: np.ndarray, depth: np.ndarray) -> np.ndarray:
        result: np.ndarray = 16 + 14 * np.clip(roots(p), 0, 1) + 3 * texture
        return result

    def cord(p: Points) -> np.ndarray:
        d = polyline(p, list(points), [4.6] * count)
        return smooth_max(d, np.float32(conus - 8) - p[2], 6.0)

    return [
        part(lambda p: polyline(p, list(points), [12.5] * count), noisy(-70, 8), low, high),
        part(lambda p: polyline(p, list(points), [7.2] * count), value, low, high),
        part(cord, noisy(38, 4), low, high),
    ]


def _spine_truth(spine: Spine) -> PhantomTruth:
    pedicles, vertebrae = [], []
    for index, (shape, pose) in enumerate(zip(spine.shapes, spine.poses, strict=True)):
        joints = _joints(spine, index)
        for side, pedicle in shape.pedicles.items():
            pedicles.append(
                PedicleTruth(
                    level=shape.level,
                    side=side,
                    entry_ras=pose.to_patient(pedicle_entry(shape, side, joints)),
                    isthmus_ras=pose.to_patient(pedicle.isthmus),
                    direction=pose.axes @ pedicle.direction,
                    width_mm=pedicle.width,
                    height_mm=pedicle.height,
                )
            )
        vertebrae.append(
            VertebraTruth(
                level=shape.level,
                centre_ras=pose.origin,
                left=-pose.axes[:, 0],
                anterior=pose.axes[:, 1],
                superior=pose.axes[:, 2],
                canal_ras=pose.to_patient(np.array([0.0, shape.canal_y, 0.0])),
                body_depth_mm=2 * shape.half_depth,
                body_width_mm=2 * shape.half_width,
                body_height_mm=2 * shape.half_height,
            )
        )
    sacrum, pose = spine.sacrum, spine.sacrum_pose
    vertebrae.append(
        VertebraTruth(
            level="S1",
            centre_ras=pose.origin,
            left=-pose.axes[:, 0],
            anterior=pose.axes[:, 1],
            superior=pose.axes[:, 2],
            canal_ras=pose.to_patient(np.array([0.0, -24.0, 0.0])),
            body_depth_mm=2 * sacrum.half_depth,
            body_width_mm=2 * sacrum.half_width,
            body_height_mm=2 * sacrum.half_height,
        )
    )
    facets = {
        side: pose.to_patient(np.array([sign * sacrum.joint_x, -31.0, 2.0]))
        for side, sign in SIDES.items()
    }
    return PhantomTruth(
        tuple(pedicles), tuple(vertebrae), (), spine.canal_points(), sacral_facets_ras=facets
    )


def lumbar_spine_phantom(
    seed: int,
    spacing_mm: Sequence[float] = (2.0, 1.4, 1.4),
    shape: Sequence[int] = (120, 256, 256),
    *,
    patient_rotation_deg: Sequence[float] = (0.0, 0.0, 0.0),
    grid_rotation_deg: Sequence[float] = (0.0, 0.0, 0.0),
    scoliosis_deg: float | None = None,
    noise_hu: float = 14.0,
    blur_mm: float = 0.55,
    progress: Progress | None = None,
) -> Phantom:
    """A CT of a lumbar spine with known pedicle axes; another patient for every seed.

    :param spacing_mm: voxel size (slice, row, col).
    :param shape: (slices, rows, cols); small fields of view show the spine alone.
    :param patient_rotation_deg: turns the patient about the R, A and S axes (in this order).
    :param grid_rotation_deg: turns the volume instead: oblique slices.
    :param scoliosis_deg: Cobb angle of the coronal curve; within 8 degrees when None.
    :param noise_hu: standard deviation of the noise. :param blur_mm: in-plane point spread.
    :raises InputError: shape or spacing no CT has.
    """
    rng = np.random.default_rng(seed)
    spine = sample_spine(rng, scoliosis_deg)
    depth = shape[1] * spacing_mm[1]
    centre = np.array([0.0, float(np.interp(depth, [120, 300], [-16, 22])), -6.0])
    grid, ijk_to_ras, rotation, shift = placed_grid(
        shape, spacing_mm, centre, patient_rotation_deg, grid_rotation_deg
    )
    density = rng.uniform(105, 190)
    report(progress, 0.0, "soft tissue")
    texture = grain(grid.shape, 0.8, grid.spacing_mm, rng)
    hu = np.full(grid.shape, -1000.0, np.float32)
    parts = torso_parts(rng, spine)
    parts += canal_parts(spine, rng)
    parts += disc_parts(spine)
    paint_parts(hu, grid, parts, texture)
    report(progress, 0.5, "bones")
    bones = [vertebra_bone(spine, i, density) for i in range(len(spine.shapes))]
    bones += [sacrum_bone(spine, density), *_hip_bones(spine, rng, density), *_rib_bones(spine)]
    labels = paint_bones(hu, grid, bones, texture)
    report(progress, 0.9, "scanner")
    hu = scanner(hu, grid.spacing_mm, noise_hu, blur_mm, rng)
    truth = _spine_truth(spine).transformed(rotation, shift)
    return Phantom(CTVolume(hu, ijk_to_ras), labels, truth, seed)
