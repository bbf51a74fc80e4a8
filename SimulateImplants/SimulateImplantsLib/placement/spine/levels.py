"""Names of vertebrae and hips, as TotalSegmentator and people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

_REGIONS = {"C": 0, "T": 7, "L": 19, "S": 25}
_VERTEBRA = re.compile(r"^(?:vertebrae?[ _-]*)?([CTLS])[ _-]?(\d{1,2})$", re.IGNORECASE)
_HIP_PARTS = ("hip_left", "hip_right", "femur_left", "femur_right", "sacrum")


def level_of(name: str) -> str | None:
    """The level in a segment's name ("vertebrae_L1", "Vertebra L1", "l1"), or None."""
    match = _VERTEBRA.match(name.strip())
    return f"{match.group(1).upper()}{int(match.group(2))}" if match else None


def level_index(level: str) -> float:
    """Position from the head down: C1 is 1, T1 8, L1 20, S1 26; unknown names come last."""
    found = level_of(level)
    return _REGIONS[found[0]] + int(found[1:]) if found else float("inf")


def by_level(levels: Iterable[str]) -> list[str]:
    """Levels sorted from the head down (unknown ones last, in the order given)."""
    return sorted(levels, key=level_index)


def vertebra_masks(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The vertebrae among named masks, by level, from the head down."""
    found = {level_of(name): mask for name, mask in labels.items() if level_of(name)}
    return {level: found[level] for level in by_level(k for k in found if k)}


def hip_masks(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hip bones, femora and sacrum among named masks, by TotalSegmentator's names."""
    out = {}
    for name, mask in labels.items():
        key = re.sub(r"[ -]+", "_", name.strip().lower())
        if key in _HIP_PARTS:
            out[key] = mask
    return out
