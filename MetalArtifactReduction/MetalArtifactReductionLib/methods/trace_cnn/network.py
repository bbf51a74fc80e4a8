"""The trace CNN: a sinogram whose metal trace was overwritten in, the clean sinogram out.

Six convolutions of 5 x 5, stride 1, zero padding; LeakyReLU(0.2) and then batch normalisation
after each but the last, which is bare. The number of channels is a choice of this project.
"""

from __future__ import annotations

import torch
from torch import nn

CHANNELS = 16
"""Of the inner layers: what one core trains in minutes."""

LAYERS, KERNEL, SLOPE = 6, 5, 0.2

REACH = LAYERS * (KERNEL // 2)
"""How far an output value looks to each side: 12 bins and views."""


class TraceCNN(nn.Module):
    """``(samples, 1, views, bins)`` -> the same shape, values of about 0..1.

    :param channels: of the five inner layers.
    """

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels is {channels}; give 1 or more")
        layers: list[nn.Module] = []
        width = 1
        for _ in range(LAYERS - 1):
            layers += [
                nn.Conv2d(width, channels, KERNEL, padding=KERNEL // 2),
                nn.LeakyReLU(SLOPE),
                nn.BatchNorm2d(channels),
            ]
            width = channels
        layers.append(nn.Conv2d(width, 1, KERNEL, padding=KERNEL // 2))
        self.layers = nn.Sequential(*layers)

    def forward(self, sinogram: torch.Tensor) -> torch.Tensor:
        """See :class:`TraceCNN`."""
        out: torch.Tensor = self.layers(sinogram)
        return out


def channels_last(network: nn.Module) -> nn.Module:
    """The weights in the order that convolutions of few channels are fastest with on a CPU."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def wrapped_views(sinogram: torch.Tensor, margin: int) -> torch.Tensor:
    """Parallel views over half a turn, continued at both ends: the view at 180 deg + t is the
    view at t with its bins reversed.

    :param sinogram: ``(..., views, bins)``, the isocentre in the middle of the bins.
    :param margin: views added at each end, at most ``views``.
    """
    flipped = sinogram.flip(-1)
    return torch.cat([flipped[..., -margin:, :], sinogram, flipped[..., :margin, :]], dim=-2)


@torch.no_grad()
def whole_sinograms(network: nn.Module, sinogram: torch.Tensor, at_once: int = 2) -> torch.Tensor:
    """The network on whole sinograms, as it worked inside the crops it was trained on.

    The views are continued around the half turn, so the zero padding only meets rays beside the
    body.

    :param network: in evaluation mode: slices do not influence each other then.
    :param sinogram: ``(slices, views, bins)``.
    :param at_once: slices in one call; bounds the memory.
    """
    padded = wrapped_views(sinogram, REACH)[:, None]
    padded = padded.contiguous(memory_format=torch.channels_last)
    parts = [network(part)[:, 0, REACH:-REACH] for part in padded.split(at_once)]
    return torch.cat(parts).float()
