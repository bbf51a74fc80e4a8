"""Many plausible placements from a few measured bones: the anatomical source of training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from .collision import collisions
from .geometry import across, unit
from .hip.measure import HipModel
from .hip.plan import nail_plan, prosthesis_plan
from .plan import PlacementPlan, PlannedImplant, join_plans
from .random_shapes import sample_random_plan
from .spine.construct import ROD_DIAMETERS_MM, cross_link, planned_screw, rod_construct
from .spine.fusion import approaches, cage_plan, disc_between, plate_plan
from .spine.levels import level_index
from .spine.propose import SpineProposal, VertebraModel
from .spine.sizes import ScrewSizes, snap_nearest
from .spine.trajectory import SIDES, PedicleTrajectory


@dataclass(frozen=True)
class SpineSampling:
    """How screws vary.

    :param most_levels: longest construct. :param both_sides: chance of both sides.
    :param with_rods: chance of rods.
    :param entry_sd_mm, angle_sd_deg: free-hand error of entry and direction (about 1-2 mm and
        2-4 degrees in navigated and free-hand series).
    :param gross_chance: chance of a screw placed with three times that error.
    :param size_steps: the diameter may be so many sizes off the proposed one.
    :param steel_chance, cobalt_rod_chance: of 316L for all, of CoCrMo rods on titanium screws.
    :param cage_chance: of a cage in one of the construct's discs, by any approach.
    :param plate_chance: of such a cage from the front with a plate, and nothing at the back.
    :param cross_link_chance: where both sides have rods.
    """

    most_levels: int = 5
    both_sides: float = 0.75
    with_rods: float = 0.85
    entry_sd_mm: float = 0.8
    angle_sd_deg: float = 2.0
    gross_chance: float = 0.04
    size_steps: int = 1
    steel_chance: float = 0.08
    cobalt_rod_chance: float = 0.3
    cage_chance: float = 0.4
    plate_chance: float = 0.15
    cross_link_chance: float = 0.2


@dataclass(frozen=True)
class HipSampling:
    """How hips vary: chances of a nail instead of a prosthesis and of both hips, and spreads.

    Inclination and anteversion spread about 42 and 15 degrees: most cups lie within the safe zone
    of Lewinnek 1978, some do not.
    """

    nail_chance: float = 0.3
    both_chance: float = 0.35
    inclination_sd_deg: float = 6.0
    anteversion_sd_deg: float = 7.0
    stem_turn_sd_deg: float = 5.0


def _rng(seed: int, index: int) -> np.random.Generator:
    """Variant ``index`` is the same whatever the number of variants."""
    return np.random.default_rng([int(seed), int(index)])


def _disturbed(
    screw: PedicleTrajectory,
    vertebra: VertebraModel,
    rng: np.random.Generator,
    options: SpineSampling,
    sizes: ScrewSizes,
) -> PedicleTrajectory:
    """A screw as a surgeon might have placed it: near the proposal, not on it."""
    spread = 3.0 if rng.random() < options.gross_chance else 1.0
    d = screw.direction
    u = across(vertebra.frame.superior, d)
    v = np.cross(d, u)
    shift = rng.normal(0, options.entry_sd_mm * spread, 2)
    turn = np.tan(np.deg2rad(rng.normal(0, options.angle_sd_deg * spread, 2)))
    direction = unit(d + turn[0] * u + turn[1] * v)
    entry = screw.entry_ras + shift[0] * u + shift[1] * v
    step = int(rng.integers(-options.size_steps, options.size_steps + 1))
    table = sorted(sizes.diameters_mm)
    at = table.index(snap_nearest(screw.diameter_mm, table)) + step
    diameter = table[int(np.clip(at, 0, len(table) - 1))]
    length = snap_nearest(screw.length_mm + rng.choice([-5.0, 0.0, 0.0, 5.0]), sizes.lengths_mm)
    return replace(
        screw,
        entry_ras=entry,
        target_ras=entry + direction * length,
        diameter_mm=diameter,
        length_mm=length,
    )


def _graded(
    screw: PedicleTrajectory, vertebra: VertebraModel, material: str, rod_diameter_mm: float
) -> PlannedImplant:
    """A screw as planned, with its breach among the attributes."""
    grade = vertebra.grade(screw.side, screw.entry_ras, screw.target_ras, screw.diameter_mm)
    item = planned_screw(screw, material=material, rod_diameter_mm=rod_diameter_mm)
    quality = {"grade": grade.grade, "breach_mm": round(grade.breach_mm, 2)}
    return replace(item, attributes={**item.attributes, **quality})


def _runs(levels: Sequence[str]) -> list[list[str]]:
    """Runs of neighbouring levels."""
    runs: list[list[str]] = []
    for level in levels:
        if runs and level_index(level) - level_index(runs[-1][-1]) == 1:
            runs[-1].append(level)
        else:
            runs.append([level])
    return runs


def _neighbours(usable: Sequence[str], most: int, rng: np.random.Generator) -> list[str]:
    """Some neighbouring levels, two or more where there are."""
    runs = _runs(usable)
    weights = np.array([len(r) for r in runs], float)
    run = runs[int(rng.choice(len(runs), p=weights / weights.sum()))]
    count = int(rng.integers(min(2, len(run)), min(most, len(run)) + 1))
    first = int(rng.integers(0, len(run) - count + 1))
    return run[first : first + count]


def sample_spine_plan(
    proposal: SpineProposal,
    seed: int,
    index: int = 0,
    options: SpineSampling | None = None,
    sizes: ScrewSizes | None = None,
) -> PlacementPlan:
    """Variant ``index``: some neighbouring levels, one or both sides, screws with rods or without.

    Breaches of the variant's screws are among its implants' attributes ("grade", "breach_mm").

    :raises InputError: the proposal has no screw that fits.
    """
    options, sizes = options or SpineSampling(), sizes or ScrewSizes()
    rng = _rng(seed, index)
    usable = [v.level for v in proposal.vertebrae if any(t.fits for t in v.trajectories.values())]
    if not usable:
        raise InputError("no vertebra of the proposal has a screw that fits")
    levels = _neighbours(usable, options.most_levels, rng)
    sides = SIDES if rng.random() < options.both_sides else (str(rng.choice(SIDES)),)
    steel = rng.random() < options.steel_chance
    material = "316L" if steel else "Ti6Al4V"
    rod_material = (
        "316L" if steel else ("CoCrMo" if rng.random() < options.cobalt_rod_chance else "Ti6Al4V")
    )
    rods = bool(rng.random() < options.with_rods)
    diameter = float(rng.choice(ROD_DIAMETERS_MM))
    implants: list[PlannedImplant] = []
    built: list[list[PlannedImplant]] = []
    warnings: list[str] = []
    for side in sides:
        screws = []
        for vertebra in (proposal[level] for level in levels):
            screw = vertebra.trajectories.get(side)
            if screw is not None and screw.fits:
                placed = _disturbed(screw, vertebra, rng, options, sizes)
                screws.append(_graded(placed, vertebra, material, diameter))
        if rods and len(screws) >= 2:
            try:
                screws = rod_construct(screws, rod_diameter_mm=diameter, material=rod_material)
            except InputError as error:
                warnings.append(str(error))
        implants += screws
        built.append(screws)
    more, told = _between(proposal, levels, built, rng, options, rod_material)
    plated = any(item.kind == "anterior-plate" for item in more)
    implants = more if plated else [*implants, *more]
    warnings += told
    parameters: dict[str, Any] = {
        "kind": "spine",
        "index": index,
        "levels": levels,
        "sides": list(sides),
        "rods": rods,
        "plate": plated,
        "sampling": asdict(options),
    }
    what = f"{'cage and plate' if plated else 'pedicle screws'} {levels[0]}-{levels[-1]}"
    return PlacementPlan(tuple(implants), seed, what, parameters, tuple(warnings))


def _between(
    proposal: SpineProposal,
    levels: Sequence[str],
    sides: Sequence[Sequence[PlannedImplant]],
    rng: np.random.Generator,
    options: SpineSampling,
    material: str,
) -> tuple[list[PlannedImplant], list[str]]:
    """Cage and cross-link of a construct, or cage and plate instead of it; why one was left out.

    :param sides: the construct's screws and rods, side by side.
    """
    caged, plated, linked = rng.random(3) < [
        options.cage_chance,
        options.plate_chance,
        options.cross_link_chance,
    ]
    turn, which = float(rng.uniform(-25.0, 25.0)), rng.integers(0, 1000, 3)
    there = [item for side in sides for item in side]
    more: list[PlannedImplant] = []
    warnings: list[str] = []

    def put(items: Sequence[PlannedImplant]) -> None:
        hits = collisions([*there, *more, *items])
        if any(hit.second >= len(there) + len(more) for hit in hits):
            raise InputError(f"{items[0].kind} left out: it would touch other implants")
        more.extend(items)

    pairs = [(proposal[a], proposal[b]) for a, b in pairwise(levels)]
    if caged and pairs:
        upper, lower = pairs[which[0] % len(pairs)]
        try:
            disc = disc_between(upper, lower)
            ways = approaches(disc)
            way = ways[which[1] % len(ways)]
            if plated:
                front = cage_plan(disc, "ALIF" if "ALIF" in ways else way, choice=int(which[2]))
                return [*front, plate_plan(upper, lower)], warnings
            oblique = turn if way == "TLIF" else 0.0
            put(cage_plan(disc, way, choice=int(which[2]), turn_deg=oblique))
        except InputError as error:
            warnings.append(str(error))
    if linked and len(sides) == 2 and all(any(i.kind == "rod" for i in side) for side in sides):
        try:
            put([cross_link(sides[0], sides[1], material)])
        except InputError as error:
            warnings.append(str(error))
    return more, warnings


def sample_hip_plan(
    hips: Mapping[str, HipModel],
    seed: int,
    index: int = 0,
    options: HipSampling | None = None,
    volume: CTVolume | None = None,
    **fixed: Any,
) -> PlacementPlan:
    """Variant ``index``: a prosthesis or a nail in the left, the right or both hips.

    :param hips: measured hips by side. :param volume: see :func:`prosthesis_plan`.
    :param fixed: what :func:`prosthesis_plan` is given instead of what is drawn.
    :raises InputError: no hip.
    """
    options = options or HipSampling()
    if not hips:
        raise InputError("no hip is measured: nothing to place")
    rng = _rng(seed, index)
    both = len(hips) > 1 and rng.random() < options.both_chance
    sides = sorted(hips) if both else [str(rng.choice(sorted(hips)))]
    plans = []
    for side in sides:
        if rng.random() < options.nail_chance:
            plans.append(
                nail_plan(
                    hips[side],
                    long=bool(rng.random() < 0.25),
                    locking_screws=int(rng.integers(0, 3)),
                    material="316L" if rng.random() < 0.2 else "Ti6Al4V",
                )
            )
            continue
        drawn: dict[str, Any] = {
            "stem_step": int(rng.integers(-1, 2)),
            "cup_step": int(rng.integers(-1, 2)),
            "cup_screws": int(rng.integers(0, 4)),
            "inclination_deg": float(np.clip(rng.normal(42, options.inclination_sd_deg), 25, 65)),
            "anteversion_deg": float(np.clip(rng.normal(15, options.anteversion_sd_deg), -5, 35)),
            "stem_turn_deg": float(rng.normal(0, options.stem_turn_sd_deg)),
            "stem_material": str(rng.choice(["Ti6Al4V", "Ti6Al4V", "CoCrMo", "316L"])),
        }
        plans.append(prosthesis_plan(hips[side], volume=volume, **(drawn | fixed)))
    joined = join_plans(plans)
    return replace(
        joined,
        seed=seed,
        parameters={
            "kind": "hip",
            "index": index,
            "sides": sides,
            "sampling": asdict(options) | fixed,
        },
    )


def sample_plans(
    volume: CTVolume,
    count: int,
    seed: int,
    *,
    spine: SpineProposal | None = None,
    hips: Mapping[str, HipModel] | None = None,
    masks: np.ndarray | None = None,
    proportions: Mapping[str, float] | None = None,
    spine_options: SpineSampling | None = None,
    hip_options: HipSampling | None = None,
) -> list[PlacementPlan]:
    """``count`` variants of anatomical and random metal in given proportions.

    Variant i depends on the seed and on i alone.

    :param proportions: weights of "spine", "hip" and "random"; equal for what there is when None.
    :raises InputError: unknown kind, nothing to sample from, negative weights.
    """
    there = {"spine": spine is not None, "hip": bool(hips), "random": True}
    if proportions is None:
        proportions = {k: 1.0 for k, given in there.items() if given and k != "random"} or {
            "random": 1.0
        }
    for kind, weight in proportions.items():
        if kind not in there:
            raise InputError(f"unknown kind {kind!r} of placement; there are: {', '.join(there)}")
        if not weight >= 0:
            raise InputError(f"proportion of {kind} of {weight} is negative")
        if weight > 0 and not there[kind]:
            raise InputError(f"no {kind} is measured in this CT; give {kind} the proportion 0")
    kinds = [k for k, w in proportions.items() if w > 0]
    if count < 0 or not kinds:
        raise InputError(f"{count} plans of {dict(proportions)}: nothing to sample")
    weights = np.array([proportions[k] for k in kinds], float)
    plans = []
    for i in range(count):
        kind = str(_rng(seed, i).choice(kinds, p=weights / weights.sum()))
        if kind == "spine":
            assert spine is not None
            plans.append(sample_spine_plan(spine, seed, i, spine_options))
        elif kind == "hip":
            plans.append(sample_hip_plan(hips or {}, seed, i, hip_options))
        else:
            own = int(np.random.SeedSequence([seed, i]).generate_state(1)[0])
            plans.append(sample_random_plan(volume, own, masks))
    return plans
