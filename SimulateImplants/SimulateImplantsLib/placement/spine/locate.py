"""Where a clicked vertebra is and how it stands, from the CT's values about the click."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..geometry import Vector, across, chain_directions, unit
from .body_fit import Patch, canal_of, core_hu, endplates_of, mirror_of, outline_of
from .click_checks import (
    BEYOND_MM,
    check_alike,
    check_below_neck,
    check_body,
    check_click,
    check_order,
    check_told_apart,
    check_upright,
    pedicle_rise,
)
from .laterality import check_not_mirrored
from .levels import by_level, level_index
from .vertebra import VertebraFrame

_SOFT_HU, _LEAST_RISE_HU, _MOST_RISE_HU = 50.0, 60.0, 130.0
_GIVEN_HU = 10.0
"""So far a threshold that is given moves each level's own."""
_BODY_MM = 26.0
_SOME, _UNLIKE_MM = 3, 6.0
"""From so many bodies on, one found so far from where its click is, less what the clicks are off
together, is doubted."""
_SETTLED_MM = 5.0
_RIDGE = 0.3
"""Weight of bright endplates, where their falls of HU alone do not do."""


@dataclass(frozen=True)
class LocatedBody:
    """One vertebra as the image shows it.

    :param frame: its axes, body and canal.
    :param threshold_hu: halfway from soft tissue to its own cancellous bone.
    """

    frame: VertebraFrame
    threshold_hu: float


def local_threshold(hu: np.ndarray) -> float:
    """HU that parts a vertebra from what is about it, from values within its body.

    Halfway between muscle and its cancellous bone; where that is as dark as muscle (osteoporosis)
    the cortex alone is bone, and partial volume leaves it 60 HU above muscle or more.
    """
    rise = 0.5 * (float(np.median(hu)) - _SOFT_HU)
    return _SOFT_HU + float(np.clip(rise, _LEAST_RISE_HU, _MOST_RISE_HU))


def locate_bodies(
    volume: CTVolume, clicks: Mapping[str, Vector], threshold_hu: float | None = None
) -> tuple[dict[str, LocatedBody], list[str]]:
    """The clicked vertebrae, and why others could not be told.

    Twice: bodies found about the clicks give the spine's course, and with it they are found again.

    :param clicks: RAS point anywhere in each body, by level.
    :param threshold_hu: bone is brighter; taken as far as 10 HU from each level's own threshold,
        which is found from its bone and taken when None.
    :raises InputError: levels in the wrong order, an upside-down or a mirrored volume.
    """
    points = {name: np.asarray(clicks[name], float) for name in by_level(clicks)}
    check_order(points)
    doubts = check_told_apart(points)
    points = {name: point for name, point in points.items() if name not in doubts}
    found, why = _told(volume, points, 0.0)
    if why:  # discs as bright as bone (sclerosis, slices as thick as a disc) leave hardly a fall
        with suppress(InputError):
            found, why = max((found, why), _told(volume, points, _RIDGE), key=lambda x: len(x[0]))
    check_not_mirrored(volume, {name: body.frame.centre for name, body in found.items()})
    if threshold_hu is not None:
        for name, body in found.items():
            nearest = np.clip(threshold_hu - body.threshold_hu, -_GIVEN_HU, _GIVEN_HU)
            found[name] = replace(body, threshold_hu=body.threshold_hu + float(nearest))
    return found, [*why, *dict.fromkeys(doubts.values())]


def _told(
    volume: CTVolume, points: Mapping[str, np.ndarray], ridge: float
) -> tuple[dict[str, LocatedBody], list[str]]:
    """The bodies that pass their checks, and why others do not."""
    found, why = _located(volume, points, ridge)
    doubts = check_told_apart({name: body.frame.centre for name, body in found.items()})
    frames = {name: body.frame for name, body in found.items() if name not in doubts}
    rises = {n: pedicle_rise(volume, f, found[n].threshold_hu) for n, f in frames.items()}
    usual = _usual_heights(points)
    doubts |= check_upright(rises, frames, points, usual)
    frames = {name: frame for name, frame in frames.items() if name not in doubts}
    doubts |= check_alike(frames, points, usual)
    told = {name: body for name, body in found.items() if name not in doubts}
    return told, [*why.values(), *dict.fromkeys(doubts.values())]


