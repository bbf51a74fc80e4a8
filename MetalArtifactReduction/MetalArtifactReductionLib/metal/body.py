"""Where the patient is."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SMOOTHING_MM = 3.0
BODY_HU = -550.0
"""Half-way between fat and air: smoothing leaves the skin where it is."""


def body_mask(
    hu: np.ndarray, spacing_mm: tuple[float, float, float], *, coarse_mm: float = 0.0
) -> np.ndarray:
    """The patient without the table: everything inside the skin, lungs and bowel gas included.

    Smoothed (3 mm, so that streaks do not cut the skin), thresholded half-way between fat and air,
    opened to let go of table and blankets, closed, the large parts kept (two legs are two parts),
    holes filled slice by slice.

    :param hu: ``(slices, rows, cols)``.
    :param spacing_mm: ``(slice, row, col)``.
    :param coarse_mm: work on every n-th pixel, about this far apart, to save time; 0 uses all.
    :returns: bool, same shape.
    """
    step = [max(1, int(coarse_mm / s)) for s in spacing_mm[1:]]
    sigma = [SMOOTHING_MM / s for s in spacing_mm[1:]]
    spacing = (spacing_mm[1] * step[0], spacing_mm[2] * step[1])
    tissue = np.empty((len(hu), *hu[0, :: step[0], :: step[1]].shape), dtype=bool)
    for index, layer in enumerate(hu):
        # Clipped, so that neither metal nor the dark between streaks outweighs its surroundings.
        smooth = np.clip(layer, -1000.0, 100.0).astype(np.float32)
        smooth = ndimage.gaussian_filter(smooth, sigma, mode="nearest", truncate=2.5)
        tissue[index] = smooth[:: step[0], :: step[1]] > BODY_HU
    parts = _grown(_shrunk(tissue, 4.0, spacing), 4.0, spacing) & tissue
    labels, count = ndimage.label(parts)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body: np.ndarray = (sizes >= 0.1 * sizes.max())[labels]
    body |= _closed(body, 8.0, spacing)
    for index in range(len(body)):
        body[index] = ndimage.binary_fill_holes(body[index])
    if step != [1, 1]:
        body = body.repeat(step[0], axis=1).repeat(step[1], axis=2)
        body = body[:, : hu.shape[1], : hu.shape[2]]
    return body


def _closed(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Closing of every slice by a disc; what the field of view cuts goes on beyond its border."""
    y, x = (1 + max(1, round(radius_mm / s)) for s in spacing_mm)
    wide = np.pad(mask, ((0, 0), (y, y), (x, x)), mode="edge")
    wide = _shrunk(_grown(wide, radius_mm, spacing_mm), radius_mm, spacing_mm)
    return wide[:, y:-y, x:-x]


def _shrunk(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Erosion of every slice by a disc; spares the image's border, where the field of view cuts."""
    return ~_grown(~mask, radius_mm, spacing_mm)


def _grown(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Dilation of every slice by a disc, row by row of the disc: each is wider than the one before.

    Many times faster than to look at all of the disc in each pixel.
    """
    high, wide = (max(1, round(radius_mm / s)) for s in spacing_mm)
    x, out, row, reached = np.arange(wide + 1), np.zeros_like(mask), mask, 0
    for y in range(high, -1, -1):
        reach = np.count_nonzero((y / (high + 0.5)) ** 2 + (x / (wide + 0.5)) ** 2 <= 1) - 1
        for _ in range(reached, reach):
            wider = row.copy()
            wider[..., 1:] |= row[..., :-1]
            wider[..., :-1] |= row[..., 1:]
            row = wider
        reached = reach
        rows = max(mask.shape[1] - y, 0)
        out[:, y:] |= row[:, :rows]
        out[:, :rows] |= row[:, y:]
    return out


def within_pixels(mask: np.ndarray, pixels: float) -> np.ndarray:
    """Voxels within so many pixels of the mask, in the slice plane, the mask itself left out."""
    out = np.zeros(mask.shape, dtype=bool)
    for index in np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1)):
        out[index] = ndimage.distance_transform_edt(~mask[index]) <= pixels
    result: np.ndarray = out & ~mask
    return result
