"""Metal in the image and in the sinogram: segmentation, trace, perturbation.

The trace needs torch, which takes seconds to import; finding metal does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .body import body_mask
from .components import CleanUpParameters, MetalComponent
from .perturbation import PerturbationParameters, perturb_mask, perturbed_masks
from .segmentation import (
    SEGMENTATION_METHODS,
    MetalSegmentation,
    metal_volume_mm3,
    segment_metal,
)
from .threshold import kmeans_threshold, propose_threshold

if TYPE_CHECKING:
    from .trace import TraceParameters, metal_trace, trace_from_path

__all__ = [
    "SEGMENTATION_METHODS",
    "CleanUpParameters",
    "MetalComponent",
    "MetalSegmentation",
    "PerturbationParameters",
    "TraceParameters",
    "body_mask",
    "kmeans_threshold",
    "metal_trace",
    "metal_volume_mm3",
    "perturb_mask",
    "perturbed_masks",
    "propose_threshold",
    "segment_metal",
    "trace_from_path",
]


def __getattr__(name: str) -> Any:
    if name in ("TraceParameters", "metal_trace", "trace_from_path"):
        from . import trace

        return getattr(trace, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
