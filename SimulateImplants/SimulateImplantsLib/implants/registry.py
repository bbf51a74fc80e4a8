"""What is known of implants: a family is its file and its :class:`ImplantEntry` in ``families.py``.

``mar place``, ``mar dataset``, the panel, scenes and JSON files read it. Light to import: what an
entry names is loaded when it is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.packages import loaded_entries

from .entry import ImplantEntry, Procedure
from .families import own_entries
from .presets import ParameterRange, Preset

if TYPE_CHECKING:
    from .base import Implant

GROUP = "metal_artifact_reduction.implants"
"""Entry points of other packages: each is an :class:`ImplantEntry`."""


@lru_cache(maxsize=1)
def _registered() -> dict[str, ImplantEntry]:
    found = {entry.kind: entry for entry in own_entries()}
    return found | {entry.kind: entry for entry in loaded_entries(GROUP)}


def register(entry: ImplantEntry) -> None:
    """Add a family, or replace one, in this process; entry points of :data:`GROUP` last.

    :raises InputError: a procedure of that name belongs to another family.
    """
    taken = {p.name: e.kind for e in entries() if e.kind != entry.kind for p in e.procedures}
    for procedure in entry.procedures:
        if procedure.name in taken:
            raise InputError(
                f"procedure {procedure.name!r} of {entry.kind} is one of {taken[procedure.name]}; "
                "give it another name"
            )
    _registered()[entry.kind] = entry


def entries() -> tuple[ImplantEntry, ...]:
    """Every family, in the order of the panel's list."""
    return tuple(_registered().values())


def entry_of(kind: Any) -> ImplantEntry:
    """A family's entry; InputError lists those that exist."""
    try:
        return _registered()[kind]
    except (KeyError, TypeError):
        names = ", ".join(_registered())
        raise InputError(f"unknown kind of implant {kind!r}; there are: {names}") from None


def procedures(site: str | None = None) -> dict[str, Procedure]:
    """The ways of placing implants on bones by name, at one site or at all."""
    every = (procedure for entry in entries() for procedure in entry.procedures)
    return {one.name: one for one in every if site in (None, one.site)}


def sites() -> tuple[str, ...]:
    """Every site of a procedure."""
    return tuple(dict.fromkeys(one.site for one in procedures().values()))


def finder_of(site: str) -> Any:
    """What finds a site in a CT by itself; "" where bones have to be named or clicked."""
    return next((one.find for one in procedures(site).values() if one.find), "")


def procedure_of(name: str) -> Procedure:
    """The procedure of that name; InputError lists those that exist."""
    known = procedures()
    if name not in known:
        raise InputError(f"unknown kind of implants {name!r}; use one of {', '.join(known)}")
    return known[name]


def implant_kinds() -> dict[str, type[Implant]]:
    """Families by their ``kind``."""
    return {entry.kind: entry.load() for entry in entries()}


def presets(kind: str | None = None) -> list[Preset]:
    """Named sizes of one family or of all, in order."""
    chosen = entries() if kind is None else [entry_of(kind)]
    return [preset for entry in chosen for preset in entry.sizes]


def find_preset(kind: str, name: str) -> Preset:
    """The preset of that name; InputError lists those that exist."""
    for preset in presets(kind):
        if preset.name == name:
            return preset
    names = ", ".join(preset.name for preset in presets(kind)) or "none"
    raise InputError(f"no preset {name!r} of {kind}; there are: {names}")


def parameter_ranges(kind: str) -> dict[str, ParameterRange]:
    """Ranges of a family's parameters by name (empty for a family without limits)."""
    entry = _registered().get(kind)
    return dict(entry.load().ranges) if entry else {}


def implant_from_dict(description: Mapping[str, Any]) -> Implant:
    """Make an implant from ``{"kind": ..., parameter: value, ...}``.

    ``"preset"`` names a size to start from. Parameters that are not given take the preset's or
    the family's default. The inverse of :meth:`.base.Implant.to_dict`.

    >>> implant_from_dict({"kind": "rod", "length_mm": 60}).diameter_mm
    5.5
    """
    if not isinstance(description, Mapping):
        raise InputError(f"an implant is a table of parameters, not {description!r}")
    kind = description.get("kind")
    family = entry_of(kind).load()
    values = {key: value for key, value in description.items() if key not in ("kind", "preset")}
    if description.get("preset") is not None:
        values = dict(find_preset(str(kind), description["preset"]).parameters) | values
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
