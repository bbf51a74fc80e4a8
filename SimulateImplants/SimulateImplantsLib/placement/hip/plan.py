"""Hip prosthesis and cephalomedullary nail for a measured hip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ...implants import parameter_ranges, presets
from ...implants.acetabular_cup import AcetabularCup
from ...implants.dual_mobility_cup import DualMobilityCup
from ...implants.femoral_head import FemoralHead
from ...implants.hip_stem import HipStem
from ...implants.nail import CephalomedullaryNail
from ...implants.resurfacing_head import ResurfacingHead
from ..geometry import axis_distance, frame_placement
from ..plan import PlacementPlan, PlannedImplant
from ..spine.sizes import snap_down, snap_nearest, steps
from .cup_screws import with_screws
from .measure import HipModel, socket_axis

_SEEN_SHAFT_MM = 95.0
_LEG_MM, _OFFSET_MM = 10.0, 5.0
"""Changes that patients stand: of the leg (Lecerf et al. 2009, Orthop Traumatol Surg Res 95:210),
of the offset (Cassidy et al. 2012, J Arthroplasty 27:1863)."""
_TIP_APEX_MM = 9.0
"""From the lag screw's tip to the head's surface; with the same in the other view the tip-apex
distance stays under 25 mm (Baumgaertner et al. 1995, JBJS 77-A:1058)."""


def canal_isthmus_mm(model: HipModel) -> tuple[float, tuple[str, ...]]:
    """The canal's narrowest radius, estimated where the volume ends too high to see it.

    The estimate divides the lowest radius seen by 1.9: two thirds of the mean canal flare index of
    3.8, which is taken 20 mm above the lesser trochanter; it is no wider than goes with the head:
    on average 12.3 mm with one of 46.1 mm (Noble et al. 1988, Clin Orthop 235:148).
    """
    measured = model.shaft.isthmus_mm
    if model.shaft.length_mm >= _SEEN_SHAFT_MM and measured > 0:
        return measured, ()
    usual = 12.3 / 46.1 * model.head_radius_mm
    estimate = float(np.clip(min(max(measured, 1.0) / 1.9, usual), 4.5, 7.5))
    return estimate, (
        f"{model.side} hip: the volume ends {model.shaft.length_mm:.0f} mm below the head; a canal "
        f"of {2 * estimate:.0f} mm is assumed further down",
    )


def propose_stem(
    model: HipModel, canal_mm: float, size_step: int = 0, series: str = "standard"
) -> HipStem:
    """The largest stem of a series whose tip fits the canal, with the patient's own offset.

    :param canal_mm: radius of the canal's isthmus.
    :param size_step: so many sizes larger or smaller.
    :param series: "standard" or "revision".
    """
    table = [
        HipStem(**{k: v for k, v in p.parameters.items()})
        for p in presets("hip-stem")
        if series in p.name
    ]
    table.sort(key=lambda s: s.distal_diameter_mm)
    fitting = [i for i, s in enumerate(table) if s.distal_diameter_mm <= 2 * canal_mm - 0.8]
    index = int(np.clip((fitting[-1] if fitting else 0) + size_step, 0, len(table) - 1))
    stem = table[index]
    limits = parameter_ranges("hip-stem")["offset_mm"]
    wanted = float(np.clip(round(2 * model.offset_mm) / 2, limits.minimum, limits.maximum))
    angle = 125.0 if model.neck_shaft_angle_deg < 126 else 135.0
    while wanted <= limits.maximum:
        try:
            return replace(stem, offset_mm=wanted, neck_shaft_angle_deg=angle)
        except InputError:
            wanted += 0.5
    return stem


def stem_placement(model: HipModel, stem: HipStem, turn_deg: float = 0.0) -> np.ndarray:
    """Stem axis on the canal's axis, head at the height of the natural head, neck towards it.

    :param turn_deg: further anteversion of the stem about its own axis.
    """
    medial = _turned(model.medial, model.shaft.axis, model.side, turn_deg)
    rise = float(stem.head_centre_mm()[2])
    origin = _axis_at_head(model) + model.shaft.axis * rise
    return frame_placement(origin, medial, -model.shaft.axis)


def _axis_at_head(model: HipModel) -> np.ndarray:
    """The point of the shaft's axis at the height of the head's centre."""
    shaft = model.shaft
    return shaft.point + shaft.axis * float((model.head_centre - shaft.point) @ shaft.axis)


def _turned(medial: np.ndarray, axis: np.ndarray, side: str, turn_deg: float) -> np.ndarray:
    """``medial`` turned forwards about the shaft."""
    front = np.cross(axis, medial) * (1.0 if side == "right" else -1.0)
    if front[1] < 0:
        front = -front
    angle = np.deg2rad(turn_deg)
    result: np.ndarray = medial * np.cos(angle) + front * np.sin(angle)
    return result


def propose_cup(model: HipModel, size_step: int = 0, screws: int = 0) -> AcetabularCup:
    """The cup that fills the socket (1 mm more than its sphere: cartilage is reamed away).

    At least 4 mm more than the head: less leaves no room for shell and liner about it, and means
    that the socket's sphere lies too near to the head's (joints that thick slices do not show).
    """
    table = [AcetabularCup(**p.parameters) for p in presets("acetabular-cup")]
    sizes = [c.diameter_mm for c in table]
    room = max(2 * model.socket_radius_mm + 1.0, 2 * model.head_radius_mm + 4.0)
    wanted = snap_nearest(room, sizes)
    index = int(np.clip(sizes.index(wanted) + size_step, 0, len(table) - 1))
    return replace(table[index], screws=screws)


def cup_placement(centre: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Opening along ``axis``, screw holes to the top and back."""
    return frame_placement(centre, (0.0, -0.5, 1.0), axis)


