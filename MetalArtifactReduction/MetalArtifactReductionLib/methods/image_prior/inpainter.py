"""Methods ``"prior"`` and ``"prior-strict"``: a learned image, held to the measured data.

A network looks at the slice, its neighbours, two classical corrections and the places where
streaks must be (see :mod:`.channels`), and proposes the slice free of artifacts. What is done
with the proposal is the mode:

- strict: it is projected and fills the metal trace and a bin on either side, matched to the
  measured values at the edges. Nothing else changes.
- best: it is the result. Streaks outside the trace (re-projected from the image, they are in its
  data as well) go, too. Where a line integral outside the trace changes by more than
  :data:`BOUND_LINE_INTEGRAL` plus :data:`BOUND_SHARE` of its value, the image is drawn back towards
  the measured data; how much they change, and in how many rays that was needed, is told.

The metal is given back without its blur (:mod:`..metal_refiner.refinement`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ...errors import InputError
from ...tomography import FilteredBackProjection, Projector, fast_bfloat16
from ...tomography.attenuation import MU_WATER_PER_MM
from ..base import InpaintingContext, Method, Proposal
from ..linear import interpolate_trace
from ..metal_refiner.refinement import MetalRefinement
from .channels import CHANNELS, ImageInputs, image_inputs

if TYPE_CHECKING:
    from ...weights import Weights

MODES = ("best", "strict")

BOUND_LINE_INTEGRAL, BOUND_SHARE = 0.05, 0.05
"""Streaks of the artifacts themselves rarely pass this."""

STRICT_WIDER_BINS = 1
"""Rays beside metal hold more of its blur and scatter than the proposal is off."""

TAPER_MM = 20.0
"""Beside the trace the bound begins to hold by and by: metal blurs its data, too, and a step from
free to bound shows as a line across the whole slice."""

BOUND_TURNS = 4
"""Reconstructing what lies beyond takes most of it away, not all at once."""


@dataclass(frozen=True, eq=False)
class NetworkProposal:
    """What the network says, with what it was told.

    :param inputs: see :class:`.channels.ImageInputs`.
    :param proposed: HU / 1000, ``(slices, rows, cols)``.
    :param scale: expected absolute error in HU / 1000, same shape.
    """

    inputs: ImageInputs
    proposed: torch.Tensor
    scale: torch.Tensor


class ImagePriorMethod(Method):
    """Corrects with a trained :class:`.network.ImagePrior`.

    :param mode: one of :data:`MODES`.
    :param refine_metal: give the metal back without its blur, by the shipped network or a file of
        weights; False gives the segmentation back.
    :raises InputError: weights made for another input, or an unknown mode.
    """

    def __init__(
        self, weights: Weights, mode: str = "best", refine_metal: bool | str = True
    ) -> None:
        if mode not in MODES:
            raise InputError(f"mode {mode!r} is unknown; use one of {', '.join(MODES)}")
        if weights.facts.arguments.get("in_channels") != CHANNELS:
            raise InputError(f"{weights.path}: made for another input than this version gives")
        self._weights, self.mode = weights, mode
        self.name = "prior" if mode == "best" else "prior-strict"
        self.wider_bins = 0 if mode == "best" else STRICT_WIDER_BINS
        own = (refine_metal,) if isinstance(refine_metal, str) else ()
        self._refine = MetalRefinement(*own) if refine_metal else None
        self._reconstruct: FilteredBackProjection | None = None
        self._last: tuple[InpaintingContext, NetworkProposal] | None = None

    @property
    def weights_path(self) -> Path:
        """The file that the network was read from."""
        return self._weights.path

    @property
    def parameters(self) -> Mapping[str, object]:
        """What the weights say of themselves, and the mode."""
        metal = {} if self._refine is None else self._refine.identity
        facts = self._weights.facts.method
        mode = {"mode": self.mode, "wider_bins": self.wider_bins}
        return {**self._weights.identity, **facts, **mode, **metal}

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        """The trace filled with the projected proposal; shapes as in :class:`..base.Method`."""
        found = self.network_proposal(sinogram, trace, context)
        return matched_to_edges(sinogram, trace, context.projector(_mu(found.proposed)))

    def network_proposal(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> NetworkProposal:
        """The network's proposal for one batch; the last one is kept, for it is asked twice."""
        if self._last is not None and self._last[0] is context:
            return self._last[1]
        inputs = image_inputs(sinogram, trace, context, self._reconstruction(context.projector))
        found = self.answer(inputs)
        self._last = (context, found)
        return found

    def answer(self, inputs: ImageInputs) -> NetworkProposal:
        """What the network says to such inputs."""
        device = inputs.corrupted.device
        network = self._weights.on(device)
        proposed, scale = torch.empty_like(inputs.corrupted), torch.empty_like(inputs.corrupted)
        half = torch.autocast(device.type, torch.bfloat16, fast_bfloat16(device))
        with torch.inference_mode(), half:
            for k in range(len(proposed)):  # so that memory does not depend on the batch
                one = slice(k, k + 1)
                image, log_scale = network(
                    inputs.channels[one], inputs.corrupted[one], inputs.nmar[one]
                )
                proposed[k], scale[k] = image[0], log_scale[0].exp()
        return NetworkProposal(inputs, proposed + inputs.dense, scale)

    def propose(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> Proposal | None:
        """The image itself; None in strict mode, where the trace is filled instead."""
        found = self.network_proposal(sinogram, trace, context)
        if self.mode == "strict":
            return None  # what is filled afterwards is wider than the network is told
        bound = BOUND_LINE_INTEGRAL + BOUND_SHARE * sinogram.clamp_min(0.0)
        image, passed = found.proposed, torch.zeros_like(trace)
        clear = _away_from(trace, TAPER_MM / context.projector.geometry.bin_mm)
        for turn in range(BOUND_TURNS + 1):
            change = (context.projector(_mu(image)) - sinogram).masked_fill(trace, 0.0)
            beyond = change - change.clamp(-bound, bound)
            # Each slice by itself: what the others need must not change it.
            passed |= beyond != 0
            beyond *= clear
            late = beyond.flatten(1).any(dim=1)
            if turn == BOUND_TURNS or not bool(late.any()):
                break
            image = image.clone()
            image[late] -= self._reconstruction(context.projector)(beyond[late]) / MU_WATER_PER_MM
        kept = ~trace
        sums = [change**2, (sinogram * kept) ** 2, kept, passed]
        outside = torch.stack([x.float().sum(dim=(1, 2)) for x in sums], dim=1)
        return Proposal(1000.0 * image, 1000.0 * found.scale, outside)

    def shown_metal(self, context: InpaintingContext) -> torch.Tensor:
        """The segmentation without the metal's blur."""
        return context.metal_fraction if self._refine is None else self._refine(context)

    def _reconstruction(self, projector: Projector) -> FilteredBackProjection:
        """Kept between batches that share the projector."""
        if self._reconstruct is None or self._reconstruct.projector is not projector:
            self._reconstruct = FilteredBackProjection(projector)
        return self._reconstruct


def _away_from(trace: torch.Tensor, bins: float) -> torch.Tensor:
    """0 in the trace, rising to 1 within so many bins on either side."""
    half = max(1, round(bins / 2))
    wider = F.max_pool1d(trace.float(), 2 * half + 1, stride=1, padding=half)
    near = F.avg_pool1d(wider, 2 * half + 1, 1, half, count_include_pad=False)
    return 1.0 - near


def _mu(relative: torch.Tensor) -> torch.Tensor:
    """HU / 1000 -> 1/mm, never negative."""
    return (relative + 1.0).clamp_min(0.0) * MU_WATER_PER_MM


def matched_to_edges(
    sinogram: torch.Tensor, trace: torch.Tensor, proposed_sinogram: torch.Tensor
) -> torch.Tensor:
    """The proposal's sinogram in the trace, shifted by what it misses at the trace's edges.

    The difference to the measured values is interpolated across the trace, so that no step is left
    whose reconstruction would be a streak.

    :param sinogram: measured line integrals ``(slices, views, bins)``.
    :param trace: bool, same shape.
    :param proposed_sinogram: of the proposed image, same shape.
    :returns: bit-equal to ``sinogram`` outside the trace.
    """
    difference = interpolate_trace(sinogram - proposed_sinogram, trace)
    return torch.where(trace, proposed_sinogram + difference, sinogram)
