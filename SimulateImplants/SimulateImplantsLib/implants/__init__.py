"""Parametric implants: closed surfaces in mm, one file a family.

Each implant is a frozen dataclass; ``parts()`` gives its closed surfaces with their materials,
``surface()`` all of them as one vtkPolyData. Parts may overlap (a screw's ball lies in its tulip):
no Boolean union is made, the voxelisation counts what is enclosed twice once. No single part
intersects itself.
"""

from __future__ import annotations

from .acetabular_cup import AcetabularCup
from .base import Implant, ImplantPart
from .bone_screw import BoneScrew
from .cage import InterbodyCage
from .cross_link import CrossLink
from .femoral_head import FemoralHead
from .hip_stem import HipStem
from .mesh import Mesh
from .nail import CephalomedullaryNail
from .pedicle_screw import PedicleScrew, RodSeat
from .plate import AnteriorPlate
from .presets import ParameterRange, Preset, parameter_ranges, presets
from .registry import implant_from_dict, implant_from_preset, implant_kinds
from .rod import Rod
from .total_hip import TotalHip
from .user_mesh import UserMesh

__all__ = [
    "AcetabularCup",
    "AnteriorPlate",
    "BoneScrew",
    "CephalomedullaryNail",
    "CrossLink",
    "FemoralHead",
    "HipStem",
    "Implant",
    "ImplantPart",
    "InterbodyCage",
    "Mesh",
    "ParameterRange",
    "PedicleScrew",
    "Preset",
    "Rod",
    "RodSeat",
    "TotalHip",
    "UserMesh",
    "implant_from_dict",
    "implant_from_preset",
    "implant_kinds",
    "parameter_ranges",
    "presets",
]
