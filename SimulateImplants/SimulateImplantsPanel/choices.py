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
    """The bones that a proposal is for: "spine", "hip"; "" if nobody knows it."""
    from SimulateImplantsLib.implants.registry import procedures

    known = procedures()
    return known[proposal].site if proposal in known else ""


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


class Sides(enum.Enum):
    """Sides of a proposal."""

    BOTH = "both"
    LEFT = "left"
    RIGHT = "right"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Sides.BOTH: _("Left and right"),
            Sides.LEFT: _("Left"),
            Sides.RIGHT: _("Right"),
        }[self]

    def names(self) -> tuple[str, ...]:
        """As the library wants them."""
        return ("left", "right") if self is Sides.BOTH else (self.value,)


class Plane(enum.Enum):
    """Slice planes of an implant."""

    ALONG = "along"
    ALONG_VERTICAL = "along-vertical"
    ACROSS = "across"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Plane.ALONG: _("Along, flat"),
            Plane.ALONG_VERTICAL: _("Along, upright"),
            Plane.ACROSS: _("Across"),
        }[self]


class Model(enum.Enum):
    """Models of the artifacts."""

    PHYSICS = "physics"
    TRACE_MAXIMUM = "trace-maximum"
    MISSING_TRACE = "missing-trace"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Model.PHYSICS: _("Physics: spectrum, noise, scatter"),
            Model.TRACE_MAXIMUM: _("Metal trace filled with the maximum"),
            Model.MISSING_TRACE: _("Metal trace missing"),
        }[self]


class WindowPreset(enum.Enum):
    """Window presets of the library, by their names there."""

    METAL = "metal"
    BONE = "bone"
    SOFT_TISSUE = "soft-tissue"

    def label(self) -> str:
        """What the panel shows."""
        return {
            WindowPreset.METAL: _("Metal, bone and streaks"),
            WindowPreset.BONE: _("Bone"),
            WindowPreset.SOFT_TISSUE: _("Soft tissue"),
        }[self]


class Shown(enum.Enum):
    """Which volume the slice views show."""

    CORRUPTED = "corrupted"
    IDEAL = "ideal"
    REFERENCE = "reference"
    CT = "ct"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Shown.CORRUPTED: _("Implants with artifacts"),
            Shown.IDEAL: _("Implants without artifacts"),
            Shown.REFERENCE: _("Same scan without implants"),
            Shown.CT: _("The CT itself"),
        }[self]
