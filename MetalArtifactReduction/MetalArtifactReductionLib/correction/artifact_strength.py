"""Is there an artifact to correct in a slice? The learned proposal knows.

Where a proposal takes streaks away, soft tissue near the metal becomes flatter; where there were
none, it only becomes different. So the share of the deviation from smooth tissue that the proposal
takes away says how much there is to correct. The amplitude of a correction does not: a classical
one changes slices without streaks as much, and filling a trace flattens texture as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..errors import InputError

if TYPE_CHECKING:
    import torch

    from ..methods.base import InpaintingContext, Method
    from ..methods.image_prior.inpainter import ImagePriorMethod

FINE_MM, COARSE_MM = 1.2, 10.0
"""Streaks lie between: finer is noise, coarser is anatomy."""

WINDOW_MM = 10.0
REACH_MM = 40.0
"""From the metal; streaks farther away do not come alone."""

FLOOR_HU = 5.0
"""Deviations of this size are the noise that smoothing leaves."""

FAT_HU, MUSCLE_HU, DENSE_HU = -100.0, 50.0, 500.0
"""What is far from the first two, and no denser than the third, is a streak."""

FINEST_MM = 0.9
"""Finer is noise where streaks of any width are looked at."""

LEAST_PIXEL_MM = 0.8
"""Blur and streaks have a width in pixels, too: none counts as smaller."""

LITTLE_METAL, MUCH_METAL = (75.0, 0.38, 0.50), (150.0, 0.15, 0.30)
"""Metal in the slice in mm^2, the gain up to which it is left as it is, and the gain from which on
it is corrected in full. A wire or a filling may be without streaks, a screw or a stem hardly ever:
of those a smaller gain, in the little soft tissue between bone and metal, is believed."""

SMOOTHING_MM = 0.5
"""Standard deviation over neighbouring slices."""

COUNTED_MM = 3.0 * SMOOTHING_MM
"""What slices farther apart need counts for about a hundredth with each other, or less."""

_MARGIN_MM = 65.0
_FEWEST_PIXELS = 30
_SLICE_MEAN_COUNTS = 0.05
_LONG_SIGMA = 5.0


class SecondOpinion:
    """What the learned method proposes, whatever method corrects.

    :param prior: the method that proposes.
    """

    def __init__(self, prior: ImagePriorMethod) -> None:
        self._prior = prior

    @classmethod
    def on(cls, method: Method) -> SecondOpinion:
        """Of the shipped network, which may be the method's own.

        :raises InputError: its weights are missing: nobody could tell whether a correction harms.
        """
        from ..methods.image_prior.inpainter import ImagePriorMethod
        from ..methods.registry import JUDGE, create_method
        from ..weights import weights_path

        path = weights_path(JUDGE)
        if isinstance(method, ImagePriorMethod) and method.weights_path == path:
            return cls(method)
        made = create_method(JUDGE, refine_metal=False)
        if not isinstance(made, ImagePriorMethod):
            raise InputError(f"another package has a method {JUDGE!r}: remove it, or rename it")
        return cls(made)

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        """The proposal in HU, ``(slices, rows, cols)``."""
        return 1000.0 * self._prior.network_proposal(sinogram, trace, context).proposed


def strength_along(
    gains: np.ndarray,
    metal: np.ndarray,
    spacing_mm: tuple[float, float, float],
) -> np.ndarray:
    """How much of the correction each slice gets; neighbouring slices alike, so that none jumps.

    :param gains: of :class:`SoftTissue`, ``(slices,)``; NaN where unknown, which is corrected.
    :param metal: fraction ``(slices, rows, cols)``; slices without any get 0.
    :param spacing_mm: ``(slice, row, col)``.
    :returns: float32 0..1, ``(slices,)``.
    """
    area = metal.sum(axis=(1, 2), dtype=np.float64) * spacing_mm[1] * spacing_mm[2]
    # The end of a screw is as much metal as the screw.
    around = ndimage.maximum_filter1d(area, 3, mode="nearest")
    areas, *ends = zip(LITTLE_METAL, MUCH_METAL, strict=True)
    low, high = (np.interp(around, areas, end) for end in ends)
    known = (area > 0).astype(np.float64)
    needed = np.nan_to_num((gains - low) / (high - low), nan=1.0).clip(-1.0, 2.0)
    sigma = SMOOTHING_MM / spacing_mm[0]
    total = np.maximum(ndimage.gaussian_filter1d(known, sigma, mode="constant"), 1e-6)
    sums = ndimage.gaussian_filter1d(needed * known, sigma, mode="constant")
    strength: np.ndarray = ((sums / total).clip(0.0, 1.0) * known).astype(np.float32)
    return strength


class SoftTissue:
    """The soft tissue around the metal of a slice, and how streaked images of it are.

    :param original_hu: a slice ``(rows, cols)``.
    :param proposed_hu: the same as the learned method proposes it, free of metal.
    :param metal: fraction or mask of what is taken for metal; some.
    :param spacing_mm: ``(row, col)``.
    """

    def __init__(
        self,
        original_hu: np.ndarray,
        proposed_hu: np.ndarray,
        metal: np.ndarray,
        spacing_mm: tuple[float, float],
    ) -> None:
        metal = metal > 0
        self._shape = metal.shape
        self._mm = tuple(max(s, LEAST_PIXEL_MM) for s in spacing_mm)
        at = np.argwhere(metal)
        low = np.maximum(at.min(0) - [int(_MARGIN_MM / s) for s in self._mm], 0)
        high = at.max(0) + [int(_MARGIN_MM / s) + 1 for s in self._mm]
        self._box = slice(low[0], high[0]), slice(low[1], high[1])
        images = (original_hu[self._box], proposed_hu[self._box])
        self._zone = _soft_tissue(*images, metal[self._box], self._mm)
        self._image = images[0]
        self._window = [WINDOW_MM / s for s in self._mm]
        self._share = _smooth(self._zone, self._window)
        self._weights = {mm: self._low(self._zone, mm) for mm in (FINE_MM, COARSE_MM)}
        self._was, self._proposed = self._power(original_hu), self._power(proposed_hu)

    @property
    def gain(self) -> float:
        """Share of the deviation from smooth tissue that the proposal takes away, at its best.

        1 for flat tissue that was streaked, about 0 where nothing is gained; NaN where there is
        hardly any soft tissue around the metal to ask.
        """
        if self._zone.sum() < _FEWEST_PIXELS:
            return float("nan")
        asked = self._zone & (self._share > 0.3)
        if asked.sum() < 100:
            asked = self._zone
        removed = (self._was - self._proposed) / (self._was + FLOOR_HU**2)
        return float(np.percentile(removed[asked], 90))

    @property
    def streaks_hu(self) -> np.ndarray:
        """RMS deviation from fat or muscle, whichever is nearer, around each pixel.

        :returns: ``(rows, cols)``; infinite far from metal, and without soft tissue to ask.
        """
        out = np.full(self._shape, np.inf, np.float32)
        # Teeth that a proposal lost are in the zone, and no streaks.
        zone = self._zone & ~ndimage.binary_dilation(self._image > DENSE_HU, np.ones((3, 3)))
        if zone.sum() >= _FEWEST_PIXELS:
            image = self._low(np.clip(self._image, -1000, 1000), FINEST_MM)
            square = np.minimum((image - FAT_HU) ** 2, (image - MUSCLE_HU) ** 2) * zone
            local = _smooth(square, self._window) + _SLICE_MEAN_COUNTS * square[zone].mean()
            out[self._box] = np.sqrt(local / (_smooth(zone, self._window) + _SLICE_MEAN_COUNTS))
        return out

    def _power(self, image_hu: np.ndarray) -> np.ndarray:
        square = self._deviation(image_hu[self._box]) ** 2
        mean = square[self._zone].mean() if self._zone.any() else 0.0
        local = _smooth(square, self._window) + _SLICE_MEAN_COUNTS * mean
        result: np.ndarray = local / (self._share + _SLICE_MEAN_COUNTS)
        return result

    def _deviation(self, image: np.ndarray) -> np.ndarray:
        """What lies between the fine and the coarse Gaussian, both averaged within the zone."""
        values = np.where(self._zone, np.clip(image, -400, 400), 0.0)
        fine, coarse = (
            self._low(values, mm) / np.maximum(weight, 1e-3) for mm, weight in self._weights.items()
        )
        return np.where(self._zone, fine - coarse, 0.0)

    def _low(self, image: np.ndarray, sigma_mm: float) -> np.ndarray:
        return _smooth(image, [max(sigma_mm / s, 0.5) for s in self._mm])


def _soft_tissue(
    before: np.ndarray, after: np.ndarray, metal: np.ndarray, mm: Sequence[float]
) -> np.ndarray:
    """Soft tissue inside the body, 3 to 40 mm from metal, away from what both call bone or air."""
    pixel = max(mm)
    distance = ndimage.distance_transform_edt(~metal, sampling=mm)
    edge = 0.8 / pixel + 0.3
    first, second = (_smooth(np.clip(x, -1000, 1000), [edge, edge]) for x in (before, after))
    body = _smooth(np.clip(after, -1000, 200), [2, 2]) > -400
    body = ndimage.binary_erosion(
        ndimage.binary_fill_holes(body), iterations=max(1, round(3 / pixel)), border_value=1
    )
    other = (np.minimum(first, second) > 300) | (np.maximum(first, second) < -200)
    other = ndimage.binary_dilation(other, iterations=max(1, round(1.5 / pixel)))
    result: np.ndarray = body & ~other & (distance > max(3.0, 2.5 * pixel)) & (distance <= REACH_MM)
    return result


def _smooth(image: np.ndarray, sigma: Sequence[float]) -> np.ndarray:
    """Gaussian; as products with matrices where its kernel is long, in a fifth of the time."""
    image = np.asarray(image, np.float32)
    if min(sigma) < _LONG_SIGMA:
        short: np.ndarray = ndimage.gaussian_filter(image, sigma, truncate=3)
        return short
    rows, cols = (_gaussian_matrix(n, s) for n, s in zip(image.shape, sigma, strict=True))
    result: np.ndarray = rows @ image @ cols.T
    return result


@lru_cache(maxsize=16)
def _gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    unit = np.eye(length, dtype=np.float32)
    result: np.ndarray = ndimage.gaussian_filter1d(unit, sigma, axis=0, truncate=3)
    return result
