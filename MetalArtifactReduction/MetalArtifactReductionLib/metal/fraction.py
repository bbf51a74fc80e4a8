"""From bright voxels to the share of each voxel that is metal."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .certain import LEAST_HU
from .components import BrightPart, padded
from .judgement import (
    AROUND_SHARE,
    BEYOND_TISSUE_HU,
    ENAMEL_HU,
    EVERY_NEIGHBOUR,
    PLANE_NEIGHBOURS,
    TOOTH_HU,
    Box,
    Spacing,
    around_hu,
    blur_pixels,
    dense_apart_mm2,
    in_teeth,
    placed,
    widened,
)

_SMALLEST_FRACTION = 0.25
"""Below, a border voxel cannot be told from bone or a streak beside the metal."""

_SATURATED = 0.6
"""Of what is certain by itself on a clipped scale: more of fillings and brackets is clipped, less
of thin wires and the ends of screws."""

_ROW_OF_TEETH_MM2, _ROW_MM = 250.0, 40.0
"""In a slice of a jaw so much is as dense as teeth, apart from metal and so far around a part; in
a shoulder, a spine or a hip it is less ..."""

_ENAMEL_SHARE = 0.08
"""... and so much of it as bright as enamel: in a skull or the shaft of a femur, hardly any."""

_PEAK = 0.9
"""Of the highest value: what lies around the brightest voxels tells where they are."""


def part_fraction(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    part: BrightPart,
    clipped_from_hu: float | None = None,
    certain_from_hu: float = LEAST_HU,
    *,
    enamel: bool = True,
    reach_mm: float = 3.0,
    largest_hole_mm2: float = 50.0,
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """Metal fraction of one part and its border.

    A border voxel holds ``fraction = (HU - background) / (metal - background)``: ``metal`` is the
    brightest value within ``reach_mm`` (at least half of the part's), ``background`` the median
    around the part. Voxels at half the metal's height and more are the core; its inside is 1. So
    streaks that hang on unclipped metal (they pass the threshold, but not half of 8000 HU) do not
    count. Where the brightest value is clipped, metal is taken to be twice as high (implants have
    6000 HU and more): half of the clipped height would count the blur around the metal, too. What
    is certain metal by itself is core with a fraction of 1, whatever brighter is near, but for
    enamel as bright; what passes the threshold farther than ``reach_mm`` from any is the enamel or
    bone that it touches. Holes up to ``largest_hole_mm2`` are filled, whether beam hardening made
    them or a nail's canal: every ray to them meets metal, so the original is the best to be had.

    :param hu: the volume ``(slices, rows, cols)``; the order of ``spacing_mm``, too.
    :param part: from :func:`.components.bright_parts`.
    :param clipped_from_hu: see :func:`.threshold.clip_level`.
    :param certain_from_hu: see :func:`.certain.certain_hu`.
    :param enamel: whether it may be as bright; a user who gives the threshold says that it is not.
    :returns: the box in the volume and float32 fractions 0..1 in it.
    """
    reach = [max(1, round(reach_mm / s)) for s in spacing_mm]
    box = padded(part.box, (1, reach[1] + 1, reach[2] + 1), hu.shape)
    values = hu[box]
    inside = placed(part.voxels, part.box, box)
    background = float(np.clip(around_hu(values, inside, blur_pixels(spacing_mm)), -200.0, 800.0))
    size = (3 if reach[0] > 1 else 1, 2 * reach[1] + 1, 2 * reach[2] + 1)
    metal = ndimage.maximum_filter(np.where(inside, values, -1024.0), size)
    metal = np.maximum(metal, 0.5 * np.percentile(values[inside], 95))
    inside, bright = _without_enamel(
        hu, box, spacing_mm, inside, certain_from_hu, clipped_from_hu, size, enamel
    )
    if clipped_from_hu is not None:
        metal = np.where(metal >= clipped_from_hu, 2.0 * clipped_from_hu - background, metal)
    share = (values - background) / np.maximum(metal - background, 1.0)
    core = inside & (share >= 0.5)
    # Where nothing is clipped it may be the border of what is brighter, whose share is known.
    is_border = clipped_from_hu is None and ndimage.binary_dilation(core, PLANE_NEIGHBOURS)
    certain = bright & ~np.asarray(is_border)
    core |= certain
    # A little below half: clipped values scatter, and a ring with a gap holds nothing.
    ring = inside & (share >= 0.42)
    core |= _small_holes(ring, largest_hole_mm2 / (spacing_mm[1] * spacing_mm[2]))
    border = ndimage.binary_dilation(core, PLANE_NEIGHBOURS)
    deep = ndimage.binary_erosion(core, PLANE_NEIGHBOURS, border_value=1)
    fraction = np.where(border & (bright | (share >= _SMALLEST_FRACTION)), np.clip(share, 0, 1), 0)
    fraction = np.where(deep | certain, 1, fraction)
    # A filled hole may be dark at its rim.
    fraction = np.where(core, np.maximum(fraction, 0.5), fraction)
    return box, fraction.astype(np.float32)


def _without_enamel(
    volume_hu: np.ndarray,
    box: Box,
    spacing_mm: Spacing,
    inside: np.ndarray,
    certain_hu: float,
    clipped_from_hu: float | None,
    reach: tuple[int, int, int],
    enamel: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """A part near what is certain metal by itself, and what is.

    Enamel may be as bright as what is certain, so in teeth only what no tissue reaches is metal. A
    part that hardly reaches it is left as it is.

    :param inside: the part, in its box.
    :param reach: a box in pixels around what is certain.
    :param enamel: whether it may be as bright.
    """
    hu, sure_hu = volume_hu[box], clipped_from_hu or BEYOND_TISSUE_HU
    bright = inside & (hu > certain_hu)
    sure = bright & enamel & (hu >= sure_hu)
    hidden = np.zeros_like(sure)
    blur = blur_pixels(spacing_mm)
    near = ndimage.binary_dilation(sure, PLANE_NEIGHBOURS, iterations=blur)
    far = bright & ~near if sure.any() else hidden
    jaw = _rows_of_teeth(volume_hu, box, spacing_mm, far, sure_hu)
    counted = bright & (near | ~jaw)
    saturated = clipped_from_hu is None or sure.sum() >= _SATURATED * counted.sum()
    if sure.any() and saturated:
        teeth = _in_dense(hu, spacing_mm, bright, sure, certain_hu)
        hidden = ndimage.binary_dilation(teeth & sure, PLANE_NEIGHBOURS, iterations=blur)
        bright &= ~teeth | sure
        if clipped_from_hu is None:
            far = bright & ~ndimage.maximum_filter(sure, reach)
            bright &= ~_in_dense(hu, spacing_mm, far, np.zeros_like(far), certain_hu)
        bright &= near | ~jaw
        inside = inside & (ndimage.maximum_filter1d(near, 3, axis=0) | ~jaw)
        between = ndimage.binary_closing(bright, PLANE_NEIGHBOURS, iterations=3 * blur)
        dense = (hu > AROUND_SHARE * certain_hu) & ~bright
        width = 4 * blur + 1
        mostly = ndimage.uniform_filter(dense.astype(np.float32), (1, width, width)) > 0.5
        inside = inside & (bright | near | between | ~mostly)
    if bright.any():
        inside = inside & (hidden | ndimage.maximum_filter(bright & ~hidden, reach))
    return inside, bright


def _rows_of_teeth(
    volume_hu: np.ndarray, box: Box, spacing_mm: Spacing, far: np.ndarray, sure_hu: float
) -> np.ndarray:
    """The slices of a jaw: what is bright far from metal is enamel there, and a streak on it.

    :param far: what is bright, in its box; other slices are not looked at.
    :returns: bool ``(slices, 1, 1)``.
    """
    jaw = np.zeros((len(far), 1, 1), dtype=bool)
    asked = np.flatnonzero(far.any(axis=(1, 2)))
    wide = widened(box, (0.0, _ROW_MM, _ROW_MM), spacing_mm, volume_hu.shape)
    around = volume_hu[wide][asked]
    dense_mm2, enamel_mm2 = (
        dense_apart_mm2(around, around >= sure_hu, spacing_mm, least_hu)
        for least_hu in (TOOTH_HU, ENAMEL_HU)
    )
    row_of_teeth = dense_mm2 >= _ROW_OF_TEETH_MM2
    jaw[asked, 0, 0] = row_of_teeth & (enamel_mm2 >= _ENAMEL_SHARE * dense_mm2)
    return jaw


def _in_dense(
    hu: np.ndarray, spacing_mm: Spacing, bright: np.ndarray, sure: np.ndarray, certain_hu: float
) -> np.ndarray:
    """The pieces of bright voxels whose brightest, and the sure ones, lie in what is dense."""
    if not bright.any():
        return bright
    # In pieces apart by no more than the blur there is one metal.
    gap = blur_pixels(spacing_mm) // 2
    near = ndimage.binary_dilation(bright, PLANE_NEIGHBOURS, iterations=gap)
    labels, count = ndimage.label(near, structure=EVERY_NEIGHBOUR)
    peaks = _PEAK * ndimage.maximum(hu[near], labels[near], np.arange(count + 1))
    peak = bright & (sure | (hu >= peaks[labels]))
    dense = [
        n
        for n, box in enumerate(ndimage.find_objects(labels), start=1)
        if in_teeth(hu, spacing_mm, box, peak[box] & (labels[box] == n), certain_hu)
    ]
    result: np.ndarray = bright & np.isin(labels, dense)
    return result


def _small_holes(mask: np.ndarray, largest_pixels: float) -> np.ndarray:
    """Holes within slices, up to a size: the liner of a cup stays open."""
    out = np.zeros_like(mask)
    for index, layer in enumerate(mask):
        holes = ndimage.binary_fill_holes(layer) & ~layer
        if holes.any():
            labels, _ = ndimage.label(holes)
            sizes = np.bincount(labels.ravel())
            small = sizes <= largest_pixels
            small[0] = False
            out[index] = small[labels]
    return out
