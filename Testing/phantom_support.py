"""Bodies of known truth that several files of tests use; each is made once in a process."""

from __future__ import annotations

from functools import cache

import numpy as np

from SimulateImplantsLib.phantoms import Phantom, lumbar_spine_phantom, pelvis_phantom

LEVELS = ("L3", "L4")


@cache
def small_spine() -> Phantom:
    return lumbar_spine_phantom(3, (2.0, 1.4, 1.4), (96, 128, 128))


@cache
def small_pelvis() -> Phantom:
    return pelvis_phantom(1, (3.0, 2.0, 2.0), (84, 190, 190))


def vertebrae(phantom: Phantom) -> dict[str, np.ndarray]:
    """Masks of the ``LEVELS``."""
    return {name: mask for name, mask in phantom.labels.items() if name[-2:] in LEVELS}
