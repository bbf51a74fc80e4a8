"""One number for the streaks of a volume, the same wherever it is asked for.

Where streaks are measured follows from the uncorrected volume alone: from the metal that
segmentation finds in it, and from the soft tissue that a linear interpolation of its metal trace
shows. So neither a method nor a user's mask changes the figure of the uncorrected image.
"""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..metal import body_mask, segment_metal
from ..volume import CTVolume
from .metrics import streak_amplitude
from .without_reference import soft_tissue_near_metal

PIXEL_MM = 1.5
"""Soft tissue is told on pixels of about this size."""

_BATCH = 8


def streak_amplitudes(
    uncorrected: CTVolume, images: list[np.ndarray], metal_fraction: np.ndarray | None = None
) -> list[float]:
    """Streak amplitude in HU of the uncorrected volume or of corrections of it.

    :param images: ``(slices, rows, cols)`` in HU, on the grid of ``uncorrected``.
    :param metal_fraction: counts only where segmentation finds no metal at all.
    """
    region = streak_region(uncorrected, metal_fraction)
    return [streak_amplitude(image[region]) for image in images]


def streak_region(volume: CTVolume, metal_fraction: np.ndarray | None = None) -> np.ndarray:
    """Soft tissue 2 to 30 mm from metal, bool ``(slices, rows, cols)``; see the module."""
    volume, turn = volume.anatomical()
    try:
        fraction = segment_metal(volume).fraction
    except InputError:
        fraction = np.zeros_like(volume.hu) if metal_fraction is None else turn(metal_fraction)
    region = np.zeros(volume.hu.shape, dtype=bool)
    slices = np.flatnonzero(fraction.any(axis=(1, 2)))
    if slices.size:
        free = _interpolated(volume.hu[slices], fraction[slices], volume.spacing_mm[1:])
        body = body_mask(free, volume.spacing_mm)
        region[slices] = soft_tissue_near_metal(
            free, fraction[slices], spacing_mm=volume.spacing_mm, body=body
        )
    return turn.undo(region)


def _interpolated(
    hu: np.ndarray, fraction: np.ndarray, pixel_mm: tuple[float, float]
) -> np.ndarray:
    """The slices without the worst of their streaks, coarse, on their own pixels."""
    import torch

    from ..correction.working_grid import averaged
    from ..metal import metal_trace
    from ..methods.linear import interpolate_trace
    from ..tomography import (
        FilteredBackProjection,
        ImageGrid,
        ParallelProjector,
        parallel_geometry_for,
    )
    from ..tomography.attenuation import hu_to_mu, mu_to_hu

    counts = [max(1, round(PIXEL_MM / side)) for side in pixel_mm]
    coarse, metal = (averaged(averaged(x, 1, counts[0]), 2, counts[1]) for x in (hu, fraction))
    sides = (pixel_mm[0] * counts[0], pixel_mm[1] * counts[1])
    _, rows, cols = coarse.shape
    grid = ImageGrid(rows, cols, sides)
    projector = ParallelProjector(grid, parallel_geometry_for(grid), torch.device("cpu"))
    reconstruct = FilteredBackProjection(projector)
    for first in range(0, len(coarse), _BATCH):
        batch = slice(first, first + _BATCH)
        trace = metal_trace(projector, torch.from_numpy(metal[batch]))
        sinogram = projector(hu_to_mu(torch.from_numpy(coarse[batch])))
        coarse[batch] = mu_to_hu(reconstruct(interpolate_trace(sinogram, trace))).numpy()
    fine = coarse.repeat(counts[0], axis=1).repeat(counts[1], axis=2)
    return fine[:, : hu.shape[1], : hu.shape[2]]
