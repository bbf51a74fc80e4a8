"""Procedural patients with known truth: a lumbar spine and a pelvis with both hips."""

from .lumbar import lumbar_spine_phantom
from .pelvis import pelvis_phantom
from .truth import HipTruth, PedicleTruth, Phantom, PhantomTruth, VertebraTruth

__all__ = [
    "HipTruth",
    "PedicleTruth",
    "Phantom",
    "PhantomTruth",
    "VertebraTruth",
    "lumbar_spine_phantom",
    "pelvis_phantom",
]
