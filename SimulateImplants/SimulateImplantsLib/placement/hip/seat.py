"""How stems, nails, cups, cages and plates sit in the bone: share inside, contact, breach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume

from ...implants.acetabular_cup import AcetabularCup
from ...implants.base import Implant
from ...implants.cage import InterbodyCage
from ...implants.hip_stem import HipStem
from ...implants.nail import CephalomedullaryNail
from ...implants.plate import AnteriorPlate
from ..anatomy import Anatomy
from ..bone_field import BoneField, LocalGrid, filled_sections, local_mask, sample_grid, sample_hu
from ..collision import surface_points
from .sphere import ray_directions

CORTICAL_HU = 600.0
"""Compact bone; cancellous bone of adults lies under about 400 HU."""
_REACH_MM = (0.5, 1.0, 1.5, 2.0)
_CANAL_REACH_MM = (0.25, 0.5, 0.75, 1.0)
"""Bone so far outside an implant's surface is in contact with it (a voxel's width); in a canal,
where a stem is only a few mm thinner, half as far."""
_TOLERANCE_MM = 0.75
_MARGIN_MM = 14.0
_STEM_TOP, _NAIL_TOP_MM, _LAG_FROM_MM = 0.12, -20.0, 9.0
_SLAB_MM = 4.0


@dataclass(frozen=True)
class Seat:
    """Measures of an implant that is no pedicle screw; NaN where one does not apply.

    :param share_in_bone: of the surface that should lie in the bone, cortex included: of a stem
        below the resection, of a nail below its lag screw and of that screw's medial half.
    :param contact: share of the surface with bone just outside of it: compact bone (600 HU and
        more) within 1 mm of a stem or a nail's shaft; any bone within 2 mm about a cup, on a
        cage's endplates, behind a plate.
    :param breach_mm: how far that surface comes out of the femur.
    :param breach_direction: "medial", "lateral", "anterior" or "posterior"; empty without one.
    :param mean_hu, min_hu: of the CT without implants, on the surface that is in bone.
    """

    share_in_bone: float = float("nan")
    contact: float = float("nan")
    breach_mm: float = float("nan")
    breach_direction: str = ""
    mean_hu: float = float("nan")
    min_hu: float = float("nan")


def seat_of(implant: Implant, matrix: np.ndarray, side: str, anatomy: Anatomy) -> Seat | None:
    """How an implant sits; None for families without such measures, or where no bone is known.

    :param matrix: implant frame to RAS.
    :param side: "left" or "right" tells which labelled femur or hip bone is meant.
    """
    if isinstance(implant, (HipStem, CephalomedullaryNail)):
        femur = anatomy.femur(side)
        return None if femur is None else _in_femur(implant, matrix, femur, anatomy.volume)
    facing = _facing(implant)
    bone = anatomy.hip_bone(side) if isinstance(implant, AcetabularCup) else anatomy.bone
    if facing is None or bone is None:
        return None
    points, normals = (v @ matrix[:3, :3].T for v in facing)
    points = points + matrix[:3, 3]
    reached = np.stack([points + reach * normals for reach in _REACH_MM])
    flat = reached.reshape(-1, 3)
    grid = LocalGrid.spanning(
        points.mean(axis=0),
        np.eye(3),
        flat.min(axis=0) - points.mean(axis=0) - 2,
        flat.max(axis=0) - points.mean(axis=0) + 2,
        1.0,
    )
    field = BoneField.from_inside(local_mask(bone, anatomy.volume.ijk_to_ras, grid), grid)
    return Seat(contact=float((field.at(reached) > 0).any(axis=0).mean()))


def _judged(implant: HipStem | CephalomedullaryNail) -> tuple[np.ndarray, int]:
    """Points of the surface that has to lie in the femur, in the implant's frame.

    :return: ``(n, 3)``, those in the canal first, and how many these are.
    """
    if isinstance(implant, HipStem):
        points = surface_points(implant.mesh())
        points = points[points[:, 2] < -_STEM_TOP * implant.length_mm]
        return points, len(points)
    parts = {part.name: surface_points(part.mesh) for part in implant.parts()}
    shaft, lag = parts["nail"], parts["lag screw"]
    shaft = shaft[shaft[:, 2] < _NAIL_TOP_MM]
    # The bore's wall is no outer surface.
    axis = implant.axis_points(np.linspace(0.0, shaft[:, 2].min(), 400))[::-1]
    height, z = axis[:, 2], shaft[:, 2]
    above = np.clip(np.searchsorted(height, z), 1, len(axis) - 1)
    near = axis[above - (z - height[above - 1] < height[above] - z)]
    shaft = shaft[np.linalg.norm((shaft - near)[:, :2], axis=1) > 0.5 * implant.cannula_mm + 0.5]
    return np.concatenate([shaft, lag[lag[:, 0] > _LAG_FROM_MM]]), len(shaft)


def _in_femur(
    implant: HipStem | CephalomedullaryNail, matrix: np.ndarray, femur: np.ndarray, volume: CTVolume
) -> Seat:
    local, in_canal = _judged(implant)
    points = local @ matrix[:3, :3].T + matrix[:3, 3]
    hu = sample_hu(volume, points)
    seen = np.isfinite(hu)
    if seen.sum() < 50:
        return Seat()
    canal = seen[:in_canal].sum()
    local, points, hu = local[seen], points[seen], hu[seen]
    low, high = local.min(axis=0) - _MARGIN_MM, local.max(axis=0) + _MARGIN_MM
    grid = LocalGrid.spanning(matrix[:3, 3], matrix[:3, :3], low, high, 1.0)
    # A section that the CT cuts is filled up to the cut.
    unseen = np.isnan(sample_grid(volume, grid))
    bone = local_mask(femur, volume.ijk_to_ras, grid)
    field = BoneField.from_inside(filled_sections(bone | unseen) & ~unseen, grid)
    depth = field.at(points)
    worst = int(np.argmin(depth))
    out = float(-depth[worst])
    outwards = _outwards(local)
    turned = outwards @ matrix[:3, :3].T
    reached = np.stack(
        [sample_hu(volume, points[:canal] + r * turned[:canal]) for r in _CANAL_REACH_MM]
    )
    compact = np.nan_to_num(reached, nan=-1000.0).max(axis=0) > CORTICAL_HU
    in_bone = depth > 0
    breached = out > _TOLERANCE_MM
    return Seat(
        share_in_bone=float(in_bone.mean()),
        contact=float(compact.mean()) if canal else float("nan"),
        breach_mm=out if breached else 0.0,
        breach_direction=_direction(turned[worst], matrix) if breached else "",
        mean_hu=float(hu[in_bone].mean()) if in_bone.any() else float("nan"),
        min_hu=float(hu[in_bone].min()) if in_bone.any() else float("nan"),
    )


def _outwards(points: np.ndarray) -> np.ndarray:
    """Unit vectors across the implant's z axis, away from the middle of each section."""
    slab = np.floor(points[:, 2] / _SLAB_MM).astype(int)
    slab -= slab.min()
    count = np.maximum(np.bincount(slab), 1)
    middle = np.stack([np.bincount(slab, weights=points[:, i]) / count for i in range(2)], axis=1)
    away = points[:, :2] - middle[slab]
    length = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    return np.column_stack([away / length, np.zeros(len(points))])


