"""The ways to correct, each known by one entry of :mod:`.registry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .registry import METHODS as METHODS
from .registry import MethodEntry as MethodEntry
from .registry import create_method as create_method
from .registry import method_names as method_names

if TYPE_CHECKING:
    from .base import InpaintingContext as InpaintingContext
    from .base import Method as Method


def __getattr__(name: str) -> Any:
    if name in ("InpaintingContext", "Method"):
        from . import base  # needs torch, which takes seconds

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
