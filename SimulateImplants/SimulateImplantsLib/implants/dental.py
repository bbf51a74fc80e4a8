"""What dentists leave in teeth: fillings, crowns, bridges, implants and braces.

Frame of all: +z to the biting surface (away from the root), +x along the arch, +y to the cheek.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from .base import Implant, ImplantPart
from .bone_screw import BoneScrew
from .mesh import Mesh, circle, loft, revolve
from .sheet import polygon_circle, thicken, triangulate
from .simple_shapes import Box
from .tube import smooth_corners, tube

_OUTLINE = 3.0
"""Exponent of the superellipse that teeth look like from above: between a circle and a square."""
_PROFILE = 4.0
"""The same from the side."""


def _outline(direction: np.ndarray, width: float, depth: float) -> np.ndarray:
    """Points ``(n, 2)`` of a tooth's outline in unit directions ``(n, 2)``."""
    scaled = np.abs(direction / (0.5 * width, 0.5 * depth)) ** _OUTLINE
    result: np.ndarray = direction * scaled.sum(axis=1, keepdims=True) ** (-1 / _OUTLINE)
    return result


def _dome(domain: np.ndarray, width: float, depth: float, top: float, bottom: float) -> np.ndarray:
    """The unit disc ``(n, 2)`` as a crown's outside: biting surface in the middle, rim below."""
    radius = np.linalg.norm(domain, axis=1, keepdims=True)
    direction = np.where(radius > 1e-9, domain / np.maximum(radius, 1e-9), [[1.0, 0.0]])
    angle = 0.5 * np.pi * np.clip(radius, 0.0, 1.0)
    out = np.sin(angle) ** (2 / _PROFILE) * np.minimum(1.0, radius / 0.05)
    z = bottom + (top - bottom) * np.cos(angle).clip(0.0) ** (2 / _PROFILE)
    return np.hstack([_outline(direction, width, depth) * out, z])


def solid_tooth(width: float, depth: float, height: float) -> Mesh:
    """A crown without a hollow, its biting surface at z = 0."""
    angle = np.linspace(0.5 * np.pi, 0.12, 12)
    rings = [
        np.column_stack(
            [
                _outline(circle(48), width, depth) * np.sin(a) ** (2 / _PROFILE),
                np.full(48, -height + height * np.cos(a) ** (2 / _PROFILE)),
            ]
        )
        for a in angle
    ]
    return loft(np.array(rings), end=np.zeros(3))


@dataclass(frozen=True)
class Filling(Implant):
    """Filling of a cavity in the biting surface, as wide at its floor.

    Origin in the middle of its top.

    :param width_mm: along the arch. :param depth_mm: from cheek to tongue.
    :param height_mm: of the cavity.
    """

    kind: ClassVar[str] = "filling"

    width_mm: float = 5.0
    depth_mm: float = 3.0
    height_mm: float = 2.5
    material: str = "amalgam"

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        waist = 1.0 - 0.12 * (1.0 + np.cos(2 * np.arctan2(*circle(48).T)))[:, None]
        outline = _outline(circle(48), self.width_mm, self.depth_mm) * waist
        rings = [
            np.column_stack([outline * scale, np.full(48, -self.height_mm * down)])
            for scale, down in ((0.85, 1.0), (1.0, 0.85), (0.95, 0.1), (0.85, 0.0))
        ]
        return [ImplantPart("filling", loft(np.array(rings)), self.material, "filling")]


