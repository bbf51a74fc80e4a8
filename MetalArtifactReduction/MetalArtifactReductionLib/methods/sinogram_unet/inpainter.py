"""The methods ``"unet"`` and ``"cgan"``: a trained masked U-Net fills the trace.

Both are the same network; they differ in how it was trained (squared error alone, or together with
a discriminator).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from ...errors import InputError
from ..base import InpaintingContext, Method
from ..nmar.inpainter import NMAR
from .channels import STARTS, generator_input
from .network import wrapped_views

if TYPE_CHECKING:
    from ...weights import Weights

WRAP_VIEWS = 48
"""Views of the other side shown beyond either end, more than the network looks."""

MARGIN_BINS = 64
"""Bins beside the trace that the network sees."""


class SinogramUNet(Method):
    """Fills the trace with a trained :class:`.network.MaskedUNet`, slice by slice.

    Slice by slice, so that neither the memory nor the result depends on the batch. Half precision
    on a GPU.

    :raises InputError: weights made for an unknown input.
    """

    def __init__(self, weights: Weights) -> None:
        start = weights.facts.method.get("start")
        if start not in STARTS:
            raise InputError(f"{weights.path}: made for an unknown input {start!r}")
        self._weights, self._start, self._nmar = weights, str(start), NMAR(passes=1)
        self.name = str(weights.facts.method.get("name", weights.path.stem))

    @property
    def parameters(self) -> Mapping[str, object]:
        """What the weights say of themselves."""
        return {**self._weights.identity, **self._weights.facts.method}

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        """Shapes as in :class:`..base.Method`."""
        network = self._weights.on(sinogram.device)
        seen = generator_input(self._start, sinogram, trace, context, self._nmar)
        return filled_by(network, seen.channels, seen.start, sinogram, trace)


@torch.no_grad()
def filled_by(
    network: torch.nn.Module,
    channels: torch.Tensor,
    start: torch.Tensor,
    measured: torch.Tensor,
    trace: torch.Tensor,
) -> torch.Tensor:
    """Whole sinograms filled by a generator, one after the other.

    :param channels: see :class:`.channels.GeneratorInput`.
    :param start, measured, trace: ``(slices, views, bins)``.
    :returns: line integrals, same shape; outside the trace bit-equal to ``measured``.
    """
    filled = measured.clone()
    half = measured.device.type == "cuda"
    for index in torch.nonzero(trace.flatten(1).any(dim=1)).flatten().tolist():
        bins = _bins_around(trace[index])
        one = slice(index, index + 1)
        with torch.autocast(measured.device.type, torch.float16, enabled=half):
            values = network(
                *(
                    wrapped_views(x[one], WRAP_VIEWS, WRAP_VIEWS)[..., bins]
                    for x in (channels, start, measured, trace)
                )
            )
        filled[one, :, bins] = values[:, WRAP_VIEWS:-WRAP_VIEWS]
    return filled


def _bins_around(trace: torch.Tensor) -> slice:
    """The bins that the network has to see, the same seen from either side."""
    bins = trace.shape[-1]
    found = torch.nonzero((trace | trace.flip(-1)).any(dim=0)).flatten()
    low = max(0, (int(found[0]) - MARGIN_BINS) // 16 * 16)
    return slice(low, bins - low)
