"""Implants placed on a measured patient: what fits best, and plausible variants.

One function each for what ``implants.registry`` lists as procedures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ..implants.entry import Procedure, resolve
from ..implants.registry import procedure_of
from .hip.measure import HipModel
from .hip.plan import nail_plan, prosthesis_plan, resurfacing_plan
from .patient import Patient
from .plan import PlacementPlan, PlannedImplant, join_plans
from .samplers import HipSampling, sample_hip_plan, sample_spine_plan
from .spine.fusion import approaches, cage_plan, disc_between, plate_plan
from .spine.levels import level_index
from .spine.propose import SpineProposal, VertebraModel, spine_plan
from .spine.trajectory import SIDES


@dataclass(frozen=True)
class ProposalOptions:
    """What a user may choose for a proposal.

    :param sides: of the screws; of hips those that were measured get implants.
    :param rods: through the screws. :param rod_diameter_mm: 5.5 when None, and 3.5 in the neck.
    :param material: of screws and rods, of the stem, or of the nail.
    """

    sides: Sequence[str] = SIDES
    rods: bool = True
    rod_diameter_mm: float | None = None
    material: str = "Ti6Al4V"


def proposed_plan(
    patient: Patient, kind: str = "spine", options: ProposalOptions | None = None
) -> PlacementPlan:
    """The implants that fit best, as a plan.

    :param kind: a procedure, see ``implants.procedures``.
    :raises InputError: nothing fits.
    """
    procedure = procedure_of(kind)
    if procedure.draw:
        return _drawn(patient, procedure, 0, 0)
    plan: PlacementPlan = resolve(procedure.propose)(patient, options or ProposalOptions())
    return plan


def sampled_plan(patient: Patient, kind: str, seed: int, index: int = 0) -> PlacementPlan:
    """A surgically plausible variant: levels, sides, sizes and angles drawn, slightly off the best.

    :param kind: a procedure; a nail's length is drawn too.
    :param seed, index: the same ones give the same variant.
    :raises InputError: nothing measured to sample from.
    """
    procedure = procedure_of(kind)
    plan: PlacementPlan
    if procedure.draw:
        plan = _drawn(patient, procedure, seed, index)
    else:
        plan = resolve(procedure.sample)(patient, seed, index)
        parameters = plan.parameters or {"kind": procedure.name, "index": index}
        plan = replace(plan, seed=seed, parameters=parameters)
    if not plan.implants:
        raise InputError(
            "the sample holds no implant: " + ("; ".join(plan.warnings) or "try again")
        )
    return plan


def _drawn(patient: Patient, procedure: Procedure, seed: int, index: int) -> PlacementPlan:
    """What a region's file draws on the places that were found."""
    items = resolve(procedure.draw)(patient, np.random.default_rng([seed, index]))
    parameters = {"kind": procedure.name, "site": procedure.site, "index": index}
    return PlacementPlan(tuple(items), seed, procedure.label, parameters)


