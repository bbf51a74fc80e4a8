"""Implants by name: what JSON files, scenes and the command line use."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from MetalArtifactReductionLib.errors import InputError

from .acetabular_cup import AcetabularCup
from .base import Implant
from .bone_screw import BoneScrew
from .cage import InterbodyCage
from .cross_link import CrossLink
from .femoral_head import FemoralHead
from .hip_stem import HipStem
from .nail import CephalomedullaryNail
from .pedicle_screw import PedicleScrew
from .plate import AnteriorPlate
from .presets import find_preset
from .rod import Rod
from .total_hip import TotalHip
from .user_mesh import UserMesh

_FAMILIES: tuple[type[Implant], ...] = (
    PedicleScrew,
    Rod,
    CrossLink,
    InterbodyCage,
    AnteriorPlate,
    HipStem,
    FemoralHead,
    AcetabularCup,
    TotalHip,
    CephalomedullaryNail,
    BoneScrew,
    UserMesh,
)


def implant_kinds() -> dict[str, type[Implant]]:
    """Families by their ``kind``."""
    return {family.kind: family for family in _FAMILIES}


def implant_from_dict(description: Mapping[str, Any]) -> Implant:
    """Make an implant from ``{"kind": ..., parameter: value, ...}``.

    ``"preset"`` names a row of ``presets.csv`` to start from. Parameters that are not given take
    the preset's or the family's default. The inverse of :meth:`Implant.to_dict`.
    """
    if not isinstance(description, Mapping):
        raise InputError(f"an implant is a table of parameters, not {description!r}")
    families = implant_kinds()
    kind = description.get("kind")
    if kind not in families:
        raise InputError(f"unknown kind of implant {kind!r}; there are: {', '.join(families)}")
    family = families[kind]
    values = {key: value for key, value in description.items() if key not in ("kind", "preset")}
    if description.get("preset") is not None:
        values = dict(find_preset(kind, description["preset"]).parameters) | values
    known = [item.name for item in fields(family)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(known)}"
            raise InputError(f"{kind} has no parameter {key!r}; {hint}")
    return family(**{key: _restored(value) for key, value in values.items()})


def implant_from_preset(kind: str, name: str, **changes: Any) -> Implant:
    """Make an implant of a named size, some parameters changed."""
    return implant_from_dict({"kind": kind, "preset": name} | changes)


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" in value:
        return implant_from_dict(value)
    if isinstance(value, (list, tuple)):
        return tuple(_restored(item) for item in value)
    return value
