"""Where metal begins on the HU scale of a given volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NO_METAL_THRESHOLD_HU = 2500.0
"""Proposed when nothing in the volume looks like metal; above bone, tooth enamel's most part, and
the contrast media of the usual scans."""

CLIP_HU = 3071.0
"""Top of the 12-bit scale of most scanners: metal of any kind is clipped there."""

_LOWEST_HU, _STEP_HU, _WINDOW_HU = 1500.0, 25.0, 250.0
_LOWEST_METAL_MEAN_HU = 1800.0
_SURVIVAL = 0.6
_FEWEST_VOXELS = 8


def propose_threshold(hu: np.ndarray) -> float:
    """A threshold between bone (or teeth) and metal, from the volume's own bright tail.

    The number of voxels above a threshold falls steeply through cortical bone and enamel (to a
    third or less every 250 HU) and levels out in metal, whose values reach to the top of the scale
    whether that is 3071, 2976 or not clipped at all. The lowest threshold from 1500 HU on at which
    at least 0.6 of the voxels are left 250 HU higher is proposed. Only counts are used, so
    neither the scale's top nor the metal's size matters.

    :param hu: values in HU, any shape.
    :returns: threshold in HU; :data:`NO_METAL_THRESHOLD_HU` when there is no such place.
    """
    bright = np.sort(hu[hu >= _LOWEST_HU].astype(np.float64))
    if bright.size == 0:
        return NO_METAL_THRESHOLD_HU
    candidates = np.arange(_LOWEST_HU, min(bright[-1], CLIP_HU), _STEP_HU)
    above = bright.size - np.searchsorted(bright, candidates)
    still_above = bright.size - np.searchsorted(bright, candidates + _WINDOW_HU)
    level = (still_above >= _SURVIVAL * above) & (still_above >= _FEWEST_VOXELS)
    if not level.any():
        return NO_METAL_THRESHOLD_HU
    return float(candidates[np.argmax(level)])


def clip_level(hu: np.ndarray) -> float | None:
    """Where the HU scale is cut off: above it, values say "metal" and nothing more.

    The top of the scale is within 12 bits (4095 HU), and either many voxels share the highest value
    or it lies where most such scales end (3071 HU, spread by resampling).

    :param hu: values in HU.
    :returns: the level from which a value counts as clipped; None for a scale that is not clipped.
    """
    top = float(hu.max())
    if 2000.0 <= top <= 4095.0 and int((hu >= top).sum()) >= _FEWEST_VOXELS:
        return 0.98 * top
    if 2900.0 <= top <= 3500.0:
        return 0.98 * min(top, CLIP_HU)
    return None


def certain_level(hu: np.ndarray, threshold_hu: float) -> float:
    """Value that a bright component must reach to count as metal whatever surrounds it.

    The clipping level; on a scale that is not clipped nine tenths of where most scales are.

    :param hu: values in HU.
    :param threshold_hu: from :func:`propose_threshold`; the level is above it, for only of a
        threshold that a user gives everything above is metal.
    """
    return max(threshold_hu + 1.0, clip_level(hu) or 0.9 * CLIP_HU)


@dataclass(frozen=True)
class KMeansResult:
    """:param threshold_hu: half-way between the two brightest classes.
    :param means_hu: class means, ascending.
    """

    threshold_hu: float
    means_hu: tuple[float, float, float]


def kmeans_threshold(
    hu: np.ndarray, *, lowest_hu: float = 300.0, samples: int = 400_000
) -> KMeansResult:
    """K-means with k = 3 (SimpleITK's ``ScalarImageKmeans``) over the voxels brighter than tissue.

    The classes are trabecular bone, cortical bone and metal. Over all voxels, air and soft tissue
    would take two of the three classes and metal would drown in the bone class (its threshold then
    comes out at 200 to 600 HU). A brightest class with a mean under 1800 HU is bone:
    :data:`NO_METAL_THRESHOLD_HU` is returned then. Less exact where enamel or dense bone far
    outnumber the metal: the threshold method is the better one then.

    :param hu: values in HU, any shape.
    :param lowest_hu: values from here on take part.
    :param samples: at most about this many, evenly picked.
    """
    import SimpleITK as sitk

    bright = hu[hu >= lowest_hu]
    if bright.size < 3 or float(bright.max()) <= _LOWEST_HU:
        return KMeansResult(NO_METAL_THRESHOLD_HU, (float("nan"),) * 3)
    bright = np.ascontiguousarray(bright[:: max(1, bright.size // samples)], dtype=np.float32)
    image = sitk.GetImageFromArray(bright[None])
    start = [lowest_hu + 100.0, lowest_hu + 700.0, float(bright.max())]
    labels = sitk.GetArrayFromImage(sitk.ScalarImageKmeans(image, start))[0]
    means = [
        float(bright[labels == k].mean()) if (labels == k).any() else start[k] for k in (0, 1, 2)
    ]
    threshold = (
        (means[1] + means[2]) / 2 if means[2] >= _LOWEST_METAL_MEAN_HU else NO_METAL_THRESHOLD_HU
    )
    return KMeansResult(threshold, (means[0], means[1], means[2]))
