"""Names of vertebrae and hips, as TotalSegmentator and people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from MetalArtifactReductionLib.errors import InputError

LEVELS = tuple(
    f"{region}{number}"
    for region, count in (("C", 7), ("T", 12), ("L", 5), ("S", 1))
    for number in range(1, count + 1)
)
"""Vertebrae from the head down."""

_REGIONS = {"C": 0, "T": 7, "L": 19, "S": 25}
_VERTEBRA = re.compile(r"^(?:vertebrae?[ _-]*)?([CTLS])[ _-]?(\d{1,2})$", re.IGNORECASE)
_CANAL = ("spinal_cord", "spinal_canal")
_RIB = re.compile(r"^rib_(left|right)_\d{1,2}$")
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


def parse_levels(text: str) -> list[str] | None:
    """``L2-L5`` or ``L3, L4`` as levels from the head down; None, which is all, for no text.

    :raises InputError: a word that is no level.
    """
    chosen: set[str] = set()
    for part in re.sub(r"\s*-\s*", "-", text).replace(",", " ").replace(";", " ").split():
        ends = [str(level_of(end)) for end in part.split("-")]
        if len(ends) > 2 or not set(ends) <= set(LEVELS):
            raise InputError(f"levels {text!r}: {part!r} is not a level such as L3, or L2-L5")
        first, last = sorted(LEVELS.index(end) for end in (ends[0], ends[-1]))
        chosen.update(LEVELS[first : last + 1])
    return by_level(chosen) or None


def vertebra_masks(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The vertebrae among named masks, by level, from the head down."""
    found = {level_of(name): mask for name, mask in labels.items() if level_of(name)}
    return {level: found[level] for level in by_level(k for k in found if k)}


def vertebra_bones(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same without what is labelled canal or rib."""
    other: np.ndarray | None = None
    for name, mask in labels.items():
        if is_canal(name) or _RIB.match(_key(name)):
            other = mask > 0 if other is None else other | (mask > 0)
    found = vertebra_masks(labels)
    if other is None:
        return found
    return {k: (m > 0) & ~other if m.shape == other.shape else m for k, m in found.items()}


def hip_masks(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Hip bones, femora and sacrum among named masks, by TotalSegmentator's names."""
    named = {_key(name): mask for name, mask in labels.items()}
    return {key: mask for key, mask in named.items() if key in _HIP_PARTS}


def rib_masks(labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Ribs among named masks, by TotalSegmentator's names ("rib_left_12")."""
    return {_key(name): mask for name, mask in labels.items() if _RIB.match(_key(name))}


def is_canal(name: str) -> bool:
    """Whether a segment is what the vertebral canal holds, which is no bone."""
    return _key(name) in _CANAL


def _key(name: str) -> str:
    return re.sub(r"[ -]+", "_", name.strip().lower())
