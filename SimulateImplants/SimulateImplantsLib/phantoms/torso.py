"""Soft tissue of the abdomen about a lumbar spine (patient lying on the back)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .canvas import Waves
from .scene import Distance, Part, part
from .sdf import Points, capsule, ellipse, ellipsoid, polyline, smooth_max, smooth_min, to_local
from .spine_pose import Spine

FAR = 400.0
Tint = Callable[[Points, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Tissue:
    """HU of the tissues, with contrast medium or without."""

    muscle: float
    fat: float
    vessel: float
    vein: float
    kidney: float
    liver: float
    spleen: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Tissue:
        """Portal venous phase in half of the patients."""
        contrast = rng.random() < 0.5
        base = {"muscle": rng.uniform(48, 62), "fat": rng.uniform(-110, -98)}
        if contrast:
            return cls(
                **base,
                vessel=rng.uniform(140, 190),
                vein=rng.uniform(110, 150),
                kidney=rng.uniform(140, 190),
                liver=rng.uniform(95, 120),
                spleen=rng.uniform(105, 130),
            )
        return cls(**base, vessel=42, vein=40, kidney=34, liver=rng.uniform(50, 64), spleen=48)


def muscle_value(rng: np.random.Generator, hu: float) -> Tint:
    """Muscle: fibres along z with streaks of fat between them."""
    streaks = Waves.sample(rng, 9.0, 5, stretch=(1, 1, 5))
    amount = rng.uniform(0.8, 1.15)

    def value(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        fat = np.clip(streaks(p) - (2.0 - 0.6 * amount), 0, 1)
        result: np.ndarray = np.float32(hu) + 5 * grain - 95 * fat
        return result

    return value


def noisy(hu: float, spread: float) -> Tint:
    """A tissue with a fine texture."""

    def value(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.float32(hu) + np.float32(spread) * grain
        return result

    return value


def fat_value(rng: np.random.Generator, hu: float) -> Tint:
    """Fat with thin strands of connective tissue and small vessels."""
    sheets = Waves.sample(rng, 34.0, 6)

    def value(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        strand = np.clip(1 - np.abs(sheets(p)) / 0.06, 0, 1)
        result: np.ndarray = np.float32(hu) + 6 * grain + 70 * strand
        return result

    return value


def _outline(rng: np.random.Generator) -> Callable[[Points], np.ndarray]:
    """Skin of the abdomen: flat back with a furrow over the spine."""
    half_width, half_depth = rng.uniform(152, 172), rng.uniform(104, 118)
    back = -92.0
    wobble = Waves.sample(rng, 160.0, 4)

    def distance(p: Points) -> np.ndarray:
        y = p[1] - np.float32(back + half_depth)
        flat = np.where(y < 0, y * np.float32(1.04), y)
        d = ellipse(p[0], flat, half_width, half_depth, 2.35) + 3.0 * wobble(p)
        furrow = np.exp(-((p[0] / 22) ** 2)) * np.clip((p[1] - back - 40) / -40, 0, 1)
        result: np.ndarray = d + np.float32(7.0) * furrow
        return result

    return distance


def _column(
    spine: Spine, x: float, y: float, a: float, b: float, grow: float, wobble: Waves
) -> Callable[[Points], np.ndarray]:
    """A muscle beside the spine: an ellipse following the column of bodies."""

    def distance(p: Points) -> np.ndarray:
        cx, cy = spine.centre_at(p[2])
        scale = np.clip(1 - grow * p[2] / 60.0, 0.45, 1.35)
        u = (p[0] - cx) - np.float32(x) * (0.75 + 0.25 * scale)
        return ellipse(u / scale, (p[1] - cy - y) / scale, a, b, 2.4) * scale + 1.2 * wobble(p)

    return distance


def bowel_loops(
    rng: np.random.Generator,
    cavity: Callable[[Points], np.ndarray],
    count: int,
    region: tuple[float, float, float, float, float, float],
) -> list[Part]:
    """Loops of small bowel: short pieces that lie inside the cavity.

    :param region: x, y and z ranges (mm) of their centres.
    """
    parts: list[Part] = []
    for _ in range(40 * count):
        centre = np.array([rng.uniform(region[2 * i], region[2 * i + 1]) for i in range(3)])
        along = rng.normal(size=3) * np.array([1.0, 0.5, 0.7])
        along *= rng.uniform(14, 36) / np.linalg.norm(along)
        radius = rng.uniform(9.0, 15.0)
        ends = np.stack([centre - along, centre, centre + along]).astype(np.float32)
        if np.any(cavity((ends[:, 0], ends[:, 1], ends[:, 2])) > -radius - 4):
            continue
        if ends[:, 1].min() < region[2] - 2 + radius * 0.5:
            continue
        parts.extend(_loop(rng, ends[0], ends[2], radius, rng.random() < 0.4))
        count -= 1
        if count == 0:
            break
    return parts


def _loop(
    rng: np.random.Generator, a: np.ndarray, b: np.ndarray, radius: float, gas: bool
) -> list[Part]:
    """A piece of bowel: wall, fluid, and gas above (in front of) the fluid's level."""
    wobble = Waves.sample(rng, 24.0, 4)
    folds = Waves.sample(rng, 9.0, 3)
    low = np.minimum(a, b) - radius - 5
    high = np.maximum(a, b) + radius + 5
    level = max(a[1], b[1]) - rng.uniform(-0.1, 0.7) * radius
    content = rng.uniform(8, 40)

    def wall(p: Points) -> np.ndarray:
        return capsule(p, a, b, radius) + 2.0 * wobble(p)

    def lumen(p: Points) -> np.ndarray:
        return wall(p) + 2.2 + 0.7 * folds(p)

    def bubble(p: Points) -> np.ndarray:
        return smooth_max(lumen(p), np.float32(level) - p[1], 0.5)

    parts = [part(wall, noisy(48, 6), low, high), part(lumen, noisy(content, 9), low, high)]
    if gas:
        parts.append(part(bubble, -960.0, low, high))
    return parts


