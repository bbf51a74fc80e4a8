"""Where training gets its metal from: a protocol, since training need not know who made it.

Packages offer sources through the entry-point group :data:`GROUP`: each entry is a function that
takes the options of the ``[options.metal_options]`` table and returns a source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..volume import CTVolume

GROUP = "metal_artifact_reduction.training_metal"


@dataclass(frozen=True, eq=False)
class MetalSlices:
    """Metal for some consecutive slices of a CT.

    :param first: the first slice's index in the CT.
    :param fractions: material -> share of each voxel, float32 ``(slices, rows, cols)``.
    """

    first: int
    fractions: Mapping[str, np.ndarray]


class MetalSource(Protocol):
    """Draws metal for a CT."""

    def draw(
        self, name: str, volume: CTVolume, slices: int, rng: np.random.Generator
    ) -> MetalSlices:
        """Metal for ``slices`` consecutive slices, some of which hold metal.

        :param name: the CT's file name without its ending.
        :param rng: all that the draw may depend on besides the CT.
        :raises InputError: nothing can be placed in this CT.
        """
        ...


class SimpleMetal:
    """Source ``"simple"``: one to three discs of titanium in the body. Needs no other package."""

    def __init__(self, radius_mm: tuple[float, float] = (3.0, 10.0)) -> None:
        self._radius_mm = radius_mm

    def draw(
        self, name: str, volume: CTVolume, slices: int, rng: np.random.Generator
    ) -> MetalSlices:
        """See :class:`MetalSource`."""
        count, rows, cols = volume.hu.shape
        first = int(rng.integers(0, count - slices + 1))
        middle = volume.hu[first + slices // 2]
        body = np.argwhere(middle > -300.0)
        if len(body) == 0:
            raise InputError(f"{name}: no body in slice {first + slices // 2}")
        row, col = np.mgrid[:rows, :cols]
        fraction = np.zeros((rows, cols), np.float32)
        for _ in range(int(rng.integers(1, 4))):
            y, x = body[rng.integers(len(body))]
            distance = np.hypot((row - y) * volume.spacing_mm[1], (col - x) * volume.spacing_mm[2])
            inside = (rng.uniform(*self._radius_mm) - distance) / volume.spacing_mm[2] + 0.5
            fraction = np.maximum(fraction, inside.clip(0.0, 1.0).astype(np.float32))
        return MetalSlices(first, {"Ti6Al4V": np.repeat(fraction[None], slices, axis=0)})


def metal_source(kind: str, options: Mapping[str, Any]) -> MetalSource:
    """The source of that name.

    :raises InputError: unknown; the message lists the known ones.
    """
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if kind == "simple":
        return SimpleMetal(**options)
    if kind not in offered:
        raise InputError(
            f"unknown kind of training metal {kind!r}; there are: "
            f"{', '.join(['simple', *sorted(offered)])}"
        )
    source: MetalSource = offered[kind].load()(**options)
    return source