@dataclass(frozen=True)
class Crown(Implant):
    """Metal or ceramic shell over a ground tooth; of metal-ceramic crowns the metal only.

    Origin in the middle of the biting surface.

    :param width_mm: along the arch. :param depth_mm: from cheek to tongue.
    :param height_mm: from the rim to the biting surface.
    :param wall_mm: thickness at the sides. :param top_mm: at the biting surface.
    """

    kind: ClassVar[str] = "crown"

    width_mm: float = 10.0
    depth_mm: float = 10.0
    height_mm: float = 7.0
    wall_mm: float = 0.8
    top_mm: float = 1.2
    material: str = "gold-alloy"

    def check(self) -> None:
        """There has to be room for the tooth."""
        if min(self.width_mm, self.depth_mm) < 2 * self.wall_mm + 1.0:
            raise InputError(
                f"crown: wall_mm of {self.wall_mm:g} leaves no tooth in a crown of "
                f"{self.width_mm:g} x {self.depth_mm:g} mm; take a thinner wall"
            )

    def parts(self) -> list[ImplantPart]:
        """One closed surface."""
        points, triangles = triangulate([polygon_circle((0.0, 0.0), 1.0, 64)], 0.08)
        w, d, wall = self.width_mm, self.depth_mm, 2 * self.wall_mm
        mesh = thicken(
            points / np.linalg.norm(points, axis=1).max(),
            triangles,
            lambda p: _dome(p, w, d, 0.0, -self.height_mm),
            lambda p: _dome(p, w - wall, d - wall, -self.top_mm, -self.height_mm),
        )
        return [ImplantPart("crown", mesh, self.material, "crown")]