def prosthesis_plan(
    model: HipModel,
    *,
    stem_step: int = 0,
    cup_step: int = 0,
    cup_screws: int = 0,
    inclination_deg: float = 42.0,
    anteversion_deg: float = 15.0,
    stem_turn_deg: float = 0.0,
    stem_material: str = "Ti6Al4V",
    head_material: str = "CoCrMo",
    stem_series: str = "standard",
    dual_mobility: bool = False,
    volume: CTVolume | None = None,
) -> PlacementPlan:
    """Stem, head and cup of a total hip, in place to each other and to the bone.

    The stem lies in the canal; its offset is the patient's, so that the head's centre is where
    the natural one was; the cup lies about it. Leg length and offset that change too much are told.

    :param stem_series: see :func:`propose_stem`.
    :param volume: the CT, for screws of the cup that stay in the ilium.
    """
    canal, warnings = canal_isthmus_mm(model)
    stem = propose_stem(model, canal, stem_step, stem_series)
    stem = replace(stem, material=stem_material)
    if stem.distal_diameter_mm > 2 * canal:
        warnings += (
            f"{model.side} hip: a stem of {stem.distal_diameter_mm:g} mm in a canal of "
            f"{2 * canal:.1f} mm; ream it, or take a thinner one",
        )
    cup: AcetabularCup | DualMobilityCup = propose_cup(model, cup_step, cup_screws)
    if dual_mobility:
        cup = DualMobilityCup(cup.diameter_mm, head_mm=28.0 if cup.diameter_mm >= 46 else 22.0)
    head = FemoralHead(diameter_mm=cup.head_mm, material=head_material)
    place = stem_placement(model, stem, stem_turn_deg)
    head_place = place @ stem.head_pose()
    centre = head_place[:3, 3]
    cup_place = cup_placement(centre, socket_axis(model.side, inclination_deg, anteversion_deg))
    if volume is not None and isinstance(cup, AcetabularCup):
        cup = with_screws(cup, cup_place, volume, cup_screws)
    attributes: Mapping[str, Any] = {"side": model.side, "construct": f"hip {model.side}"}
    implants = tuple(
        PlannedImplant(item.to_dict(), matrix, {**attributes, "order": i})
        for i, (item, matrix) in enumerate(((stem, place), (head, head_place), (cup, cup_place)))
    )
    return PlacementPlan(
        implants,
        description=f"total hip {model.side}",
        warnings=(*model.warnings, *warnings, *_changes(model, centre)),
    )


def resurfacing_plan(model: HipModel) -> PlacementPlan:
    """A cap as wide as the head, along the neck, and a bare shell about it."""
    limits = parameter_ranges("resurfacing-head")["diameter_mm"]
    wanted = 2.0 * round(model.head_radius_mm)
    head = ResurfacingHead(float(np.clip(wanted, limits.minimum, limits.maximum)))
    cup = DualMobilityCup(head.diameter_mm + 6.0, shell_mm=2.9, head_mm=0.0)
    centre = model.head_centre
    places = (
        frame_placement(centre, -model.shaft.axis, model.neck_axis),
        cup_placement(centre, model.socket_axis),
    )
    shared: Mapping[str, Any] = {"side": model.side, "construct": f"hip {model.side}"}
    implants = tuple(
        PlannedImplant(item.to_dict(), matrix, {**shared, "order": i})
        for i, (item, matrix) in enumerate(zip((head, cup), places, strict=True))
    )
    warnings = (*model.warnings, *_changes(model, centre))
    return PlacementPlan(implants, None, f"resurfacing {model.side}", {}, warnings)


