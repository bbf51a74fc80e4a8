"""Which slices of a CT can be trained on: those with a body, without metal, enough in a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..metal import body_mask, segment_metal
from ..volume import CTVolume

MARGIN_MM = 5.0
"""Streaks reach so far beyond the metal, along the axis."""

LEAST_BODY = 0.02
"""Of a slice's pixels."""

LEAST_MM = 2.0
"""Thinner slices are averaged: they hold more noise than what the networks are for."""


@dataclass(frozen=True)
class SliceRange:
    """Slices ``first`` to ``last`` of a CT. :param reason: why not; empty where they are used."""

    first: int
    last: int
    reason: str = ""

    def __len__(self) -> int:
        return self.last - self.first + 1


def averaged_slices(volume: CTVolume) -> int:
    """How many neighbours make one slice of :data:`LEAST_MM` or more."""
    return max(1, math.ceil(LEAST_MM / volume.spacing_mm[0] - 0.05))


def slice_ranges(volume: CTVolume, least: int, most: int) -> list[SliceRange]:
    """All slices of a CT, in order, each used or left out for a reason.

    :param least: slices in a row that are of use, after averaging.
    :param most: used of one CT, after averaging, or a whole run less: the longest runs first.
    """
    count = averaged_slices(volume)
    reasons = np.full(len(volume.hu), "", dtype=object)
    body = body_mask(volume.hu, volume.spacing_mm, coarse_mm=4.0).mean(axis=(1, 2))
    reasons[body < LEAST_BODY] = "no body"
    metal, threshold_hu = _slices_with_metal(volume)
    margin = math.ceil(MARGIN_MM / volume.spacing_mm[0])
    reasons[ndimage.binary_dilation(metal, iterations=margin)] = f"within {MARGIN_MM:g} mm of metal"
    reasons[metal] = f"metal above {threshold_hu:.0f} HU"
    left = most
    for run in sorted((r for r in _runs(reasons) if not r.reason), key=lambda r: -len(r)):
        taken = min(len(run) // count, left)
        if len(run) // count < least:
            why = f"only {len(run)} clean slices in a row; {least * count} are needed"
            reasons[run.first : run.last + 1] = why
        elif taken < least:
            reasons[run.first : run.last + 1] = f"this CT gives {most} slices without them"
        else:
            first = run.first + (len(run) - taken * count) // 2
            reasons[run.first : first] = reasons[first + taken * count : run.last + 1] = (
                f"this CT gives {most} slices without them" if taken == left else "left over"
            )
            left -= taken
    return _runs(reasons)


def _slices_with_metal(volume: CTVolume) -> tuple[np.ndarray, float]:
    """Bool a slice, and the threshold in HU."""
    try:
        found = segment_metal(volume)
    except InputError:  # nothing is bright enough
        return np.zeros(len(volume.hu), dtype=bool), np.inf
    metal: np.ndarray = np.any(found.fraction > 0, axis=(1, 2))
    return metal, found.threshold_hu


def _runs(reasons: np.ndarray) -> list[SliceRange]:
    starts = [0, *(np.flatnonzero(reasons[1:] != reasons[:-1]) + 1).tolist(), len(reasons)]
    return [SliceRange(first, end - 1, str(reasons[first])) for first, end in pairwise(starts)]
