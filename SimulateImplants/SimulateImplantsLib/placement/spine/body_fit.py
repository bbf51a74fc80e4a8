"""A vertebral body in the CT about a click: endplates, outline, canal and plane of symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import LocalGrid, sample_grid
from ..geometry import Vector, across
from .click_checks import CUT

_STEP_MM = 1.25
_LOW, _HIGH = np.array([-45.0, -70.0, -34.0]), np.array([45.0, 40.0, 34.0])


@dataclass(frozen=True)
class Patch:
    """The CT about a click on a grid along the spine: x right, y anterior, z superior (mm)."""

    grid: LocalGrid
    hu: np.ndarray
    name: str
    cut: bool
    """Whether the CT ends where the vertebra should be."""

    @classmethod
    def about(
        cls, volume: CTVolume, centre: np.ndarray, up: np.ndarray, forward: Vector, name: str
    ) -> Patch:
        """What lies about a point, ``up`` along the spine and ``forward`` as near as may be."""
        anterior = across(forward, up)
        axes = np.stack([np.cross(anterior, up), anterior, up], axis=1)
        grid = LocalGrid.spanning(centre, axes, _LOW, _HIGH, _STEP_MM)
        hu = sample_grid(volume, grid)
        near = np.isnan(hu[16:-16, 20:-16, 14:-14])  # 25 mm aside, 45 behind, 20 before, 16 up
        return cls(grid, np.clip(np.nan_to_num(hu, nan=-500.0), -200, 600), name, bool(near.any()))

    def at(self, local: np.ndarray) -> np.ndarray:
        """HU at points ``(..., 3)`` from the centre (mm)."""
        index = (np.asarray(local) - _LOW) / _STEP_MM
        value: np.ndarray = ndimage.map_coordinates(
            self.hu, np.moveaxis(index, -1, 0), order=1, mode="nearest", output=np.float32
        )
        return value

    def on_planes(self, across_mm: np.ndarray, heights_mm: np.ndarray) -> np.ndarray:
        """HU at points ``(..., 2)`` in each of the planes: ``(..., planes)``, as of :meth:`at`."""
        last = np.array(self.hu.shape) - 1
        z = np.clip((heights_mm - _LOW[2]) / _STEP_MM, 0, last[2])
        low = np.minimum(z.astype(int), last[2] - 1)
        share = (z - low).astype(np.float32)
        planes = self.hu[..., low] * (1 - share) + self.hu[..., low + 1] * share
        flat = planes.reshape(-1, len(z))
        at = np.clip((across_mm - _LOW[:2]) / _STEP_MM, 0, last[:2])
        corner = np.minimum(at.astype(int), last[:2] - 1)
        x, y = np.moveaxis((at - corner).astype(np.float32), -1, 0)[..., None]
        first = corner[..., 0] * self.hu.shape[1] + corner[..., 1]
        below = flat[first] * (1 - y) + flat[first + 1] * y
        first += self.hu.shape[1]
        above = flat[first] * (1 - y) + flat[first + 1] * y
        result: np.ndarray = below * (1 - x) + above * x
        return result

    def ras(self, local: Vector) -> np.ndarray:
        """RAS of points from the centre."""
        point: np.ndarray = self.grid.to_ras((np.asarray(local, float) - _LOW) / _STEP_MM)
        return point


def core_hu(patch: Patch, centre: np.ndarray, a: float, b: float, height: float) -> np.ndarray:
    """HU of the body's inner half."""
    u, v, w = np.meshgrid(*[np.linspace(-0.6, 0.6, 9)] * 3, indexing="ij")
    inside = np.hypot(u, v) < 0.6
    points = np.stack([u * a, v * b, 0.6 * w * 0.5 * height], axis=-1)[inside]
    return patch.at(centre + points)


