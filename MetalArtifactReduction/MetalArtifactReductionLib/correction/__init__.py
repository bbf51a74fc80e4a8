"""The correction of a volume, whatever the method: options, steps and result.

The names below load their files, and with them torch where it is needed, when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .correct import correct_volume as correct_volume
    from .options import CorrectionOptions as CorrectionOptions
    from .result import CorrectionResult as CorrectionResult
    from .sinogram import SinogramResult as SinogramResult
    from .sinogram import correct_sinogram as correct_sinogram

_FILES = {
    "correct_sinogram": "sinogram",
    "correct_volume": "correct",
    "CorrectionOptions": "options",
    "CorrectionResult": "result",
    "SinogramResult": "sinogram",
}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f".{_FILES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
