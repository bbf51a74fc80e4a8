"""Metal in the image and in the sinogram: segmentation, trace, perturbation.

The names below load their files when they are first used; the trace needs torch, finding metal
does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .body import body_mask as body_mask
    from .components import MetalComponent as MetalComponent
    from .options import CleanUpParameters as CleanUpParameters
    from .perturbation import PerturbationParameters as PerturbationParameters
    from .perturbation import perturb_mask as perturb_mask
    from .perturbation import perturbed_masks as perturbed_masks
    from .segmentation import MetalSegmentation as MetalSegmentation
    from .segmentation import metal_volume_mm3 as metal_volume_mm3
    from .segmentation import segment_metal as segment_metal
    from .threshold import kmeans_threshold as kmeans_threshold
    from .threshold import propose_threshold as propose_threshold
    from .trace import metal_trace as metal_trace

_FILES = {
    "CleanUpParameters": "options",
    "MetalComponent": "components",
    "MetalSegmentation": "segmentation",
    "PerturbationParameters": "perturbation",
    "body_mask": "body",
    "kmeans_threshold": "threshold",
    "metal_trace": "trace",
    "metal_volume_mm3": "segmentation",
    "perturb_mask": "perturbation",
    "perturbed_masks": "perturbation",
    "propose_threshold": "threshold",
    "segment_metal": "segmentation",
}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f".{_FILES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
