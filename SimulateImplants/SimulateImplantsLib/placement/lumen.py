"""Round sections of a vessel, measured in the CT itself, and how well a stent lies in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.volume import CTVolume

from ..implants.base import Implant
from ..implants.path import along
from ..implants.stent import Stent
from .anatomy import Anatomy
from .bone_field import sample_hu
from .geometry import across, unit

_ANGLES = 36
_STEP_MM, _REACH_MM, _NEEDED_MM = 0.5, 30.0, 15.0
_SLAB_MM = np.array([-1.5, 0.0, 1.5])
_CORE_MM, _CORE_SHARE = 3.0, 0.8
_BEYOND_MM = 3.0
_ON_MM, _FEWEST = 1.2, 6
BLOOD_HU = (15.0, 600.0)
WALL = 0.5
"""Of the directions in which a vessel ends on its circle: others touch it, or leave it."""
_STATION_MM, _END_MM = 5.0, 3.0
_NARROWEST_MM = 8.0
_OFF_MM = 3.0
_IN_VESSEL = 0.8
_WIDER = (-0.1, 0.25)
_SPREAD_HU = 25.0


@dataclass(frozen=True)
class RoundSection:
    """A round section.

    :param centre: RAS. :param radius_mm: to where HU is half-way to what is about the vessel.
    :param wall: share of the directions in which it ends on that circle.
    :param hu, spread_hu: mean and standard deviation within four fifths of the radius.
    """

    centre: np.ndarray
    radius_mm: float
    wall: float
    hu: float
    spread_hu: float


def stent_grade(implant: Implant, matrix: np.ndarray, anatomy: Anatomy) -> tuple[str, str]:
    """Grade "good" or "poor" and why it is poor; "" where the CT does not show it.

    Good is: over four fifths of its length within 3 mm of the middle of a round vessel with even
    HU, and from 10 % narrower than it to 25 % wider, whoever planned it.
    """
    assert isinstance(implant, Stent)
    if implant.diameter_mm < _NARROWEST_MM:
        return "", f"narrower than {_NARROWEST_MM:g} mm: a CT hardly shows its vessel: not graded"
    line, way = implant.centre_line()
    at = along(line)
    stations = np.linspace(
        _END_MM, at[-1] - _END_MM, max(3, round((at[-1] - 2 * _END_MM) / _STATION_MM) + 1)
    )
    places, ways = (
        np.stack([np.interp(stations, at, v) for v in values.T], axis=-1) @ matrix[:3, :3].T
        for values in (line, way)
    )
    places += matrix[:3, 3]
    if np.isnan(sample_hu(anatomy.volume, places)).any():
        return "", "partly outside the CT: not graded"
    found = [
        round_section(anatomy.volume, place, unit(one))
        for place, one in zip(places, ways, strict=True)
    ]
    held = [
        one
        for one, place in zip(found, places, strict=True)
        if one and one.wall >= WALL and np.linalg.norm(one.centre - place) <= _OFF_MM
    ]
    share = len(held) / len(stations)
    if share < _IN_VESSEL:
        return "poor", (
            f"within {_OFF_MM:g} mm of a round vessel's middle along {100 * share:.0f} % of its "
            f"length, not {100 * _IN_VESSEL:.0f} %"
        )
    faults = []
    wider = implant.diameter_mm / (2 * float(np.median([one.radius_mm for one in held]))) - 1
    if not _WIDER[0] <= wider <= _WIDER[1]:
        low, high = (100 * limit for limit in _WIDER)
        faults.append(f"{100 * wider:.0f} % wider than the vessel, not {low:.0f} to {high:.0f} %")
    spread = float(np.median([one.spread_hu for one in held]))
    if spread > _SPREAD_HU:
        faults.append(f"the vessel's HU vary by {spread:.0f}, more than {_SPREAD_HU:.0f}")
    return ("poor", "; ".join(faults)) if faults else ("good", "")


def tolerance(blood_hu: np.ndarray | float) -> np.ndarray:
    """HU by which a vessel's surroundings differ from blood: half-way to muscle, or to fat."""
    return np.maximum(0.5 * (np.asarray(blood_hu) - 50.0), 45.0)


