"""Conditional patch discriminator: is this filling, given what was measured, real?

Isola, Zhu, Zhou, Efros: Image-to-image translation with conditional adversarial networks. CVPR
2017. It judges overlapping patches, not the whole sinogram. Parameters are named as MONAI's
``PatchDiscriminator`` names them (Apache-2.0).
"""

from __future__ import annotations

from collections import OrderedDict

import torch


class ConditionalDiscriminator(torch.nn.Module):
    """``D(x, .)``: sees the generator's input beside a sinogram, measured or filled.

    :param in_channels: of the generator's input.
    :param features: channels of the first layer, doubled by each of the next.
    :param layers: strided layers; three see patches of 70 x 70.
    """

    def __init__(self, in_channels: int = 3, features: int = 32, layers: int = 3) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential()
        before = in_channels + 1
        for index in range(-1, layers):
            first, stride = index < 0, 1 if index == layers - 1 else 2
            name, after = ("initial_conv", features) if first else (str(index), 2 * before)
            self.layers.add_module(name, _layer(before, after, stride, first=first))
            before = after
        final = torch.nn.Conv2d(before, 1, kernel_size=4, padding=1)
        self.layers.add_module("final_conv", torch.nn.Sequential(OrderedDict(conv=final)))
        self.apply(_initialise)

    def forward(self, channels: torch.Tensor, candidate: torch.Tensor) -> torch.Tensor:
        """Scores of patches, ``(n, 1, rows, cols)``; high is real.

        :param channels: the generator's input, ``(n, in_channels, views, bins)``.
        :param candidate: a sinogram, scaled like the input, ``(n, views, bins)``.
        """
        scores: torch.Tensor = self.layers(torch.cat([channels, candidate[:, None]], dim=1))
        return scores


def _layer(inputs: int, outputs: int, stride: int, *, first: bool) -> torch.nn.Sequential:
    conv = torch.nn.Conv2d(inputs, outputs, 4, stride, padding=1, bias=first)
    after = OrderedDict[str, torch.nn.Module]()
    if not first:
        after["N"] = torch.nn.InstanceNorm2d(outputs, affine=True)
    after["A"] = torch.nn.LeakyReLU(0.2)
    return torch.nn.Sequential(OrderedDict(conv=conv, adn=torch.nn.Sequential(after)))


def _initialise(module: torch.nn.Module) -> None:
    """Weights of convolutions with a standard deviation of 0.02 and no bias, as published."""
    if isinstance(module, torch.nn.Conv2d):
        torch.nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            torch.nn.init.zeros_(module.bias)
