"""The axis with the largest clearance through each pedicle of a vertebra."""

from __future__ import annotations

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ..bone_field import BoneField, LocalGrid
from .levels import LEVELS
from .sizes import ScrewSizes
from .trajectory import PEDICLE_MM, SIDES, PedicleTrajectory, share_inside, trajectory_along
from .vertebra import VertebraFrame

_STEP_MM = 0.8
_SHARPNESS = 2.0
_CONVERGENCE_DEG = {
    **dict(zip(LEVELS[7:19], (27, 20, 15, 12, 10, 9, 8, 7, 7, 6, 5, 4), strict=True)),
    **{f"L{n}": 5.0 * n for n in range(1, 6)},
}
"""Usual convergence from T1 to L5: the transverse angle of thoracic pedicles falls from 27 degrees
to about 0 (Zindrick et al. 1987, Spine 12:160); lumbar screws converge by 5 degrees times the
number of their vertebra (Dickman et al. 1992, J Neurosurg 77:860)."""
_USUAL_DEG = 12.0
_SPREAD_DEG, _MOST_DEG = 7.0, 12.0
_ANGLE_COST = 12.0
_FORWARD_GAIN = 0.04
"""Weight of bone about the front half: of two axes as good in the pedicle, the one whose tip lies
deeper in the body."""
_AHEAD_MM = 22.0
_BEHIND_MM = np.arange(-30.0, -15.0, 2.0)
_BEHIND_COST = 0.15
"""Of bone further back than an arch is thick: there the joint with the vertebra above lies, which
a screw should pass on its lateral side."""
_BESIDE_MM, _LEAST_MM2 = 12.0, 15.0
_AS_THIN = 0.1
"""A section wider than the thinnest by this share weighs a third of it."""
_BESIDE_CANAL_MM, _SACRAL_CONVERGENCE = 11.0, float(np.tan(np.deg2rad(27.0)))


def _combinations(*values: np.ndarray) -> np.ndarray:
    """All combinations, ``(n, len(values))``."""
    return np.stack(np.meshgrid(*values, indexing="ij"), axis=-1).reshape(-1, len(values))


_ALIKE_MM = 0.3
"""Of clearance: axes that differ by less are about as good."""
_SHIFTS_MM = np.arange(-4.0, 4.1, 1.0)
_CLOSE = _combinations(*2 * [np.linspace(-1.6, 1.6, 5)], *2 * [np.linspace(-0.12, 0.12, 5)])
"""Shifts (mm) and tangents about an axis."""
_ROUNDS = 4


def vertebra_field(mask: np.ndarray, ijk_to_ras: np.ndarray, frame: VertebraFrame) -> BoneField:
    """Depths under the vertebra's surface in its own frame (x right, y anterior, z superior)."""
    back = float(frame.local(frame.canal)[1]) - 32.0
    front = 0.5 * frame.body_depth_mm + 12.0
    grid = LocalGrid.spanning(
        frame.centre,
        frame.axes,
        np.array([-46.0, back, -30.0]),
        np.array([46.0, front, 30.0]),
        _STEP_MM,
    )
    return BoneField.from_mask(mask, ijk_to_ras, grid)


def _isthmus(field: BoneField, frame: VertebraFrame, side: str) -> np.ndarray | None:
    """Middle (local, mm) of the narrowest coronal sections from the canal's middle to the body.

    What lies further from the canal counts less, and sections nearly as narrow count too: neither
    a transverse process nor one voxel decides.
    """
    sign = -1.0 if side == "left" else 1.0
    canal_y = float(frame.local(frame.canal)[1])
    radius, h = frame.canal_radius_mm, field.grid.spacing_mm
    x, y, z = (
        low + h * np.arange(n)
        for low, n in zip(frame.local(field.grid.origin), field.grid.shape, strict=True)
    )
    rows = (y > canal_y - 0.35 * radius) & (y < canal_y + radius + 6.0)
    columns = (sign * x > 0.55 * radius) & (sign * x < radius + 24.0)
    heights = np.abs(z - 0.15 * frame.body_height_mm) < 12.0
    x, y, z = x[columns], y[rows], z[heights]
    bone = share_inside(field.depth[columns][:, rows][:, :, heights], h)
    bone *= np.exp(-np.square((sign * x - radius) / _BESIDE_MM))[:, None, None]
    area = bone.sum(axis=(0, 2)) * h * h
    if area.size == 0 or area.max() < _LEAST_MM2:
        return None
    beside = np.tensordot(x, bone.sum(axis=2), 1) * h * h / np.maximum(area, 1.0)
    above = (bone.sum(axis=0) @ z) * h * h / np.maximum(area, 1.0)
    least = area[area >= _LEAST_MM2].min()
    weight = np.exp(-(area / least - 1.0) / _AS_THIN) * (area >= _LEAST_MM2)
    result: np.ndarray = np.average(np.stack([beside, y, above], axis=1), axis=0, weights=weight)
    return result


