"""Teeth and dense bone that are brighter than any streak around them are no streak.

Beside metal a method may lose them: the rays that would show them pass metal at many angles, and
where enamel counts as metal, its rim is all that is left to be seen. What streaks the soft tissue
around tells how much too bright the uncorrected image can be there.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..metal.judgement import APART_MM, ENAMEL_HU, TOOTH_HU, dense_apart_mm2
from .artifact_strength import LITTLE_METAL, MUCH_METAL

DENSE_HU = (600.0, 900.0)
"""Tissue begins to count as dense, and counts in full."""

STREAKS_HU = 70.0
"""Dense tissue may be too bright by the streaks times the cube of their ratio to this: hardly where
they are mild, by far more than they are where they are strong. Chosen on simulated fillings, crowns
and braces in two jaws."""

PIECE_MM2 = (LITTLE_METAL[0], MUCH_METAL[0])
"""One piece of metal in a slice up to which this holds, and from which on it does not: around
stems, bridges and screws along their length there is more than soft tissue tells."""

BLUR_MM, BLUR_PIXELS = 0.8, 1.1
"""So far from what is brightest reaches the metal's blur; enamel there may be little thicker."""

SMALLEST_MM2 = 30.0
"""What is dense on less is no tooth, but the bright arms of a star around a clip."""

TEETH_MM2 = (25.0, 50.0)
"""There begin to be teeth in a slice, and are, where so much is as dense as they are apart from
metal; else what is as bright beside metal is a streak, as between the screws of a spine."""

STREAKS_END_MM = 10.0
"""Beside metal of any size there are teeth where something so far from it is bright as enamel."""

HEIGHT_MM = 3.0
"""The brightest metal within this distance is as bright as the metal here."""

OF_HEIGHT, OF_CLIPPED = 0.5, 0.95
"""Share of that brightness that is metal and no blur; the same where the scale cuts it off."""


def keep_dense(
    corrected_hu: np.ndarray,
    original_hu: np.ndarray,
    streaks_hu: np.ndarray,
    metal_fraction: np.ndarray,
    spacing_mm: tuple[float, float],
    clipped_from_hu: float | None,
) -> np.ndarray:
    """A corrected slice whose dense tissue is no darker than streaks can explain.

    :param corrected_hu: free of metal, ``(rows, cols)``; nowhere made darker.
    :param original_hu: uncorrected; nowhere is the result brighter, where it is changed.
    :param streaks_hu: see :attr:`.artifact_strength.SoftTissue.streaks_hu`.
    :param metal_fraction: 0..1.
    :param spacing_mm: ``(row, col)``.
    :param clipped_from_hu: see :func:`..metal.threshold.clip_level`.
    """
    least = original_hu - streaks_hu * (streaks_hu / STREAKS_HU) ** 3
    wanted = (original_hu > DENSE_HU[0]) & (least > corrected_hu)
    small = small_metal_in_teeth(original_hu, metal_fraction, spacing_mm) if wanted.any() else 0.0
    if not small:
        return corrected_hu
    pixels = [round((HEIGHT_MM + BLUR_MM) / side) + 3 for side in spacing_mm]
    box = box_around(wanted, pixels)
    core = _core(original_hu[box], metal_fraction[box], spacing_mm, clipped_from_hu)
    after = _without_blur(original_hu[box], core, spacing_mm)
    after = np.where(_large(after > DENSE_HU[0], spacing_mm), after, -1024.0)
    # Where the streaks are unknown they are infinite, and nothing is missing.
    missing = (after - original_hu[box] + least[box] - corrected_hu[box]).clip(min=0.0)
    out: np.ndarray = corrected_hu.copy()
    out[box] += small * _ramp(after, *DENSE_HU) * missing
    return out


def small_metal_in_teeth(
    original_hu: np.ndarray, metal_fraction: np.ndarray, spacing_mm: tuple[float, float]
) -> float:
    """1 where a slice has teeth and only small pieces of metal, 0 without either.

    Arguments as of :func:`keep_dense`.
    """
    small = float(1.0 - _ramp(_largest_piece_mm2(metal_fraction, spacing_mm), *PIECE_MM2))
    return small and small * _teeth(original_hu, metal_fraction, spacing_mm)


