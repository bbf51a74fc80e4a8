"""Measures with and without a truth, and comparisons of methods."""

from .metrics import Metrics, evaluate
from .without_reference import (
    ReferenceFreeMetrics,
    evaluate_without_reference,
    soft_tissue_near_metal,
)

__all__ = [
    "Metrics",
    "ReferenceFreeMetrics",
    "evaluate",
    "evaluate_without_reference",
    "soft_tissue_near_metal",
]
