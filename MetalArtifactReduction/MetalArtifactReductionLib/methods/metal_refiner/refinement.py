"""Metal without its blur: what of a segmentation is given back with the metal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...metal.neighbourhood import metal_window
from ...tomography.attenuation import mu_to_hu
from ...weights import load_weights
from .network import MetalRefiner, refiner_channels

if TYPE_CHECKING:
    from ..base import InpaintingContext

WEIGHTS = "metal-refiner"
MARGIN = 24
"""Pixels around the metal that the network sees."""

LEAST_SHARE, FULL_SHARE = 0.15, 0.85
"""Shares outside are taken as none and all: a network never says 0 or 1."""

PIXEL_MM = (0.4, 1.3)
"""It learned from 0.6 to 1 mm. On other images the segmentation is given back as it is."""


class MetalRefinement:
    """The share of metal in the pixels of a segmentation, by a trained network.

    Nothing is added to the segmentation; what is certain metal the correction shows whatever is
    said here. See :mod:`.network`.

    :param weights: name of shipped weights, or a file.
    :raises InputError: no such weights, or of another network.
    """

    def __init__(self, weights: str = WEIGHTS) -> None:
        self._weights = load_weights(weights, "metal-refiner", MetalRefiner)

    @property
    def identity(self) -> dict[str, object]:
        """Which weights these are."""
        return {f"metal_{name}": value for name, value in self._weights.identity.items()}

    def __call__(self, context: InpaintingContext) -> torch.Tensor:
        """Refined fraction 0..1 ``(slices, rows, cols)`` of a batch."""
        fraction = context.metal_fraction
        sides = context.projector.grid.spacing_mm
        if min(sides) < PIXEL_MM[0] or max(sides) > PIXEL_MM[1]:
            return fraction
        window = metal_window(fraction > 0, (MARGIN, MARGIN))
        out = torch.zeros_like(fraction)
        if window is None:
            return out
        network = self._weights.on(fraction.device)
        below, here, above = (mu_to_hu(context.neighbour_mu(k)[window]) for k in (-1, 0, 1))
        channels = refiner_channels(below, here, above, fraction[window])
        for k in range(len(channels)):  # slice by slice: nothing depends on the batch
            with torch.inference_mode():
                share = torch.sigmoid(network(channels[k : k + 1]))[0]
            share = ((share - LEAST_SHARE) / (FULL_SHARE - LEAST_SHARE)).clamp(0.0, 1.0)
            out[k][window[1:]] = share * (fraction[k][window[1:]] > 0)
        return out
