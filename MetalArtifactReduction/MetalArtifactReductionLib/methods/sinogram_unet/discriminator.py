"""Conditional patch discriminator: is this filling, given what was measured, real? (MONAI.)

Isola, Zhu, Zhou, Efros: Image-to-image translation with conditional adversarial networks. CVPR
2017. It judges overlapping patches, not the whole sinogram.
"""

from __future__ import annotations

import torch


class ConditionalDiscriminator(torch.nn.Module):
    """``D(x, .)``: sees the generator's input beside a sinogram, measured or filled.

    :param in_channels: of the generator's input.
    :param features: channels of the first layer, doubled by each of the next.
    :param layers: strided layers; three see patches of 70 x 70.
    """

    def __init__(self, in_channels: int = 3, features: int = 32, layers: int = 3) -> None:
        super().__init__()
        from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

        self.layers = PatchDiscriminator(
            spatial_dims=2,
            channels=features,
            in_channels=in_channels + 1,
            out_channels=1,
            num_layers_d=layers,
            norm=("INSTANCE", {"affine": True}),
        )

    def forward(self, channels: torch.Tensor, candidate: torch.Tensor) -> torch.Tensor:
        """Scores of patches, ``(n, 1, rows, cols)``; high is real.

        :param channels: the generator's input, ``(n, in_channels, views, bins)``.
        :param candidate: a sinogram, scaled like the input, ``(n, views, bins)``.
        """
        scores: torch.Tensor = self.layers(torch.cat([channels, candidate[:, None]], dim=1))[-1]
        return scores
