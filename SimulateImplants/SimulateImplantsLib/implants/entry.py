"""What there is to know of a family of implants, and of a way to place it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .presets import Preset

if TYPE_CHECKING:
    from .base import Implant


@dataclass(frozen=True)
class Procedure:
    """A way of placing implants on a patient's bones.

    :param name: for ``mar place --kind``. :param label: for the panel, in English.
    :param site: what has to be measured for it: "spine", "neck", "hip", or what ``find`` finds.
    :param propose: what fits best: ``(Patient, ProposalOptions) -> PlacementPlan`` of
        ``placement``, or "module:name" of it.
    :param sample: a plausible variant: ``(Patient, seed, index) -> PlacementPlan``, likewise.
    :param find: the site's places in a CT about which nothing is known:
        ``(CTVolume) -> tuple[Spot, ...]``, likewise.
    :param draw: implants on them: ``(Patient, Generator) -> list[PlannedImplant]``; stands for
        ``propose`` and ``sample``.
    :param weight: of being drawn among the procedures of its site for a dataset.
    :param heeds: what the panel asks for it: "sides", "levels" of vertebrae, "rods".
    """

    name: str
    label: str
    site: str
    propose: str | Callable[..., Any] = ""
    sample: str | Callable[..., Any] = ""
    weight: float = 1.0
    find: str | Callable[..., Any] = ""
    draw: str | Callable[..., Any] = ""
    heeds: tuple[str, ...] = ("sides",)


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
    :param graded: what says how well it lies otherwise, ``(Implant, (4, 4) implant frame to RAS,
        Anatomy) -> (grade, note)`` of ``placement``, or "module:name" of it.
    :param procedures: how it is placed on bones.
    """

    kind: str
    label: str
    family: str | type[Implant]
    sizes: tuple[Preset, ...] = ()
    forwards: bool = False
    along_line: bool = False
    sits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    graded: str | Callable[..., tuple[str, str]] = ""
    procedures: tuple[Procedure, ...] = ()

    def load(self) -> type[Implant]:
        """The family."""
        family: type[Implant] = resolve(self.family)
        return family


def resolve(reference: Any) -> Any:
    """What "module:name" names; anything else is itself."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
