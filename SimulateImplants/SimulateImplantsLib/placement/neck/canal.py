"""The course of the cervical canal, from the CT alone, and the frame that it gives."""

from __future__ import annotations

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import LocalGrid, sample_grid
from ..geometry import across, unit

BONE_HU = 180.0
"""Lateral masses are cortex and dense cancellous bone; halfway between that and soft tissue."""
_STEP_MM = 1.0
_LOW, _HIGH = np.array([-34.0, -52.0, -14.0]), np.array([34.0, 22.0, 14.0])
_ASIDE_MM, _BEHIND_MM = np.arange(-10.0, 10.1, 1.0), np.arange(-28.0, -4.0, 1.0)
"""Where the canal's middle may lie from a body's."""
_PHI, _REACH_MM = np.arange(24) * np.pi / 12, np.arange(0.0, 19.0, 1.0)
_LEAST_INNER_MM, _ENOUGH_MM = 3.5, 7.0
_LEANS_DEG = (0.0, 25.0, 45.0, -20.0)
_SHUT = 0.75
_NEAR_MM, _ALIKE = 6.0, 0.03
_ROUNDS = 3


def neck_frame(volume: CTVolume, body: np.ndarray, up: np.ndarray | None = None) -> LocalGrid:
    """The canal behind a vertebral body, its axes right, anterior and superior along it.

    :param body: RAS point in the body, or where it would be.
    :param up: about the spine's direction there; leaning necks are tried when None.
    :return: a grid of 1 mm whose index 0 is on the canal's middle, level with the body.
    :raises InputError: no canal closed by bone is seen there.
    """
    leans = np.deg2rad(_LEANS_DEG)
    ups = [np.array([0.0, np.sin(a), np.cos(a)]) for a in leans] if up is None else [unit(up)]
    shut, best = max((_tracked(volume, body, start) for start in ups), key=lambda found: found[0])
    if shut < _SHUT:
        raise InputError(
            "no canal closed by bone is seen behind the clicked point; click into the middle of "
            "the vertebral body, or leave out what the CT cuts"
        )
    return best


def _tracked(volume: CTVolume, body: np.ndarray, up: np.ndarray) -> tuple[float, LocalGrid]:
    """Share of directions in which bone closes the canal, and it, followed along its course."""
    forward, shut = np.array([0.0, 1.0, 0.0]), 0.0
    canal = body
    for _ in range(_ROUNDS):
        axes = _axes_of(up, forward)
        middles, closed = _middles(volume, body, axes)
        weight = np.clip(closed - 0.6, 1e-6, None) ** 2
        centre = np.average(middles, axis=0, weights=weight)
        away = middles - centre
        course = np.linalg.svd(away * np.sqrt(weight)[:, None])[2][0]
        course = course if course[2] > 0 else -course
        off = np.linalg.norm(away - np.outer(away @ course, course), axis=1)
        shut = float(np.mean(closed * (off < 3.0)))
        up = course
        canal = centre + up * float((body - centre) @ up)
        forward = across(body - canal, up)
    return shut, LocalGrid(canal, _axes_of(up, forward), 1.0, (1, 1, 1))


def _axes_of(up: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Columns right, anterior, superior."""
    anterior = across(forward, up)
    return np.stack([np.cross(anterior, up), anterior, up], axis=1)


def _middles(volume: CTVolume, body: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The canal's middle (RAS) in sections along a direction, and how far each is closed."""
    grid = LocalGrid.spanning(body, axes, _LOW, _HIGH, _STEP_MM)
    hu = sample_grid(volume, grid)
    x, y = (m.ravel() for m in np.meshgrid(_ASIDE_MM, _BEHIND_MM, indexing="ij"))
    tried = np.stack([x, y], axis=1)
    shut, inner = _closed(np.nan_to_num(hu, nan=-1000.0) > BONE_HU, tried)
    quality = shut + 0.06 * np.minimum(inner, _ENOUGH_MM) - 2.0 * (inner < _LEAST_INNER_MM)
    top = np.sort(quality, axis=1)[:, -quality.shape[1] // 2 :].mean(axis=1) - 0.001 * x * x
    start = tried[int(np.argmax(top))]
    near = np.linalg.norm(tried - start, axis=1) < _NEAR_MM
    own = quality[near] - 0.004 * np.square(tried[near] - start).sum(axis=1)[:, None]
    weight = np.exp((own - own.max(axis=0)) / _ALIKE)
    at = tried[near].T @ weight / weight.sum(axis=0)
    heights = _LOW[2] + _STEP_MM * np.arange(hu.shape[2])
    local = np.stack([at[0], at[1], heights], axis=1)
    return body + local @ axes.T, shut[near].max(axis=0)


def _closed(bone: np.ndarray, tried: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of rays that meet bone, and the shortest of them (mm): ``(points, sections)``."""
    circle = np.stack([np.sin(_PHI), np.cos(_PHI)], axis=1)
    points = tried[:, None, None] + _REACH_MM[:, None, None] * circle
    at = np.rint((points - _LOW[:2]) / _STEP_MM).astype(int)
    at = np.clip(at, 0, np.array(bone.shape[:2]) - 1)
    met = bone[at[..., 0], at[..., 1]]
    wall = np.where(met.any(axis=1), _REACH_MM[np.argmax(met, axis=1)], 99.0)
    return (wall < 99.0).mean(axis=1), np.sort(wall, axis=1)[:, :4].mean(axis=1)
