"""Sacrum, hip bones and femora as implicit shapes in patient coordinates (x right, mm)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sdf import (
    Points,
    capsule,
    ellipsoid,
    frame_along,
    polyline,
    smooth_max,
    smooth_min,
    sphere,
    to_local,
)


@dataclass(frozen=True)
class FemurShape:
    """A proximal femur; ``sign`` is +1 on the patient's right.

    The neck's axis runs from ``neck_base`` (on the shaft's axis) to the head's centre and makes
    the neck-shaft angle with the shaft; it is turned forwards by the anteversion.
    """

    sign: float
    head: np.ndarray
    head_radius: float
    neck_axis: np.ndarray
    neck_length: float
    neck_radius: float
    shaft_axis: np.ndarray
    shaft_radius: float
    canal_radius: float
    neck_shaft_angle_deg: float
    anteversion_deg: float

    @property
    def neck_base(self) -> np.ndarray:
        """Where the axes of neck and shaft meet."""
        return self.head - self.neck_axis * self.neck_length


def sample_femur(sign: float, head: np.ndarray, rng: np.random.Generator) -> FemurShape:
    """A femur within the healthy adult range (neck-shaft 120-136, anteversion 6-22 degrees)."""
    tilt, bow = np.deg2rad(rng.uniform(4, 8)), np.deg2rad(rng.uniform(-3, 2))
    shaft = np.array([-sign * np.sin(tilt), np.sin(bow), -np.cos(tilt)])
    shaft /= np.linalg.norm(shaft)
    angle, version = rng.uniform(120, 136), rng.uniform(6, 22)
    medial = np.array([-sign, 0.0, 0.0])
    medial -= shaft * (medial @ shaft)
    medial /= np.linalg.norm(medial)
    front = np.cross(shaft, medial) * (-sign)
    if front[1] < 0:
        front = -front
    aside = medial * np.cos(np.deg2rad(version)) + front * np.sin(np.deg2rad(version))
    neck = shaft * np.cos(np.deg2rad(angle)) + aside * np.sin(np.deg2rad(angle))
    return FemurShape(
        sign=sign,
        head=np.asarray(head, float),
        head_radius=rng.uniform(22.0, 26.0),
        neck_axis=neck,
        neck_length=rng.uniform(47.0, 55.0),
        neck_radius=rng.uniform(13.5, 15.5),
        shaft_axis=shaft,
        shaft_radius=rng.uniform(13.0, 15.5),
        canal_radius=rng.uniform(5.5, 8.0),
        neck_shaft_angle_deg=float(angle),
        anteversion_deg=float(version),
    )


def femur_distance(femur: FemurShape, p: Points) -> np.ndarray:
    """Outer surface of the femur."""
    base, d = femur.neck_base, femur.shaft_axis
    lateral = np.array([femur.sign, 0.0, 0.0])
    back = np.array([0.0, -1.0, 0.0])
    head = sphere(p, femur.head, femur.head_radius)
    neck = capsule(p, base, femur.head - femur.neck_axis * 12, femur.neck_radius)
    shaft = capsule(p, base + d * 60, base + d * 400, femur.shaft_radius)
    flare = capsule(p, base + d * 8, base + d * 70, femur.neck_radius + 3, femur.shaft_radius)
    greater = ellipsoid(p, base + lateral * 8 - d * 6 + back * 5, (13.0, 18.0, 25.0))
    lesser = ellipsoid(p, base + d * 42 - lateral * 13 + back * 11, (8.0, 8.0, 11.0))
    out = smooth_min(smooth_min(shaft, flare, 4.0), greater, 8.0)
    out = smooth_min(out, neck, 9.0)
    out = smooth_min(out, lesser, 6.0)
    return smooth_min(out, head, 4.0)


def femur_cortex_mm(femur: FemurShape, p: Points) -> np.ndarray:
    """Thickness of the cortex: thin about head and neck, full in the shaft."""
    d = femur.shaft_axis
    along = sum((p[i] - np.float32(femur.neck_base[i])) * np.float32(d[i]) for i in range(3))
    t = np.clip((along - 18) / 50, 0, 1)
    full = np.float32(femur.shaft_radius - femur.canal_radius)
    result: np.ndarray = 1.4 + (full - 1.4) * t * t * (3 - 2 * t)
    return result


def femur_marrow_distance(femur: FemurShape, p: Points) -> np.ndarray:
    """Fatty marrow from below the trochanters on (the cortex bounds it)."""
    base, d = femur.neck_base, femur.shaft_axis
    return capsule(p, base + d * 55, base + d * 420, femur.shaft_radius)


def acetabulum_axis(sign: float) -> np.ndarray:
    """Outwards through the opening: inclination 45, anteversion 17 degrees (Murray 1993)."""
    inclination, version = np.deg2rad(45), np.deg2rad(17)
    axis = np.array(
        [
            sign * np.sin(inclination) * np.cos(version),
            np.sin(version),
            -np.cos(inclination) * np.cos(version),
        ]
    )
    result: np.ndarray = axis / np.linalg.norm(axis)
    return result


def hip_bone_distance(
    sign: float, head: np.ndarray, head_radius: float, gap: float, p: Points
) -> np.ndarray:
    """Ilium, ischium and pubis of one side about a femoral head.

    :param gap: joint space between the head and the socket's floor (mm).
    """
    q: Points = (
        (p[0] - np.float32(head[0])) * np.float32(sign) + 88,
        p[1] - np.float32(head[1]),
        p[2] - np.float32(head[2]),
    )
    along = np.array([77.0, 112.0, 8.0])
    axes = frame_along(np.cross(along, [0.42, 0.0, 1.0]), hint=[0.42, 0.0, 1.0])
    u, v, w = to_local(q, (93.0, -22.0, 74.0), axes)
    # The wing: a bent plate, thick at the crest and above the socket, thin in the fossa.
    bend = 9.0 - 13.0 * (u / 70.0) ** 2 - 9.0 * (v / 55.0) ** 2
    w = w - bend
    fan = np.hypot(u / np.float32(74.0), (v - 4) / np.float32(54.0))
    edge = (fan - 1) * np.float32(54.0)
    rim = np.clip(1 + edge / 14.0, 0, 1)
    thick = 2.4 + 4.2 * rim * rim + 7.0 * np.clip((-v - 12) / 40, 0, 1)
    wing = smooth_max(edge, np.abs(w) - thick, 5.0)
    strut = capsule(q, (88.0, -6.0, 28.0), (95.0, -36.0, 62.0), 15.0, 8.0)
    socket = sphere(q, (88.0, 0.0, 0.0), head_radius + gap + 7.0)
    ischium = capsule(q, (80.0, -24.0, -8.0), (60.0, -36.0, -58.0), 13.0, 15.0)
    pubis = polyline(
        q, [(72.0, 18.0, 0.0), (40.0, 44.0, -4.0), (9.0, 46.0, -22.0)], [11.0, 7.5, 9.5]
    )
    ramus = polyline(
        q, [(56.0, -32.0, -64.0), (36.0, 10.0, -58.0), (10.0, 42.0, -38.0)], [9.0, 6.0, 7.0]
    )
    out = smooth_min(smooth_min(wing, strut, 12.0), socket, 8.0)
    out = smooth_min(out, smooth_min(ischium, pubis, 8.0), 6.0)
    out = smooth_min(out, ramus, 5.0)
    cavity = sphere(q, (88.0, 0.0, 0.0), head_radius + gap)
    opening = acetabulum_axis(1.0)
    past_rim = 4.0 - (
        (q[0] - 88) * np.float32(opening[0])
        + q[1] * np.float32(opening[1])
        + q[2] * np.float32(opening[2])
    )
    # Bone beyond the plane of the rim would cover the head: it is cut away near the head only.
    cover = smooth_max(past_rim, sphere(q, (88.0, 0.0, 0.0), head_radius + gap + 11.0), 2.0)
    out = smooth_max(out, -cover, 3.0)
    out = smooth_max(out, -cavity, 1.0)
    return smooth_max(out, 2.5 - q[0], 2.0)


@dataclass(frozen=True)
class SacrumShape:
    """The sacrum in the frame of S1 (origin at the centre of S1's body)."""

    half_width: float
    half_depth: float
    half_height: float
    s2_to_s5: np.ndarray
    joint_x: float

    @property
    def centres(self) -> np.ndarray:
        """Centres of S1-S5, (5, 3)."""
        return np.vstack([[0.0, 0.0, 0.0], self.s2_to_s5])

    def inferior_joint(self, side_sign: float) -> np.ndarray:
        """Where the inferior articular process of L5 ends."""
        return np.array([side_sign * (self.joint_x - 6.0), -35.0, self.half_height + 1.0])


def sample_sacrum(rng: np.random.Generator) -> SacrumShape:
    """A sacrum curving backwards and then forwards."""
    turn, step, point = np.deg2rad(rng.uniform(4, 10)), 25.0, np.zeros(3)
    centres = []
    heading = 0.0
    for _ in range(4):
        point = point + step * np.array([0.0, -np.sin(heading), -np.cos(heading)])
        centres.append(point)
        heading -= turn
        step *= 0.86
    return SacrumShape(
        half_width=rng.uniform(24, 27),
        half_depth=rng.uniform(15, 17),
        half_height=14.0,
        s2_to_s5=np.array(centres),
        joint_x=rng.uniform(22, 25),
    )


def sacrum_distance(sacrum: SacrumShape, p: Points) -> np.ndarray:
    """Outer surface of the sacrum, foramina and canal open; points in S1's frame."""
    squeezed: Points = (p[0] * np.float32(0.62), p[1], p[2])
    c = sacrum.centres
    body = polyline(squeezed, list(c), [14.5, 12.0, 9.5, 7.5, 6.0])
    top = np.maximum(np.abs(p[0]) - sacrum.half_width - 30, p[2] - np.float32(sacrum.half_height))
    plate = ellipsoid(p, (0.0, 0.0, 2.0), (sacrum.half_width, sacrum.half_depth, 17.0))
    out = smooth_min(body, plate, 6.0)
    for sign in (-1.0, 1.0):
        ala = capsule(p, (sign * 18, -6.0, -2.0), (sign * 43, -20.0, -8.0), 13.0, 13.5)
        wing = c[2] + np.array([sign * 25.0, -9.0, 6.0])
        ear = capsule(p, (sign * 42, -20.0, -6.0), wing, 14.0, 11.0)
        low = capsule(p, wing, c[4] + np.array([sign * 7.0, -3.0, 0.0]), 11.0, 6.0)
        facet = capsule(
            p,
            (sign * sacrum.joint_x, -27.0, 2.0),
            (sign * (sacrum.joint_x + 1), -30.0, sacrum.half_height + 8.0),
            6.0,
            4.2,
        )
        lamina = [(sign * 19, -30.0, -4.0), c[1] + (sign * 15, -25, 0), c[3] + (sign * 9, -15, 0)]
        roof = polyline(p, lamina, [6.0, 6.0, 5.0])
        for shape in (ala, ear, low, facet, roof):
            out = smooth_min(out, shape, 5.0)
    thin: Points = (p[0] * np.float32(1.8), p[1], p[2])
    ridge = [(0.0, -36.0, -4.0), c[1] + (0, -29, 0), c[2] + (0, -24, 0), c[3] + (0, -18, 0)]
    out = smooth_min(out, polyline(thin, ridge, [8.0, 8.0, 7.0, 5.0]) / np.float32(1.8), 5.0)
    out = smooth_max(out, top, 2.0)
    points = [
        (0.0, c[0][1] - 24.0, 40.0),
        (0.0, c[0][1] - 24.0, 5.0),
        (0.0, c[1][1] - 19.5, c[1][2]),
        (0.0, c[2][1] - 16.0, c[2][2]),
        (0.0, c[3][1] - 12.0, c[3][2]),
    ]
    out = smooth_max(out, -polyline(squeezed, points, [8.5, 7.5, 6.0, 5.0, 3.5]), 1.5)
    for i in range(3):
        middle = 0.5 * (sacrum.centres[i] + sacrum.centres[i + 1])
        for sign in (-1.0, 1.0):
            x = sign * (19.0 - 2.5 * i)
            hole = capsule(
                p, (x * 1.25, middle[1] + 24, middle[2] - 3), (x, middle[1] - 12, middle[2]), 5.0
            )
            out = smooth_max(out, -hole, 2.0)
    return out