def teeth_shares(
    original_hu: np.ndarray, metal_fraction: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """1 in slices with a row of teeth, whose enamel looks like the blur and streaks of metal.

    :param original_hu: ``(slices, rows, cols)``. :param metal_fraction: 0..1, same shape.
    :param spacing_mm: ``(row, col)``.
    :returns: float32 0..1, ``(slices,)``.
    """
    return np.array(
        [
            max(
                small_metal_in_teeth(hu, fraction, spacing_mm),
                _teeth(hu, fraction, spacing_mm, ENAMEL_HU, STREAKS_END_MM),
            )
            for hu, fraction in zip(original_hu, metal_fraction, strict=True)
        ],
        np.float32,
    )


def _core(
    original_hu: np.ndarray,
    fraction: np.ndarray,
    spacing_mm: tuple[float, float],
    clipped_from_hu: float | None,
) -> np.ndarray:
    """The metal without what is marked around it: enamel may be."""
    marked = fraction >= 0.5
    size = [2 * max(1, round(HEIGHT_MM / side)) + 1 for side in spacing_mm]
    height = ndimage.maximum_filter(np.where(marked, original_hu, -1024.0), size)
    clipped = height >= (np.inf if clipped_from_hu is None else clipped_from_hu)
    result: np.ndarray = marked & (original_hu >= np.where(clipped, OF_CLIPPED, OF_HEIGHT) * height)
    return result


def _without_blur(
    original_hu: np.ndarray, core: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Metal and its blur made as dark as what lies after it, going away from the metal."""
    if not core.any() or core.all():
        return original_hu
    blur_mm = max(BLUR_MM, BLUR_PIXELS * max(spacing_mm))
    (outside, metal), (inside, tissue) = (
        ndimage.distance_transform_edt(mask, sampling=spacing_mm, return_indices=True)
        for mask in (~core, core)
    )
    at, side = np.indices(core.shape), np.array(spacing_mm)[:, None, None]
    away_mm = np.where(core, tissue - at, at - metal) * side
    away_mm *= blur_mm / np.where(core, inside, outside)
    place = np.where(core, tissue, at) + away_mm / side
    near = outside <= blur_mm
    beyond = ndimage.map_coordinates(original_hu, place[:, near], order=1, mode="nearest")
    out: np.ndarray = original_hu.copy()
    out[near] = np.minimum(original_hu[near], beyond)
    return out


def _large(dense: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """The pieces that are larger than the arms of a star of streaks."""
    labels, _ = ndimage.label(dense)
    sizes_mm2 = np.bincount(labels.ravel()) * spacing_mm[0] * spacing_mm[1]
    result: np.ndarray = dense & (sizes_mm2 >= SMALLEST_MM2)[labels]
    return result


def _teeth(
    original_hu: np.ndarray,
    fraction: np.ndarray,
    spacing_mm: tuple[float, float],
    tooth_hu: float = TOOTH_HU,
    apart_mm: float = APART_MM,
) -> float:
    """1 where :data:`TEETH_MM2` of a slice are as dense so far from the metal, 0 without."""
    metal, sides_mm = fraction[None] >= 0.5, (1.0, *spacing_mm)
    area_mm2 = dense_apart_mm2(original_hu[None], metal, sides_mm, tooth_hu, apart_mm)
    return float(_ramp(area_mm2[0], *TEETH_MM2))


def _largest_piece_mm2(fraction: np.ndarray, spacing_mm: tuple[float, float]) -> float:
    labels, _ = ndimage.label(fraction >= 0.5)
    return float(np.bincount(labels.ravel(), minlength=2)[1:].max()) * spacing_mm[0] * spacing_mm[1]


def box_around(mask: np.ndarray, margin: list[int]) -> tuple[slice, slice]:
    """Rows and columns that hold a mask, with a margin in pixels ``(rows, cols)``."""
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    row, col = (
        slice(max(0, int(x[0]) - m), int(x[-1]) + m + 1)
        for x, m in zip((rows, cols), margin, strict=True)
    )
    return row, col


def _ramp(values: np.ndarray | float, low: float, high: float) -> np.ndarray:
    result: np.ndarray = ((np.asarray(values) - low) / (high - low)).clip(0.0, 1.0)
    return result
