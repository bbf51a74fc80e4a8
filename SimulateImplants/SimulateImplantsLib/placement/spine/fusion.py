"""Interbody cages and anterior plates between two measured vertebrae."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ...implants import Preset, parameter_ranges, presets
from ...implants.cage import InterbodyCage
from ...implants.plate import AnteriorPlate
from ..bone_field import BoneField
from ..geometry import across, unit
from ..plan import PlannedImplant
from .levels import level_index
from .propose import VertebraModel

LUMBAR_APPROACHES = ("TLIF", "PLIF", "ALIF", "lateral")
"""Ways to a lumbar disc; each has its own cages among the presets."""

_LEAST_DISC_MM = 5.0
_RIM_MM = 2.0
"""Left free between a cage and the edge of the endplate."""
_PLIF_ASIDE = 0.23
_FRONT_MM = 40.0
_INTO_BODY_MM = 3.5
"""Below an endplate, where its outline is measured."""


@dataclass(frozen=True)
class Disc:
    """The space between the endplates of two neighbouring vertebrae (RAS, mm).

    :param axes: columns right, anterior, superior.
    :param height_mm: in its middle. :param lordosis_deg: between the endplates, open to the front.
    :param width_mm, depth_mm: of the smaller endplate.
    """

    upper: str
    lower: str
    centre: np.ndarray
    axes: np.ndarray
    height_mm: float
    lordosis_deg: float
    width_mm: float
    depth_mm: float

    @property
    def level(self) -> str:
        """``L4-L5``."""
        return f"{self.upper}-{self.lower}"

    def placement(
        self, right_mm: float = 0.0, front_mm: float = 0.0, turn_deg: float = 0.0
    ) -> np.ndarray:
        """``(4, 4)``: the disc's own frame, moved in its plane and turned about its height."""
        c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        matrix[:3, 3] = self.centre + self.axes @ [right_mm, front_mm, 0.0]
        return matrix


def disc_between(above: VertebraModel, below: VertebraModel) -> Disc:
    """The disc between two neighbouring vertebrae.

    :raises InputError: not neighbours, or no room between them.
    """
    upper, lower = above.frame, below.frame
    if level_index(lower.level) - level_index(upper.level) != 1:
        raise InputError(f"{upper.level} and {lower.level} are no neighbours: no disc between them")
    roof = upper.centre - 0.5 * upper.body_height_mm * upper.superior
    floor = lower.centre + 0.5 * lower.body_height_mm * lower.superior
    superior = unit(upper.superior + lower.superior)
    anterior = across(upper.anterior + lower.anterior, superior)
    height = float((roof - floor) @ superior)
    if height < _LEAST_DISC_MM:
        raise InputError(
            f"{upper.level}-{lower.level}: {max(height, 0):.1f} mm between the endplates leave no "
            "room for a cage"
        )
    tilt = [np.arctan2(f.superior @ anterior, f.superior @ superior) for f in (lower, upper)]
    axes = np.stack([np.cross(anterior, superior), anterior, superior], axis=1)
    plates = (
        (above.field, roof + _INTO_BODY_MM * superior),
        (below.field, floor - _INTO_BODY_MM * superior),
    )
    # Left, right, back and front edge of either endplate from the body's middle.
    edges = np.array(
        [
            [_edge(field, at, way) for way in (-axes[:, 0], axes[:, 0], -axes[:, 1], axes[:, 1])]
            for field, at in plates
        ]
    ).min(axis=0)
    middle = 0.5 * (roof + floor)
    middle = middle + 0.5 * axes @ [edges[1] - edges[0], edges[3] - edges[2], 0.0]
    return Disc(
        upper.level,
        lower.level,
        middle,
        axes,
        height,
        float(np.rad2deg(tilt[0] - tilt[1])),
        float(edges[0] + edges[1]),
        float(edges[2] + edges[3]),
    )


def _edge(field: BoneField, start: np.ndarray, way: np.ndarray) -> float:
    """How far bone reaches from a point in a direction (mm)."""
    steps = np.arange(0.0, _FRONT_MM, 0.4)
    outside = field.at(start + steps[:, None] * way) <= 0
    return float(steps[np.argmax(outside)]) if outside.any() else float(steps[-1])


def approaches(disc: Disc) -> tuple[str, ...]:
    """The kinds of cages for a disc: by region."""
    region = disc.upper[:1]
    return {"C": ("cervical",), "L": LUMBAR_APPROACHES}.get(region, ("TLIF",))


