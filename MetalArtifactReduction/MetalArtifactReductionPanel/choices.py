"""What the panel lets the user choose from; values are the library's own names."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

FILE = "file"
"""What stands for a method from a weights file."""


@dataclass(frozen=True)
class Method:
    """A method that can be chosen.

    :param explanation: what it is for, in a line.
    :param trains: it is trained on this patient first, on slices that the user chooses.
    :param fromFile: the user chooses its weights.
    """

    name: str
    label: str = ""
    explanation: str = ""
    trains: bool = False
    fromFile: bool = False


def methods() -> dict[str, Method]:
    """The library's methods in its order, and one from a file."""
    from MetalArtifactReductionLib.methods.registry import methods as registered

    found = [
        Method(one.name, _(one.label), _(one.explanation), one.trains_on_patient)
        for one in registered()
    ]
    explanation = _("Weights that you trained yourself or were given (.safetensors).")
    found.append(Method(FILE, _("Trained model from a file"), explanation, fromFile=True))
    return {one.name: one for one in found}


def method_named(stored: str) -> str:
    """The library's name for what a scene holds; older scenes hold NMAR, LINEAR_INTERPOLATION."""
    name = stored if stored in methods() else stored.lower().replace("_", "-")
    return "li" if name == "linear-interpolation" else name


def correction_options(parameters: Any) -> Any:
    """All that the panel says about a correction, ``CorrectionOptions``.

    :param parameters: parameter node.
    """
    from MetalArtifactReductionLib.correction_options import CorrectionOptions

    method, given = parameters.method, {}
    if method == FILE:
        method = parameters.weightsFile
    elif method in methods() and methods()[method].trains:
        given = {"above": parameters.slicesAbove, "below": parameters.slicesBelow}
    return CorrectionOptions(method, given, device=parameters.device)


class MetalMethod(enum.Enum):
    """How a proposal finds the metal, by the library's names."""

    THRESHOLD = "threshold"
    KMEANS = "kmeans"

    def label(self) -> str:
        """What the panel shows."""
        return {
            MetalMethod.THRESHOLD: _("Threshold above bone"),
            MetalMethod.KMEANS: _("K-means: three classes of brightness"),
        }[self]


class WindowPreset(enum.Enum):
    """Window presets of the library, by their names there."""

    BONE = "bone"
    SOFT_TISSUE = "soft-tissue"
    METAL = "metal"

    def label(self) -> str:
        """What the panel shows."""
        return {
            WindowPreset.BONE: _("Bone"),
            WindowPreset.SOFT_TISSUE: _("Soft tissue"),
            WindowPreset.METAL: _("Metal and streaks"),
        }[self]


class Views(enum.Enum):
    """Layouts of the library, by their names there."""

    COMPARISON = "comparison"
    FIGURES = "figures"
    FOUR_UP = "four-up"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Views.COMPARISON: _("Original | corrected | change"),
            Views.FIGURES: _("Original | corrected | change, table and plot"),
            Views.FOUR_UP: _("Corrected in three planes, metal in 3D"),
        }[self]


class Overlay(enum.Enum):
    """Maps over the result, by the library's names."""

    CHANGE = "change"
    EXPECTED_ERROR = "expected-error"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Overlay.CHANGE: _("Changes"),
            Overlay.EXPECTED_ERROR: _("Expected error"),
        }[self]
