"""What is known of implants: a family is its file and its :class:`ImplantEntry` in ``families.py``.

``mar place``, ``mar dataset``, the panel, scenes and JSON files read it. Light to import: what an
entry names is loaded when it is used.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.packages import loaded_entries

from .presets import ParameterRange, Preset

if TYPE_CHECKING:
    from .base import Implant

GROUP = "metal_artifact_reduction.implants"
"""Entry points of other packages: each is an :class:`ImplantEntry`."""


@dataclass(frozen=True)
class Procedure:
    """A way of placing implants on a patient's bones.

    :param name: for ``mar place --kind``. :param label: for the panel, in English.
    :param site: what has to be measured for it: "spine", "hip", or what ``find`` finds.
    :param propose: what fits best: ``(Patient, ProposalOptions) -> PlacementPlan`` of
        ``placement``, or "module:name" of it.
    :param sample: a plausible variant: ``(Patient, seed, index) -> PlacementPlan``, likewise.
    :param find: the site's places in a CT about which nothing is known:
        ``(CTVolume) -> tuple[Spot, ...]``, likewise.
    :param draw: implants on them: ``(Patient, Generator) -> list[PlannedImplant]``; stands for
        ``propose`` and ``sample``.
    :param weight: of being drawn among the procedures of its site for a dataset.
    """

    name: str
    label: str
    site: str
    propose: str | Callable[..., Any] = ""
    sample: str | Callable[..., Any] = ""
    weight: float = 1.0
    find: str | Callable[..., Any] = ""
    draw: str | Callable[..., Any] = ""


@dataclass(frozen=True)
class ImplantEntry:
    """All that is to be known of a family of implants.

    :param kind: its name in files; the ``kind`` of the family.
    :param label: in the panel's list, in English; "" leaves it out.
    :param family: its shape, a frozen dataclass, or "module:name" of it.
    :param sizes: named ones; of the families here they are rows of ``presets.csv``.
    :param forwards: placed by hand it points to the patient's front, as screws do, else upwards.
    :param along_line: it runs from its origin along +z for ``length_mm``: entry and target of a
        line say where it is.
    :param sits: how it should lie: share of its surface in tissues, lowest and highest, see
        ``placement.tissue``.
    :param procedures: how it is placed on bones.
    """

    kind: str
    label: str
    family: str | type[Implant]
    sizes: tuple[Preset, ...] = ()
    forwards: bool = False
    along_line: bool = False
    sits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    procedures: tuple[Procedure, ...] = ()

    def load(self) -> type[Implant]:
        """The family."""
        family: type[Implant] = resolve(self.family)
        return family


@lru_cache(maxsize=1)
def _registered() -> dict[str, ImplantEntry]:
    from .families import own_entries

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


def resolve(reference: Any) -> Any:
    """What "module:name" names; anything else is itself."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" in value:
        return implant_from_dict(value)
    if isinstance(value, (list, tuple)):
        return tuple(_restored(item) for item in value)
    return value
