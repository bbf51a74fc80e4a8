"""One vertebra as an implicit shape with a known pedicle axis on each side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .sdf import (
    Points,
    capsule,
    ellipse,
    elliptic_rod,
    frame_along,
    polyline,
    rounded_box,
    smooth_max,
    smooth_min,
)

SIDES: Mapping[str, float] = {"left": -1.0, "right": 1.0}
"""Sign of x (towards the patient's right) of each side."""

# Means of adults after Panjabi et al. 1992 (Spine 17:299) and Zindrick et al. 1987 (Spine
# 12:160): body width, depth, height; pedicle width, height, convergence (degrees); canal width,
# depth; half span of the transverse processes. All mm.
_MEANS: Mapping[str, tuple[float, ...]] = {
    "T11": (36.0, 29.0, 22.5, 8.2, 16.0, 1.0, 21.0, 16.5, 27.0),
    "T12": (39.0, 30.0, 24.0, 8.0, 16.0, 2.0, 22.0, 17.5, 27.0),
    "L1": (42.0, 32.0, 26.0, 8.0, 15.5, 9.0, 23.5, 17.8, 36.0),
    "L2": (43.5, 33.0, 27.0, 8.4, 15.2, 11.0, 23.8, 17.2, 41.0),
    "L3": (46.0, 34.0, 27.5, 10.0, 14.8, 14.0, 24.3, 16.8, 47.0),
    "L4": (48.0, 34.5, 27.5, 12.2, 14.6, 17.0, 25.4, 17.0, 44.0),
    "L5": (50.0, 34.5, 27.0, 14.5, 15.0, 23.0, 27.5, 17.4, 43.0),
}
LEVELS: tuple[str, ...] = tuple(_MEANS)


@dataclass(frozen=True)
class PedicleShape:
    """One pedicle in the vertebra's frame (x right, y anterior, z superior; mm)."""

    isthmus: np.ndarray
    direction: np.ndarray
    width: float
    height: float


@dataclass(frozen=True)
class VertebraShape:
    """Sizes in mm in the vertebra's frame: origin at the body's centre, x right, y anterior."""

    level: str
    half_width: float
    half_depth: float
    half_height: float
    waist: float
    endplate_concavity: float
    canal_half_width: float
    canal_half_depth: float
    canal_y: float
    transverse_span: float
    spinous_length: float
    pedicles: Mapping[str, PedicleShape]

    def inferior_joint(self, side: str) -> np.ndarray:
        """Where the vertebra above ends its inferior articular process, in this frame."""
        pedicle = self.pedicles[side]
        x, y, _ = pedicle.isthmus
        return np.array([x - SIDES[side] * 5.5, y - 17.0, self.half_height - 2.0])


def sample_vertebra(level: str, rng: np.random.Generator, scale: float = 1.0) -> VertebraShape:
    """A vertebra of ``level`` with the spread of sizes of a healthy adult population."""
    width, depth, height, p_width, p_height, convergence, c_width, c_depth, span = _MEANS[level]

    def vary(value: float, relative: float = 0.04) -> float:
        return float(value * scale * np.clip(rng.normal(1, relative), 1 - 2 * relative, 1.1))

    half_depth = vary(depth) / 2
    half_height = vary(height) / 2
    canal_half_width = vary(c_width, 0.03) / 2
    canal_half_depth = vary(c_depth, 0.03) / 2
    p_width, p_height = vary(p_width, 0.07), vary(p_height, 0.05)
    convergence += rng.normal(0, 2.0)
    inclination = rng.normal(0, 2.5)
    rise = half_height * rng.uniform(0.28, 0.4)
    pedicles = {}
    for side, sign in SIDES.items():
        width_mm = p_width * rng.uniform(0.96, 1.04)
        c = np.deg2rad(np.clip(convergence + rng.normal(0, 1.0), -2, 32))
        g = np.deg2rad(inclination + rng.normal(0, 1.0))
        isthmus = np.array(
            [sign * (canal_half_width + 0.5 * width_mm / np.cos(c) + 0.2), -half_depth - 4.0, rise]
        )
        direction = np.array([-sign * np.sin(c) * np.cos(g), np.cos(c) * np.cos(g), np.sin(g)])
        pedicles[side] = PedicleShape(isthmus, direction, width_mm, p_height)
    return VertebraShape(
        level=level,
        half_width=vary(width) / 2,
        half_depth=half_depth,
        half_height=half_height,
        waist=rng.uniform(0.08, 0.13),
        endplate_concavity=rng.uniform(1.2, 2.4),
        canal_half_width=canal_half_width,
        canal_half_depth=canal_half_depth,
        canal_y=-half_depth - canal_half_depth + 1.2,
        transverse_span=vary(span),
        spinous_length=vary(30.0),
        pedicles=pedicles,
    )


def body_distance(shape: VertebraShape, p: Points) -> np.ndarray:
    """The vertebral body: waisted, concave endplates, rounded rims."""
    x, y, z = p
    t = np.clip(z / np.float32(shape.half_height), -1.2, 1.2)
    narrow = np.float32(1.0) - np.float32(shape.waist) * (1 - t * t)
    radial = ellipse(x / narrow, y / narrow, shape.half_width, shape.half_depth, power=2.4)
    q = np.clip((x / shape.half_width) ** 2 + (y / shape.half_depth) ** 2, 0, 1)
    plate = np.abs(z) - shape.half_height + np.float32(shape.endplate_concavity) * (1 - q)
    return smooth_max(radial * narrow, plate, 2.5)


def canal_distance(shape: VertebraShape, p: Points) -> np.ndarray:
    """The vertebral canal as an endless elliptic tube."""
    return ellipse(
        p[0], p[1] - np.float32(shape.canal_y), shape.canal_half_width, shape.canal_half_depth
    )


def pedicle_distance(
    pedicle: PedicleShape, p: Points, behind: float = 10.0, ahead: float = 20.0
) -> np.ndarray:
    """The pedicle: an elliptic rod about its true axis, from the arch into the body."""
    axes = frame_along(pedicle.direction)
    middle = pedicle.isthmus + pedicle.direction * 0.5 * (ahead - behind)
    half = 0.5 * (ahead + behind)
    return elliptic_rod(p, middle, axes, pedicle.width / 2, pedicle.height / 2, half)


def vertebra_distance(
    shape: VertebraShape, p: Points, joints: Mapping[str, np.ndarray] | None = None
) -> np.ndarray:
    """The whole vertebra.

    :param p: points in the vertebra's own frame.
    :param joints: for each side where the inferior articular process ends (in this frame: the
        facet joint with the vertebra below); guessed when absent.
    """
    distance = body_distance(shape, p)
    y_lamina = shape.canal_y - shape.canal_half_depth
    base = np.array([0.0, y_lamina - 3.5, -7.0])
    for side, sign in SIDES.items():
        pedicle = shape.pedicles[side]
        x, y, _ = pedicle.isthmus
        joint = np.asarray((joints or {}).get(side, (x - sign * 3, y - 17.0, -21.0)), float)
        distance = smooth_min(distance, pedicle_distance(pedicle, p), 4.0)
        # A wide pedicle arises from an articular pillar as stout as itself.
        pillar_mm = max(5.8, 0.45 * pedicle.width + 0.8)
        pars_top = (x + sign * 2.5, y - 11.5, 2.5)
        pars_low = (x - sign * 2.5, y - 14.5, -9.0)
        joint_low = joint + np.array([-sign * 0.5, -1.0, -5.0])
        pillar = polyline(p, [pars_top, pars_low, joint, joint_low], [pillar_mm, 4.6, 4.6, 3.6])
        superior = capsule(
            p, pars_top, (x + sign * 4.0, y - 12.0, shape.half_height + 4.0), 5.6, 4.0
        )
        stout = 1.35 if shape.level == "L5" else 1.0
        transverse = capsule(
            p,
            (x + sign * 4.0, y - 10.5, 0.5),
            (sign * shape.transverse_span, y - 15.0, 3.0),
            4.6 * stout,
            3.2,
        )
        along = np.asarray(pars_low) + np.array([0, 0, 2.0]) - base
        axes = frame_along(along)
        lamina = rounded_box(
            p, base + along / 2, axes, (3.1, 8.0, np.linalg.norm(along) / 2 + 2), 2.8
        )
        posterior = smooth_min(smooth_min(pillar, superior, 3.0), lamina, 3.0)
        posterior = smooth_min(posterior, transverse, 4.0)
        distance = smooth_min(distance, posterior, 3.0)
    droop = frame_along(
        (0.0, -1.0, -0.22 if shape.level.startswith("L") else -0.8), hint=(0.0, 0.0, 1.0)
    )
    half = shape.spinous_length / 2
    centre = base + droop[:, 2] * (half - 1.0)
    spinous = rounded_box(p, centre, droop, (3.0, 9.0, half), 2.8)
    tip = capsule(
        p,
        base + droop[:, 2] * (2 * half - 5) + droop[:, 1] * 4,
        base + droop[:, 2] * (2 * half - 4) - droop[:, 1] * 6,
        4.6,
    )
    distance = smooth_min(distance, smooth_min(spinous, tip, 3.0), 3.0)
    return smooth_max(distance, -canal_distance(shape, p), 1.0)


def pedicle_entry(
    shape: VertebraShape, side: str, joints: Mapping[str, np.ndarray] | None
) -> np.ndarray:
    """Where the pedicle's axis leaves the bone at the back (in the vertebra's frame)."""
    pedicle = shape.pedicles[side]
    steps = np.arange(0.0, 40.0, 0.05)
    line = pedicle.isthmus - steps[:, None] * pedicle.direction
    p = tuple(line[:, i].astype(np.float32) for i in range(3))
    outside = vertebra_distance(shape, (p[0], p[1], p[2]), joints) > 0
    result: np.ndarray = line[int(np.argmax(outside))]
    return result
