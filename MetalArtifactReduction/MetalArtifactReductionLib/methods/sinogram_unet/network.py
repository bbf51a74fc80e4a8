"""The masked U-Net generator of sinogram inpainting.

``G(x, m) = m U(x) + (1 - m) x``: outside the trace ``m`` the measured sinogram ``x`` passes bit by
bit, so the network cannot change what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .unet import UNet

FEATURES = (16, 16, 32, 64, 128, 16)
"""Channels of the five levels and of the last decoder stage."""


class MaskedUNet(torch.nn.Module):
    """U-Net that fills the metal trace.

    :param in_channels: of the network's input.
    :param features: six numbers, see :data:`FEATURES`.
    :param output_scale: line integrals that an output of 1 stands for.
    :param residual: start at the given filling and add to it; the last layer begins with zeros,
        so an untrained network returns the filling. False: ``U`` gives the whole value, as in
        the formula.
    :raises ValueError: not six features, or no input channel.
    """

    def __init__(
        self,
        in_channels: int = 3,
        features: Sequence[int] = FEATURES,
        output_scale: float = 5.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if in_channels < 1 or len(features) != 6 or min(features) < 1:
            raise ValueError(f"in_channels {in_channels} and features {list(features)} do not fit")
        self.output_scale, self.residual = float(output_scale), bool(residual)
        # Without normalisation: its statistics would depend on how much of the sinogram is seen,
        # and the absolute level is what the network has to predict.
        self.unet = UNet(in_channels, features)
        self.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if residual:
            torch.nn.init.zeros_(self.unet.final_conv.weight)
            if self.unet.final_conv.bias is not None:
                torch.nn.init.zeros_(self.unet.final_conv.bias)

    def forward(
        self,
        channels: torch.Tensor,
        start: torch.Tensor,
        measured: torch.Tensor,
        trace: torch.Tensor,
    ) -> torch.Tensor:
        """The sinogram with the trace filled.

        :param channels: input of the U-Net, ``(n, in_channels, views, bins)``; sides of 16 or more.
        :param start: first filling of the trace in line integrals, ``(n, views, bins)``; used
            only if ``residual``.
        :param measured: line integrals, same shape.
        :param trace: bool, same shape.
        :returns: line integrals, same shape, float32.
        """
        predicted = self.predict(channels).to(measured.dtype)
        if self.residual:
            predicted = start + predicted
        return torch.where(trace, predicted, measured)

    def predict(self, channels: torch.Tensor) -> torch.Tensor:
        """The U-Net's output in line integrals, ``(n, views, bins)``."""
        inputs = channels.contiguous(memory_format=torch.channels_last)
        result: torch.Tensor = self.output_scale * self.unet(inputs)[:, 0].float()
        return result

    def freeze(self, parts: Sequence[str]) -> None:
        """Keep parts of the U-Net as they are: names of its children that start so.

        :param parts: such as ``("conv_0", "down_1")``; the children are conv_0, down_1 to
            down_4 (encoder), upcat_4 to upcat_1 (decoder) and final_conv.
        :raises ValueError: a name that no child starts with.
        """
        children = dict(self.unet.named_children())
        for part in parts:
            chosen = [name for name in children if name.startswith(part)]
            if not chosen:
                raise ValueError(f"no layers {part!r} to freeze; there are: {', '.join(children)}")
            for name in chosen:
                children[name].requires_grad_(False)


def wrapped_views(sinograms: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Parallel views over half a turn continued at both ends.

    The view after the last is the first seen from the other side: its bins in reverse order.

    :param sinograms: ``(..., views, bins)``, bins centred on the isocentre.
    :param before, after: views to add, at most as many as there are.
    """
    views = sinograms.shape[-2]
    if not (0 <= before <= views and 0 <= after <= views):
        raise ValueError(f"cannot add {before} and {after} views to {views}")
    turned = sinograms.flip(-1)
    return torch.cat([turned[..., views - before :, :], sinograms, turned[..., :after, :]], dim=-2)
