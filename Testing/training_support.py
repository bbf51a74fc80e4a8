"""A small clean CT, and sinogram training on it that takes seconds."""

from __future__ import annotations

import numpy as np

from MetalArtifactReductionLib.methods.sinogram_unet.samples import (
    SampleParameters,
    SinogramSampler,
)
from MetalArtifactReductionLib.methods.sinogram_unet.task import SinogramOptions, SinogramTask
from MetalArtifactReductionLib.training.clean_volumes import CleanVolume
from MetalArtifactReductionLib.training.metal_source import SimpleMetal
from MetalArtifactReductionLib.volume import CTVolume

FEATURES = (4, 4, 8, 8, 8, 4)
SPACING_MM = 6.0


def small_ct(slices: int = 6) -> CTVolume:
    """A body of muscle with one bone, 64 x 64 pixels of 6 mm."""
    y, x = np.mgrid[:64, :64] - 31.5
    hu = np.where((x / 28) ** 2 + (y / 20) ** 2 <= 1, 40.0, -1000.0)
    hu[np.hypot(x - 10, y) < 5] = 700.0
    stack = np.repeat(hu[None].astype(np.float32), slices, axis=0)
    return CTVolume(stack, np.diag([SPACING_MM, SPACING_MM, 3.0, 1.0]))


def small_sampler(start: str = "li", seed: int = 5) -> SinogramSampler:
    """Two blocks of two slices at a time, pieces of 64 x 48."""
    parameters = SampleParameters(start, window=2, slices=2, crops=2, crop=(64, 48))
    clean = [CleanVolume("small", small_ct())]
    return SinogramSampler(clean, SimpleMetal((10.0, 20.0)), parameters, seed)


def small_task(start: str = "li", **options: object) -> SinogramTask:
    """A task on :func:`small_sampler`, without validation."""
    given = SinogramOptions(start=start, features=FEATURES, **options)  # type: ignore[arg-type]
    return SinogramTask(given, small_sampler(start))
