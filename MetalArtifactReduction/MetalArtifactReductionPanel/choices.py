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
    from MetalArtifactReductionLib.correction.options import CorrectionOptions
    from MetalArtifactReductionLib.metal.options import CleanUpParameters

    p = parameters
    entry = methods().get(p.method)
    trains = entry is not None and entry.trains_first
    own = {"above": p.slicesAbove, "below": p.slicesBelow} if trains else {}
    method = p.weightsFile if p.method == FILE else p.method
    clean_up = CleanUpParameters(include_surface=p.includeSurface)
    return CorrectionOptions(
        method,
        own,
        always=p.always,
        segmentation=p.metalMethod.value,
        threshold_hu=None if p.automaticThreshold else p.thresholdHu,
        clean_up=clean_up,
        device=p.device,
    )


def correction_asked(parameters: Any) -> dict[str, Any]:
    """A correction as the panel asks for it: what ``SceneJobs.correct`` takes beside the nodes."""
    options, ct = correction_options(parameters), parameters.inputVolume
    title = _("{name}: {method}").format(name=ct.GetName(), method=options.method)
    return {"options": options, "title": title, "show": False, "measure": True}


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


class MetalMethod(Choice):
    """How a proposal finds the metal, by the library's names."""

    THRESHOLD = "threshold", _("Threshold above bone")
    KMEANS = "kmeans", _("K-means: three classes of brightness")


class WindowPreset(Choice):
    """Window presets of the library, by their names there."""

    SOFT_TISSUE = "soft-tissue", _("Soft tissue")
    BONE = "bone", _("Bone")
    METAL = "metal", _("Metal and streaks")


class Views(Choice):
    """Layouts of the library, by their names there."""

    COMPARISON = "comparison", _("Original | corrected | change")
    SINGLE = "single", _("One slice: swipe or flicker")
    FIGURES = "figures", _("Original | corrected | change, table and plot")
    FOUR_UP = "four-up", _("Corrected in three planes, metal in 3D")


class Overlay(Choice):
    """Maps over the result, by the library's names."""

    CHANGE = "change", _("Changes")
    EXPECTED_ERROR = "expected-error", _("Expected error")
