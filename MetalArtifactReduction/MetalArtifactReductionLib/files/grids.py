"""Grids in space: which can be, which are the same, and arrays brought from one onto another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..volume import CTVolume, acquisition_axes, permuted_affine, shear_deg

_GRID_TOLERANCE = 0.01  # of the smallest voxel side, at the worst corner of the volume
_SIDES_MM = (1e-3, 1e4)  # from micro-CT of 1 um on; mistaken units are no reason to refuse
_FARTHEST_MM = 1e6
_LEAST_VOLUME = 1e-3  # of the cube of unit axes: less than that is a plane or a line
_SHEARED_DEG = 0.05


def check_geometry(path: Path, ijk_to_ras: np.ndarray) -> None:
    """Refuse a geometry that no scan can have; the one check of every format.

    :param ijk_to_ras: ``(4, 4)``, in mm.
    :raises InputError: not finite, a voxel side or an origin out of any range, singular axes.
    """
    axes = ijk_to_ras[:3, :3]
    if not np.isfinite(ijk_to_ras).all():
        raise InputError(
            f"{path}: origin or axes are not finite numbers ({_listed(ijk_to_ras[:3].ravel())});"
            " export it again"
        )
    with np.errstate(over="ignore"):
        sides = np.linalg.norm(axes, axis=0)
    if sides.min() < _SIDES_MM[0] or sides.max() > _SIDES_MM[1]:
        raise InputError(
            f"{path}: voxel sides of {_listed(sides)} mm, but {_SIDES_MM[0]:g} to {_SIDES_MM[1]:g}"
            " mm are possible; export it again, or correct the spacing in its header"
        )
    if np.abs(ijk_to_ras[:3, 3]).max() > _FARTHEST_MM:
        raise InputError(
            f"{path}: origin ({_listed(ijk_to_ras[:3, 3], ', ')}) mm is no place in a scanner;"
            " export it again"
        )
    if abs(np.linalg.det(axes / sides)) < _LEAST_VOLUME:
        raise InputError(f"{path}: its axes span no volume (singular orientation); export it again")


def _listed(values: np.ndarray | tuple[int, ...], separator: str = " x ") -> str:
    return separator.join(f"{value:.6g}" for value in values)


def on_grid(
    path: Path, array: np.ndarray, ijk_to_ras: np.ndarray, like: CTVolume, *, part: bool = False
) -> np.ndarray:
    """An array ``(k, j, i)`` permuted and flipped onto a volume's grid.

    :param path: named in the error.
    :param part: take a box of the grid (a cropped segmentation) too; 0 around it. Also the grid
        that readers without shear give the volume, where that is tilted.
    :raises InputError: its voxels are not the volume's voxels.
    """
    array, ijk_to_ras = _turned(array, ijk_to_ras, like)
    difference = geometry_difference(array.shape, ijk_to_ras, like.hu.shape, like.ijk_to_ras)
    if not difference:
        return array
    if part:
        if array.shape == like.hu.shape and _is_straightened(ijk_to_ras, like.ijk_to_ras):
            return array
        whole = _as_part(array, ijk_to_ras, like)
        if whole is not None:
            return whole
    raise InputError(
        f"{path}: the mask's geometry is not the volume's: {difference};"
        " resample it to the volume first (3D Slicer: export it with the CT as reference)"
    )


def _turned(
    array: np.ndarray, ijk_to_ras: np.ndarray, like: CTVolume
) -> tuple[np.ndarray, np.ndarray]:
    """Axes in the volume's order and direction."""
    axes = acquisition_axes(ijk_to_ras)
    array, ijk_to_ras = array.transpose(axes), permuted_affine(ijk_to_ras, axes)
    # Which way does each axis of the mask run in the volume?
    signs = np.sign(np.diag(np.linalg.inv(like.ijk_to_ras[:3, :3]) @ ijk_to_ras[:3, :3]))
    for column, sign in enumerate(signs):
        if sign < 0:
            axis = 2 - column
            ijk_to_ras = ijk_to_ras.copy()
            ijk_to_ras[:3, 3] += (array.shape[axis] - 1) * ijk_to_ras[:3, column]
            ijk_to_ras[:3, column] *= -1
            array = np.flip(array, axis)
    return array, ijk_to_ras


