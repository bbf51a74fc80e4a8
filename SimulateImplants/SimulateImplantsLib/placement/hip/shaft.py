"""The femoral shaft: axis and medullary canal, from sections across the thigh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import LocalGrid, sample_array, sample_grid
from ..geometry import unit

_STEP_MM = 1.0
_HALF_MM, _BENT_MM = 45.0, 110.0
"""Of the sections looked at, and to the front and back where the thigh may be bent."""
_TIMES, _SETTLED_MM = 4, 0.02
"""Sections are taken again so often at most, until the axis keeps still over 100 mm."""
_LEANING_MM, _PRIOR_MM = (30.0, 75.0), (25.0, 3.0)
"""How much a row of sections of a length leans on the usual axis: as on so long a row of it."""
_FIRST_MM, _LAST_MM = 38.0, 200.0
"""Sections below the head's centre: from the lesser trochanter to the middle of the shaft."""


@dataclass(frozen=True)
class FemoralShaft:
    """Axis of the shaft (RAS, mm).

    :param point: on the axis, at the height of the head's centre or below it.
    :param axis: downwards.
    :param stations_mm: along the axis from ``point``, where the canal was measured.
    :param canal_radius_mm: at each station.
    :param outer_radius_mm: at each station.
    :param length_mm: how far down the bone is seen, from ``point``.
    """

    point: np.ndarray
    axis: np.ndarray
    stations_mm: np.ndarray
    canal_radius_mm: np.ndarray
    outer_radius_mm: np.ndarray
    length_mm: float
    warnings: tuple[str, ...] = ()

    def canal_at(self, station_mm: float) -> float:
        """Canal's radius at a station (the nearest measured beyond the ends)."""
        return float(np.interp(station_mm, self.stations_mm, self.canal_radius_mm))

    @property
    def isthmus_mm(self) -> float:
        """The narrowest radius of the canal that is seen."""
        return float(np.percentile(self.canal_radius_mm, 10))


@dataclass(frozen=True)
class _Section:
    station: float
    centre: np.ndarray
    canal_radius: float
    outer_radius: float


def _thick_sections(bone: np.ndarray) -> np.ndarray:
    """Sections (first axis) closed and filled, thin bridges to other bones cut."""
    closed = ~_grown(~_grown(np.pad(bone, ((0, 0), (4, 4), (4, 4)))))
    closed[:, :4] = closed[:, -4:] = closed[:, :, :4] = closed[:, :, -4:] = False
    within = np.zeros((3, 3, 3), bool)
    within[1] = ndimage.generate_binary_structure(2, 1)
    ground, _ = ndimage.label(~closed, within)
    background = ground == ground[:, :1, :1]
    return _grown(~_grown(background))[:, 4:-4, 4:-4]


def _grown(sections: np.ndarray, steps: int = 3) -> np.ndarray:
    """Each section dilated by a diamond; on all at once far quicker than one by one by SciPy."""
    for _ in range(steps):
        out = sections.copy()
        for axis in (1, 2):
            to, of = np.swapaxes(out, 1, axis), np.swapaxes(sections, 1, axis)
            to[:, 1:] |= of[:, :-1]
            to[:, :-1] |= of[:, 1:]
        sections = out
    return sections


def _femur_component(
    core: np.ndarray, expected: np.ndarray | None, lateral_index: np.ndarray
) -> np.ndarray | None:
    """The section of the femur in a plane: round, nearest to where it is expected.

    :param core: one of :func:`_thick_sections`.
    """
    labels, count = ndimage.label(core)
    best, best_score = None, np.inf
    for n in range(1, count + 1):
        part = labels == n
        area = float(part.sum()) * _STEP_MM**2
        if not 250 < area < 3200:
            continue
        centre = np.argwhere(part).mean(axis=0)
        if expected is not None:
            score = float(np.linalg.norm(centre - expected)) * _STEP_MM
            if score > 18:
                continue
        else:
            # Without a hint the most lateral of the thick bones: the ischium is medial.
            score = -float(centre @ lateral_index) * _STEP_MM
        if score < best_score:
            best, best_score = part, score
    return best


