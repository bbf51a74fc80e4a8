"""Which implants of a plan touch one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..implants.base import Implant
from ..implants.mesh import Mesh
from ..implants.pedicle_screw import PedicleScrew
from ..implants.rod import Rod
from .geometry import segment_distance
from .plan import PlannedImplant

_SURFACE_MM = 1.0


@dataclass(frozen=True)
class Collision:
    """Two implants (indices into the plan) and the gap between them; negative: overlap (mm)."""

    first: int
    second: int
    gap_mm: float


@dataclass(frozen=True)
class Body:
    """Capsules (segments with radii), or points of the surface where no capsules describe it."""

    segments: np.ndarray
    """``(n, 2, 3)``."""
    radii: np.ndarray
    points: np.ndarray | None

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest coordinates."""
        if self.points is not None:
            return self.points.min(axis=0), self.points.max(axis=0)
        reach = self.radii[:, None, None]
        low, high = self.segments - reach, self.segments + reach
        return low.min(axis=(0, 1)), high.max(axis=(0, 1))

    @classmethod
    def of(cls, implant: Implant, matrix: np.ndarray) -> Body:
        """A placed implant: screws and rods as capsules, others as points of their surfaces."""
        return _body(implant, matrix)


def _body(implant: Implant, m: np.ndarray) -> Body:

    def moved(points: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.asarray(points, float) @ m[:3, :3].T + m[:3, 3]
        return result

    if isinstance(implant, PedicleScrew):
        seat = implant.rod_seat()
        reach = 0.5 * implant.rod_diameter_mm + implant.arm_mm - 0.4
        shaft = [[0, 0, 0.5 * implant.diameter_mm], [0, 0, implant.length_mm]]
        head = [seat.position - seat.up * reach, seat.position + seat.up * 0.5]
        segments = np.stack([moved(np.array(shaft)), moved(np.array(head))])
        return Body(segments, np.array([0.5 * implant.diameter_mm, reach]), None)
    if isinstance(implant, Rod):
        line = moved(implant.centre_line()[0])
        line = np.concatenate([line[:-1:2], line[-1:]])
        return Body(
            np.stack([line[:-1], line[1:]], axis=1),
            np.full(len(line) - 1, 0.5 * implant.diameter_mm),
            None,
        )
    mesh = implant.mesh()
    return Body(np.empty((0, 2, 3)), np.empty(0), moved(surface_points(mesh)))


def surface_points(mesh: Mesh) -> np.ndarray:
    """Points about 1 mm apart on every triangle of a mesh, vertices included."""
    a, b, c = (mesh.points[mesh.triangles[:, i]] for i in range(3))
    longest = np.max([np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (c, a))], axis=0)
    out = [mesh.points]
    pieces = np.minimum(np.ceil(longest / _SURFACE_MM).astype(int), 60)
    for n in np.unique(pieces[pieces > 1]):
        chosen = pieces == n
        i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
        inside = i + j <= n
        s, t = i[inside] / n, j[inside] / n
        grid = (
            a[chosen, None] * (1 - s - t)[:, None]
            + b[chosen, None] * s[:, None]
            + c[chosen, None] * t[:, None]
        )
        out.append(grid.reshape(-1, 3))
    return np.concatenate(out)


def box_gap_mm(a: Body, b: Body) -> float:
    """Distance of the boxes around two bodies: no more than their gap, and quick."""
    (low, high), (other_low, other_high) = a.box, b.box
    apart = np.maximum(np.maximum(other_low - high, low - other_high), 0.0)
    return float(np.linalg.norm(apart))


def gap_mm(a: Body, b: Body) -> float:
    """Gap between two bodies; negative where capsules overlap."""
    if a.points is None and b.points is None:
        result: float = min(
            segment_distance(p[0], p[1], q[0], q[1]) - ra - rb
            for p, ra in zip(a.segments, a.radii, strict=True)
            for q, rb in zip(b.segments, b.radii, strict=True)
        )
        return result
    if a.points is not None and b.points is not None:
        return float(cKDTree(a.points).query(b.points)[0].min())
    if a.points is None:
        a, b = b, a
    assert a.points is not None
    gaps = []
    for (start, end), radius in zip(b.segments, b.radii, strict=True):
        along = end - start
        t = np.clip((a.points - start) @ along / max(float(along @ along), 1e-9), 0, 1)
        gaps.append(
            float(np.linalg.norm(a.points - start - t[:, None] * along, axis=1).min()) - radius
        )
    smallest: float = min(gaps)
    return smallest


def meant_to_touch(a: PlannedImplant, b: PlannedImplant) -> bool:
    """Parts of one construct: a rod in its screws, a stem in its head, a head in its cup."""
    for link, rod in ((a, b), (b, a)):
        if rod.kind == Rod.kind and rod.attributes.get("construct") in link.attributes.get(
            "joins", ()
        ):
            return True
    construct = a.attributes.get("construct")
    if construct is None or construct != b.attributes.get("construct"):
        return False
    return same_construct_joint(a.kind, b.kind)


def same_construct_joint(one: str, other: str) -> bool:
    """Whether two families hold each other when they are of one construct."""
    return {one, other} in (
        {"pedicle-screw", "rod"},
        {"lateral-mass-screw", "rod"},
        {"hip-stem", "femoral-head"},
        {"femoral-head", "acetabular-cup"},
        {"hip-stem", "acetabular-cup"},
        {"femoral-head", "dual-mobility-cup"},
        {"hip-stem", "dual-mobility-cup"},
        {"resurfacing-head", "dual-mobility-cup"},
        {"rod", "cross-link"},
    )


def collisions(implants: Sequence[PlannedImplant], nearer_than_mm: float = 0.0) -> list[Collision]:
    """Pairs whose gap is below ``nearer_than_mm``, but for those meant to touch.

    Screws and rods are capsules (exact); for other implants points of their surfaces count, which
    are about 1 mm apart.
    """
    bodies = [_body(item.make(), item.matrix) for item in implants]
    found = []
    for i in range(len(bodies)):
        for j in range(i + 1, len(bodies)):
            if meant_to_touch(implants[i], implants[j]):
                continue
            if box_gap_mm(bodies[i], bodies[j]) > max(nearer_than_mm, 0.0):
                continue
            gap = gap_mm(bodies[i], bodies[j])
            if gap < nearer_than_mm:
                found.append(Collision(i, j, gap))
    return found