def endplates_of(
    patch: Patch,
    at: np.ndarray,
    radii: tuple[float, float],
    usual_mm: float,
    ridge: float,
    pitches: Vector = (0.0,),
    rolls: Vector = (0.0,),
) -> tuple[float, float, tuple[float, float]]:
    """Height of the body's middle, its own height, and how its endplates tilt (radians).

    Going outwards HU falls at either endplate; the pair with the steepest falls, at a usual
    distance and about the middle, is the body. Tilted planes are tried for the sharpest pair.

    :param ridge: weight (1/mm) of the endplates' HU above those of what lies between them, beside
        falls (HU/mm).
    """
    phi = np.arange(10) * np.pi / 5
    disc = np.concatenate(
        [
            [[0.0, 0.0]],
            *(r * np.stack([np.cos(phi), np.sin(phi)], axis=1) * radii for r in (0.5, 1.0)),
        ]
    )
    z = np.arange(-34.0, 34.1, 0.5)
    pitch, roll = (m.ravel() for m in np.meshgrid(pitches, rolls, indexing="ij"))
    lean = np.tan(pitch)[:, None] * disc[:, 1] + np.tan(roll)[:, None] * disc[:, 0]
    local = np.empty((len(pitch), len(z), len(disc), 3))
    local[..., :2] = at + disc
    local[..., 2] = z[:, None] + lean[:, None, :]
    profile = ndimage.gaussian_filter1d(patch.at(local).mean(axis=2), 2.0, axis=1)
    slope = np.clip(np.gradient(profile, 0.5, axis=1), -60, 60)
    heights = np.arange(10.0, 40.1, 1.0)
    middles = np.arange(-14.0, 14.1, 1.0)
    best, found = -np.inf, (0.0, usual_mm, (0.0, 0.0))
    c, h = (m.ravel() for m in np.meshgrid(middles, heights, indexing="ij"))
    usual = 0.12 * np.square(c) + 0.4 * np.square(np.clip(np.abs(h - usual_mm) - 2.0, 0, None))
    top, bottom = (np.rint((c + s * h / 2 + 34.0) / 0.5).astype(int) for s in (1, -1))
    plate = ndimage.maximum_filter1d(profile, 7, axis=1)
    total = np.cumsum(profile, axis=1)
    first, last = bottom + 6, top - 6  # 3 mm inside the endplates
    for k in range(len(pitch)):
        score = np.minimum(-slope[k][top], slope[k][bottom]) - slope[k][top] + slope[k][bottom]
        score = score - usual - 30.0 * (pitch[k] ** 2 + 2 * roll[k] ** 2)
        if ridge:
            core = (total[k][last] - total[k][first]) / (last - first)
            above = np.minimum(plate[k][top], plate[k][bottom]) - core
            score = score + ridge * np.clip(above, 0, 100)
        i = int(np.argmax(score))
        if score[i] > best:
            best, found = score[i], (float(c[i]), float(h[i]), (float(pitch[k]), float(roll[k])))
    return found


def outline_of(patch: Patch, rise: float, height: float) -> tuple[float, float, float, float]:
    """Middle and half axes of the ellipse about which HU falls most steeply outwards."""
    z = rise + np.linspace(-0.3, 0.15, 7) * height
    index = np.clip(np.rint((z - _LOW[2]) / _STEP_MM).astype(int), 0, patch.hu.shape[2] - 1)
    section = ndimage.gaussian_filter(patch.hu[:, :, index].mean(axis=2), 0.9)
    slope = np.stack(np.gradient(section, _STEP_MM), axis=-1)
    # 0 is forward; between the sides and the canal's front wall the pedicles arise.
    phi = np.deg2rad([*np.arange(-112.5, 113, 7.5), *np.arange(157.5, 203, 7.5)])
    unit_circle = np.stack([np.sin(phi), np.cos(phi)], axis=1)
    shifts = np.arange(-12.0, 12.1, 1.5)
    halves, ratios = np.arange(11.0, 31.0, 1.0), np.array([0.6, 0.67, 0.74, 0.82, 0.9])

    def nearest(mm: np.ndarray, axis: int) -> np.ndarray:
        at = np.rint((mm - _LOW[axis]) / _STEP_MM).astype(int)
        result: np.ndarray = np.clip(at, 0, section.shape[axis] - 1)
        return result

    score = np.empty((len(shifts), len(shifts), len(halves), len(ratios)))
    for j, ratio in enumerate(ratios):
        normal = unit_circle / (1.0, ratio)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        fall = np.clip(-(slope @ normal.T), -15, 45)
        for i, half in enumerate(halves):
            at_x, at_y = (
                nearest(shifts[:, None] + side * unit_circle[:, axis], axis)
                for axis, side in enumerate((half, half * ratio))
            )
            seen = fall[at_x[:, None], at_y[None], np.arange(len(phi))]
            score[:, :, i, j] = seen.mean(axis=-1)
    x, y, a, ratio = (m.ravel() for m in np.meshgrid(shifts, shifts, halves, ratios, indexing="ij"))
    score = score.ravel() - 0.02 * (x**2 + y**2)
    best = int(np.argmax(score))
    if score[best] < 5.0:
        raise InputError(
            f"{patch.name}: no vertebral body about the clicked point; click into its middle"
        )
    return float(x[best]), float(y[best]), float(a[best]), float(a[best] * ratio[best])


