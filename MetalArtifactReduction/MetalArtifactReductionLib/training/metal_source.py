"""Where training gets its metal from: a protocol, since training need not know who made it.

Packages offer sources through the entry-point group :data:`GROUP`: each entry is a function that
takes the options of the ``[options.metal_options]`` table and returns a source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..physics.materials import material
from ..volume import CTVolume
from .clean_blocks import placed
from .slice_bank import FittedMetal, read_bank

TRANSPLANTED = 0.3
"""Share of the draws from a bank that take the implants of any CT."""

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


class PackedMetal:
    """Source ``"packed"``: implants of a bank, in the CT that they were placed in or in another.

    :param packed: banks, see :func:`.slice_bank.read_bank`.
    """

    def __init__(self, packed: Sequence[str]) -> None:
        banks = [read_bank(Path(one)) for one in packed]
        self._of: dict[str, list[FittedMetal]] = {}
        for bank in banks:
            for fitted in bank.metal:
                if any(material(name).is_metal for name in fitted.materials):
                    self._of.setdefault(bank.volumes[fitted.volume].name, []).append(fitted)
        self._all = [fitted for one in self._of.values() for fitted in one]
        if not self._all:
            raise InputError(f"{', '.join(packed)}: no implants are packed there; pack again")

    def draw(
        self, name: str, volume: CTVolume, slices: int, rng: np.random.Generator
    ) -> MetalSlices:
        """See :class:`MetalSource`."""
        own = self._of.get(name, [])
        elsewhere = not own or rng.random() < TRANSPLANTED
        count, rows, cols = volume.hu.shape
        for _ in range(20):
            chosen = self._all if elsewhere else own
            fitted = chosen[int(rng.integers(len(chosen)))]
            middle = int(rng.integers(count))
            if not elsewhere:
                middle = fitted.corner[0] + int(rng.integers(fitted.shares.shape[1]))
            first = int(np.clip(middle - rng.integers(1, slices - 1), 0, count - slices))
            names, shares = placed(fitted, first, (slices, rows, cols), elsewhere, rng)
            if shares[:, 1:-1].any():
                return MetalSlices(first, dict(zip(names, shares, strict=True)))
        raise InputError(f"{name}: no packed implant reaches its slices; pack again")


def metal_source(kind: str, options: Mapping[str, Any]) -> MetalSource:
    """The source of that name.

    :raises InputError: unknown; the message lists the known ones.
    """
    offered = {entry.name: entry for entry in entry_points(group=GROUP)}
    built_in: dict[str, Callable[..., MetalSource]] = {"simple": SimpleMetal, "packed": PackedMetal}
    if kind in built_in:
        return built_in[kind](**options)
    if kind not in offered:
        raise InputError(
            f"unknown kind of training metal {kind!r}; there are: "
            f"{', '.join([*built_in, *sorted(offered)])}"
        )
    source: MetalSource = offered[kind].load()(**options)
    return source