def least_convergence_deg(level: str) -> float:
    """Of a sound screw: 7 degrees less than usual at its level, or 1 where that is more."""
    return min(_CONVERGENCE_DEG.get(level, _USUAL_DEG) - _SPREAD_DEG, 1.0)


def _unusual(level: str, convergence: np.ndarray, inclination: np.ndarray) -> np.ndarray:
    """Cost (mm of clearance) of angles (tangents) away from the level's usual ones.

    Along a pedicle wider than the search is fine many axes are as good; the usual one is taken.
    """
    turn = np.rad2deg(np.arctan(convergence)) - _CONVERGENCE_DEG.get(level, _USUAL_DEG)
    tilt = np.rad2deg(np.arctan(inclination))
    cost = np.zeros(())
    for angle in (turn, tilt):
        beyond = np.maximum(np.abs(angle) - _MOST_DEG, 0)
        cost = cost + 0.3 * np.square(angle / _SPREAD_DEG) + np.square(beyond / 3.0)
    return cost


def _path_depths(
    field: BoneField, through: np.ndarray, direction: np.ndarray, s: np.ndarray
) -> np.ndarray:
    points = through[..., None, :] + s[:, None] * direction[..., None, :]
    return field.at(points)


def _clearance(depth: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Smooth minimum of the depth through the pedicle, less what is missing further ahead.

    Every near-narrow place counts, not one voxel. In the body more bone than the pedicle has
    is no gain; less is a loss.
    """
    inner = depth[..., np.abs(s) <= PEDICLE_MM]
    least = -np.log(np.mean(np.exp(-_SHARPNESS * inner), axis=-1)) / _SHARPNESS
    ahead = np.minimum(depth[..., s > PEDICLE_MM].min(axis=-1) - least, 0)
    result: np.ndarray = (
        least + ahead + _FORWARD_GAIN * np.minimum(depth[..., s > 12], 10).mean(axis=-1)
    )
    return result


def _direction(
    frame: VertebraFrame, convergence: np.ndarray, incline: np.ndarray, sign: float
) -> np.ndarray:
    """Unit vectors (RAS) from tangents of the two angles."""
    local = np.stack([-sign * convergence, np.ones_like(convergence), incline], axis=-1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    result: np.ndarray = local @ frame.axes.T
    return result


def _sacral_axis(
    field: BoneField, frame: VertebraFrame, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """The axis of an S1 screw: from beside the facet's foot towards the promontory.

    S1 has no isthmus; the ala offers room without end, far from where a rod could reach it. The
    screw therefore passes the canal within :data:`_BESIDE_CANAL_MM` of its wall.

    :return: point beside the canal and unit direction (RAS).
    :raises InputError: no bone beside the canal.
    """
    sign = -1.0 if side == "left" else 1.0
    canal = frame.local(frame.canal)
    reach = np.arange(0.0, 40.0, 0.4)
    row = np.tile(canal, (len(reach), 1))
    row[:, 0] += sign * reach
    bone = np.flatnonzero(field.at(frame.ras(row)) > 0)
    if len(bone) == 0:
        raise InputError(f"{frame.level} {side}: no bone beside the canal")
    wall = float(canal[0] + sign * reach[bone[0]])
    s = np.arange(-PEDICLE_MM, _AHEAD_MM + 0.1, 1.0)
    aside = wall + sign * np.arange(5.0, _BESIDE_CANAL_MM + 0.1, 1.0)
    heights = canal[2] + np.arange(-4.0, 14.1, 1.5)
    turns = np.tan(np.deg2rad(np.arange(15.0, 36.0, 5.0)))
    tilts = np.tan(np.deg2rad(np.arange(-15.0, 21.0, 5.0)))
    x, z, c, g = (m.ravel() for m in np.meshgrid(aside, heights, turns, tilts, indexing="ij"))
    through = frame.ras(np.stack([x, np.full_like(x, canal[1]), z], axis=1))
    directions = _direction(frame, c, g, sign)
    score = _clearance(_path_depths(field, through, directions, s), s) - 0.6 * g * g
    best = int(np.argmax(score - _ANGLE_COST * 2 * (c - _SACRAL_CONVERGENCE) ** 2))
    return through[best], directions[best]


def find_axis(field: BoneField, frame: VertebraFrame, side: str) -> tuple[np.ndarray, np.ndarray]:
    """The axis of largest clearance through a pedicle at angles usual for its level.

    Not the best of all, which jumps along a pedicle where many are nearly as good, but their mean:
    over positions and angles about the isthmus, then about that mean (mean shift).

    :return: point at the isthmus and unit direction (RAS).
    :raises InputError: no pedicle on that side.
    """
    if frame.level == "S1":
        return _sacral_axis(field, frame, side)
    sign = -1.0 if side == "left" else 1.0
    isthmus = _isthmus(field, frame, side)
    if isthmus is None:
        raise InputError(
            f"{frame.level or 'vertebra'} {side}: no pedicle found in the segmentation"
        )
    start = frame.ras(isthmus)
    s = np.arange(-PEDICLE_MM, _AHEAD_MM + 0.1, 1.0)

    def loss(q: np.ndarray) -> np.ndarray:
        """:param q: ``(..., 4)``: right and up from the start (mm), tangents of both angles."""
        through = start + q[..., :1] * frame.axes[:, 0] + q[..., 1:2] * frame.axes[:, 2]
        ways = _direction(frame, q[..., 2], q[..., 3], sign)
        clearance = _clearance(_path_depths(field, through, ways, s), s)
        joint = np.clip(_path_depths(field, through, ways, _BEHIND_MM), 0, 4).mean(axis=-1)
        unusual = _unusual(frame.level, q[..., 2], q[..., 3])
        cost: np.ndarray = unusual + _BEHIND_COST * joint - clearance
        return cost

    def centre(tried: np.ndarray) -> np.ndarray:
        """Mean of ``(n, 4)``, weighted by how small the loss is."""
        costs = loss(tried)
        result: np.ndarray = np.average(
            tried, axis=0, weights=np.exp((costs.min() - costs) / _ALIKE_MM)
        )
        return result

    turns = _CONVERGENCE_DEG.get(frame.level, _USUAL_DEG) + np.arange(-15.0, 16.0, 5.0)
    tilts = np.arange(-15.0, 16.0, 5.0)
    q = centre(_combinations(_SHIFTS_MM, _SHIFTS_MM, *np.tan(np.deg2rad([turns, tilts]))))
    for _ in range(_ROUNDS):
        q = centre(q + _CLOSE)
    point = start + q[0] * frame.axes[:, 0] + q[1] * frame.axes[:, 2]
    return point, _direction(frame, q[2], q[3], sign)


def pedicle_trajectory(
    field: BoneField, frame: VertebraFrame, side: str, sizes: ScrewSizes | None = None
) -> PedicleTrajectory:
    """The proposed screw of one pedicle.

    :param field: of :func:`vertebra_field`.
    :raises InputError: no pedicle on that side of the segmentation.
    """
    if side not in SIDES:
        raise InputError(f"side {side!r}: 'left' or 'right' is needed")
    through, direction = find_axis(field, frame, side)
    return trajectory_along(field, frame, side, through, direction, sizes or ScrewSizes())
