"""Methods by name. A new method is one more entry in :data:`METHODS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from .base import Method


@dataclass(frozen=True)
class MethodEntry:
    """One inpainting method.

    :param name: as the user types it.
    :param summary: one line: what it is for.
    :param factory: ``"module:callable"`` relative to this package; imported on first use, so that
        listing the methods costs nothing.
    :param learned: the method is shipped weights; the factory takes their name.
    :param weights: their name; that of the method if empty.
    :param mode: of methods that use the same weights in several ways.
    """

    name: str
    summary: str
    factory: str
    learned: bool = False
    weights: str = ""
    mode: str = ""


WEIGHTS_SUFFIX = ".safetensors"

METHODS: Mapping[str, MethodEntry] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            MethodEntry(
                "li",
                "linear interpolation of the trace along the bins (Kalender 1987): the baseline",
                ".linear:LinearInterpolation",
            ),
            MethodEntry(
                "nmar",
                "normalised interpolation with a prior image (Meyer 2010): keeps bone near metal",
                ".nmar.inpainter:NMAR",
            ),
            MethodEntry(
                "prior",
                "learned image of the slice without metal, itself the result: the most accurate",
                ".learned:learned_inpainter",
                learned=True,
                mode="best",
            ),
            MethodEntry(
                "prior-strict",
                "the same image fills the trace only: no other measured value changes",
                ".learned:learned_inpainter",
                learned=True,
                weights="prior",
                mode="strict",
            ),
            MethodEntry(
                "trace-cnn",
                "small convolutional network trained on several patients' own slices",
                ".learned:learned_inpainter",
                learned=True,
            ),
            MethodEntry(
                "patient",
                "the same, trained on this volume's own slices next to the metal first: minutes",
                ".trace_cnn.patient:PatientTraining",
            ),
            MethodEntry(
                "unet",
                "U-Net on three slices' sinograms, trained on simulated implants: spine, not hips",
                ".learned:learned_inpainter",
                learned=True,
            ),
            MethodEntry(
                "cgan",
                "the same U-Net trained on against a discriminator: spine, not hips",
                ".learned:learned_inpainter",
                learned=True,
            ),
        )
    }
)


def method_names() -> tuple[str, ...]:
    """Names that :func:`create_method` knows."""
    return tuple(METHODS)


def create_method(method: str | Method, **options: object) -> Method:
    """The inpainter of that name, made with ``options``; an inpainter is returned as it is.

    :param method: a name of :data:`METHODS`, a file of weights (``.safetensors``), or an inpainter.
    :raises InputError: for an unknown name (the message lists the known ones), or an option
        that the method does not have or a value it cannot use.
    """
    if not isinstance(method, str):
        if options:
            raise InputError(f"options {sorted(options)} need a method by name, not an object")
        return method
    entry = METHODS.get(method)
    if method.endswith(WEIGHTS_SUFFIX):
        entry = MethodEntry(method, "weights of a file", ".learned:learned_inpainter", learned=True)
    if entry is None:
        raise InputError(
            f"unknown method {method!r}; choose one of {', '.join(METHODS)}, or give a file of "
            f"weights ({WEIGHTS_SUFFIX})"
        )
    module, name = entry.factory.split(":")
    factory = getattr(import_module(module, __package__), name)
    named = (entry.weights or method,) if entry.learned else ()
    if entry.mode:
        options = {"mode": entry.mode} | options
    try:
        inpainter: Method = factory(*named, **options)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"method {method!r} cannot be made with {options}: {error}") from error
    return inpainter