def _direction(outward: np.ndarray, matrix: np.ndarray) -> str:
    """Stems and nails have +x medial; front and back are the patient's."""
    medial, front = float(outward @ matrix[:3, 0]), float(outward[1])
    if abs(medial) >= abs(front):
        return "medial" if medial > 0 else "lateral"
    return "anterior" if front > 0 else "posterior"


def _facing(implant: Implant) -> tuple[np.ndarray, np.ndarray] | None:
    """Points of the surface that should touch bone, and unit vectors into the bone."""
    if isinstance(implant, AcetabularCup):
        rays = ray_directions(1200)
        rays = rays[rays[:, 2] < -0.05]
        return rays * 0.5 * implant.diameter_mm, rays
    if isinstance(implant, InterbodyCage):
        points = next(p for p in implant.parts() if p.name == "ring").mesh.points
        tilt = np.tan(np.deg2rad(0.5 * implant.lordosis_deg))
        edge = 0.5 * implant.height_mm + points[:, 1] * tilt - implant.tooth_height_mm - 0.2
        points = points[np.abs(points[:, 2]) > edge]
        normals = np.zeros_like(points)
        normals[:, 2] = np.sign(points[:, 2])
        return points, normals
    if isinstance(implant, AnteriorPlate):
        points = next(p for p in implant.parts() if p.name == "plate").mesh.points
        spoke = points * [1.0, 1.0, 0.0] + [0.0, implant.curvature_mm, 0.0]
        radius = np.linalg.norm(spoke, axis=1)
        back = radius < implant.curvature_mm + 0.2
        return points[back], -spoke[back] / radius[back, None]
    return None
