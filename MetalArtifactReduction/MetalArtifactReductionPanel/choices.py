"""What the panel lets the user choose from; values are the library's own names."""

from __future__ import annotations

import enum

from slicer.i18n import tr as _


class Method(enum.Enum):
    """Methods of the library, by their names there; ``FILE`` is one from a weights file."""

    NMAR = "nmar"
    PRIOR = "prior"
    PRIOR_STRICT = "prior-strict"
    LINEAR_INTERPOLATION = "li"
    UNET = "unet"
    CGAN = "cgan"
    TRACE_CNN = "trace-cnn"
    PATIENT = "patient"
    FILE = "file"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Method.NMAR: _("NMAR"),
            Method.PRIOR: _("Learned, best: the most accurate"),
            Method.PRIOR_STRICT: _("Learned, strict: only the metal's rays change"),
            Method.LINEAR_INTERPOLATION: _("Linear interpolation"),
            Method.UNET: _("U-Net, trained on simulated implants"),
            Method.CGAN: _("Conditional GAN, trained on simulated implants"),
            Method.TRACE_CNN: _("Trace CNN, trained on simulated metal in hips"),
            Method.PATIENT: _("Train on this patient"),
            Method.FILE: _("Trained model from a file"),
        }[self]

    def explanation(self) -> str:
        """What it is for, in a line."""
        return {
            Method.NMAR: _(
                "Interpolates after dividing by a model of the tissue: keeps bone next to metal. "
                "A good first choice."
            ),
            Method.PRIOR: _(
                "A network draws each slice as it would be without artifacts: the most accurate "
                "in tests. May change values outside the metal's rays: bounded, mapped and "
                "reported. May invent structures next to metal."
            ),
            Method.PRIOR_STRICT: _(
                "The same network fills only what metal hid: nothing but the metal's rays changes. "
                "Streaks that the scanner put into other rays stay. May invent structures next to "
                "metal."
            ),
            Method.LINEAR_INTERPOLATION: _(
                "Draws a straight line across what metal hid: the baseline. Blurs bone next to "
                "metal."
            ),
            Method.UNET: _(
                "A network fills what metal hid, from three slices at a time, trained on simulated "
                "implants. For spines: in tests about as good as NMAR, or better; in hips worse. "
                "May invent structures next to metal."
            ),
            Method.CGAN: _(
                "As the U-Net, but trained on against a second network to look real. For spines: "
                "in tests about as good as NMAR, or better, with more noise; in hips worse. May "
                "invent structures next to metal."
            ),
            Method.TRACE_CNN: _(
                "A small network, trained on the hips of two patients and a nail: not for "
                "prostheses, which hide more than it can see. May invent structures next to metal."
            ),
            Method.PATIENT: _(
                "Trains a small network on this patient's own slices above and below the metal, "
                "then corrects: takes minutes. May invent structures next to metal."
            ),
            Method.FILE: _("Weights that you trained yourself or were given (.safetensors)."),
        }[self]


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
