"""Metal without its blur: what of a segmentation is given back with the metal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from ...metal.neighbourhood import metal_window
from ...tomography.attenuation import mu_to_hu
from ...weights import load_weights
from .network import refiner_channels

if TYPE_CHECKING:
    from ..protocol import InpaintingContext

WEIGHTS = "metal-refiner"
MARGIN = 24
"""Pixels around the metal that the network sees."""

LEAST_SHARE, FULL_SHARE = 0.15, 0.85
"""Shares outside are taken as none and all: a network never says 0 or 1."""

PIXEL_MM = (0.4, 1.3)
"""It learned from 0.6 to 1 mm. On other images the segmentation is given back as it is."""

CERTAIN_HU = 2000.0
"""Brighter parts of a segmentation are metal, whatever the network says (or enamel, which is to be
given back as well)."""

LEAST_KEPT = 0.3
"""Of the area of such a part; blur makes small parts two to three times as large, not more."""


class MetalRefinement:
    """The share of metal in the pixels of a segmentation, by a trained network.

    Nothing is added to the segmentation, and no bright part of it disappears: if the network leaves
    less than :data:`LEAST_KEPT` of its area, the part's brighter half is given back. See
    :mod:`.network`.

    :param weights: name of shipped weights, or a file.
    :raises InputError: no such weights, or of another network.
    """

    def __init__(self, weights: str = WEIGHTS) -> None:
        self._weights = load_weights(weights, architecture="metal-refiner")

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
        network = self._weights.network.to(fraction.device)
        below, here, above = (mu_to_hu(context.neighbour_mu(k)[window]) for k in (-1, 0, 1))
        channels = refiner_channels(below, here, above, fraction[window])
        for k in range(len(channels)):  # slice by slice: nothing depends on the batch
            with torch.inference_mode():
                share = torch.sigmoid(network(channels[k : k + 1]))[0]
            share = ((share - LEAST_SHARE) / (FULL_SHARE - LEAST_SHARE)).clamp(0.0, 1.0)
            given = fraction[k][window[1:]]
            out[k][window[1:]] = _nothing_lost(share * (given > 0), given, here[k])
        return out


def _nothing_lost(
    refined: torch.Tensor, given: torch.Tensor, image_hu: torch.Tensor
) -> torch.Tensor:
    """The refined shares; of bright parts of which too little is left, the core that was given.

    :param refined, given: shares of a slice, ``(rows, cols)``.
    :param image_hu: the uncorrected slice.
    """
    parts, count = ndimage.label(given.cpu().numpy() > 0, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    before = ndimage.sum(given.cpu().numpy(), parts, numbers)
    after = ndimage.sum(refined.cpu().numpy(), parts, numbers)
    brightest = ndimage.maximum(image_hu.cpu().numpy(), parts, numbers)
    lost = numbers[(brightest >= CERTAIN_HU) & (after < LEAST_KEPT * before)]
    keep = torch.from_numpy(np.isin(parts, lost)).to(refined.device)
    # What is brighter than the half of the part's height: the rest of it is likely blur.
    return torch.where(keep, (2.0 * given - 1.0).clamp(0.0, 1.0), refined)