def canal_of(
    patch: Patch, centre: np.ndarray, depth: float, height: float, threshold: float
) -> tuple[np.ndarray, float]:
    """Middle of the canal at the pedicles and its radius: soft, with bone on all sides.

    :param depth: half of the body's, so that the canal's front wall is about there.
    """
    x, y = (m.ravel() for m in np.meshgrid(np.arange(-12, 12.1, 1.5), np.arange(-26, 0.1, 1.5)))
    z = np.arange(-0.15, 0.61, 0.075) * height
    s, phi = np.arange(0.0, 17.0, 1.0), np.arange(20) * np.pi / 10
    star = s[:, None] * np.stack([np.sin(phi), np.cos(phi)], axis=1)[:, None]
    middles = np.stack([x, y - depth], axis=1) + centre[:2]
    hu = patch.on_planes(middles[:, None, None] + star, centre[2] + z)
    bone = np.moveaxis(hu, -1, 0) > threshold
    wall = np.where(bone.any(axis=-1), s[np.argmax(bone, axis=-1)], 20.0)
    shut = (wall < 16).mean(axis=-1)
    inner = np.sort(wall, axis=-1)[..., :3].mean(axis=-1)
    quality = shut + 0.06 * np.minimum(inner, 8.0) - 2.0 * (inner < 3.0)
    top = np.sort(quality, axis=0)[-4:].mean(axis=0)
    top = top - 0.0012 * x**2 - 0.0012 * (y + 9.0) ** 2
    best = int(np.argmax(top))
    heights = np.argsort(quality[:, best])[-4:]
    if shut[heights, best].mean() < 0.75 or inner[heights, best].mean() < 3.5:
        reason = "no canal closed by bone behind the clicked body; click into its middle"
        raise InputError(f"{patch.name}: {CUT if patch.cut else reason}")
    offset = np.array([x[best], y[best] - depth, z[heights].mean()])
    at = centre + offset
    return at, float(np.median(inner[heights, best]))


def mirror_of(patch: Patch, canal: np.ndarray, centre: np.ndarray) -> tuple[float, float]:
    """Turn to the right (radians) and shift of the line through the canal that mirrors best."""
    across_mm, along = np.arange(1.0, 32.0, 1.5), np.arange(-14.0, 34.0, 1.5)
    heights = np.arange(-5.0, 5.1, 2.5)
    aim = np.arctan2(centre[0] - canal[0], centre[1] - canal[1])
    shifts = np.arange(-3.0, 3.1, 1.5)
    sides_mm = shifts[:, None, None] + across_mm * [[1.0], [-1.0]]
    best, found = -np.inf, (0.0, 0.0)
    for turn in np.deg2rad(np.arange(-21, 21.1, 1.5)):
        f, r = np.array([np.sin(turn), np.cos(turn)]), np.array([np.cos(turn), -np.sin(turn)])
        places = canal[:2] + sides_mm[:, :, None, :, None] * r + along[:, None, None] * f
        hu = np.clip(patch.on_planes(places, canal[2] + heights), -50, 350)
        for shift, halves in zip(shifts, hu, strict=True):
            alike = float(np.corrcoef(*halves.reshape(2, -1))[0, 1])
            score = alike - 0.4 * turn**2 - 0.4 * (turn - aim) ** 2 - 0.002 * shift**2
            if score > best:
                best, found = score, (float(turn), float(shift))
    return found
