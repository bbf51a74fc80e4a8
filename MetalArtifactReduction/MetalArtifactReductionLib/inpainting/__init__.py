"""Filling the metal trace: one file per method behind one protocol."""

from .protocol import Inpainter, InpaintingContext
from .registry import METHODS, MethodEntry, create_inpainter, method_names

__all__ = [
    "METHODS",
    "Inpainter",
    "InpaintingContext",
    "MethodEntry",
    "create_inpainter",
    "method_names",
]
