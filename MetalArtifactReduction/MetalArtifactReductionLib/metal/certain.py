"""Metal that is certain: what a correction must show as it was, whatever it says otherwise.

Two questions, two masks. Which rays met metal is answered generously, by the segmentation, for a
ray that is missed stays corrupted. What is shown is answered here: bright enough to be nothing
else, and joined to the segmented metal.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .judgement import BULK_HU, EVERY_NEIGHBOUR
from .threshold import clip_level

LEAST_HU = 2200.0
"""Brighter than dense bone and most enamel."""

SHARE_OF_CLIP = 0.86
"""Of the level from which values count as clipped: metal whose brightest parts the scale cuts off
is hardly darker anywhere but in its blur."""

RESAMPLED = 1.05
"""Above the clip level: resampling has spread what was clipped, to both sides."""


def certain_hu(hu: np.ndarray) -> float:
    """What is brighter is metal, if it is joined to metal.

    :param hu: the whole volume.
    """
    clipped_from, top = clip_level(hu), float(hu.max())
    if clipped_from is None or top > RESAMPLED * clipped_from:
        return LEAST_HU
    return max(LEAST_HU, SHARE_OF_CLIP * clipped_from)


def certain_metal(hu: np.ndarray, metal: np.ndarray) -> np.ndarray:
    """Voxels above :func:`certain_hu` joined to the metal, by enamel and through slices too.

    :param hu: ``(slices, rows, cols)``.
    :param metal: fraction or mask, same shape. Slices without any stay without.
    :returns: bool, same shape.
    """
    with_metal = np.flatnonzero(metal.any(axis=(1, 2)))
    certain = np.zeros(hu.shape, dtype=bool)
    if with_metal.size == 0:
        return certain
    cut = slice(int(with_metal[0]), int(with_metal[-1]) + 1)
    labels, _ = ndimage.label(hu[cut] > BULK_HU, structure=EVERY_NEIGHBOUR)
    joined = np.unique(labels[metal[cut] > 0])
    certain[cut] = np.isin(labels, joined[joined > 0]) & (hu[cut] > certain_hu(hu))
    certain[~metal.any(axis=(1, 2))] = False
    return certain
