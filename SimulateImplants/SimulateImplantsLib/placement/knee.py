"""The knee of each leg in a CT, by the gap between the plates under its cartilage.

Spots: "knee", in the middle of the femur's joint line; +x across, along the back of the condyles,
+y to the front, +z up the femur (up the tibia where the CT ends above the joint).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.total_knee import TotalKnee
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, coarser, frame

BONE_HU = 200.0
_TOGETHER_MM = 6.0
"""Grown by so much the bones of one leg are one, and those of two are not."""
_PLATES_MM = (4.0, 16.0)
"""Where the plates under the cartilage lie from the middle of the joint."""
_PLATE_MM2 = 500.0
_GAP_SHARE = 0.8
_SLAB_MM = (10.0, 27.0)
_WIDTH_MM, _DEPTH_MM = (58.0, 105.0), 45.0
_SHAFT_MM = (60.0, 120.0)
_VALGUS = np.tan(np.deg2rad(6.0))
_PATELLA = 0.22
"""Half the share of the width that it covers."""


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """One spot a knee.

    :raises InputError: no joint between two wide ends of bone.
    """
    coarse = coarser(volume, 1.8)
    hu, spacing, to_ras = coarse.hu, coarse.spacing_mm, coarse.ijk_to_ras
    body = body_mask(hu, spacing)
    bone = body & (hu > BONE_HU)
    reach = [2 * max(1, round(_TOGETHER_MM / s)) + 1 for s in spacing]
    legs, count = ndimage.label(ndimage.maximum_filter(bone, reach))
    spots = []
    for leg in range(1, count + 1):
        index = np.argwhere((legs == leg) & bone)
        if len(index):
            points = index[:, ::-1] @ to_ras[:3, :3].T + to_ras[:3, 3]
            spot = _knee(points, spacing)
            spots += [] if spot is None else [spot]
    if not spots:
        raise InputError("no joint of a knee between two wide ends of bone; give a CT of knees")
    return tuple(spots)


def _knee(points: np.ndarray, spacing: tuple[float, float, float]) -> Spot | None:
    """The knee among the bone of one leg, ``(n, 3)`` RAS."""
    step = spacing[0]
    height = np.rint((points[:, 2] - points[:, 2].min()) / step).astype(int)
    area = np.bincount(height) * spacing[1] * spacing[2]
    near, far = (max(1, round(mm / step)) for mm in _PLATES_MM)
    best, joint = 0.0, None
    for k in range(near, len(area) - near):
        below, above = area[max(k - far, 0) : k - near + 1], area[k + near : k + far + 1]
        plates = min(below.max(), above.max())
        gap = plates - area[k]
        if gap > best and plates > _PLATE_MM2 and area[k] < _GAP_SHARE * plates:
            spot = _framed(points, points[:, 2].min() + k * step, area, step)
            if spot is not None:
                best, joint = gap, spot
    return joint


def _framed(points: np.ndarray, z: float, area: np.ndarray, step: float) -> Spot | None:
    """Frame and sizes of the joint at a height; None where it is not a knee's."""
    rise = points[:, 2] - z
    femur = points[(rise > _SLAB_MM[0]) & (rise < _SLAB_MM[1])]
    tibia = points[(rise < -6.0) & (rise > -16.0)]
    if len(femur) < 50 or len(tibia) < 50:
        return None
    hull = femur[ConvexHull(femur[:, :2]).vertices, :2]
    edges = np.roll(hull, -1, axis=0) - hull
    # Counter-clockwise: edges that run to +x look to the back. The condyles' is the longest.
    edges = edges[edges[:, 0] > 0.8 * np.linalg.norm(edges, axis=1)]
    if not len(edges):
        return None
    x = np.append(edges[np.argmax(np.linalg.norm(edges, axis=1))], 0.0)
    x /= np.linalg.norm(x)
    y = np.array([-x[1], x[0], 0.0])
    low, high = np.percentile(femur @ x, [1, 99])
    width, middle = high - low, 0.5 * (low + high)
    sides = femur[np.abs(femur @ x - middle) > _PATELLA * width]
    back, front = np.percentile(sides @ y, [1, 99])
    wide = _WIDTH_MM[0] < width < _WIDTH_MM[1]
    if not wide or front - back < _DEPTH_MM or np.ptp(tibia @ y) > 1.6 * width:
        return None
    shafts = [points[(s * rise > _SHAFT_MM[0]) & (s * rise < _SHAFT_MM[1])] for s in (1, -1)]
    seen = next(((s, b) for s, b in zip((1, -1), shafts, strict=True) if np.size(b) > 150), None)
    if seen is None or np.ptp(seen[1] @ x) > 1.2 * width:
        return None
    depth = float(np.clip(front - back, 0.75 * width, 0.95 * width))
    k = round((z - points[:, 2].min()) / step)
    plate = area[k : k + round(_PLATES_MM[1] / step) + 1]
    level = plate[0] + 0.3 * (plate.max() - plate[0])
    first = int(np.argmax(plate > level))
    part = (level - plate[first - 1]) / max(plate[first] - plate[first - 1], 1e-6)
    floor = z + (first - 1 + part) * step
    rise_mm = 0.5 * sum(_SLAB_MM)
    centre = middle * x + (back + 0.5 * depth) * y + [0.0, 0.0, z + rise_mm]
    up = seen[0] * (np.median(seen[1], axis=0) - centre)
    if seen[0] > 0:  # the femur's shaft leans outwards from the line to its head
        up += _VALGUS * up[2] * np.array([-1.0 if centre[0] > 0 else 1.0, 0.0, 0.0])
    origin = centre + (floor - z - rise_mm) / up[2] * up
    return Spot(
        "knee",
        frame(origin, x, y, up),
        {"width": float(width), "depth": depth, "tibia": float(np.ptp(tibia @ x))},
        "right" if origin[0] > 0 else "left",
    )


def draw_prosthesis(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """A prosthesis a little smaller than the bone."""
    made = []
    for spot in patient.spots:
        width = float(np.clip(round(spot.size_mm["width"] - 6.0), 56.0, 80.0))
        tray = float(np.clip(width + rng.integers(0, 5), 58.0, 88.0))
        knee = TotalKnee(
            width_mm=width,
            depth_mm=float(np.clip(round(spot.size_mm["depth"]), 0.78 * width, 0.98 * width)),
            tray_width_mm=tray,
            tray_depth_mm=round(0.65 * tray),
            insert_mm=float(rng.choice([8.0, 9.0, 10.0])),
            tray_material=str(rng.choice(["Ti6Al4V", "CoCrMo"])),
        )
        # Flush with the back of the condyles.
        behind = 0.5 * (knee.depth_mm - spot.size_mm["depth"])
        made.append(spot.planned(knee, (0.0, behind, 0.0)))
    return made
