"""Parametric implants: closed surfaces in mm, one file a family, one entry in ``registry``.

Each implant is a frozen dataclass; ``parts()`` gives its closed surfaces with their materials,
``surface()`` all of them as one vtkPolyData. Parts may overlap (a screw's ball lies in its tulip):
no Boolean union is made, the voxelisation counts what is enclosed twice once. No single part
intersects itself.
"""

from __future__ import annotations

from .entry import ImplantEntry, Procedure
from .presets import ParameterRange, Preset
from .registry import (
    entries,
    implant_from_dict,
    implant_from_preset,
    implant_kinds,
    parameter_ranges,
    presets,
    procedures,
    register,
)

__all__ = [
    "ImplantEntry",
    "ParameterRange",
    "Preset",
    "Procedure",
    "entries",
    "implant_from_dict",
    "implant_from_preset",
    "implant_kinds",
    "parameter_ranges",
    "presets",
    "procedures",
    "register",
]
