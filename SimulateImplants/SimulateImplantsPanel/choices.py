"""What the panel lets the user choose from; values are the library's own names."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

SPINE, PELVIS = "spine", "total-hip"
"""What is proposed for the phantoms."""


@dataclass(frozen=True)
class Family:
    """A family of implants: label, and the names of its sizes."""

    label: str
    sizes: tuple[str, ...]


def kinds() -> dict[str, Family]:
    """The library's families that can be added by hand."""
    from SimulateImplantsLib.implants.registry import entries

    return {
        one.kind: Family(_(one.label), tuple(size.name for size in one.sizes))
        for one in entries()
        if one.label
    }


def proposals() -> dict[str, str]:
    """What the library can propose from the bone: name -> label."""
    from SimulateImplantsLib.implants.registry import procedures

    return {name: _(one.label) for name, one in procedures().items()}


def site_of(proposal: str) -> str:
    """The bones that a proposal is for: "spine", "neck", "hip"; "" if nobody knows it."""
    known = _procedure(proposal)
    return known.site if known else ""


def on_vertebrae(proposal: str) -> bool:
    """Whether a proposal is for vertebrae, which have levels."""
    return site_of(proposal) in ("spine", "neck")


def marked_by(proposal: str) -> str:
    """What points mark for a proposal: "spine": vertebrae; a site."""
    return "spine" if on_vertebrae(proposal) else site_of(proposal)


def heeds(proposal: str) -> tuple[str, ...]:
    """What may be chosen for a proposal, see ``Procedure``."""
    known = _procedure(proposal)
    return known.heeds if known else ()


def found_by_itself(proposal: str) -> bool:
    """Whether the place of a proposal is found in the CT, without bone or points."""
    known = _procedure(proposal)
    return bool(known and known.find)


def place_known(parameters: Any) -> bool:
    """Whether the scene says where a proposal goes: bone does, points do in a neck."""
    points = parameters.points
    clicked = points is not None and points.GetNumberOfControlPoints() > 0
    known = parameters.boneSegmentation or (clicked and site_of(parameters.proposal) == "neck")
    return bool(known) or found_by_itself(parameters.proposal)


def _procedure(proposal: str) -> Any:
    from SimulateImplantsLib.implants.registry import procedures

    return procedures().get(proposal)


def from_scene(node: Any) -> Any:
    """The module's node with the library's names; older scenes hold PEDICLE_SCREW, TOTAL_HIP."""
    for name in ("proposal", "kind"):
        stored = node.GetParameter(name) if node.HasParameter(name) else ""
        if stored.isupper():
            node.SetParameter(name, stored.lower().replace("_", "-"))
    return node


def scanner_options(parameters: Any) -> dict[str, Any]:
    """All that the panel says about a simulation.

    :param parameters: parameter node.
    """
    p = parameters
    return {
        "model": p.model.value,
        "acquisition": p.acquisition,
        "kvp": p.kvp,
        "photonsPerRay": 10**p.photons if p.noise else None,
        "seed": p.seed,
        "device": p.device,
    }


class Choice(enum.Enum):
    """One of a fixed list; its value is the library's name.

    :ivar text: what the panel shows.
    """

    text: str

    def __new__(cls, value: str, text: str) -> Choice:
        """A member with a label."""
        member = object.__new__(cls)
        member._value_, member.text = value, text
        return member

    def label(self) -> str:
        """What the panel shows; ``parameterNodeWrapper`` asks for it."""
        return self.text


class Sides(Choice):
    """Sides of a proposal."""

    BOTH = "both", _("Left and right")
    LEFT = "left", _("Left")
    RIGHT = "right", _("Right")

    def names(self) -> tuple[str, ...]:
        """As the library wants them."""
        return ("left", "right") if self is Sides.BOTH else (self.value,)


class Model(Choice):
    """Models of the artifacts."""

    PHYSICS = "physics", _("Physics: spectrum, noise, scatter")
    TRACE_MAXIMUM = "trace-maximum", _("Metal trace filled with the maximum")
    MISSING_TRACE = "missing-trace", _("Metal trace missing")


class WindowPreset(Choice):
    """Window presets of the library, by their names there."""

    METAL = "metal", _("Metal, bone and streaks")
    BONE = "bone", _("Bone")
    SOFT_TISSUE = "soft-tissue", _("Soft tissue")


class Shown(Choice):
    """Which volume the slice views show."""

    CORRUPTED = "corrupted", _("Implants with artifacts")
    IDEAL = "ideal", _("Implants without artifacts")
    REFERENCE = "reference", _("Same scan without metal")
    CT = "ct", _("The CT itself")
