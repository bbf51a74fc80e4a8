"""Soft tissue of the pelvis and the thighs (patient lying on the back)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .canvas import Waves
from .pelvic_bones import FemurShape
from .scene import Distance, Layers, Part, Value, part
from .sdf import (
    Points,
    ellipse,
    ellipsoid,
    polyline,
    rotation_xyz,
    smooth_max,
    smooth_min,
    to_local,
)
from .torso import FAR, Tissue, bowel_loops, fat_value, muscle_value, noisy

_BACK = -120.0


def _outline(
    rng: np.random.Generator, femora: Sequence[FemurShape]
) -> tuple[Distance, float, float]:
    """Skin: hips that divide into two thighs."""
    width, depth = rng.uniform(170, 184), rng.uniform(104, 114)
    thigh_a, thigh_b = rng.uniform(78, 86), rng.uniform(84, 92)
    wobble = Waves.sample(rng, 150.0, 4)

    def distance(p: Points) -> np.ndarray:
        waist = 1 - 0.10 * np.clip((p[2] - 20) / 110, 0, 1)
        trunk = ellipse(p[0] / waist, p[1] - (_BACK + depth), width, depth, 2.4)
        trunk = smooth_max(trunk, -58 - p[2], 40.0)
        out = trunk
        for femur in femora:
            t = np.clip(-p[2] / 150, 0, 1.4)
            x = p[0] - np.float32(femur.sign) * (96 - 12 * t)
            taper = 1 - 0.10 * t
            leg = ellipse(x / taper, (p[1] - (_BACK + thigh_b)) / taper, thigh_a, thigh_b, 2.2)
            leg = smooth_max(leg, p[2] + 10, 30.0)
            out = smooth_min(out, leg, 22.0)
        cleft = np.exp(-((p[0] / 9) ** 2)) * np.clip((-p[1] - 78) / 30, 0, 1)
        result: np.ndarray = out + 3 * wobble(p) + 16 * cleft * (p[2] < 60)
        return result

    return distance, thigh_a, thigh_b


def _blob(
    rng: np.random.Generator,
    centre: Sequence[float],
    radii: Sequence[float],
    turn_deg: Sequence[float],
    layers: Layers,
    bumps: float = 2.0,
) -> Part:
    """A turned ellipsoid with an uneven surface."""
    axes = rotation_xyz(*np.deg2rad(turn_deg))
    wobble = Waves.sample(rng, 36.0, 4)
    origin = np.asarray(centre, float)
    reach = np.abs(axes) @ np.asarray(radii, float) + 8

    def distance(p: Points) -> np.ndarray:
        return ellipsoid(to_local(p, origin, axes), (0.0, 0.0, 0.0), radii) + bumps * wobble(p)

    return part(distance, layers, origin - reach, origin + reach)


def _strap(
    rng: np.random.Generator, points: Sequence[Sequence[float]], radii: Sequence[float], hu: Layers
) -> Part:
    """A long muscle or vessel along a polyline."""
    nodes = [np.asarray(q, float) for q in points]
    wobble = Waves.sample(rng, 40.0, 3)
    low, high = np.min(nodes, axis=0) - max(radii) - 5, np.max(nodes, axis=0) + max(radii) + 5
    return part(lambda p: polyline(p, nodes, radii) + wobble(p), hu, low, high)


def _thigh_mass(
    rng: np.random.Generator, femur: FemurShape, a: float, b: float, tissue: Tissue
) -> Part:
    """All muscles of a thigh within their fascia, with fat planes between them."""
    planes = Waves.sample(rng, 70.0, 4, stretch=(1, 1, 4))
    streaks = muscle_value(rng, tissue.muscle)
    coat = rng.uniform(13, 21)
    s = np.float32(femur.sign)

    def distance(p: Points) -> np.ndarray:
        t = np.clip(-p[2] / 150, 0, 1.4)
        taper = 1 - 0.10 * t
        x = (p[0] - s * (94 - 11 * t)) / taper
        y = (p[1] - (_BACK + b + 2)) / taper
        out = ellipse(x, y, a - coat, b - coat, 2.2)
        return smooth_max(out, p[2] + 22, 30.0)

    def value(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        base = streaks(p, grain, depth)
        plane = np.clip(1 - np.abs(planes(p)) / 0.10, 0, 1) * np.clip(depth / 3, 0, 1)
        result: np.ndarray = base + plane * (np.float32(tissue.fat + 15) - base)
        return result

    return part(distance, ((0.0, value),), (-200, -130, -FAR), (200, 110, 20))


def _side_parts(
    rng: np.random.Generator, s: float, meat: Layers, fat: Value, tissue: Tissue
) -> list[Part]:
    """Muscles and vessels of one side.

    :param s: -1 for the left, 1 for the right.
    """
    return [
        _blob(rng, (s * 74, -74, 0), (56, 22, 76), (0, 0, s * 24), meat, 3.0),
        _blob(rng, (s * 112, -16, 58), (20, 46, 50), (0, s * 14, s * 28), meat),
        _blob(rng, (s * 104, 8, 28), (17, 34, 36), (0, s * 16, s * 24), meat),
        _blob(rng, (s * 128, 34, 2), (11, 22, 62), (0, 0, s * 30), meat),
        _blob(rng, (s * 84, 4, 84), (17, 42, 46), (0, s * 16, s * 36), meat),
        _blob(rng, (s * 60, -8, -14), (8, 30, 30), (0, s * -10, s * 8), meat, 1.0),
        _strap(
            rng,
            [(s * 48, 6, 140), (s * 62, 26, 70), (s * 82, 36, 6), (s * 82, 6, -48)],
            [21, 20, 17, 9],
            meat,
        ),
        _strap(rng, [(s * 104, 40, 34), (s * 100, 38, -30), (s * 90, 22, -190)], [8, 13, 18], meat),
        _strap(rng, [(s * 116, 46, 60), (s * 90, 56, -20), (s * 52, 30, -150)], [6, 7, 8], meat),
        _strap(
            rng,
            [(s * 42, 34, 90), (s * 58, 50, 20), (s * 58, 44, -50), (s * 54, 12, -180)],
            [5.5, 5.0, 4.6, 4.0],
            ((-4.0, fat), (0.0, noisy(tissue.vessel, 5))),
        ),
        _strap(
            rng,
            [(s * 40, 22, 90), (s * 46, 46, 20), (s * 48, 38, -50), (s * 56, 2, -180)],
            [6.5, 6.2, 5.5, 4.4],
            ((0.0, noisy(tissue.vein, 5)),),
        ),
    ]


def _bladder_and_rectum(rng: np.random.Generator) -> tuple[Part, Part]:
    gas = Waves.sample(rng, 9.0, 5)

    def faeces(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        hole = np.clip(gas(p) - 0.6, 0, 1)
        result: np.ndarray = 15 * (1 - hole) - 900 * hole + 8 * grain
        return result

    bladder = _blob(
        rng,
        (0, 22, 4),
        (rng.uniform(32, 44), 28, rng.uniform(24, 32)),
        (0, 0, 0),
        ((0.0, noisy(40, 5)), (3.0, noisy(6, 3))),
    )
    rectum = _strap(
        rng,
        [(8, -32, 62), (-6, -56, 30), (0, -50, -10), (0, -42, -50)],
        [15, 19, 17, 10],
        ((0.0, noisy(45, 5)), (3.5, faeces)),
    )
    return bladder, rectum


def pelvis_parts(rng: np.random.Generator, femora: Sequence[FemurShape]) -> list[Part]:
    """Everything but bone, from the outside to the inside."""
    tissue = Tissue.sample(rng)
    skin, thigh_a, thigh_b = _outline(rng, femora)
    everywhere = (np.full(3, -FAR), np.full(3, FAR))
    coat, wall_mm = rng.uniform(16, 28), rng.uniform(9, 13)
    wobble = Waves.sample(rng, 70.0, 4)
    fat = fat_value(rng, tissue.fat)
    muscle = muscle_value(rng, tissue.muscle)
    meat: Layers = ((-1.5, noisy(tissue.fat, 5)), (0.0, muscle))

    def lining(p: Points) -> np.ndarray:
        rise = 26 * np.clip((30 - p[2]) / 60, 0, 1) + 40 * np.clip((-p[1] - 40) / 40, 0, 1)
        result: np.ndarray = skin(p) + np.float32(coat) + 2.5 * wobble(p) + rise
        return result

    def wall(p: Points) -> np.ndarray:
        return smooth_max(lining(p), -5 - p[2], 15.0)

    def cavity(p: Points) -> np.ndarray:
        low = np.abs(p[0]) - 62 - np.clip(p[2] + 20, 0, 200)
        d = smooth_max(lining(p) + np.float32(wall_mm), -52 - p[2], 10.0)
        return smooth_max(d, low, 10.0)

    def floor(p: Points) -> np.ndarray:
        d = np.abs(ellipsoid(p, (0.0, -12.0, 6.0), (58.0, 62.0, 60.0))) - 3.0
        return smooth_max(smooth_max(d, p[2] + 18, 4.0), np.abs(p[0]) - 52, 3.0)

    def table(p: Points) -> np.ndarray:
        top = p[1] - (np.float32(_BACK - 4) + (p[0] / 215) ** 2 * 26)
        result: np.ndarray = np.maximum(np.abs(top + 10) - 9, np.abs(p[0]) - 210)
        return result

    parts = [
        part(
            table,
            ((-1.3, -180.0), (1.3, noisy(-880, 8))),
            (-215, _BACK - 40, -FAR),
            (215, -70, FAR),
        ),
        part(skin, ((0.0, 8.0), (1.8, fat)), *everywhere),
        part(wall, noisy(tissue.muscle, 6), *everywhere),
        part(cavity, fat, *everywhere),
    ]
    for femur in femora:
        parts.append(_thigh_mass(rng, femur, thigh_a, thigh_b, tissue))
    for s in (-1.0, 1.0):
        parts += _side_parts(rng, s, meat, fat, tissue)
    parts += bowel_loops(rng, cavity, int(rng.integers(30, 45)), (-85, 85, -20, 80, 45, 130))
    bladder, rectum = _bladder_and_rectum(rng)
    middle = _blob(rng, (0, -16, 0), (23, 15, 20), (0, 0, 0), ((0.0, noisy(58, 6)),))
    pelvic_floor = part(floor, muscle, (-60, -80, -62), (60, 60, -10))
    return [*parts, pelvic_floor, rectum, middle, bladder]
