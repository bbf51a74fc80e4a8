"""Proposed implants as editable nodes, and plain bone parted into vertebrae for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.correct import ct_from_node
from MetalArtifactReductionLib.mrml.hierarchy import mark_result, place_results
from MetalArtifactReductionLib.mrml.transaction import all_or_none
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report

from ..implants.registry import finder_of, procedure_of
from ..placement.anatomy import union
from ..placement.clicks import segment_vertebra
from ..placement.geometry import chain_directions
from ..placement.patient import Bones, measure_patient
from ..placement.plan import PlacementPlan
from ..placement.procedures import ProposalOptions, proposed_plan, sampled_plan
from ..placement.spine.levels import LEVELS, by_level, hip_masks, level_of
from .bone import segmentation_from_labels
from .companions import remove
from .plans import add_plan
from .scene_implant import PROPOSED, SceneImplant, implants_of


@dataclass(frozen=True)
class ProposedNodes:
    """What a proposal added to the scene.

    :param implants: with their lines; rods follow their screws.
    :param plan: the same as data.
    :param warnings: one line each, for the user.
    """

    implants: tuple[SceneImplant, ...]
    plan: PlacementPlan
    warnings: tuple[str, ...]


def propose(
    scene: Any,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    kind: str = "spine",
    *,
    levels: Sequence[str] | None = None,
    clicks: Mapping[str, np.ndarray] | None = None,
    options: ProposalOptions | None = None,
    variant: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ProposedNodes:
    """Implants fitted to the bones of a CT, as editable nodes; an earlier proposal is replaced.

    :param labels: masks on the CT's grid, see ``bone_labels``; vertebrae, femora and hips are
        recognised by name.
    :param kind: a procedure, see ``implants.procedures``.
    :param levels: of the vertebrae only these; all labelled ones if None.
    :param clicks: for hips in plain bone, one RAS point in each femoral head, see ``clicks_of``.
    :param variant: 0 for the best fit; otherwise the seed of a plausible variant, which draws
        levels, sides, sizes, angles, rods and materials by itself.
    :raises InputError: no such bone among the labels, or none usable; nothing is added then.
    """
    site = procedure_of(kind).site
    options = options or ProposalOptions()
    if not options.sides:
        raise InputError("no side chosen: choose left, right or both")
    found_by_itself = bool(finder_of(site))
    if not (labels or found_by_itself):
        raise InputError("no bone: segment it, or find it by threshold, first")
    volume = ct_from_node(scene, ct_node)
    femora = [f"femur_{side}" for side in options.sides]
    named = site != "hip" or any(femur in hip_masks(labels) for femur in femora)
    if not named and not clicks:
        raise InputError(
            f"no {femora[0]} among the segments {sorted(labels)}: name the femur so, or "
            "click once into each femoral head"
        )
    bones = Bones(labels, dict(clicks or {}) if found_by_itself or not named else {})
    patient = measure_patient(
        volume, bones, site, levels=levels, sides=options.sides, progress=progress, cancel=cancel
    )
    plan = (
        sampled_plan(patient, kind, variant) if variant else proposed_plan(patient, kind, options)
    )
    earlier = [one for one in implants_of(scene) if one.model.GetAttribute(PROPOSED)]
    implants = tuple(add_plan(scene, plan, like=ct_node))
    for one in implants:
        one.model.SetAttribute(PROPOSED, "1")
    for one in earlier:
        remove(one)
    return ProposedNodes(implants, plan, plan.warnings)


def split_vertebrae(
    scene: Any,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    clicks: Mapping[str, np.ndarray],
    *,
    lowest: str = "L5",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[Any, tuple[str, ...]]:
    """Part a plain bone segmentation into vertebrae, one for each clicked point.

    :param labels: masks on the CT's grid; their union is the bone.
    :param clicks: RAS points in the CT's own frame, see ``clicks_of``.
    :param lowest: level of the lowest point when the points are not labelled with their levels.
    :returns: a segmentation node with segments ``vertebrae_L4`` ..., and warnings.
    :raises InputError: no bone, no click, or none usable; nothing is added then.
    """
    volume = ct_from_node(scene, ct_node)
    if not labels:
        raise InputError("no bone: segment it, or find it by threshold, first")
    bone = union(labels)
    assert bone is not None  # there are labels
    named = named_levels(clicks, lowest)
    ups = chain_directions(named)
    parts: dict[str, np.ndarray] = {}
    warnings: list[str] = []
    for index, level in enumerate(by_level(named)):
        check_cancelled(cancel)
        report(progress, index / len(named), f"parting {level} from its neighbours")
        try:
            parts[f"vertebrae_{level}"] = segment_vertebra(
                bone, volume.ijk_to_ras, named[level], ups[level], level, volume.hu
            )
        except InputError as error:
            warnings.append(str(error))
    if not parts:
        raise InputError("no clicked vertebra could be used: " + "; ".join(warnings))
    with all_or_none(scene) as added:
        node = added(
            segmentation_from_labels(scene, parts, ct_node, f"Vertebrae {ct_node.GetName()}")
        )
        mark_result(node, "vertebrae", ct_node)
        place_results(scene, ct_node, [node], f"Implants {ct_node.GetName()}")
    return node, tuple(warnings)


def named_levels(clicks: Mapping[str, np.ndarray], lowest: str = "L5") -> dict[str, np.ndarray]:
    """Clicked points by level: as labelled, or counted upwards from the lowest one.

    :raises InputError: no click, only some labelled with a level, more points than vertebrae.
    """
    if not clicks:
        raise InputError("nothing is clicked: place one point in the body of each vertebra")
    known = {level_of(label): point for label, point in clicks.items() if level_of(label)}
    if len(known) == len(clicks):
        return {str(level): np.asarray(point) for level, point in known.items()}
    if known:
        other = next(label for label in clicks if not level_of(label))
        raise InputError(
            f"clicked point '{other}' names no vertebra and others do: label all of them (L4, "
            "...) or none"
        )
    if lowest not in LEVELS:
        raise InputError(f"'{lowest}' is no vertebra: choose one of C1 to S1")
    ups = chain_directions(dict(clicks))
    points = list(clicks.values())
    axis = np.mean(list(ups.values()), axis=0)
    order = np.argsort([float(np.asarray(point) @ axis) for point in points])
    bottom = LEVELS.index(lowest)
    if len(points) > bottom + 1:
        raise InputError(f"{len(points)} points are clicked, more than vertebrae up from {lowest}")
    return {LEVELS[bottom - rank]: np.asarray(points[int(i)]) for rank, i in enumerate(order)}