@dataclass(frozen=True)
class Bridge(Implant):
    """Crowns on the outer teeth and solid teeth between them, joined.

    Origin of each unit in the middle of its biting surface; the path lies about z = 0.

    :param path_mm: middles of the units along the arch, three or more.
    :param depth_mm, height_mm, wall_mm: of every unit; widths follow from the path.
    """

    kind: ClassVar[str] = "bridge"

    path_mm: tuple[tuple[float, float, float], ...] = (
        (-9.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (9.0, 0.0, 0.0),
    )
    depth_mm: float = 9.0
    height_mm: float = 7.0
    wall_mm: float = 0.8
    material: str = "CoCrMo"

    def check(self) -> None:
        """Units have to be teeth apart, with room for the outer teeth."""
        object.__setattr__(self, "path_mm", _path(self.kind, self.path_mm, 3, 3.5, 13.0))
        if self.depth_mm < 2 * self.wall_mm + 1.0 or min(self._widths()) < 2 * self.wall_mm + 1.0:
            raise InputError(
                f"bridge: wall_mm of {self.wall_mm:g} leaves no tooth in its crowns; take a "
                "thinner wall"
            )

    def _widths(self) -> np.ndarray:
        """Of the units along the arch: they just overlap."""
        gaps = np.linalg.norm(np.diff(self.path_mm, axis=0), axis=1)
        result: np.ndarray = 0.6 + np.concatenate(
            [gaps[:1], 0.5 * (gaps[:-1] + gaps[1:]), gaps[-1:]]
        )
        return result

    def parts(self) -> list[ImplantPart]:
        """One closed surface a unit."""
        poses = _along_arch(np.array(self.path_mm), swap=False)
        parts = []
        for number, (pose, width) in enumerate(zip(poses, self._widths(), strict=True), start=1):
            if number in (1, len(poses)):
                mesh = Crown(width, self.depth_mm, self.height_mm, self.wall_mm).mesh()
            else:
                mesh = solid_tooth(width, self.depth_mm, self.height_mm)
            parts.append(
                ImplantPart(f"unit {number}", mesh.transformed(pose), self.material, "crown")
            )
        return parts


@dataclass(frozen=True)
class DentalImplant(Implant):
    """Threaded titanium root with its abutment and a crown.

    Origin where the root enters the bone; the root runs along -z.

    :param diameter_mm, length_mm: of the root. :param abutment_mm: height over the bone.
    :param crown: draw the crown. :param crown_width_mm: along the arch and across.
    :param crown_height_mm: from its rim, 1.5 mm over the bone, to the biting surface.
    """

    kind: ClassVar[str] = "dental-implant"

    diameter_mm: float = 4.1
    length_mm: float = 10.0
    abutment_mm: float = 6.0
    crown: bool = True
    crown_width_mm: float = 8.5
    crown_height_mm: float = 7.0
    material: str = "cp-Ti"
    crown_material: str = "zirconia"

    def parts(self) -> list[ImplantPart]:
        """Root, abutment and crown."""
        d = self.diameter_mm
        root = BoneScrew(
            d, self.length_mm, d, 1.0, pitch_mm=0.9, thread_depth_mm=0.35, material=self.material
        ).mesh()
        down = np.diag([1.0, -1.0, -1.0, 1.0])
        h = self.abutment_mm
        cone = np.array([[0, 0.5], [0.42 * d, 0.5], [0.5 * d, 1.5], [0.34 * d, h], [0, h]])
        parts = [
            ImplantPart("root", root.transformed(down), self.material, "screw"),
            ImplantPart("abutment", revolve(cone, 40), self.material, "abutment"),
        ]
        if self.crown:
            wall = np.clip(0.5 * (self.crown_width_mm - d) - 0.1, 0.5, 3.5)
            top = np.clip(self.crown_height_mm - (h - 1.5) - 0.1, 0.8, 4.0)
            mesh = Crown(
                self.crown_width_mm, self.crown_width_mm, self.crown_height_mm, wall, top
            ).mesh()
            up = np.eye(4)
            up[2, 3] = 1.5 + self.crown_height_mm
            parts.append(ImplantPart("crown", mesh.transformed(up), self.crown_material, "crown"))
        return parts


@dataclass(frozen=True)
class Braces(Implant):
    """Brackets on the cheek side of teeth and the arch wire through them.

    :param path_mm: middles of the brackets' backs along the arch, two or more.
    :param bracket_mm: width. :param bracket_height_mm, bracket_depth_mm: the same.
    :param wire_mm: diameter of the arch wire.
    :param material: of the brackets. :param wire_material: of the arch wire.
    """

    kind: ClassVar[str] = "braces"

    path_mm: tuple[tuple[float, float, float], ...] = (
        (-20.0, -14.0, 0.0),
        (-13.0, -4.0, 0.0),
        (-4.5, 0.0, 0.0),
        (4.5, 0.0, 0.0),
        (13.0, -4.0, 0.0),
        (20.0, -14.0, 0.0),
    )
    bracket_mm: float = 3.2
    bracket_height_mm: float = 3.4
    bracket_depth_mm: float = 2.0
    wire_mm: float = 0.45
    material: str = "316L"
    wire_material: str = "nitinol"

    def check(self) -> None:
        """Brackets have to be teeth apart."""
        object.__setattr__(self, "path_mm", _path(self.kind, self.path_mm, 2, 3.0, 40.0))

    def parts(self) -> list[ImplantPart]:
        """One closed surface a bracket, and the wire."""
        box = Box(self.bracket_mm, self.bracket_depth_mm, self.bracket_height_mm).mesh()
        poses = _along_arch(np.array(self.path_mm), swap=True)
        poses[:, :3, 3] += 0.5 * self.bracket_depth_mm * poses[:, :3, 1]
        parts = [
            ImplantPart(f"bracket {n}", box.transformed(pose), self.material, "bracket")
            for n, pose in enumerate(poses, start=1)
        ]
        line = poses[:, :3, 3] + 0.2 * self.bracket_depth_mm * poses[:, :3, 1]
        wire = tube(smooth_corners(line, 6.0, 0.5), 0.5 * self.wire_mm)
        return [*parts, ImplantPart("wire", wire, self.wire_material, "wire")]


def _path(kind: str, path: object, least: int, nearest: float, farthest: float) -> object:
    """Points of an arch as tuples, checked."""
    try:
        points = np.array(path, dtype=float)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < least:
        raise InputError(f"{kind}: path_mm has to be {least} or more points of three numbers")
    gaps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    if not (gaps.min() >= nearest and gaps.max() <= farthest):
        raise InputError(
            f"{kind}: points of path_mm are {gaps.min():.1f} to {gaps.max():.1f} mm apart; give "
            f"{nearest:g} to {farthest:g} mm"
        )
    return tuple(tuple(float(v) for v in point) for point in points)


def _along_arch(path: np.ndarray, swap: bool) -> np.ndarray:
    """A pose ``(n, 4, 4)`` a point: +z stays, +x along the path, +y away from the arch's inside.

    :param swap: turn all poses about z where +y would point to the inside.
    """
    along = np.gradient(path, axis=0) * [1.0, 1.0, 0.0]
    x = along / np.linalg.norm(along, axis=1, keepdims=True)
    y = np.cross([0.0, 0.0, 1.0], x)
    inside = 0.5 * (path[0] + path[-1]) - path.mean(axis=0)
    if swap and inside @ y.mean(axis=0) > 0:
        x, y = -x, -y
    poses = np.tile(np.eye(4), (len(path), 1, 1))
    poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 3] = x, y, path
    return poses
