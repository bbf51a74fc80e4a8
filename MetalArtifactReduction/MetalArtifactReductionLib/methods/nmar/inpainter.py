"""Normalised metal artifact reduction.

Meyer, Raupach, Lell, Schmidt, Kachelriess: Normalized metal artifact reduction (NMAR) in computed
tomography. Med. Phys. 37 (2010) 5482-5493.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch

from ...tomography import FilteredBackProjection, Projector
from ...tomography.attenuation import MU_WATER_PER_MM
from ..base import InpaintingContext, Method
from ..linear import interpolate_trace
from .prior_image import PriorParameters, prior_image

MUCH_METAL_MM2 = (450.0, 700.0)
"""Metal in a slice up to which further passes count nothing, and from which on in full. The prior
of one pass lacks the bone around two prostheses, which every ray through both of them crosses;
around nails and screws a second one only sharpens what the first got wrong."""

HIGHEST_RATIO = 1.5
"""Of a ray to the prior's, so many times. More is the blur of metal on a ray that passes beside the
body, and would be carried across the trace to rays through all of it."""


@dataclass(frozen=True)
class NMARParameters:
    """What to choose.

    :param passes: 1, or 2 and more to make the prior from the previous pass's image again, where
        there is much metal (:data:`MUCH_METAL_MM2`).
    :param floor_mm: millimetres of water added to both sinograms before the division, so that
        rays beside the body do not divide by nothing; there the ratio goes to 1.
    :param prior: how the prior image is made.
    """

    passes: int = 2
    floor_mm: float = 2.0
    prior: PriorParameters = field(default_factory=PriorParameters)

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        if not isinstance(self.passes, int) or self.passes < 1:
            raise ValueError(f"passes is {self.passes!r}; give a whole number of 1 or more")
        if not self.floor_mm > 0:
            raise ValueError(f"floor_mm is {self.floor_mm!r}; give a length above 0")


class NMAR(Method):
    """The method ``"nmar"``: interpolate the sinogram divided by that of a prior image.

    With the prior's sinogram flat where tissue and bone were accounted for, the straight line
    across the trace is a small error; multiplied back, the prior's structure returns.
    """

    name = "nmar"

    def __init__(self, passes: int = 2, floor_mm: float = 2.0, **prior: object) -> None:
        """The first two as in :class:`NMARParameters`, the rest as in :class:`PriorParameters`."""
        self._parameters = NMARParameters(passes, floor_mm, PriorParameters(**prior))  # type: ignore[arg-type]
        self._reconstruct: FilteredBackProjection | None = None

    @property
    def parameters(self) -> Mapping[str, object]:
        """All of :class:`NMARParameters`, nested as plain values."""
        return asdict(self._parameters)

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        """See :class:`NMAR`; shapes as in :class:`..base.Method`."""
        reconstruct = self._reconstruction(context.projector)
        _, filled = first_pass(sinogram, trace, context, reconstruct, self._parameters)
        share = _much_metal(context)
        for _ in range(self._parameters.passes - 1 if share.any() else 0):
            before_mu = reconstruct(filled)
            again = _pass(sinogram, trace, context, before_mu, self._parameters, again=True)
            filled = filled + share * (again - filled)
        return filled

    def _reconstruction(self, projector: Projector) -> FilteredBackProjection:
        """Kept between batches that share the projector."""
        if self._reconstruct is None or self._reconstruct.projector is not projector:
            self._reconstruct = FilteredBackProjection(projector)
        return self._reconstruct


def first_pass(
    sinogram: torch.Tensor,
    trace: torch.Tensor,
    context: InpaintingContext,
    reconstruct: FilteredBackProjection,
    parameters: NMARParameters,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The image of linear interpolation in 1/mm, and the sinogram that NMAR fills with it.

    Shared by all who ask in the same context: read only.
    """
    key = f"first pass {parameters.floor_mm} {parameters.prior}"
    given = (sinogram, trace)
    known = context.shared.get(key)
    if known is None or any(one is not other for one, other in zip(known, given, strict=False)):
        li_mu = reconstruct(interpolate_trace(sinogram, trace))
        filled = _pass(sinogram, trace, context, li_mu, parameters)
        context.shared[key] = known = (*given, li_mu, filled)
    return known[2], known[3]


def _much_metal(context: InpaintingContext) -> torch.Tensor:
    """How much further passes count in each slice, 0 to 1, ``(slices, 1, 1)``."""
    row_mm, col_mm = context.projector.grid.spacing_mm
    area = context.metal_fraction.sum(dim=(1, 2), keepdim=True) * (row_mm * col_mm)
    low, high = MUCH_METAL_MM2
    return ((area - low) / (high - low)).clamp(0.0, 1.0)


def _pass(
    sinogram: torch.Tensor,
    trace: torch.Tensor,
    context: InpaintingContext,
    before_mu: torch.Tensor,
    parameters: NMARParameters,
    again: bool = False,
) -> torch.Tensor:
    """The sinogram filled with the prior of an image corrected before."""
    spacing_mm = context.projector.grid.spacing_mm
    prior = prior_image(
        context.image_mu, before_mu, context.metal_fraction, spacing_mm, parameters.prior, again
    )
    return normalised_interpolation(sinogram, trace, context.projector(prior), parameters.floor_mm)


def normalised_interpolation(
    sinogram: torch.Tensor, trace: torch.Tensor, prior_sinogram: torch.Tensor, floor_mm: float
) -> torch.Tensor:
    """``p_prior * interpolate(p / p_prior)`` with a floor under both (Meyer 2010, eqs. 2-4).

    No ratio is above :data:`HIGHEST_RATIO`.

    :param sinogram: measured line integrals ``(slices, views, bins)``.
    :param trace: bool, same shape.
    :param prior_sinogram: of the prior image, same shape.
    :param floor_mm: see :class:`NMARParameters`.
    :returns: bit-equal to ``sinogram`` outside the trace; a view that is all trace becomes the
        prior's.
    """
    floor = floor_mm * MU_WATER_PER_MM
    prior = prior_sinogram.clamp(min=0.0) + floor
    ratio = ((sinogram + floor) / prior).clamp(max=HIGHEST_RATIO)
    ratio = interpolate_trace(ratio, trace, fill=1.0)
    return torch.where(trace, ratio * prior - floor, sinogram)
