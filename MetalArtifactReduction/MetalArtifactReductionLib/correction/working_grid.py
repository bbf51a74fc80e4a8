"""The grid that a correction is computed on: one orientation, and no pixels finer than needed.

Methods and their networks know streaks and blur in pixels of about a millimetre. On finer images
the correction is computed from averages; its change is brought back to the image, whose own detail
stays but for the metal's blur, and the metal is put back there.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from ..metal.certain import certain_metal
from ..volume import CTVolume, padding_mask
from .recombination import put_metal_back, restore_padding
from .result import CorrectionResult

FINEST_MM = 0.45
"""Side of the finest pixels that are taken as they are."""

BLUR_MM = (1.5, 3.0)
"""Distance from metal up to which an image's own detail is the metal's blur, and from which on it
is anatomy again."""


class WorkingGrid:
    """A volume on the grid that it is corrected on, and the way there and back.

    :param given: the volume as the caller holds it.
    """

    def __init__(self, given: CTVolume) -> None:
        self._given = given
        self._anatomical, self._turn = given.anatomical()
        # So many pixels are averaged, by row and column.
        self._factors = tuple(_factor(side) for side in self._anatomical.spacing_mm[1:])
        self.volume = self._anatomical
        if self.resampled:
            affine = self._anatomical.ijk_to_ras.copy()
            for column, factor in ((0, self._factors[1]), (1, self._factors[0])):
                affine[:3, 3] += affine[:3, column] * (factor - 1.0) / 2.0
                affine[:3, column] *= factor
            padded_alike = self._anatomical.hu.clip(min=-1024.0)
            self.volume = CTVolume(self._there(padded_alike), affine)

    @property
    def resampled(self) -> bool:
        """Whether the pixels are others than the volume's."""
        return self._factors != (1, 1)

    def there(self, fraction: np.ndarray) -> np.ndarray:
        """A metal fraction on the given volume's grid, on this one."""
        return self._there(self._turn(fraction))

    def number(self, index: int) -> int:
        """A slice of this grid as the given volume counts it."""
        return int(self._turn.slice_numbers(np.array(index), len(self.volume.hu)))

    def as_given(self, array: np.ndarray) -> CTVolume:
        """An array on this grid as a volume that is stored as the given one is."""
        inverse = self._turn.inverse
        affine = inverse.affine(self.volume.ijk_to_ras, self.volume.hu.shape)
        return CTVolume(inverse(np.asarray(array, dtype=np.float32)), affine)

    def to_prepare(self, fraction: np.ndarray) -> tuple[CTVolume, np.ndarray]:
        """What a method prepares itself on: volume and metal of this grid, stored as given.

        :param fraction: on this grid.
        """
        return self.as_given(self.volume.hu), self.as_given(fraction).hu

    def back(self, result: CorrectionResult, fraction: np.ndarray) -> CorrectionResult:
        """A result on this grid as one of the given volume.

        :param fraction: the metal on the given volume's grid.
        """
        corrected, error = result.corrected.hu, result.expected_error_hu
        if self.resampled:
            corrected = self._with_change(result, self._turn(fraction))
            error = None if error is None else np.maximum(self._back(error), 0.0)
        same_slices = self._turn.axes[0] == 0
        strength = result.strength if same_slices else None
        told = result.parameters["strength"]
        assert isinstance(told, dict)
        numbered = {self.number(k): value for k, value in told.items()}
        change = corrected - self._anatomical.hu
        undo = self._turn.inverse
        return replace(
            result,
            corrected=self._given.with_hu(undo(corrected)),
            metal_fraction=fraction,
            change_hu=undo(change),
            expected_error_hu=None if error is None else undo(error),
            parameters={**result.parameters, "strength": numbered},
            strength=None if strength is None else strength[:: self._turn.steps[0]],
        )

    def _with_change(self, result: CorrectionResult, fraction: np.ndarray) -> np.ndarray:
        """The image with what changed, its own metal put back."""
        original = self._anatomical.hu
        out: np.ndarray = original.copy()
        slices = np.flatnonzero(result.change_hu.any(axis=(1, 2))).tolist()
        if not slices:
            return out
        certain, padding = certain_metal(original, fraction), padding_mask(original)
        for k in slices:
            one = slice(k, k + 1)
            free = self._free_of_metal(result, k, original[one], fraction[one], padding[one])
            shown = put_metal_back(
                *(torch.from_numpy(x) for x in (free, original[one], fraction[one], certain[one]))
            )
            out[one] = restore_padding(shown.numpy(), original[one])
        return out

    def _free_of_metal(
        self,
        result: CorrectionResult,
        k: int,
        original: np.ndarray,
        fraction: np.ndarray,
        padding: np.ndarray,
    ) -> np.ndarray:
        """One slice: the change, and beside metal, whose blur is all detail there, the average.

        :param original: ``(1, rows, cols)``, and the others: on the given pixels.
        """
        change, metal = result.change_hu[k], result.metal_fraction[k] > 0
        if not metal.any() or metal.all():
            whole: np.ndarray = original + self._back(change[None])
            return whole
        # Metal hides what changed below it: as beside it.
        nearest = tuple(
            ndimage.distance_transform_edt(
                metal,
                sampling=self.volume.spacing_mm[1:],
                return_distances=False,
                return_indices=True,
            )
        )
        assert result.strength is not None
        strength = float(result.strength[k])
        averages = (self.volume.hu[k] + change / strength)[nearest]
        free: np.ndarray = original + self._back(change[nearest][None])
        beside = original + strength * (self._back(averages[None]) - original)
        distance = ndimage.distance_transform_edt(
            fraction[0] <= 0, sampling=self._anatomical.spacing_mm[1:]
        )
        share = np.clip((distance - BLUR_MM[0]) / (BLUR_MM[1] - BLUR_MM[0]), 0.0, 1.0)
        # An average with padding in it is none of tissue.
        padded = self._there(padding.astype(np.float32))[0]
        padded = self._back(np.maximum(padded, padded[nearest])[None]) > 0
        free += np.where(padded, 0.0, 1.0 - share).astype(np.float32) * (beside - free)
        return free

    def _there(self, array: np.ndarray) -> np.ndarray:
        for axis, factor in zip((1, 2), self._factors, strict=True):
            array = averaged(array, axis, factor) if factor > 1 else array
        return np.ascontiguousarray(array, dtype=np.float32)

    def _back(self, array: np.ndarray) -> np.ndarray:
        for axis, factor in zip((1, 2), self._factors, strict=True):
            array = divided(array, axis, factor) if factor > 1 else array
        _, rows, cols = self._anatomical.hu.shape
        return np.ascontiguousarray(array[:, :rows, :cols], dtype=np.float32)


def _factor(side_mm: float) -> int:
    """Working pixels are so many times as long."""
    return max(1, math.ceil(FINEST_MM / side_mm - 1e-6))


def averaged(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Means of ``count`` neighbours; the last ones repeat the border."""
    pad = [(0, 0)] * array.ndim
    pad[axis] = (0, -array.shape[axis] % count)
    wide = np.pad(array, pad, mode="edge")
    shape = [*wide.shape[:axis], wide.shape[axis] // count, count, *wide.shape[axis + 1 :]]
    result: np.ndarray = wide.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return result


def divided(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Each value becomes ``count``, between it and its neighbours in a line."""
    length = array.shape[axis]
    place = np.clip((np.arange(length * count) + 0.5) / count - 0.5, 0, length - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    weight = (
        (place - low)
        .astype(np.float32)
        .reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    )
    result: np.ndarray = (
        np.take(array, low, axis) * (1 - weight) + np.take(array, high, axis) * weight
    )
    return result
