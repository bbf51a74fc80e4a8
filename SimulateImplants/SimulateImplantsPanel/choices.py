"""What the panel lets the user choose from; values are the library's own names."""

from __future__ import annotations

import enum

from slicer.i18n import tr as _


class Proposal(enum.Enum):
    """What can be proposed from the bone."""

    SPINE = "spine"
    TOTAL_HIP = "total-hip"
    SHORT_NAIL = "short-nail"
    LONG_NAIL = "long-nail"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Proposal.SPINE: _("Pedicle screws"),
            Proposal.TOTAL_HIP: _("Hip prosthesis: stem, head, cup"),
            Proposal.SHORT_NAIL: _("Femoral nail, short"),
            Proposal.LONG_NAIL: _("Femoral nail, long"),
        }[self]


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


class Kind(enum.Enum):
    """Families of implants."""

    PEDICLE_SCREW = "pedicle-screw"
    ROD = "rod"
    CROSS_LINK = "cross-link"
    INTERBODY_CAGE = "interbody-cage"
    ANTERIOR_PLATE = "anterior-plate"
    HIP_STEM = "hip-stem"
    FEMORAL_HEAD = "femoral-head"
    ACETABULAR_CUP = "acetabular-cup"
    TOTAL_HIP = "total-hip"
    CEPHALOMEDULLARY_NAIL = "cephalomedullary-nail"
    BONE_SCREW = "bone-screw"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Kind.PEDICLE_SCREW: _("Pedicle screw"),
            Kind.ROD: _("Rod"),
            Kind.CROSS_LINK: _("Cross-link"),
            Kind.INTERBODY_CAGE: _("Interbody cage"),
            Kind.ANTERIOR_PLATE: _("Anterior plate"),
            Kind.HIP_STEM: _("Hip stem"),
            Kind.FEMORAL_HEAD: _("Femoral head"),
            Kind.ACETABULAR_CUP: _("Acetabular cup"),
            Kind.TOTAL_HIP: _("Total hip"),
            Kind.CEPHALOMEDULLARY_NAIL: _("Femoral nail"),
            Kind.BONE_SCREW: _("Bone screw"),
        }[self]


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
