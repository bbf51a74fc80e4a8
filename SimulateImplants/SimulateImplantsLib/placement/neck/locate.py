"""The lateral masses of clicked or labelled cervical vertebrae, and a screw in each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import check_mask, mask_points, sample_array
from ..geometry import Vector, chain_directions
from ..spine.click_checks import check_click, check_order, check_told_apart
from ..spine.levels import by_level, level_of, vertebra_bones
from ..spine.trajectory import SIDES
from ..spine.vertebra import vertebra_frame
from .canal import neck_frame
from .pillar import neck_section, with_foramina
from .screw import LateralMass, mass_field, mass_screw

LEVELS = ("C3", "C4", "C5", "C6")
_THICKEST_MM = 2.5
"""Slices in which lateral masses were looked at and judged; in thicker ones nothing is placed."""


def find_masses(
    volume: CTVolume,
    labels: Mapping[str, np.ndarray],
    clicks: Mapping[str, Vector],
    levels: Sequence[str] | None = None,
    sides: Sequence[str] = SIDES,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[tuple[LateralMass, ...], tuple[str, ...]]:
    """A screw for each lateral mass, from the head down, and why others got none.

    :param labels: masks on the CT's grid; vertebrae are recognised by name (``vertebrae_C4``).
    :param clicks: RAS point in each vertebral body by level; they go before labels.
    :param levels: of labelled vertebrae only these; C3 to C6 when None.
    :raises InputError: a level not there, clicks in the wrong order, or no screw at all.
    """
    thickness = max(volume.spacing_mm)
    if thickness > _THICKEST_MM:
        raise InputError(
            f"slices of {thickness:.2g} mm are too thick to tell lateral masses; take a "
            f"reconstruction of {_THICKEST_MM:g} mm or less"
        )
    masks = {} if clicks else vertebra_bones(labels)
    masks = {k: check_mask(m, volume.hu.shape, k) for k, m in masks.items()}
    places = {level_of(name) or name: np.asarray(clicks[name], float) for name in clicks} or {
        k: mask_points(m, volume.ijk_to_ras).mean(axis=0) for k, m in masks.items()
    }
    ups = chain_directions(places) if len(places) > 1 else {}
    bodies = _chosen(places, None if clicks else levels or [k for k in masks if k in LEVELS])
    check_order(bodies)
    doubts = _elsewhere(bodies) | check_told_apart(bodies)
    warnings = list(dict.fromkeys(doubts.values()))
    found: list[LateralMass] = []
    for number, (level, body) in enumerate(bodies.items()):
        check_cancelled(cancel)
        report(progress, number / len(bodies), f"lateral masses of {level}")
        if level in doubts:
            continue
        screws, why = _in_level(volume, level, body, ups.get(level), masks.get(level), sides)
        found += screws
        warnings += why
    report(progress, 1.0, "lateral masses found")
    if not found:
        raise InputError("no lateral mass takes a screw: " + "; ".join(warnings))
    return tuple(found), tuple(warnings)


def _chosen(
    places: Mapping[str, np.ndarray], levels: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """The places of these levels, of all when None, from the head down.

    :raises InputError: none, or one that is not there.
    """
    chosen = list(places) if levels is None else levels
    if not chosen or not set(chosen) <= set(places):
        raise InputError(
            f"no {' '.join(chosen) or 'C3 to C6'} among the labels; name them vertebrae_C4 and so "
            "on, or click into each body (--click C4=R,A,S)"
        )
    return {level: places[level] for level in by_level(chosen)}


def _elsewhere(chosen: Collection[str]) -> dict[str, str]:
    """Levels without lateral masses that take screws, and what to say of them."""
    return {
        level: f"{level}: lateral mass screws are proposed from C3 to C6 only; leave it out, or "
        "place its screws by hand"
        for level in chosen
        if level not in LEVELS
    }


def _in_level(
    volume: CTVolume,
    level: str,
    body: np.ndarray,
    up: np.ndarray | None,
    mask: np.ndarray | None,
    sides: Sequence[str],
) -> tuple[list[LateralMass], list[str]]:
    """The screws of one vertebra, and why a side got none.

    :param body: in the body, or the middle of the mask where there is one.
    """
    try:
        if mask is not None:
            matrix = volume.ijk_to_ras
            body = vertebra_frame(
                mask, matrix, level, superior_hint=up, canal_direction=None
            ).centre
        check_click(volume, level, body)
        section = neck_section(volume, neck_frame(volume, body, up))
        section = with_foramina(section, float(section.frame.to_index(body)[2]))
    except InputError as error:
        return [], [f"{level}: {str(error).removeprefix(f'{level}: ')}"]
    own = None
    if mask is not None:
        own = np.nan_to_num(sample_array(mask, volume.ijk_to_ras, section.grid)) > 0.5
    found: list[LateralMass] = []
    warnings: list[str] = []
    for side in sides:
        try:
            field = mass_field(section, side, own)
            found.append(mass_screw(section, side, field, level))
        except InputError as error:
            warnings.append(f"{level} {side}: {error}")
    return found, warnings