def _colon(rng: np.random.Generator, sign: float, low_z: float, high_z: float) -> list[Part]:
    """Ascending (right) or descending colon with faeces and gas."""
    x = sign * rng.uniform(100, 112)
    points = [
        np.array([x - sign * 12, rng.uniform(8, 22), low_z]),
        np.array([x, rng.uniform(2, 14), 0.5 * (low_z + high_z)]),
        np.array([x - sign * 6, rng.uniform(10, 25), high_z]),
    ]
    radius = rng.uniform(17, 21) if sign > 0 else rng.uniform(11, 15)
    haustra = Waves.sample(rng, 26.0, 5)
    lumps, mottle = Waves.sample(rng, 8.0, 6), Waves.sample(rng, 3.5, 5)
    low = np.array([min(q[0] for q in points) - 26, -30, low_z - 22])
    high = np.array([max(q[0] for q in points) + 26, 55, high_z + 22])

    def wall(p: Points) -> np.ndarray:
        return polyline(p, points, [radius] * 3) + 3.0 * haustra(p)

    def value(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        mixed = 20 + 60 * lumps(p) + 45 * mottle(p)
        gas = np.clip((mottle(p) + lumps(p)) - 1.5, 0, 1)
        front = np.clip((p[1] - np.float32(points[1][1] + 4)) / 3, 0, 1)
        result: np.ndarray = (
            mixed * (1 - gas) - 850 * gas - front * (mixed + 900) * (lumps(p) > -0.3)
        )
        return result

    return [part(wall, ((0.0, noisy(45, 6)), (2.0, value)), low, high)]


def _kidney(rng: np.random.Generator, sign: float, tissue: Tissue) -> list[Part]:
    centre = np.array([sign * rng.uniform(58, 66), rng.uniform(-14, -4), 42 + 8 * (sign < 0)])
    turn = np.deg2rad(sign * -38)
    tip = np.deg2rad(sign * 10)
    axes = np.array(
        [
            [np.cos(turn), -np.sin(turn), np.sin(tip) * -1],
            [np.sin(turn), np.cos(turn), 0],
            [np.sin(tip), 0, 1],
        ]
    )
    axes /= np.linalg.norm(axes, axis=0)
    wobble, pyramid = Waves.sample(rng, 22.0, 4), Waves.sample(rng, 13.0, 4)
    box = (centre - 66, centre + 66)

    def outer(p: Points) -> np.ndarray:
        q = to_local(p, centre, axes)
        bean = ellipsoid(q, (0.0, 0.0, 0.0), (25.0, 29.0, 54.0))
        hilum = ellipsoid(q, (-sign * 25, 6.0, 0.0), (13.0, 12.0, 18.0))
        return smooth_max(bean, -hilum, 8.0) + 1.2 * wobble(p)

    def sinus(p: Points) -> np.ndarray:
        q = to_local(p, centre, axes)
        return ellipsoid(q, (-sign * 9, 2.0, 0.0), (15.0, 11.0, 30.0)) + 3.0 * pyramid(p)

    def value(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        medulla = np.clip(pyramid(p), 0, 1) * np.clip((depth - 6) / 3, 0, 1)
        result: np.ndarray = tissue.kidney * (1 - 0.25 * medulla) + 5 * grain
        return result

    return [
        part(outer, ((-9.0, noisy(tissue.fat, 4)), (0.0, value)), *box),
        part(sinus, noisy(-60, 10), *box),
    ]


def _vessels(rng: np.random.Generator, spine: Spine, tissue: Tissue) -> list[Part]:
    """Aorta and vena cava before the bodies, dividing before L4/L5."""
    z = np.array([130.0, 70.0, 30.0, 0.0, -38.0])
    cx, cy = spine.centre_at(z)
    parts = []
    for x0, radius, hu in ((-9.0, 9.5, tissue.vessel), (16.0, 10.5, tissue.vein)):
        trunk = [
            np.array([cx[i] + x0 + rng.normal(0, 1), cy[i] + 18 + radius, z[i]]) for i in range(5)
        ]
        branches = [
            [
                trunk[-1],
                np.array([trunk[-1][0] + s * 24, trunk[-1][1] + 4, -75.0]),
                np.array([trunk[-1][0] + s * 46, trunk[-1][1] - 2, -135.0]),
            ]
            for s in (-1.0, 1.0)
        ]

        def tubes(
            p: Points,
            trunk: list[np.ndarray] = trunk,
            branches: list[list[np.ndarray]] = branches,
            r: float = radius,
        ) -> np.ndarray:
            out = polyline(p, trunk, [r] * 5)
            for branch in branches:
                out = smooth_min(out, polyline(p, branch, [0.75 * r, 0.65 * r, 0.6 * r]), 4.0)
            return out

        parts.append(part(tubes, noisy(hu, 5), (-90, -5, -160), (90, 80, 160)))
    return parts


def _muscles(rng: np.random.Generator, spine: Spine, tissue: Tissue) -> list[Part]:
    """Along the spine."""
    muscle = muscle_value(rng, tissue.muscle)
    parts = []
    for s in (-1.0, 1.0):
        lobes = [
            (s * 58.0, -30.0, 24.0, 11.0, 0.0),  # quadratus lumborum
            (s * 41.0, -1.0, 18.0, 21.0, 0.42),  # psoas
            (s * 44.0, -54.0, 26.0, 18.5, -0.1),  # erector spinae
            (s * 17.0, -52.0, 15.0, 19.0, 0.15),  # multifidus
        ]
        for x, y, a, b, grow in lobes:
            shape = _column(spine, x, y, a, b, grow, Waves.sample(rng, 40.0, 4))
            middle, reach = x * 1.05, a * 1.5 + 22
            box = ((middle - reach, y - 60, -FAR), (middle + reach, y + 65, FAR))
            parts.append(part(shape, ((-1.3, noisy(tissue.fat, 5)), (0.0, muscle)), *box))
    return parts


def _liver(rng: np.random.Generator, tissue: Tissue, cavity: Distance) -> Part:
    liver_wobble, veins = Waves.sample(rng, 80.0, 4), Waves.sample(rng, 30.0, 5)

    def liver(p: Points) -> np.ndarray:
        d = ellipsoid(p, (72.0, 42.0, 128.0), (72.0, 66.0, 80.0)) + 4 * liver_wobble(p)
        return smooth_max(d, cavity(p) + 2, 4.0)

    def liver_value(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        vein = np.clip(1 - np.abs(veins(p)) / 0.12, 0, 1) * np.clip(veins(p[::-1]), 0, 1)
        result: np.ndarray = tissue.liver + 5 * grain + 0.35 * (tissue.vein - tissue.liver) * vein
        return result

    return part(liver, liver_value, (-20, -40, 30), (160, 130, FAR))


def torso_parts(rng: np.random.Generator, spine: Spine) -> list[Part]:
    """Everything but bone, from the outside to the inside."""
    tissue = Tissue.sample(rng)
    outline = _outline(rng)
    everywhere = (np.full(3, -FAR), np.full(3, FAR))
    fat_mm, wall_mm = rng.uniform(13, 24), rng.uniform(9, 13)
    wall_wobble = Waves.sample(rng, 70.0, 4)
    wall_layers = Waves.sample(rng, 12.0, 4)

    def wall(p: Points) -> np.ndarray:
        result: np.ndarray = outline(p) + np.float32(fat_mm) + 2.5 * wall_wobble(p)
        return result

    def layered(p: Points, grain: np.ndarray, depth: np.ndarray) -> np.ndarray:
        sheet = np.clip(1 - np.abs(depth - wall_mm * 0.45) / 0.8, 0, 1)
        result: np.ndarray = (
            np.float32(tissue.muscle) + 6 * grain - 70 * sheet * (wall_layers(p) > -0.4)
        )
        return result

    def cavity(p: Points) -> np.ndarray:
        result: np.ndarray = wall(p) + np.float32(wall_mm)
        return result

    def table(p: Points) -> np.ndarray:
        top = p[1] - (np.float32(-98.0) + (p[0] / 210) ** 2 * 26)
        result: np.ndarray = np.maximum(np.abs(top + 10) - 9, np.abs(p[0]) - 205)
        return result

    parts = [
        part(table, ((-1.3, -180.0), (1.3, noisy(-880, 8))), (-210, -125, -FAR), (210, -60, FAR)),
        part(outline, ((0.0, 8.0), (1.8, fat_value(rng, tissue.fat))), *everywhere),
        part(wall, ((0.0, layered), (wall_mm, fat_value(rng, tissue.fat))), *everywhere),
    ]
    parts += _muscles(rng, spine, tissue)
    parts += bowel_loops(rng, cavity, int(rng.integers(70, 95)), (-95, 95, 42, 125, -140, 75))
    parts += _colon(rng, 1.0, -95.0, 45.0)
    parts += _colon(rng, -1.0, -110.0, 60.0)
    for s in (-1.0, 1.0):
        parts += _kidney(rng, s, tissue)
    parts.append(_liver(rng, tissue, cavity))
    spleen = part(
        lambda p: smooth_max(
            ellipsoid(p, (-98.0, -14.0, 118.0), (26.0, 40.0, 46.0)), cavity(p) + 2, 3.0
        ),
        noisy(tissue.spleen, 5),
        (-140, -70, 60),
        (-60, 60, FAR),
    )
    parts.append(spleen)
    parts += _vessels(rng, spine, tissue)
    return parts
