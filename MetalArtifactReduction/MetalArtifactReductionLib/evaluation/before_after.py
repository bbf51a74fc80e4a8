"""A correction by itself: figures of the image before and after, where nobody knows the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..metal.body import body_mask, within_pixels
from ..metal.threshold import propose_threshold
from ..volume import CTVolume
from .metrics import BONE_HU, flat_region
from .streaks import streak_amplitudes
from .without_reference import SHELLS_MM, ReferenceFreeMetrics, evaluate_without_reference

REGION_PREFIX = "region_"
"""Keys of the user's own regions begin so."""

_PARTLY_METAL = 0.02
_AWAY_PIXELS = 20


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    :param key: stable name, for example ``"streak_amplitude_hu"``.
    :param title: what it is, in words.
    :param unit: ``"HU"`` or ``"cm³"``.
    :param before: of the original; NaN where there is nothing to measure.
    :param after: of the corrected image, in the same region.
    """

    key: str
    title: str
    unit: str
    before: float
    after: float


def compare_before_after(
    original: CTVolume,
    corrected_hu: np.ndarray,
    metal_fraction: np.ndarray,
    *,
    regions: Mapping[str, np.ndarray] | None = None,
    expected_error_hu: np.ndarray | None = None,
) -> tuple[Measure, ...]:
    """Measure both images in the same regions, in the slices that hold metal.

    Streaks are measured where :mod:`.streaks` says, whatever the method and the mask. The other
    regions are made from the original: whatever corrected it, it has one number each.

    :param original: the CT before the correction.
    :param corrected_hu: ``(slices, rows, cols)``, HU.
    :param metal_fraction: 0..1, same shape.
    :param regions: name -> mask (same shape) of further regions whose mean HU is wanted; these
        count in every slice, metal left out.
    :param expected_error_hu: absolute, same shape, of methods that know it.
    :returns: streaks, noise, mean HU in shells around the metal and far from it, volumes of bone
        and metal, the expected error near metal (only "after"), then the regions.
    :raises ValueError: arrays of different shapes; no metal.
    """
    _check_shapes(original.hu, corrected_hu, metal_fraction, expected_error_hu)
    streaks = streak_amplitudes(original, [original.hu, corrected_hu], metal_fraction)
    further = measure_regions(original.hu, corrected_hu, regions or {}, metal_fraction)
    original, turn = original.anatomical()
    corrected_hu, metal_fraction = turn(corrected_hu), turn(metal_fraction)
    kept = np.flatnonzero(metal_fraction.reshape(len(metal_fraction), -1).any(axis=1))
    if kept.size == 0:
        raise ValueError("no metal: nothing to measure around")
    images = original.hu[kept], corrected_hu[kept]
    fraction, spacing = metal_fraction[kept], original.spacing_mm
    body = body_mask(images[0], spacing)
    near = within_pixels(fraction > 0, _AWAY_PIXELS)
    quiet = flat_region(images[0], body & ~near & ~(fraction > 0))
    figures = [
        evaluate_without_reference(
            image, fraction, spacing_mm=spacing, soft_tissue=quiet, noise_region=quiet, body=body
        )
        for image in images
    ]
    bright = propose_threshold(original.hu)
    bone = ((image > BONE_HU) & body & (fraction <= _PARTLY_METAL) for image in images)
    metal = ((image >= bright) & (near | (fraction > 0)) for image in images)
    far = (_mean(image[quiet]) for image in images)
    rows = [
        *_without_truth(figures, streaks),
        Measure("mean_hu_far", "Mean HU in flat tissue far from metal", "HU", *far),
        _volume("bone", f"Bone, above {BONE_HU:g} HU", bone, spacing),
        _volume("metal", f"Metal, above {bright:.0f} HU", metal, spacing),
    ]
    if expected_error_hu is not None:
        rows += _expected_error(turn(expected_error_hu)[kept][near & body])
    return (*rows, *further)


def _volume(
    key: str, title: str, masks: Iterable[np.ndarray], spacing_mm: tuple[float, float, float]
) -> Measure:
    """Of the voxels marked before and after."""
    voxel_cm3 = float(np.prod(spacing_mm)) / 1000.0
    volumes = (float(mask.sum()) * voxel_cm3 for mask in masks)
    return Measure(f"{key}_cm3", title, "cm³", *volumes)


def measure_regions(
    original_hu: np.ndarray,
    corrected_hu: np.ndarray,
    regions: Mapping[str, np.ndarray],
    metal_fraction: np.ndarray,
) -> tuple[Measure, ...]:
    """Mean HU in regions of the user's own, metal left out, before and after.

    :param regions: name -> mask; all arrays of one shape.
    """
    rows = []
    for name, region in regions.items():
        where = (region > 0) & (metal_fraction <= _PARTLY_METAL)
        means = (_mean(image[where]) for image in (original_hu, corrected_hu))
        rows.append(Measure(f"{REGION_PREFIX}{name}", f"Mean HU in {name}", "HU", *means))
    return tuple(rows)


def _check_shapes(
    original: np.ndarray,
    corrected: np.ndarray,
    fraction: np.ndarray,
    expected_error: np.ndarray | None,
) -> None:
    arrays = {"original": original, "corrected": corrected, "metal": fraction}
    if expected_error is not None:
        arrays["expected error"] = expected_error
    if len({array.shape for array in arrays.values()}) > 1:
        told = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"shapes differ: {told}")


def _without_truth(
    figures: Sequence[ReferenceFreeMetrics], streaks: Sequence[float]
) -> list[Measure]:
    """Streaks, noise and mean HU around the metal."""
    noise = (one.noise_hu for one in figures)
    shells = [
        Measure(
            f"mean_hu_{low:g}_{high:g}_mm",
            f"Mean HU {low:g} to {high:g} mm from metal",
            "HU",
            *(one.shell_mean_hu[low, high] for one in figures),
        )
        for low, high in SHELLS_MM
    ]
    return [
        Measure("streak_amplitude_hu", "Streak amplitude within 30 mm", "HU", *streaks),
        Measure("noise_hu", "Noise in flat tissue far from metal", "HU", *noise),
        *shells,
    ]


def _expected_error(values: np.ndarray) -> list[Measure]:
    """Of the corrected image alone: nobody knows that of the original."""
    high = float(np.percentile(values, 95)) if values.size else float("nan")
    titles = (
        f"Mean expected error within {_AWAY_PIXELS} pixels",
        "95 % of expected errors are below",
    )
    nothing = float("nan")
    return [
        Measure("expected_error_mean_hu", titles[0], "HU", nothing, _mean(values)),
        Measure("expected_error_p95_hu", titles[1], "HU", nothing, high),
    ]


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