def leg_and_offset_mm(
    model: HipModel, head: np.ndarray, cup: np.ndarray | None = None
) -> tuple[float, float]:
    """What the joint's new centres change once reduced: longer leg, larger offset (mm).

    The leg gains what the head rises on its femur and loses what the cup rises in the pelvis; the
    offset gains what the head leaves the shaft and the cup moves to the side (Lecerf et al. 2009,
    Orthop Traumatol Surg Res 95:210).

    :param head, cup: centres in RAS; the cup's is the socket's own when None.
    """
    lateral = np.array([1.0 if model.side == "right" else -1.0, 0.0, 0.0])
    moved = np.zeros(3) if cup is None else cup - model.socket_centre
    femoral = axis_distance(head, model.shaft.point, model.shaft.axis) - model.offset_mm
    rise = float((model.head_centre - head) @ model.shaft.axis)
    return rise - float(moved[2]), femoral + float(moved @ lateral)


def _changes(model: HipModel, head: np.ndarray) -> tuple[str, ...]:
    """A warning where the leg or the offset changes by more than patients stand."""
    leg, offset = leg_and_offset_mm(model, head)
    if abs(leg) <= _LEG_MM and abs(offset) <= _OFFSET_MM:
        return ()
    return (
        f"{model.side} hip: leg length {leg:+.1f} mm, offset {offset:+.1f} mm against the native "
        f"hip, not within {_LEG_MM:g} and {_OFFSET_MM:g} mm",
    )


def propose_nail(model: HipModel, canal_mm: float, *, long: bool = False) -> CephalomedullaryNail:
    """A nail for the canal, its neck angle the nearest to the patient's."""
    limits = parameter_ranges("cephalomedullary-nail")["diameter_mm"]
    diameter = snap_down(2 * canal_mm - 0.5, steps(9.0, 13.0, 1.0)) or limits.minimum
    angle = snap_nearest(model.neck_shaft_angle_deg, (125.0, 130.0, 135.0))
    return CephalomedullaryNail(
        length_mm=340.0 if long else 180.0,
        diameter_mm=diameter,
        neck_shaft_angle_deg=angle,
        bow_radius_mm=1500.0 if long else 0.0,
        side=model.side,
    )


def nail_placement(model: HipModel, nail: CephalomedullaryNail) -> np.ndarray:
    """The nail's distal part along the canal and its lag screw through the head's centre."""
    # Two points of the straight part below the bend give the axis that has to lie in the canal.
    straight = nail.axis_points(np.array([-46.0, -60.0]))
    down = straight[1] - straight[0]
    down /= np.linalg.norm(down)
    d, m = model.shaft.axis, model.medial
    a = float(np.arctan2(down[0], -down[2]))
    x = np.sin(a) * d + np.cos(a) * m
    z = -np.cos(a) * d + np.sin(a) * m
    turn = np.stack([x, np.cross(z, x), z], axis=1)
    # origin = canal point(t) - turn @ straight; the head has to lie on the lag screw's axis.
    foot = _axis_at_head(model)
    lag = nail.lag_axis
    normal = np.array([-lag[2], 0.0, lag[0]])
    at_zero = turn.T @ (model.head_centre - foot) + straight[0]
    t = float(at_zero @ normal) / float((turn.T @ d) @ normal)
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = foot + d * t - turn @ straight[0]
    return matrix


def nail_plan(
    model: HipModel, *, long: bool = False, material: str = "Ti6Al4V", locking_screws: int = 1
) -> PlacementPlan:
    """A cephalomedullary nail with its lag screw ending under the head's surface."""
    canal, warnings = canal_isthmus_mm(model)
    nail = replace(
        propose_nail(model, canal, long=long), material=material, locking_screws=locking_screws
    )
    matrix = nail_placement(model, nail)
    start = float(nail.lag_tip_mm @ nail.lag_axis) - nail.lag_length_mm
    local = matrix[:3, :3].T @ (model.head_centre - matrix[:3, 3])
    room = float(local @ nail.lag_axis) + model.head_radius_mm - _TIP_APEX_MM - start
    limits = parameter_ranges("cephalomedullary-nail")["lag_length_mm"]
    length = float(np.clip(np.floor(room / 5) * 5, limits.minimum, limits.maximum))
    nail = replace(nail, lag_length_mm=length)
    if nail.diameter_mm > 2 * canal:
        warnings = (
            *warnings,
            f"{model.side} hip: the nail ({nail.diameter_mm:g} mm) is thicker than the canal "
            f"({2 * canal:.1f} mm); it has to be reamed",
        )
    item = PlannedImplant(
        nail.to_dict(), matrix, {"side": model.side, "construct": f"nail {model.side}", "order": 0}
    )
    return PlacementPlan(
        (item,),
        description=f"cephalomedullary nail {model.side}",
        warnings=(*model.warnings, *warnings),
    )
