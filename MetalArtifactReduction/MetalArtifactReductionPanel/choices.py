"""What the panel lets the user choose from; values are the library's own names."""

from __future__ import annotations

import enum
from typing import Any

from slicer.i18n import tr as _

FILE = "file"
"""What stands for a method from a weights file."""


def methods() -> dict[str, Any]:
    """``MethodEntry`` by name: the library's methods, and one from a file."""
    from MetalArtifactReductionLib.methods import registry

    explanation = _("Weights that you trained yourself or were given (.safetensors).")
    of_file = registry.MethodEntry(FILE, _("Trained model from a file"), "", explanation)
    return {**registry.methods(), FILE: of_file}


def method_problem(method: str) -> str:
    """Why a method, or a file of weights, cannot be used, in one line; "" if it can."""
    from MetalArtifactReductionLib.errors import MARError
    from MetalArtifactReductionLib.methods.registry import require_method

    try:
        require_method(method)
    except MARError as error:
        return str(error)
    return ""


def from_scene(node: Any) -> Any:
    """The module's node with the library's names; older scenes hold NMAR, LINEAR_INTERPOLATION."""
    stored = node.GetParameter("method") if node.HasParameter("method") else ""
    if stored.isupper():
        name = stored.lower().replace("_", "-")
        node.SetParameter("method", "li" if name == "linear-interpolation" else name)
    return node


def correction_options(parameters: Any) -> Any:
    """All that the panel says about a correction, ``CorrectionOptions``.

    :param parameters: parameter node.
    """
    from MetalArtifactReductionLib.correction_options import CorrectionOptions

    p = parameters
    entry = methods().get(p.method)
    trains = entry is not None and entry.trains_first
    own = {"above": p.slicesAbove, "below": p.slicesBelow} if trains else {}
    method = p.weightsFile if p.method == FILE else p.method
    return CorrectionOptions(method, own, device=p.device)


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
