"""Proposed implants as editable nodes, and plain bone parted into vertebrae for them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.jobs.call import call_job, result_of
from MetalArtifactReductionLib.mrml.correct import ct_from_node, ct_view
from MetalArtifactReductionLib.mrml.hierarchy import mark_result, place_results
from MetalArtifactReductionLib.mrml.transaction import all_of, all_or_none
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.pedicle_screw import PedicleScrew
from ..implants.registry import finder_of, procedure_of
from ..placement.anatomy import union
from ..placement.clicks import segment_vertebra
from ..placement.geometry import chain_directions
from ..placement.patient import Bones, measure_patient
from ..placement.plan import PlacementPlan
from ..placement.procedures import ProposalOptions, proposed_plan, sampled_plan
from ..placement.spine.levels import LEVELS, by_level, hip_masks, level_of, vertebra_masks
from .bone import labels_in_steps
from .companions import remove_all
from .nodes import named_by_user, rename, usual_name
from .plans import plan_in_steps
from .scene_implant import GIVEN_NAME, PROPOSED, SceneImplant, implants_of

if TYPE_CHECKING:
    from MetalArtifactReductionLib.mrml.jobs import HandleCallback, SceneJob, SceneJobs


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
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    **wanted: Any,
) -> ProposedNodes:
    """Implants fitted to the bones of a CT, as editable nodes; an earlier proposal is replaced.

    What was placed or moved by hand stays; a screw of it takes the place of the one that would be
    proposed for its pedicle.

    :param labels: masks on the CT's grid, see ``bone_labels``; vertebrae, femora and hips are
        recognised by name.
    :param kind: a procedure, see ``implants.procedures``.
    :param wanted: ``levels``: of the vertebrae only these, all labelled ones if None; ``clicks``:
        in plain bone, one RAS point in each femoral head or cervical body, see ``clicks_of``;
        ``options``:
        ``ProposalOptions``; ``variant``: 0 for the best fit, otherwise the seed of a plausible
        variant, which draws levels, sides, sizes, angles, rods and materials by itself.
    :raises InputError: no such bone among the labels, or none usable; nothing is added then.
    """
    request = _request(scene, ct_node, labels, kind, **wanted)
    plan = request.plan(progress=progress, cancel=cancel)
    nodes: ProposedNodes = all_of(_added(scene, ct_node, plan))
    return nodes


def propose_in_background(
    jobs: SceneJobs,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    kind: str = "spine",
    *,
    on_progress: HandleCallback | None = None,
    on_end: HandleCallback | None = None,
    **wanted: Any,
) -> SceneJob:
    """:func:`propose` in a process of its own; its ``nodes`` will be :class:`ProposedNodes`.

    :raises InputError: no such bone among the labels. :raises OutputError: no room for temporary
        files.
    """
    request = _request(jobs.scene, ct_node, labels, kind, read=ct_view, **wanted)
    job = call_job(request.plan, title=f"{ct_node.GetName()}: {kind}")
    return jobs.add(
        job,
        (ct_node,),
        lambda job: _added(jobs.scene, ct_node, result_of(job)),
        on_progress,
        on_end,
    )


@dataclass(frozen=True, eq=False)
class _Request:
    """What a proposal needs to know; computing knows no scene."""

    volume: CTVolume
    bones: Bones
    kind: str
    levels: Sequence[str] | None
    options: ProposalOptions
    variant: int

    def plan(self, progress: Progress | None = None, cancel: Cancel | None = None) -> PlacementPlan:
        patient = measure_patient(
            self.volume,
            self.bones,
            procedure_of(self.kind).site,
            levels=self.levels,
            sides=self.options.sides,
            progress=progress,
            cancel=cancel,
        )
        if self.variant:
            return sampled_plan(patient, self.kind, self.variant)
        return proposed_plan(patient, self.kind, self.options)


def _request(
    scene: Any,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    kind: str,
    *,
    levels: Sequence[str] | None = None,
    clicks: Mapping[str, np.ndarray] | None = None,
    options: ProposalOptions | None = None,
    variant: int = 0,
    read: Callable[[Any, Any], CTVolume] = ct_from_node,
) -> _Request:
    site = procedure_of(kind).site
    options = options or ProposalOptions()
    if not options.sides:
        raise InputError("no side chosen: choose left, right or both")
    found_by_itself = bool(finder_of(site))
    if not (labels or found_by_itself or (site == "neck" and clicks)):
        raise InputError("no bone: segment it, or find it by threshold, first")
    volume = read(scene, ct_node)
    femora = [f"femur_{side}" for side in options.sides]
    if site == "neck":
        named = bool(vertebra_masks(labels)) or not clicks
    else:
        named = site != "hip" or any(femur in hip_masks(labels) for femur in femora)
    if not named and not clicks:
        raise InputError(
            f"no {femora[0]} among the segments {sorted(labels)}: name the femur so, or "
            "click once into each femoral head"
        )
    bones = Bones(labels, dict(clicks or {}) if found_by_itself or not named else {})
    return _Request(volume, bones, kind, levels, options, variant)


def _added(scene: Any, ct_node: Any, plan: PlacementPlan) -> Generator[None, None, ProposedNodes]:
    """A plan as nodes, a step at a time; what was proposed before goes at the end."""
    every = implants_of(scene)
    earlier = [one for one in every if one.model.GetAttribute(PROPOSED)]
    by_hand = {(one.kind, one.level, one.side): one for one in every if one not in earlier}
    kept = {}
    for index, item in enumerate(plan.implants):
        level, side = (str(item.attributes.get(name) or "") for name in ("level", "side"))
        if isinstance(item.make(), PedicleScrew) and level and (item.kind, level, side) in by_hand:
            kept[index] = by_hand[item.kind, level, side]
    implants = yield from plan_in_steps(scene, plan, like=ct_node, kept=kept)
    made = [one for one in implants if one not in kept.values()]
    for one in made:
        one.model.SetAttribute(PROPOSED, "1")
    names = _names_of_user(earlier, made)
    remove_all(earlier)
    for one in made:  # now that names are free; what the user called one stays its name
        name = names.get(one.model.GetID())
        rename(one, name or usual_name(*_what(one)))
        if name is None:
            one.model.SetAttribute(GIVEN_NAME, one.name)
    return ProposedNodes(tuple(implants), plan, plan.warnings)


def _names_of_user(earlier: list[SceneImplant], made: list[SceneImplant]) -> dict[str, str]:
    """Id of a model node -> what the user called the one before it: of several, the nearest."""
    names: dict[str, str] = {}
    for old in filter(named_by_user, earlier):
        same = [one for one in made if _what(one) == _what(old) and one.model.GetID() not in names]
        if same:
            place = _middle(old)
            nearest = min(same, key=lambda one: float(np.linalg.norm(_middle(one) - place)))
            names[nearest.model.GetID()] = old.name
    return names


def _middle(one: SceneImplant) -> np.ndarray:
    """Of its surface, RAS, mm; also where its transform is lost."""
    bounds = np.zeros(6)
    one.model.GetRASBounds(bounds)
    middle: np.ndarray = bounds.reshape(3, 2).mean(axis=1)
    return middle


def _what(one: SceneImplant) -> tuple[str, str, str]:
    return one.kind, one.level, one.side


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
    given = _plain_bone(scene, ct_node, labels, clicks, lowest)
    parted = part_vertebrae(*given, progress=progress, cancel=cancel)
    result: tuple[Any, tuple[str, ...]] = all_of(_vertebrae(scene, ct_node, *parted))
    return result


def split_in_background(
    jobs: SceneJobs,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    clicks: Mapping[str, np.ndarray],
    *,
    lowest: str = "L5",
    on_progress: HandleCallback | None = None,
    on_end: HandleCallback | None = None,
) -> SceneJob:
    """:func:`split_vertebrae` in a process of its own; its ``nodes`` will be what that returns."""
    given = _plain_bone(jobs.scene, ct_node, labels, clicks, lowest)
    return jobs.add(
        call_job(part_vertebrae, *given, title=f"{ct_node.GetName()}: vertebrae"),
        (ct_node,),
        lambda job: _vertebrae(jobs.scene, ct_node, *result_of(job)),
        on_progress,
        on_end,
    )


def part_vertebrae(
    volume: CTVolume,
    bone: np.ndarray,
    named: Mapping[str, np.ndarray],
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The masks ``vertebrae_L4`` ... of clicked levels, and warnings.

    :raises InputError: no click could be used.
    """
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
    return parts, tuple(warnings)


def _plain_bone(
    scene: Any,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    clicks: Mapping[str, np.ndarray],
    lowest: str,
) -> tuple[CTVolume, np.ndarray, dict[str, np.ndarray]]:
    volume, bone = ct_from_node(scene, ct_node), union(labels)
    if bone is None:
        raise InputError("no bone: segment it, or find it by threshold, first")
    return volume, bone, named_levels(clicks, lowest)


def _vertebrae(
    scene: Any, ct_node: Any, parts: dict[str, np.ndarray], warnings: tuple[str, ...]
) -> Generator[None, None, tuple[Any, tuple[str, ...]]]:
    with all_or_none(scene) as added:
        name = f"Vertebrae {ct_node.GetName()}"
        node = added((yield from labels_in_steps(scene, parts, ct_node, name)))
        mark_result(node, "vertebrae", ct_node)
        place_results(scene, ct_node, [node], f"Implants {ct_node.GetName()}")
    return node, warnings


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
