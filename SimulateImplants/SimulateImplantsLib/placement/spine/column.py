"""The course of the spine through a trunk of which nothing is known."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import LocalGrid, sample_grid

STEP_MM = 3.0
_BONE_HU = (70.0, 180.0)
"""From nothing to all of a bone: contrast in vessels shall be no more than cancellous bone."""
_BODY_MM = (12.0, 21.0)
"""Radii of discs: the smallest bodies fill one, the largest both."""
_SOFT_HU, _CANAL_MM = -50.0, 5.0
_BEHIND_MM = (18.0, 21.0, 24.0, 27.0, 30.0)
"""The canal, soft, behind a body's middle."""
_ARCH_MM, _ARCH_SHARE = (42.0, 18.0), 0.35
"""Arch and processes behind the canal: how wide and deep, and how much of that is bone."""
_BEHIND_WEIGHT = 0.3
_ASIDE_MM, _FRONT_SHARE = 60.0, 0.6
_ALONG_MM, _SMOOTH_MM = 27.0, 12.0
_TURN_COST = 0.02
_LEAST = 0.6


def column(volume: CTVolume) -> np.ndarray:
    """Middles of vertebral bodies and discs every 3 mm, from caudal, RAS ``(n, 3)``.

    In each axial section bone as wide as a body, a canal and an arch behind it, near the middle of
    the patient's back; the course that goes through most of that, at most 45 degrees steep.

    :raises InputError: no such bone.
    """
    hu, grid = _thirds(volume)
    likeness = _likeness(hu)
    path = _best_course(likeness)
    if len(path) and float(likeness[tuple(path.T)].mean()) < _LEAST:
        raise InputError("no spine in the middle of the back; give a CT of the trunk")
    place = path.astype(float)
    place[:, :2] = ndimage.gaussian_filter1d(
        place[:, :2], _SMOOTH_MM / STEP_MM, axis=0, mode="nearest"
    )
    return grid.to_ras(2 * place + 0.5)


def _thirds(volume: CTVolume) -> tuple[np.ndarray, LocalGrid]:
    """Means of cubes of 3 mm ``(x, y, z)``, and the grid of twice as many points along RAS."""
    grid = LocalGrid.over(volume, 0.5 * STEP_MM)
    hu = np.nan_to_num(sample_grid(volume, grid), nan=-1000.0)
    a, b, c = (n // 2 for n in hu.shape)
    return hu[: 2 * a, : 2 * b, : 2 * c].reshape(a, 2, b, 2, c, 2).mean(axis=(1, 3, 5)), grid


def _likeness(hu: np.ndarray) -> np.ndarray:
    """How like a vertebral body's middle each place is."""
    low, high = _BONE_HU
    bone = np.clip((hu - low) / (high - low), 0.0, 1.0)
    score = np.mean([_on_discs(bone, mm) for mm in _BODY_MM], axis=0)
    wide, deep = (round(mm / STEP_MM) for mm in _ARCH_MM)
    arch = ndimage.uniform_filter(bone, (wide, deep, 1), mode="constant") / _ARCH_SHARE
    canal = _on_discs((hu > _SOFT_HU) * (1.0 - bone), _CANAL_MM)
    canal += _moved(np.minimum(arch, 1.0), round(0.5 * deep + 1))
    score += _BEHIND_WEIGHT * np.max([_moved(canal, round(mm / STEP_MM)) for mm in _BEHIND_MM], 0)
    score = ndimage.uniform_filter1d(score, round(_ALONG_MM / STEP_MM), axis=2)
    inside = body_mask(np.ascontiguousarray(hu.T), (STEP_MM,) * 3).T
    left, right = _extent(inside.any(axis=1))
    back, front = _extent(inside.any(axis=0))
    middle = ndimage.median_filter(0.5 * (left + right), 15, mode="nearest")
    x, y = np.ogrid[: hu.shape[0], : hu.shape[1]]
    score -= (STEP_MM * (x[..., None] - middle) / _ASIDE_MM) ** 2
    behind = y[..., None] <= back + _FRONT_SHARE * (front - back)
    return np.where(behind, score, -9.0)


def _on_discs(values: np.ndarray, radius_mm: float) -> np.ndarray:
    """Axial means about each place."""
    reach = round(radius_mm / STEP_MM)
    a, b = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disc = (a**2 + b**2 <= (radius_mm / STEP_MM) ** 2).astype(np.float32)
    result: np.ndarray = ndimage.convolve(values, (disc / disc.sum())[..., None], mode="constant")
    return result


def _moved(values: np.ndarray, rows: int) -> np.ndarray:
    """What lies so many rows behind each place."""
    out = np.zeros_like(values)
    out[:, rows:] = values[:, :-rows]
    return out


def _extent(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last index in each column of a mask; of all columns where one is empty."""
    empty = ~np.asarray(inside.any(axis=0))
    inside = inside | (empty & inside.any(axis=1, keepdims=True))
    return inside.argmax(axis=0), len(inside) - 1 - inside[::-1].argmax(axis=0)


def _best_course(score: np.ndarray) -> np.ndarray:
    """Indices ``(n, 3)`` along the last axis whose sum is largest, one step aside at a time."""
    cost = _TURN_COST * np.hypot(*np.mgrid[-1:2, -1:2])
    total = np.pad(score, ((1, 1), (1, 1), (0, 0)), constant_values=-1e6)
    for k in range(1, score.shape[2]):
        total[..., k] += ndimage.grey_dilation(total[..., k - 1], structure=-cost)
    x, y = np.unravel_index(int(total[..., -1].argmax()), total.shape[:2])
    path = [(x, y)]
    for k in range(score.shape[2] - 2, -1, -1):
        near = total[x - 1 : x + 2, y - 1 : y + 2, k] - cost
        a, b = np.unravel_index(int(near.argmax()), near.shape)
        x, y = x + a - 1, y + b - 1
        path.append((x, y))
    return np.column_stack([np.array(path[::-1]) - 1, np.arange(score.shape[2])])
