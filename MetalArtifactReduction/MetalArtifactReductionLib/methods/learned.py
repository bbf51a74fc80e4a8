"""Inpainters made of trained weights: by name of shipped weights, or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..weights import load_weights, read_facts

if TYPE_CHECKING:
    import torch

    from ..weights import Weights
    from .base import Method

LEARNED: Mapping[str, str] = MappingProxyType(
    {
        "image-prior": ".image_prior.inpainter:ImagePriorMethod",
        "sinogram-unet": ".sinogram_unet.inpainter:SinogramUNet",
        "trace-cnn": ".trace_cnn.inpainter:TraceCNNMethod",
    }
)
"""What the weights' file says under ``"inpainter"`` -> ``"module:class"`` in this package, which is
made with the loaded weights."""


def learned_inpainter(name_or_path: str, **options: Any) -> Method:
    """The inpainter of shipped weights, or of a ``.safetensors`` file.

    :param options: the inpainter's own.
    :raises InputError: missing, corrupted or foreign weights.
    :raises TypeError: an option that it does not have.
    """
    facts = read_facts(name_or_path)
    kind = str(facts.method.get("inpainter", "nothing"))
    if kind not in LEARNED:
        raise InputError(
            f"{name_or_path}: its weights are for {kind!r}, which is no inpainting method of this "
            f"version; it has {', '.join(LEARNED)}"
        )
    module, name = LEARNED[kind].split(":")
    made = getattr(import_module(module, __package__), name)
    inpainter: Method = made(load_weights(name_or_path), **options)
    return inpainter


def on_device(weights: Weights, device: torch.device) -> torch.nn.Module:
    """The network, moved where the batch is (once)."""
    parameter = next(weights.network.parameters())
    return weights.network if parameter.device == device else weights.network.to(device)
