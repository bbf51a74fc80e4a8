"""Placement plans as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from MetalArtifactReductionLib.errors import InputError

from ..implants.user_mesh import UserMesh
from ..placement.plan import PlacementPlan, PlannedImplant
from ..voxels.metal import Metal
from ..voxels.voxelize import PlacedImplant
from .records import read_json

_WANTED = "a plan that mar place or 3D Slicer wrote"


def read_plan(path: Path) -> PlacementPlan:
    """A plan from JSON; surfaces of the user's own are looked for beside it.

    :raises InputError: no such file, not a plan, or one without implants.
    """
    data = read_json(path, _WANTED)
    try:
        plan = PlacementPlan.from_dict(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: is not a placement plan ({error}); give {_WANTED}") from None
    if not plan.implants and not plan.shapes:
        raise InputError(f"{path}: the plan holds no implants; place some first (mar place)")
    return replace(plan, implants=tuple(_beside(item, path) for item in plan.implants))


def metal_of(plan: PlacementPlan) -> Metal:
    """The implants of a plan, made and named, and its shapes.

    :raises InputError: an implant that cannot be made; says which.
    """
    placed = []
    for number, item in enumerate(plan.implants, start=1):
        name = implant_name(item)
        try:
            placed.append(PlacedImplant(item.make(), item.matrix, name))
        except InputError as error:
            raise InputError(f"implant {number} of the plan ({name}): {error}") from None
    return Metal(placed, plan.shapes)


def implant_name(item: PlannedImplant) -> str:
    """``pedicle-screw L3 left``."""
    parts = (item.kind, item.attributes.get("level"), item.attributes.get("side"))
    return " ".join(str(part) for part in parts if part)


def _beside(item: PlannedImplant, plan: Path) -> PlannedImplant:
    if item.kind != UserMesh.kind or not item.implant.get("path"):
        return item
    surface = Path(str(item.implant["path"]))
    if surface.is_absolute():
        return item
    return replace(item, implant={**item.implant, "path": str(plan.parent / surface)})
