"""Which voxels of a segmentation are metal: the blur around it looks like metal, too.

On images clipped at 3071 HU everything within a pixel or two of an implant is as bright as the
implant. A segmentation has to take it in, or its rays would stay corrupted; given back with the
metal, it would make the implant thicker than it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

CHANNELS = 6
"""See :func:`refiner_channels`."""

FEATURES = 32
DILATIONS = (1, 1, 2, 2, 4, 1)


class MetalRefiner(torch.nn.Module):
    """A few convolutions with a view of about 25 pixels: the share of metal in each pixel.

    :param features: channels of every layer.
    :param dilations: of the layers after the first.
    """

    def __init__(self, features: int = FEATURES, dilations: Sequence[int] = DILATIONS) -> None:
        super().__init__()
        self.head = torch.nn.Conv2d(CHANNELS, features, 3, padding=1)
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(features, features, 3, padding=d, dilation=d) for d in dilations
        )
        self.tail = torch.nn.Conv2d(features, 1, 1)

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Logit of the share: ``(slices, CHANNELS, rows, cols)`` -> ``(slices, rows, cols)``."""
        x = F.silu(self.head(channels))
        for layer in self.layers:
            x = x + F.silu(layer(x))
        logits: torch.Tensor = self.tail(x)[:, 0].float()
        return logits


def refiner_channels(
    below_hu: torch.Tensor, hu: torch.Tensor, above_hu: torch.Tensor, fraction: torch.Tensor
) -> torch.Tensor:
    """The network's input.

    :param below_hu, hu, above_hu: uncorrected slices and their neighbours ``(slices, rows, cols)``.
    :param fraction: the segmentation, 0..1, same shape.
    :returns: ``(slices, CHANNELS, rows, cols)``: HU / 1000 of the three up to 3.1, the logarithm of
        what an extended scale shows above, whether the value is at the scale's end, the
        segmentation.
    """
    clipped = [(x / 1000.0).clamp(-1.0, 3.1) for x in (below_hu, hu, above_hu)]
    bright = torch.log1p((hu / 1000.0).clamp(0.0, 40.0))
    return torch.stack(
        [*clipped, bright, ((hu >= 3071.0) & (hu < 3072.0)).float(), fraction], dim=1
    )
