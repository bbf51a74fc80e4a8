"""Hounsfield units -> 16-bit stored values with a slope and an intercept (PS3.3 C.11.1).

What the source stores in whole HU is stored in whole HU. Where its slope or intercept is broken,
both are kept, so that every unchanged voxel gets its old stored value back and the others are
rounded to the source's own resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_STEPS = 65535
Rescale = tuple[float, float]


@dataclass(frozen=True)
class Encoding:
    """How one series stores its values.

    :param rescale: (slope, intercept) of each slice: HU = stored * slope + intercept.
    :param signed: PixelRepresentation: two's complement or not, for every slice.
    :param coarser: the slope in HU where it had to be coarser than the source's, else 0.
    """

    rescale: tuple[Rescale, ...]
    signed: bool
    coarser: float = 0.0

    @property
    def dtype(self) -> np.dtype:
        """The numpy type of the stored values, little endian."""
        return np.dtype("<i2" if self.signed else "<u2")

    def stored(self, hu: np.ndarray, index: int) -> np.ndarray:
        """One slice as it is stored, rounded to the nearest step, ``(rows, cols)``."""
        slope, intercept = self.rescale[index]
        wide = np.rint((hu.astype(np.float64) - intercept) / slope)
        limits = np.iinfo(self.dtype)
        return np.clip(wide, limits.min, limits.max).astype(self.dtype)

    def stored_value(self, hu: float, index: int) -> int | None:
        """One value of a slice, or None where it cannot be stored exactly."""
        slope, intercept = self.rescale[index]
        value = (hu - intercept) / slope
        limits = np.iinfo(self.dtype)
        whole = round(value)
        exact = abs(value - whole) < 1e-6 and limits.min <= whole <= limits.max
        return whole if exact else None


def encoding_for(hu: np.ndarray, rescale: Sequence[Rescale], *, signed: bool) -> Encoding:
    """The source's own way of storing values, changed only as far as the values ask for.

    :param hu: ``(slices, rows, cols)``, finite.
    :param rescale: (slope, intercept) of each slice of the source.
    :param signed: whether the source's stored values are signed.
    :returns: whole HU where the source's are; signed or not, whichever holds every value. Only
        where the values span more than 16 bits is the slope a multiple of the source's.
    """
    kept = _whole(rescale) or tuple(rescale)
    ranges = [(float(plane.min()), float(plane.max())) for plane in hu]
    for candidate in (signed, not signed):
        if _fits(ranges, kept, candidate):
            return Encoding(kept, candidate)
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    step = max(slope for slope, _ in kept)
    # Room for the rounding of the lowest value to a whole number of HU.
    factor = max(1, int(np.ceil((high - low + 2) / (_STEPS * step))))
    slope = step * factor
    intercept = float(np.floor(low))
    return Encoding(((slope, intercept),) * len(kept), False, slope if factor > 1 else 0.0)


def _whole(rescale: Sequence[Rescale]) -> tuple[Rescale, ...] | None:
    """One slope of 1 for the series, if every slice of the source holds whole HU."""
    if not all(float(m).is_integer() and float(b).is_integer() for m, b in rescale):
        # A slope of 0 or below is no resolution; nothing in the source is worth keeping then.
        return None if all(m > 0 for m, _ in rescale) else ((1.0, 0.0),) * len(rescale)
    same = len(set(rescale)) == 1 and rescale[0][0] == 1
    return ((1.0, float(rescale[0][1]) if same else 0.0),) * len(rescale)


def _fits(ranges: Sequence[Rescale], rescale: Sequence[Rescale], signed: bool) -> bool:
    limits = np.iinfo(np.int16 if signed else np.uint16)
    for (low, high), (slope, intercept) in zip(ranges, rescale, strict=True):
        if round((low - intercept) / slope) < limits.min:
            return False
        if round((high - intercept) / slope) > limits.max:
            return False
    return True
