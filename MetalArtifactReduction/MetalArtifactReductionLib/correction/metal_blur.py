"""Rays that pass just beside metal met its blur.

Reconstruction smears metal over a pixel or two. Rays through those pixels lie beside the trace of
what is marked, and carry the blur with them: left as they are, they return it as a bright frame
around the metal.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .dense_tissue import DENSE_HU, box_around

WIDTH_MM = 0.7
"""Of the blur that is left beside what is marked; rounded to pixels."""

BRIGHT_HU, SOFT_HU = 1000.0, 300.0
"""Such a pixel is blur, if what follows is no brighter than the second: else it may be bone or a
tooth. Fainter blur was not worth the rays; chosen on simulated hips, spines and limbs."""

DENSE_APART_MM = 3.0
"""In teeth, nothing that is dense lies so near: it would be lost with the rays."""


def with_blur(
    original_hu: np.ndarray,
    metal_fraction: np.ndarray,
    certain: np.ndarray,
    teeth: np.ndarray,
    spacing_mm: tuple[float, float],
) -> np.ndarray:
    """The metal fraction, and 1 where certain metal's blur lies over soft tissue.

    :param original_hu: ``(slices, rows, cols)``.
    :param metal_fraction: 0..1, same shape.
    :param certain: bool, see :func:`..metal.certain.certain_metal`.
    :param teeth: above 0 in slices with a row of teeth, see :func:`.dense_tissue.teeth_shares`.
    :param spacing_mm: ``(row, col)``.
    """
    pixels = [round(WIDTH_MM / side) for side in spacing_mm]
    out: np.ndarray = metal_fraction.copy()
    for hu, fraction, sure, dental in zip(original_hu, out, certain, teeth, strict=True):
        if sure.any():
            # As far as the filters look from a pixel of the blur.
            reach = [_reach(s) + 2 * n + 1 for s, n in zip(spacing_mm, pixels, strict=True)]
            box = box_around(sure, reach)
            place = hu[box], fraction[box] > 0, pixels
            blurred = _blur(*place, sure[box])
            if dental:
                blurred &= _apart_from_dense(*place, spacing_mm)
            fraction[box][blurred] = 1.0
    return out


def _blur(hu: np.ndarray, marked: np.ndarray, pixels: list[int], certain: np.ndarray) -> np.ndarray:
    """Bright pixels beside certain metal after which there is soft tissue."""
    beside = ndimage.maximum_filter(certain, [2 * n + 1 for n in pixels]) & ~marked
    outside = np.where(marked, np.inf, hu)
    after = ndimage.minimum_filter(outside, [2 * n + 3 for n in pixels])
    result: np.ndarray = beside & (hu > BRIGHT_HU) & (after < SOFT_HU)
    return result


def _apart_from_dense(
    hu: np.ndarray, marked: np.ndarray, pixels: list[int], spacing_mm: tuple[float, float]
) -> np.ndarray:
    clear = ~ndimage.maximum_filter(marked, [2 * n + 3 for n in pixels])
    near = [2 * _reach(side) + 1 for side in spacing_mm]
    result: np.ndarray = ndimage.maximum_filter(np.where(clear, hu, -np.inf), near) < DENSE_HU[0]
    return result


def _reach(side_mm: float) -> int:
    return round(DENSE_APART_MM / side_mm)
