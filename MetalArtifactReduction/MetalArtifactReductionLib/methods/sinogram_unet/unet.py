"""A U-Net of five levels in two dimensions, laid out and named as MONAI's ``BasicUNet``.

Falk et al.: U-Net - deep learning for cell counting, detection, and morphometry. Nature Methods 16,
2019. Names of parameters and the order in which they are made are those of MONAI (Apache-2.0), so
weights trained with it load and give the same numbers; MONAI itself is not needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn


class UNet(nn.Module):
    """Two convolutions a level, no normalisation, bilinear upsampling.

    :param in_channels: of the input.
    :param features: six numbers: channels of the five levels and of the last decoder stage.
    """

    def __init__(self, in_channels: int, features: Sequence[int]) -> None:
        super().__init__()
        a, b, c, d, e, last = features
        self.conv_0 = _two_convolutions(in_channels, a)
        self.down_1, self.down_2 = _down(a, b), _down(b, c)
        self.down_3, self.down_4 = _down(c, d), _down(d, e)
        self.upcat_4, self.upcat_3 = _UpCat(e, d, d), _UpCat(d, c, c)
        self.upcat_2, self.upcat_1 = _UpCat(c, b, b), _UpCat(b, a, last, halves=False)
        self.final_conv = nn.Conv2d(last, 1, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(n, in_channels, rows, cols)`` to ``(n, 1, rows, cols)``; sides of 16 or more."""
        x0 = self.conv_0(image)
        x1 = self.down_1(x0)
        x2 = self.down_2(x1)
        x3 = self.down_3(x2)
        up = self.upcat_4(self.down_4(x3), x3)
        up = self.upcat_3(up, x2)
        up = self.upcat_2(up, x1)
        result: torch.Tensor = self.final_conv(self.upcat_1(up, x0))
        return result


class _UpCat(nn.Module):
    """Upsampling by two, beside what the encoder had at that size, and two convolutions."""

    def __init__(self, inputs: int, beside: int, outputs: int, halves: bool = True) -> None:
        super().__init__()
        upsampled = inputs // 2 if halves else inputs
        self.upsample = nn.Sequential()
        if halves:
            self.upsample.add_module("preconv", nn.Conv2d(inputs, upsampled, kernel_size=1))
        bilinear = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True)
        self.upsample.add_module("upsample_non_trainable", bilinear)
        self.convs = _two_convolutions(beside + upsampled, outputs)

    def forward(self, x: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        up = self.upsample(x)
        rows, cols = (a - b for a, b in zip(encoded.shape[-2:], up.shape[-2:], strict=True))
        up = nn.functional.pad(up, (0, cols, 0, rows), "replicate")  # odd sides lost one
        result: torch.Tensor = self.convs(torch.cat([encoded, up], dim=1))
        return result


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    def convolution(count: int) -> nn.Sequential:
        conv = nn.Conv2d(count, outputs, kernel_size=3, padding=1)
        return nn.Sequential(OrderedDict(conv=conv, adn=nn.LeakyReLU(0.1, inplace=True)))

    return nn.Sequential(OrderedDict(conv_0=convolution(inputs), conv_1=convolution(outputs)))


def _down(inputs: int, outputs: int) -> nn.Sequential:
    pool = nn.MaxPool2d(kernel_size=2)
    return nn.Sequential(OrderedDict(max_pooling=pool, convs=_two_convolutions(inputs, outputs)))
