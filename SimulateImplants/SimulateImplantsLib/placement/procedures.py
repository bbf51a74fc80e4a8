"""Implants placed on a measured patient: what fits best, and plausible variants.

One function each for what ``implants.registry`` lists as procedures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ..implants.registry import Procedure, procedure_of, resolve
from .hip.measure import HipModel
from .hip.plan import nail_plan, prosthesis_plan
from .patient import Patient
from .plan import PlacementPlan, join_plans
from .samplers import HipSampling, sample_hip_plan, sample_spine_plan
from .spine.propose import SpineProposal, spine_plan
from .spine.trajectory import SIDES


@dataclass(frozen=True)
class ProposalOptions:
    """What a user may choose for a proposal.

    :param sides: of the screws; of hips those that were measured get implants.
    :param rods: through the screws.
    :param material: of screws and rods, of the stem, or of the nail.
    """

    sides: Sequence[str] = SIDES
    rods: bool = True
    rod_diameter_mm: float = 5.5
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
        rod_diameter_mm=options.rod_diameter_mm,
        material=options.material,
        rod_material=options.material,
    )
    if not plan.implants:
        raise InputError("no pedicle takes a screw: " + "; ".join(plan.warnings))
    return plan


def propose_total_hip(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """Stem, head and cup."""
    return _in_each_hip(patient, lambda hip: prosthesis_plan(hip, stem_material=options.material))


def propose_short_nail(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """A nail that ends in the shaft."""
    return _in_each_hip(patient, lambda hip: nail_plan(hip, material=options.material))


def propose_long_nail(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """A nail as long as the femur in the CT takes."""
    return _in_each_hip(patient, lambda hip: nail_plan(hip, long=True, material=options.material))


def sample_spine(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """A variant of a spine construct."""
    return sample_spine_plan(_spine(patient), seed, index)


def sample_total_hip(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """A variant of a prosthesis."""
    return sample_hip_plan(_hips(patient), seed, index, HipSampling(nail_chance=0.0))


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