def _canal_of(smooth: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Centre (index), canal radius and outer radius of a section.

    The canal's wall is where the HU along a ray from the middle first passes halfway between
    marrow and cortex.
    """
    outer = float(np.sqrt(part.sum() / np.pi)) * _STEP_MM
    centre = np.argwhere(part).mean(axis=0)
    phi = np.arange(36) * 2 * np.pi / 36
    radius = 0.0
    for _ in range(3):
        r = np.arange(0.0, outer + 6.0, 0.5)
        at = centre[:, None, None] + np.stack([np.cos(phi), np.sin(phi)])[:, :, None] * (
            r / _STEP_MM
        )
        profile = ndimage.map_coordinates(smooth, at, order=1, mode="nearest")
        marrow = float(np.median(profile[:, r < 0.3 * outer]))
        peak = np.percentile(profile.max(axis=1), 60)
        if peak < marrow + 150:
            break
        wall = first_crossing(profile, r, 0.5 * (marrow + peak))
        wall = np.where(wall > outer, np.nan, wall)
        if np.isfinite(wall).sum() < 18:
            break
        points = np.stack([np.cos(phi), np.sin(phi)], axis=1) * wall[:, None]
        good = np.isfinite(wall)
        a = np.column_stack([2 * points[good], np.ones(good.sum())])
        fit, *_ = np.linalg.lstsq(a, (points[good] ** 2).sum(axis=1), rcond=None)
        shift = np.clip(fit[:2], -3, 3)
        radius = float(np.median(np.linalg.norm(points[good] - shift, axis=1)))
        centre = centre + shift / _STEP_MM
        if np.linalg.norm(shift) < 0.2:
            break
    return centre, radius, outer


def first_crossing(profile: np.ndarray, r: np.ndarray, level: float) -> np.ndarray:
    """Where each row of ``profile`` first rises through ``level``, between samples; NaN if never.

    :param profile: values ``(rays, len(r))``.
    """
    k = np.argmax(profile >= level, axis=1)
    rays = np.arange(len(profile))
    before, after = profile[rays, np.maximum(k - 1, 0)], profile[rays, k]
    part = (level - before) / np.maximum(after - before, 1e-6)
    wall = np.where(k > 0, r[np.maximum(k - 1, 0)] + part * (r[1] - r[0]), r[0])
    return np.where((profile < level).all(axis=1), np.nan, wall)


def _sections(
    volume: CTVolume,
    mask: np.ndarray,
    start: np.ndarray,
    axis: np.ndarray,
    lateral: np.ndarray,
    stations: np.ndarray,
    guess: np.ndarray | None,
    deep_mm: float = _HALF_MM,
) -> list[_Section]:
    u = unit(lateral - axis * float(lateral @ axis))
    v = np.cross(axis, u)
    found: list[_Section] = []
    expected = None if guess is None else np.array([(guess - start) @ u, (guess - start) @ v])
    side, front = (np.arange(-mm, mm + 0.5 * _STEP_MM, _STEP_MM) for mm in (_HALF_MM, deep_mm))
    # All sections at once, as a grid whose first axis is as long as a station.
    axes = np.stack([axis * (stations[1] - stations[0]) / _STEP_MM, u, v], axis=1)
    first = start + axis * stations[0] + u * side[0] + v * front[0]
    grid = LocalGrid(first, axes, _STEP_MM, (len(stations), len(side), len(front)))
    planes = np.nan_to_num(sample_array(mask, volume.ijk_to_ras, grid), nan=-1.0)
    cores = _thick_sections(planes > 0.5)
    hu = np.nan_to_num(sample_grid(volume, grid), nan=-1000.0)
    smooth = ndimage.gaussian_filter(hu, (0, 0.6, 0.6))
    middle = np.array(planes.shape[1:]) // 2
    beside = (planes.shape[2] - planes.shape[1]) // 2
    for k, s in enumerate(stations):
        # Half of the section has to lie inside the volume.
        if (planes[k, :, beside : planes.shape[2] - beside] < 0).mean() > 0.3:
            continue
        hint = None if expected is None else expected / _STEP_MM + middle
        part = _femur_component(cores[k], hint, np.array([1.0, 0.0]))
        if part is None:
            continue
        centre, canal, outer = _canal_of(smooth[k], part)
        local = (centre - middle) * _STEP_MM
        expected = local
        ras = start + axis * s + u * local[0] + v * local[1]
        found.append(_Section(float(s), ras, canal, outer))
    return found


def _line(points: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Robust line through section centres; a short row of them leans on the ``prior`` direction."""
    weight = np.ones(len(points))
    reach = float(np.linalg.norm(np.ptp(points, axis=0)))
    prior_mm = float(np.interp(reach, _LEANING_MM, _PRIOR_MM))
    centre, axis = points.mean(axis=0), prior
    for _ in range(6):
        centre = np.average(points, axis=0, weights=weight)
        offset = points - centre
        spread = (offset * weight[:, None]).T @ offset
        spread += np.outer(prior, prior) * prior_mm**2
        values, vectors = np.linalg.eigh(spread)
        axis = vectors[:, int(np.argmax(values))]
        axis = axis if axis @ prior > 0 else -axis
        error = np.linalg.norm(offset - np.outer(offset @ axis, axis), axis=1)
        weight = 1 / (1 + (error / 1.5) ** 2)
    return centre, axis


def find_shaft(
    volume: CTVolume,
    mask: np.ndarray,
    head: np.ndarray,
    down: np.ndarray,
    lateral: np.ndarray,
    name: str,
) -> FemoralShaft:
    """Axis and canal from sections of the femur below its head.

    Sections across ``down`` give a first axis; sections across that axis the final one.

    :param mask: the femur, or all bone.
    :raises InputError: no femur below the head within the volume.
    """
    warnings: list[str] = []
    start = head + lateral * 32.0
    stations = np.arange(_FIRST_MM, _LAST_MM, 3.0)
    low = _sections(volume, mask, start, down, lateral, stations[::-1], None, _BENT_MM)
    # From below upwards: in the shaft nothing else can be taken for the femur.
    first = low[0].centre if low else None
    if first is None or len(low) < 2:
        raise InputError(
            f"{name}: no femoral shaft below the head; the volume ends above it or the bone "
            "threshold is too high"
        )
    trunk = [x for x in low if x.station > 0.45 * low[0].station or x.station > 90]
    shaft_part = [x for x in trunk if x.canal_radius > 0] or trunk
    # Anatomical prior: the shaft runs 6 degrees inwards going down.
    prior = unit(down - 0.105 * lateral)
    reach = float(np.ptp([x.station for x in shaft_part])) if len(shaft_part) > 1 else 0.0
    centre, axis = _line(np.array([x.centre for x in shaft_part]), prior)
    if low[0].station < _FIRST_MM + 45:
        warnings.append(
            f"{name}: only {reach:.0f} mm of the shaft are in the volume; its axis leans on the "
            "usual anatomy"
        )
    point = centre + axis * float((head - centre) @ axis)
    for _ in range(_TIMES):
        again = _sections(volume, mask, point, axis, lateral, stations, point)
        again = [x for x in again if x.canal_radius > 0] or again
        if len(again) < 3:
            break
        deep = [x for x in again if x.station > 0.5 * again[-1].station] or again
        before, ahead = point, axis
        centre, axis = _line(np.array([x.centre for x in deep]), prior)
        point = centre + axis * float((head - centre) @ axis)
        if np.allclose([point, 100 * axis], [before, 100 * ahead], rtol=0, atol=_SETTLED_MM):
            break
    used = again if len(again) >= 3 else low[::-1]
    return FemoralShaft(
        point=point,
        axis=axis,
        stations_mm=np.array([(x.centre - point) @ axis for x in used]),
        canal_radius_mm=np.array([x.canal_radius for x in used]),
        outer_radius_mm=np.array([x.outer_radius for x in used]),
        length_mm=float((used[-1].centre - point) @ axis),
        warnings=tuple(warnings),
    )