def _located(
    volume: CTVolume, points: Mapping[str, np.ndarray], ridge: float
) -> tuple[dict[str, LocatedBody], dict[str, str]]:
    """The bodies, and why others were not found, by level."""
    found: dict[str, LocatedBody] = {}
    why: dict[str, str] = {}
    start, forward = dict(points), None
    for turn in range(4):
        ups, usual = chain_directions(start), _usual_heights(start)
        found, why = {}, {}
        for name, point in points.items():
            try:
                check_below_neck(name)
                check_click(volume, name, point)
                found[name] = _locate(
                    volume, name, point, start[name], ups[name], forward, usual[name], ridge
                )
            except InputError as error:
                why[name] = str(error)
        middles = {name: body.frame.centre for name, body in found.items()}
        off = [np.linalg.norm(middles[n] - start[n]) if n in found else np.inf for n in points]
        if turn and max(off, default=0.0) < _SETTLED_MM:
            break
        start = _starts(points, middles)
        if len(found) > 1:
            forward = unit(np.sum([f.frame.anterior for f in found.values()], axis=0))
    return found, why


def _starts(
    points: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Where each body is looked for again: the middle found, or where the others' clicks put it.

    Who clicks one body too low clicks all of them too low; near a disc the next body is found.
    """
    if len(found) < _SOME:
        return {**points, **found}
    moves = {name: centre - points[name] for name, centre in found.items()}
    usual = np.median(list(moves.values()), axis=0)
    off = {name: float(np.linalg.norm(move - usual)) for name, move in moves.items()}
    most = max(_UNLIKE_MM, 3 * float(np.median(list(off.values()))))
    return {
        name: found[name] if off.get(name, np.inf) < most else point + usual
        for name, point in points.items()
    }


def _usual_heights(points: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Bodies take up 0.8 of the way from one to the next; 26 mm where no neighbour is clicked."""
    out = {}
    for name, point in points.items():
        gaps = [
            float(np.linalg.norm(point - other))
            for level, other in points.items()
            if abs(level_index(level) - level_index(name)) == 1
        ]
        out[name] = float(np.clip(0.8 * np.mean(gaps), 14.0, 34.0)) if gaps else _BODY_MM
    return out


def _locate(
    volume: CTVolume,
    name: str,
    click: np.ndarray,
    start: np.ndarray,
    up: np.ndarray,
    forward: np.ndarray | None,
    usual_mm: float,
    ridge: float,
) -> LocatedBody:
    """Middle and height, outline, canal, plane of symmetry, then tilt, of one body.

    :param usual_mm: height that such a body has. :param ridge: of
        :func:`.body_fit.endplates_of`.
    """
    ahead = np.array([0.0, 1.0, 0.0]) if forward is None else forward
    patch = Patch.about(volume, start, up, ahead, name)
    rise, height, _ = endplates_of(patch, np.zeros(2), (5.0, 5.0), usual_mm, ridge)
    x, y, a, b = outline_of(patch, rise, height)
    rise, height, _ = endplates_of(patch, np.array([x, y]), (0.6 * a, 0.6 * b), usual_mm, ridge)
    threshold = local_threshold(core_hu(patch, np.array([x, y, rise]), a, b, height))
    centre = np.array([x, y, rise])
    canal, radius = canal_of(patch, centre, b, height, threshold)
    turn, shift = mirror_of(patch, canal, centre)
    canal[0] += shift
    yaw = np.array([np.sin(turn), np.cos(turn), 0.0])
    patch = Patch.about(volume, patch.ras(centre), up, patch.grid.axes @ yaw, name)
    back = -float(np.linalg.norm(canal[:2] - centre[:2]))
    tilts = np.deg2rad(np.arange(-24, 24.1, 4)), np.deg2rad(np.arange(-16, 16.1, 4))
    rise, height, (pitch, roll) = endplates_of(
        patch, np.zeros(2), (0.65 * a, 0.65 * b), usual_mm, ridge, *tilts
    )
    superior = unit(patch.grid.axes @ [-np.tan(roll), -np.tan(pitch), 1.0])
    anterior = across(patch.grid.axes[:, 1], superior)
    middle = patch.ras([0.0, 0.0, rise])
    frame = VertebraFrame(
        level=name,
        centre=middle,
        left=np.cross(superior, anterior),
        anterior=anterior,
        superior=superior,
        canal=middle + back * anterior,
        canal_direction=up,
        canal_radius_mm=radius,
        body_width_mm=2 * a,
        body_depth_mm=2 * b,
        body_height_mm=height,
    )
    # Bright discs also join a body to its neighbour: no second guess is taken on trust.
    check_body(volume, frame, click, 0.0 if ridge else BEYOND_MM)
    return LocatedBody(frame, threshold)