def _as_part(array: np.ndarray, ijk_to_ras: np.ndarray, like: CTVolume) -> np.ndarray | None:
    """The array in its place in the volume, or None where its voxels are not the volume's."""
    index = np.linalg.inv(like.ijk_to_ras) @ ijk_to_ras  # of the array's voxels in the volume
    first = np.rint(index[:3, 3]).astype(int)[::-1]
    shifted = ijk_to_ras.copy()
    shifted[:3, 3] -= like.ijk_to_ras[:3, :3] @ first[::-1]
    if geometry_difference(array.shape, shifted, array.shape, like.ijk_to_ras):
        return None
    shape = np.array(like.hu.shape)
    low, high = np.maximum(first, 0), np.minimum(first + array.shape, shape)
    if (low >= high).any():
        return None
    inside = array[tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))]
    if np.count_nonzero(inside) < np.count_nonzero(array):
        return None  # it goes on outside the volume: not a part of this one
    whole = np.zeros(like.hu.shape, array.dtype)
    whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = inside
    return whole


def _is_straightened(ijk_to_ras: np.ndarray, like: np.ndarray) -> bool:
    """Whether a grid is that of ``like`` as readers see it that know no gantry tilt.

    They take the distance of the slices, or its share along the normal, as spacing, and stack the
    slices at right angles from the first one, or from the last.
    """
    if shear_deg(like) < _SHEARED_DEG or shear_deg(ijk_to_ras) > _SHEARED_DEG:
        return False
    sides, others = (np.linalg.norm(m[:3, :3], axis=0) for m in (ijk_to_ras, like))
    within = np.abs(ijk_to_ras[:3, :2] - like[:3, :2]).max() < _GRID_TOLERANCE * others[:2].min()
    normal = np.cross(like[:3, 0], like[:3, 1])
    across = abs(float(like[:3, 2] @ normal)) / float(np.linalg.norm(normal))
    tolerance = _GRID_TOLERANCE * float(others[2])
    spaced = min(abs(sides[2] - others[2]), abs(sides[2] - across)) < tolerance
    return bool(within and spaced)


def geometry_difference(
    shape: tuple[int, ...], ijk_to_ras: np.ndarray, other_shape: tuple[int, ...], other: np.ndarray
) -> str:
    """What differs between two grids, with both values; empty where they are the same.

    Two grids are the same if no corner is displaced by more than 1 % of the smallest voxel side.

    :param shape: ``(slices, rows, cols)``; reported as columns x rows x slices.
    """
    if tuple(shape) != tuple(other_shape):
        return f"size {_listed(shape[::-1])} instead of {_listed(other_shape[::-1])}"
    sides, other_sides = (np.linalg.norm(m[:3, :3], axis=0) for m in (ijk_to_ras, other))
    extent = np.asarray(shape[::-1]) - 1
    tolerance_mm = _GRID_TOLERANCE * float(other_sides.min())
    corners = np.array([[*(extent * bits), 1.0] for bits in np.ndindex(2, 2, 2)])
    displaced = np.linalg.norm(corners @ (ijk_to_ras - other).T, axis=1).max()
    if displaced <= tolerance_mm:
        return ""
    found = []
    if (np.abs(sides - other_sides) * np.maximum(extent, 1)).max() > tolerance_mm / 3:
        found.append(f"spacing {_listed(sides)} instead of {_listed(other_sides)} mm")
    if np.linalg.norm(ijk_to_ras[:3, 3] - other[:3, 3]) > tolerance_mm / 3:
        found.append(
            f"origin ({_listed(ijk_to_ras[:3, 3], ', ')}) instead of"
            f" ({_listed(other[:3, 3], ', ')}) mm RAS"
        )
    turned = np.abs(ijk_to_ras[:3, :3] / sides - other[:3, :3] / other_sides).max()
    if turned * float((extent * other_sides).max()) > tolerance_mm / 3:
        cosine = np.clip((ijk_to_ras[:3, :3] / sides * other[:3, :3] / other_sides).sum(0), -1, 1)
        found.append(f"direction turned by {np.degrees(np.arccos(cosine)).max():.4g} deg")
    return ", ".join(found) or f"corners displaced by {displaced:.4g} mm"