def propose_spine(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """Screws of largest clearance, and rods."""
    plan = spine_plan(
        _spine(patient),
        sides=options.sides,
        rods=options.rods,
        rod_diameter_mm=options.rod_diameter_mm or 5.5,
        material=options.material,
        rod_material=options.material,
    )
    if not plan.implants:
        raise InputError("no pedicle takes a screw: " + "; ".join(plan.warnings))
    return plan


def propose_total_hip(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """Stem, head, and a cup with screws."""
    return _in_each_hip(
        patient,
        lambda hip: prosthesis_plan(
            hip, cup_screws=2, stem_material=options.material, volume=patient.volume
        ),
    )


def propose_revision_hip(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """A long stem that holds in the shaft, with a cup and screws."""
    return _in_each_hip(
        patient,
        lambda hip: prosthesis_plan(
            hip,
            stem_series="revision",
            cup_screws=3,
            stem_material=options.material,
            volume=patient.volume,
        ),
    )


def propose_dual_mobility(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """Stem, small head, and a cup in which the liner moves."""
    return _in_each_hip(
        patient,
        lambda hip: prosthesis_plan(hip, dual_mobility=True, stem_material=options.material),
    )


def propose_resurfacing(patient: Patient, _options: ProposalOptions) -> PlacementPlan:
    """Cap and shell."""
    return _in_each_hip(patient, resurfacing_plan)


def propose_short_nail(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """A nail that ends in the shaft."""
    return _in_each_hip(patient, lambda hip: nail_plan(hip, material=options.material))


def propose_long_nail(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """A nail as long as the femur in the CT takes."""
    return _in_each_hip(patient, lambda hip: nail_plan(hip, long=True, material=options.material))


def propose_cages(patient: Patient, _options: ProposalOptions) -> PlacementPlan:
    """The largest cage of the usual approach in every disc between neighbouring vertebrae."""
    return _between(patient, lambda above, below: cage_plan(disc_between(above, below)))


def propose_anterior_plates(patient: Patient, _options: ProposalOptions) -> PlacementPlan:
    """A plate over every disc, and a cage from the front in it where one fits."""
    return _between(patient, _from_the_front)


def sample_cages(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """One disc, any approach, any size that fits."""
    rng = np.random.default_rng([seed, index])

    def drawn(above: VertebraModel, below: VertebraModel) -> list[PlannedImplant]:
        disc = disc_between(above, below)
        return cage_plan(disc, str(rng.choice(approaches(disc))), choice=int(rng.integers(100)))

    return _one_of(_between(patient, drawn), rng)


def sample_anterior_plates(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """One disc."""
    return _one_of(_between(patient, _from_the_front), np.random.default_rng([seed, index]))


def _from_the_front(above: VertebraModel, below: VertebraModel) -> list[PlannedImplant]:
    plate = plate_plan(above, below)
    disc = disc_between(above, below)
    try:
        way = "ALIF" if "ALIF" in approaches(disc) else None
        return [*cage_plan(disc, way), plate]
    except InputError:
        return [plate]


def _between(
    patient: Patient, make: Callable[[VertebraModel, VertebraModel], list[PlannedImplant]]
) -> PlacementPlan:
    """Implants of all discs; why one got none is a warning, as long as another did."""
    vertebrae = sorted(_spine(patient).vertebrae, key=lambda v: level_index(v.level))
    items: list[PlannedImplant] = []
    warnings = list(patient.warnings)
    for above, below in pairwise(vertebrae):
        try:
            items += make(above, below)
        except InputError as error:
            warnings.append(str(error))
    if not items:
        raise InputError(
            "; ".join(warnings) or "a disc needs two neighbouring vertebrae; label or click both"
        )
    return PlacementPlan(tuple(items), None, "between vertebrae", {}, tuple(warnings))


def _one_of(plan: PlacementPlan, rng: np.random.Generator) -> PlacementPlan:
    """What a plan holds for one of its levels."""
    levels = list(dict.fromkeys(item.attributes["level"] for item in plan.implants))
    level = levels[int(rng.integers(len(levels)))]
    return replace(plan, implants=tuple(i for i in plan.implants if i.attributes["level"] == level))


def sample_spine(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """A variant of a spine construct."""
    return sample_spine_plan(_spine(patient), seed, index)


def sample_total_hip(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """A variant of a prosthesis."""
    options = HipSampling(nail_chance=0.0)
    return sample_hip_plan(_hips(patient), seed, index, options, patient.volume)


def sample_revision_hip(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """A variant of a revision."""
    return sample_hip_plan(
        _hips(patient),
        seed,
        index,
        HipSampling(nail_chance=0.0),
        patient.volume,
        stem_series="revision",
        stem_material="Ti6Al4V",
        cup_screws=3,
    )


def sample_dual_mobility(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """A variant with a dual-mobility cup."""
    return sample_hip_plan(
        _hips(patient), seed, index, HipSampling(nail_chance=0.0), dual_mobility=True
    )


def sample_resurfacing(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """One hip."""
    hips = _hips(patient)
    side = str(np.random.default_rng([seed, index]).choice(sorted(hips)))
    return resurfacing_plan(hips[side])


def sample_nail(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """A variant of a nail, short or long."""
    return sample_hip_plan(_hips(patient), seed, index, HipSampling(nail_chance=1.0))


def _spine(patient: Patient) -> SpineProposal:
    if patient.spine is None:
        raise InputError("no vertebra was measured")
    return patient.spine


def _hips(patient: Patient) -> dict[str, HipModel]:
    return {hip.side: hip for hip in patient.hips}


def _in_each_hip(patient: Patient, make: Callable[[HipModel], PlacementPlan]) -> PlacementPlan:
    """One plan of all hips; why one could not be used is a warning, as long as another was."""
    plans, warnings = [], list(patient.warnings)
    for hip in patient.hips:
        try:
            plans.append(make(hip))
        except InputError as error:
            warnings.append(f"{hip.side} hip: {error}")
    if not plans:
        raise InputError("no hip could be used: " + "; ".join(warnings))
    joined = join_plans(plans)
    return replace(joined, warnings=(*warnings, *joined.warnings))
