"""The method ``"trace-cnn"``: the trace as a small convolutional network sees it.

The network reads the sinogram of an image whose trace was filled with the maximum
(:mod:`.channels`), exactly as it was trained, and returns the clean sinogram. Inside the trace its
values are taken; outside the measured ones stay.

``output="matched"`` adds to the network's values the straight line along the bins that makes them
meet the measured values at both ends of the trace. A small error of the whole level, which the
back-projection would show as long streaks, is gone then. ``output="trace"`` takes them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...tomography import Projector
from ...weights import Weights
from ..base import InpaintingContext, Method
from ..linear import interpolate_trace
from .brightness import body_quantiles, brightness_factor
from .channels import MaxFill, MaxFillParameters, on_rays_of
from .network import whole_sinograms

OUTPUTS = ("matched", "trace")


def matched(estimate: torch.Tensor, measured: torch.Tensor, trace: torch.Tensor) -> torch.Tensor:
    """The estimate inside the trace, plus a line that makes it meet the measured values at its
    ends; the measured values outside. All ``(slices, views, bins)``.
    """
    line = interpolate_trace(measured - estimate, trace)
    return torch.where(trace, estimate + line, measured)


def estimated_sinogram(
    network: torch.nn.Module,
    fill: MaxFill,
    measured: torch.Tensor,
    trace: torch.Tensor,
    unit: float,
    brightness: float = 1.0,
) -> torch.Tensor:
    """The network's clean sinogram, everywhere, from the measured one with its trace overwritten.

    :param network: in evaluation mode.
    :param measured: on the rays of ``fill``; what it holds in the trace has no influence.
    :param unit: line integral that the network calls 1.
    :param brightness: factor of this patient; undone in the result.
    """
    corrupted = fill.corrupted(measured * brightness, trace)
    return whole_sinograms(network, corrupted) * (unit / brightness)


class TraceCNNMethod(Method):
    """See the module.

    :param weights: of a ``TraceCNN``, with what its training recorded.
    :param brightness: the patient's factor, see :mod:`.brightness`; None finds it from
        the whole volume (1 for weights of one patient, which know no other).
    :param output: one of :data:`OUTPUTS`.
    :raises ValueError: an unknown output, a factor that is not above 0, weights without their
        facts.
    """

    name = "trace-cnn"

    def __init__(
        self, weights: Weights, brightness: float | None = None, output: str = "matched"
    ) -> None:
        if output not in OUTPUTS:
            raise ValueError(f"output {output!r} is unknown; use one of {', '.join(OUTPUTS)}")
        if brightness is not None and not brightness > 0:
            raise ValueError(f"brightness is {brightness!r}; give a factor above 0")
        facts = weights.facts.method
        try:
            self._fill_parameters = MaxFillParameters.from_dict(facts["fill"])
            self._unit = float(facts["unit"])
            reference = facts["brightness_reference"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"the weights do not say how they were trained ({error})") from None
        self._reference = None if reference is None else np.asarray(reference, dtype=np.float64)
        self._weights, self._brightness, self._output = weights, brightness, output
        self._found: tuple[np.ndarray, float] | None = None
        self._fill: tuple[Projector, MaxFill] | None = None

    @property
    def parameters(self) -> Mapping[str, object]:
        """Plain values, the network's own facts included."""
        return {
            **self._weights.identity,
            "brightness": self._brightness,
            "output": self._output,
            **{k: v for k, v in self._weights.facts.method.items() if k != "inpainter"},
        }

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        """See the module; shapes as in :class:`..base.Method`."""
        fill = self._fill_for(context.projector)
        measured = fill.sinogram(context.image_mu)
        coarse = fill.trace(context.metal_fraction)
        network = self._weights.on(context.device)
        factor = self._factor(context)
        estimate = estimated_sinogram(network, fill, measured, coarse, self._unit, factor)
        geometry: Any = context.projector.geometry
        if self._output == "trace":
            found = torch.where(coarse, estimate, measured)
            return torch.where(trace, on_rays_of(found, fill.geometry, geometry), sinogram)
        found = on_rays_of(matched(estimate, measured, coarse), fill.geometry, geometry)
        return matched(found, sinogram, trace)

    def _factor(self, context: InpaintingContext) -> float:
        """Once a volume: it must not depend on which slices are in the batch."""
        if self._brightness is not None:
            return self._brightness
        volume = context.volume_hu
        if self._reference is None or volume is None:
            return 1.0
        if self._found is None or self._found[0] is not volume:
            factor = brightness_factor(body_quantiles(1.0 + volume / 1000.0), self._reference)
            self._found = (volume, factor)
        return self._found[1]

    def _fill_for(self, projector: Projector) -> MaxFill:
        """Kept between batches that share the projector."""
        if self._fill is None or self._fill[0] is not projector:
            fill = MaxFill(projector.grid, self._fill_parameters, projector.device)
            self._fill = (projector, fill)
        return self._fill[1]
