"""Filling the metal trace: one file per method behind one protocol.

The protocol needs torch, which takes seconds to import; listing the methods does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import METHODS, MethodEntry, create_inpainter, method_names

if TYPE_CHECKING:
    from .protocol import Inpainter, InpaintingContext

__all__ = [
    "METHODS",
    "Inpainter",
    "InpaintingContext",
    "MethodEntry",
    "create_inpainter",
    "method_names",
]


def __getattr__(name: str) -> Any:
    if name in ("Inpainter", "InpaintingContext"):
        from . import protocol

        return getattr(protocol, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