def round_section(volume: CTVolume, place: np.ndarray, way: np.ndarray) -> RoundSection | None:
    """The round section about a point; None where nothing round is, or the CT ends.

    Rays from the point end half-way from the HU about it to those beyond; the circle is that on
    which most of them end.

    :param place: RAS, in the vessel. :param way: unit vector along it.
    """
    first = across((1.0, 0.0, 0.0), way)
    second = np.cross(way, first)
    angle = np.arange(_ANGLES) * 2 * np.pi / _ANGLES
    spokes = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    far = np.arange(0.0, _REACH_MM, _STEP_MM)
    flat = far[:, None] * spokes[:, None]
    points = place + flat @ np.stack([first, second])
    hu = sample_hu(volume, points + (_SLAB_MM[:, None] * way)[:, None, None])
    if np.isnan(hu[..., far < _NEEDED_MM]).any():
        return None
    ray = np.nan_to_num(hu, nan=-1000.0).mean(axis=0)
    ray = ndimage.gaussian_filter(ray, (0.7, 1.2), mode=("wrap", "nearest"))
    blood = float(np.median(ray[:, far <= _CORE_MM]))
    if not BLOOD_HU[0] < blood < BLOOD_HU[1]:
        return None
    ends = _ends(ray, blood)
    seen = np.isfinite(ends)
    fit = _circle(ends[seen, None] * spokes[seen]) if seen.mean() >= WALL else None
    if fit is None:
        return None
    middle, radius, wall = fit
    inside = ray[np.linalg.norm(flat - middle, axis=-1) < _CORE_SHARE * radius]
    return RoundSection(
        place + middle @ np.stack([first, second]),
        radius,
        wall * float(seen.mean()),
        float(inside.mean()),
        float(inside.std()),
    )


def _ends(ray: np.ndarray, blood: float) -> np.ndarray:
    """Where each ray leaves the blood (mm): half-way to the level beyond; inf for nowhere."""
    off = ray - blood
    beyond = np.abs(off) > tolerance(blood)
    beyond[:, :-1] &= beyond[:, 1:]
    first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), -1)
    reach = int(_BEYOND_MM / _STEP_MM)
    ends = np.full(len(ray), np.inf)
    for a, k in enumerate(first):
        if k < 1:
            continue
        line = off[a] * np.sign(off[a, k])
        half = 0.5 * float(line[k : k + reach].max())
        nearest = max(k - reach, 1)
        over = nearest + int(np.argmax(line[nearest:] >= half))
        low, high = line[over - 1], line[over]
        ends[a] = _STEP_MM * (over - 1 + np.clip((half - low) / max(high - low, 1e-6), 0, 1))
    return ends


def _circle(points: np.ndarray) -> tuple[np.ndarray, float, float] | None:
    """Middle, radius and share of the points on the circle that most of them lie on."""
    third = len(points) // 3
    tried = [
        _through(points[[k, (k + second) % len(points), (k + 2 * third) % len(points)]])
        for k in range(third)
        for second in (third - 3, third, third + 3)
    ]
    best = max((one for one in tried if one), key=lambda one: _on(points, *one).sum(), default=None)
    for _ in range(3):
        if best is None or (on := _on(points, *best)).sum() < _FEWEST:
            return None
        best = _through(points[on])
    return None if best is None else (*best, float(_on(points, *best).mean()))


def _on(points: np.ndarray, middle: np.ndarray, radius: float) -> np.ndarray:
    result: np.ndarray = np.abs(np.linalg.norm(points - middle, axis=1) - radius) < _ON_MM
    return result


def _through(points: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The circle through points, by least squares (Kasa 1976)."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    solved, _, rank, _ = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)
    square = solved[2] + solved[:2] @ solved[:2]
    if rank < 3 or not 0 < square < _REACH_MM**2:
        return None
    return solved[:2], float(np.sqrt(square))
