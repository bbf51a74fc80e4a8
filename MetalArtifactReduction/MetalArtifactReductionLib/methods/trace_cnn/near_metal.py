"""Clean slices of the same patient, close to the metal: what a network can be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError

ALTERNATIVES = (
    "choose slices yourself, use weights trained on several patients (method trace-cnn), or nmar"
)

BODY_HU = -500.0
SMALLEST_BODY_SHARE = 0.02


@dataclass(frozen=True)
class NearMetalParameters:
    """How many slices, and how far from metal.

    :param above: slices beyond the last slice with metal.
    :param below: slices before the first one.
    :param margin: slices next to metal that are left out: they show its blur.
    :param fewest: with less in all there is too little to learn from.
    :param chosen: slices to use instead; those with metal or within the margin are refused.
    """

    above: int = 11
    below: int = 11
    margin: int = 1
    fewest: int = 4
    chosen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Reject counts that cannot be met."""
        if min(self.above, self.below, self.margin) < 0 or self.above + self.below < 1:
            raise ValueError(f"counts of slices must be 0 or more, and not all 0: {self}")
        if self.fewest < 1:
            raise ValueError(f"fewest is {self.fewest}; give 1 or more")


def near_metal_slices(
    metal_fraction: np.ndarray, hu: np.ndarray, parameters: NearMetalParameters | None = None
) -> np.ndarray:
    """Indices of the clean slices next to the range of slices that hold metal.

    The range goes from the first slice with metal to the last. From its ends outwards, slices
    that hold metal, lie within the margin of any, or show no body are passed over, until the
    numbers asked for are found or the volume ends.

    :param metal_fraction: ``(slices, rows, cols)``.
    :param hu: same shape.
    :returns: int, ascending.
    :raises InputError: no metal; none or too few clean slices; chosen ones that are not clean.
    """
    p = parameters or NearMetalParameters()
    metal: np.ndarray = np.any(metal_fraction.reshape(len(metal_fraction), -1) > 0, axis=1)
    with_metal = np.flatnonzero(metal)
    if with_metal.size == 0:
        raise InputError("the metal mask is empty; segment the metal or lower the threshold")
    near = np.zeros_like(metal)
    for index in with_metal:
        near[max(0, index - p.margin) : index + p.margin + 1] = True
    if p.chosen:
        return _checked(p, near, metal)
    clean = np.array([not n and _shows_body(layer) for n, layer in zip(near, hu, strict=True)])
    indices = np.flatnonzero(clean)
    below = indices[indices < with_metal[0]][::-1][: p.below][::-1]
    above = indices[indices > with_metal[-1]][: p.above]
    found = np.concatenate([below, above])
    if found.size < p.fewest:
        amount = "no clean slices" if found.size == 0 else f"only {found.size} clean slice(s)"
        raise InputError(
            f"{amount} near the metal in slices {with_metal[0]}-{with_metal[-1]} of {len(metal)} "
            f"(margin {p.margin}, {p.fewest} needed): {ALTERNATIVES}"
        )
    return found


def _checked(p: NearMetalParameters, near: np.ndarray, metal: np.ndarray) -> np.ndarray:
    """The user's own slices, if they are there, clean and enough."""
    chosen: Sequence[int] = sorted(set(p.chosen))
    outside = [k for k in chosen if not 0 <= k < len(metal)]
    if outside:
        raise InputError(f"slice {outside[0]} is not one of 0-{len(metal) - 1}; choose others")
    unclean = [k for k in chosen if near[k]]
    if unclean:
        what = "holds metal" if metal[unclean[0]] else f"lies within {p.margin} of metal"
        raise InputError(f"slice {unclean[0]} {what}; choose clean slices to train on")
    if len(chosen) < p.fewest:
        raise InputError(f"{len(chosen)} slice(s) chosen, {p.fewest} needed; choose more")
    return np.asarray(chosen, dtype=np.int64)


def _shows_body(layer: np.ndarray) -> bool:
    return float((layer > BODY_HU).mean()) > SMALLEST_BODY_SHARE
