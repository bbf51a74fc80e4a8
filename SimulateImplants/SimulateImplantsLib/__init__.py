"""Implants as geometry: families, placement on bones, voxelisation, phantoms, simulated cases.

::

    from SimulateImplantsLib import PlacedImplant, SimulationOptions, implant_from_dict
    from SimulateImplantsLib import simulate_implants

    rod = implant_from_dict({"kind": "rod", "length_mm": 60})
    placed = [PlacedImplant(rod, placement, "rod")]  # (4, 4), the rod's frame to RAS, mm
    result, warnings = simulate_implants(placed, volume, SimulationOptions(seed=1))

``implants.entries()`` lists the families, ``implants.procedures()`` how they are placed on bones.
CT physics is asked from ``MetalArtifactReductionLib``; nothing there knows of this package. The
names below load their files, and with them torch where it is needed, when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import implants
    from .cases.case import simulate_implants, simulate_metal
    from .cases.options import SimulationOptions
    from .implants.registry import implant_from_dict
    from .placement.patient import Bones, measure_patient
    from .placement.plan import PlacementPlan
    from .placement.procedures import ProposalOptions, proposed_plan, sampled_plan
    from .voxels.voxelize import PlacedImplant, voxelize

__all__ = [
    "Bones",
    "PlacedImplant",
    "PlacementPlan",
    "ProposalOptions",
    "SimulationOptions",
    "implant_from_dict",
    "implants",
    "measure_patient",
    "proposed_plan",
    "sampled_plan",
    "simulate_implants",
    "simulate_metal",
    "voxelize",
]

_FILES = {
    "Bones": ".placement.patient",
    "PlacedImplant": ".voxels.voxelize",
    "PlacementPlan": ".placement.plan",
    "ProposalOptions": ".placement.procedures",
    "SimulationOptions": ".cases.options",
    "implant_from_dict": ".implants.registry",
    "measure_patient": ".placement.patient",
    "proposed_plan": ".placement.procedures",
    "sampled_plan": ".placement.procedures",
    "simulate_implants": ".cases.case",
    "simulate_metal": ".cases.case",
    "voxelize": ".voxels.voxelize",
}


def __getattr__(name: str) -> Any:
    if name == "implants":
        return import_module(".implants", __name__)
    if name in _FILES:
        return getattr(import_module(_FILES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