def cage_plan(
    disc: Disc, approach: str | None = None, *, choice: int = 0, turn_deg: float = 0.0
) -> list[PlannedImplant]:
    """One cage in a disc, or two (PLIF), as high and as wedged as the disc.

    :param approach: one of :func:`approaches`; its first when None.
    :param choice: which of the sizes that fit, counted round; 0 the largest footprint.
    :param turn_deg: about the disc's height (TLIF cages end up oblique).
    :raises InputError: no cage of that approach fits.
    """
    approach = approach or approaches(disc)[0]
    if approach not in approaches(disc):
        known = ", ".join(approaches(disc))
        raise InputError(f"{disc.level}: no cage by {approach!r}; there are: {known}")
    pair = approach == "PLIF"
    aside = _PLIF_ASIDE * disc.width_mm if pair else 0.0
    room_x, room_y = disc.width_mm - 2 * aside - 2 * _RIM_MM, disc.depth_mm - 2 * _RIM_MM
    fitting = [
        cage
        for cage in (_sized(p, disc) for p in presets("interbody-cage") if _is(p, approach))
        if cage is not None and cage.width_mm <= room_x and cage.depth_mm <= room_y
    ]
    if not fitting:
        raise InputError(
            f"{disc.level}: no {approach} cage fits {disc.width_mm:.0f} x {disc.depth_mm:.0f} x "
            f"{disc.height_mm:.0f} mm"
        )
    fitting.sort(key=lambda c: -c.width_mm * c.depth_mm)
    cage = fitting[choice % len(fitting)]
    # A TLIF cage lies in the front third of the disc, where the bone is hardest.
    front = 0.5 * (room_y - cage.depth_mm) * (0.6 if approach == "TLIF" else 0.0)
    attributes = {"level": disc.level, "construct": f"cage {disc.level}"}
    return [
        PlannedImplant(
            cage.to_dict(),
            disc.placement(x, front, turn_deg),
            {**attributes, "order": order, "side": side},
        )
        for order, (x, side) in enumerate(
            ((-aside, "left"), (aside, "right")) if pair else ((0.0, ""),)
        )
    ]


def _is(preset: Preset, approach: str) -> bool:
    return preset.name.startswith(approach)


def _sized(preset: Preset, disc: Disc) -> InterbodyCage | None:
    """A preset's footprint at the disc's own height and wedge; None if it cannot be made so."""
    limits = parameter_ranges("interbody-cage")["height_mm"]
    # Endplates are hollow by 1 to 2 mm: a cage bears on the rim of the hollow.
    height = float(np.clip(round(disc.height_mm - 1.0), limits.minimum, limits.maximum))
    made = InterbodyCage(**preset.parameters)
    wedge = max(0.0, 2.0 * round(0.5 * min(disc.lordosis_deg, 16.0)))
    for lordosis in sorted({wedge, 0.5 * wedge, 0.0}, reverse=True):
        try:
            return replace(made, height_mm=height, lordosis_deg=lordosis)
        except InputError:
            continue
    return None


def plate_plan(upper: VertebraModel, lower: VertebraModel) -> PlannedImplant:
    """An anterior plate over the disc between two vertebrae, resting on their front walls.

    :raises InputError: no disc there, or walls too uneven for any plate.
    """
    disc = disc_between(upper, lower)
    region = "cervical 1 level" if disc.upper.startswith("C") else "lumbar 1 level"
    sizes = [AnteriorPlate(**p.parameters) for p in presets("anterior-plate") if _is(p, region)]
    # Screws in the bodies' halves next to the disc: the plate ends before their middles.
    longest = disc.height_mm + 0.5 * (upper.frame.body_height_mm + lower.frame.body_height_mm) + 6
    fitting = [plate for plate in sizes if plate.length_mm <= longest]
    if not fitting:
        raise InputError(f"{disc.level}: the vertebral bodies are too low for a plate")
    plate = max(fitting, key=lambda p: p.length_mm)
    heights = np.linspace(-0.5 * plate.length_mm, 0.5 * plate.length_mm, 9)
    asides = np.array([-6.0, 0.0, 6.0])
    wall = np.array(
        [[_wall(disc, (upper.field, lower.field), x, z) for x in asides] for z in heights]
    )
    if not np.isfinite(wall[[0, -1]]).all():
        raise InputError(f"{disc.level}: no front wall of the bodies is seen for a plate")
    # The face on the bone is round: towards the sides it lies further back.
    face = wall + plate.curvature_mm * (1 - np.cos(asides / plate.curvature_mm))
    slope = float((face[-1].mean() - face[0].mean()) / (heights[-1] - heights[0]))
    rest = float(np.nanmax(face - slope * heights[:, None]))
    z = unit(disc.axes @ [0.0, slope, 1.0])
    x = disc.axes[:, 0]
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    matrix[:3, 3] = disc.centre + disc.axes[:, 1] * rest
    attributes = {"level": disc.level, "construct": f"plate {disc.level}", "order": 0}
    return PlannedImplant(plate.to_dict(), matrix, attributes)


def _wall(disc: Disc, fields: tuple[BoneField, ...], right: float, up: float) -> float:
    """How far in front of the disc's centre the bone ends (mm), NaN where there is none."""
    ahead = np.arange(0.0, _FRONT_MM, 0.4)
    local = np.stack([np.full_like(ahead, right), ahead, np.full_like(ahead, up)], axis=1)
    points = disc.centre + local @ disc.axes.T
    inside = np.any([field.at(points) > 0 for field in fields], axis=0)
    return float(ahead[inside][-1]) if inside.any() else float("nan")
