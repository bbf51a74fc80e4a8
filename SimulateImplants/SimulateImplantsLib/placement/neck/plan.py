"""Lateral mass screws and their rods as a plan: what fits best, and plausible variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from MetalArtifactReductionLib.errors import InputError

from ...implants.lateral_mass_screw import LateralMassScrew
from ..geometry import across, unit
from ..plan import PlacementPlan, PlannedImplant
from ..spine.construct import bent_elsewhere, planned_screw, rod_construct
from ..spine.trajectory import SIDES
from .screw import LateralMass

if TYPE_CHECKING:
    from ..patient import Patient
    from ..procedures import ProposalOptions

_ROD_MM = 3.5
_OVERHANG_MM = 4.0
_ENTRY_SD_MM, _ANGLE_SD = 0.6, np.tan(np.deg2rad(2.0))
_BOTH_SIDES, _WITH_RODS = 0.8, 0.85


def propose(patient: Patient, options: ProposalOptions) -> PlacementPlan:
    """A screw in each mass, and a rod on either side."""
    masses = [mass for mass in patient.masses if mass.side in options.sides]
    rod = (options.rod_diameter_mm or _ROD_MM) if options.rods else None
    return _plan(masses, rod, options.material, patient.warnings)


def sample(patient: Patient, seed: int, index: int) -> PlacementPlan:
    """Some neighbouring levels, one or both sides, screws a little off the best."""
    rng = np.random.default_rng([seed, index])
    levels = list(dict.fromkeys(mass.level for mass in patient.masses))
    first = int(rng.integers(0, max(len(levels) - 1, 1)))
    run = levels[first : first + int(rng.integers(2, 5))]
    sides = SIDES if rng.random() < _BOTH_SIDES else (str(rng.choice(SIDES)),)
    chosen = [m for m in patient.masses if m.level in run and m.side in sides]
    rod = _ROD_MM if rng.random() < _WITH_RODS else None
    return _plan([_disturbed(m, rng) for m in chosen], rod, "Ti6Al4V", patient.warnings)


def _disturbed(mass: LateralMass, rng: np.random.Generator) -> LateralMass:
    """As a surgeon might have placed it: near the proposal."""
    d = mass.direction
    across_it = np.stack([across(mass.up, d), np.cross(across(mass.up, d), d)])
    entry = mass.entry_ras + rng.normal(0, _ENTRY_SD_MM, 2) @ across_it
    ahead = unit(d + rng.normal(0, _ANGLE_SD, 2) @ across_it)
    return replace(mass, entry_ras=entry, target_ras=entry + mass.length_mm * ahead)


def _plan(
    masses: Sequence[LateralMass], rod_mm: float | None, material: str, warnings: Sequence[str]
) -> PlacementPlan:
    """:raises InputError: no mass."""
    if not masses:
        raise InputError("no lateral mass takes a screw: " + "; ".join(warnings))
    implants: list[PlannedImplant] = []
    told = list(warnings)
    for side in SIDES:
        screws = [
            planned_screw(
                mass,
                mass.up,
                LateralMassScrew,
                rod_diameter_mm=rod_mm or _ROD_MM,
                material=material,
            )
            for mass in masses
            if mass.side == side
        ]
        if rod_mm and len(screws) >= 2:
            screws = rod_construct(
                screws, rod_diameter_mm=rod_mm, overhang_mm=_OVERHANG_MM, material=material
            )
            told += bent_elsewhere(screws)
        implants += screws
    levels = ", ".join(dict.fromkeys(mass.level for mass in masses))
    return PlacementPlan(
        tuple(implants), description=f"lateral mass screws {levels}", warnings=tuple(told)
    )
