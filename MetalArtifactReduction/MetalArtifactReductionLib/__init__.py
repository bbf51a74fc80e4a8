"""Metal artifact reduction for CT.

::

    from MetalArtifactReductionLib import correct_volume, read_volume, write_volume

    volume = read_volume("ct.nii.gz")
    result = correct_volume(volume, method="nmar", device="auto")
    write_volume(result.corrected, "corrected.nii.gz")

``methods.methods()`` lists what ``method`` can be. The names below load their files, and with them
torch where it is needed, when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import methods
    from .correction import correct_sinogram, correct_volume
    from .correction.options import CorrectionOptions
    from .files.volumes import read_volume, write_volume
    from .metal.segmentation import segment_metal
    from .tomography.scan import Scan
    from .volume import CTVolume

__all__ = [
    "CTVolume",
    "CorrectionOptions",
    "Scan",
    "__version__",
    "correct_sinogram",
    "correct_volume",
    "methods",
    "read_volume",
    "segment_metal",
    "write_volume",
]

__version__ = "0.1.0"
"""The one place; recorded in results. Inside Slicer there is no installed package to ask."""

_FILES = {
    "CTVolume": ".volume",
    "CorrectionOptions": ".correction.options",
    "Scan": ".tomography.scan",
    "correct_sinogram": ".correction.sinogram",
    "correct_volume": ".correction.correct",
    "read_volume": ".files.volumes",
    "segment_metal": ".metal.segmentation",
    "write_volume": ".files.volumes",
}


def __getattr__(name: str) -> Any:
    if name == "methods":
        return import_module(".methods", __name__)
    if name in _FILES:
        return getattr(import_module(_FILES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
