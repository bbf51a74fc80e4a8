"""What the image prior's network sees: one place for training and for use.

The network works on images, whose streaks reach across the whole slice. So it is given images
that say where streaks must be: where data are missing, and where metal hardens the beam. For a
polychromatic beam the line integral behind metal of path ``L`` and tissue ``p`` is, to second
order, ``mu_m L + p - a L^2 - b L p`` (the quadratic expansion of beam hardening; De Man, Nuyts,
Dupont, Marchal, Suetens: Metal streak artifacts in X-ray computed tomography: a simulation study.
IEEE Trans. Nucl. Sci. 46, 1999): the reconstructions of ``L^2`` and ``L p`` show the streaks'
shape, and only their strength, which depends on alloy and spectrum, is left to find.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...tomography import FilteredBackProjection
from ...tomography.attenuation import MU_WATER_PER_MM
from ...tomography.smoothing import without_ringing
from ..base import InpaintingContext
from ..nmar.inpainter import NMARParameters, first_pass

CHANNELS = 9
"""Slice below, itself, above; linear interpolation; NMAR; metal; missing data; L^2; L p."""

BRIGHTEST_HU = 2000.0
"""Metal says no more than that it is metal."""

_PATH_UNIT_MM = 10.0


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """Images of one batch, all ``(slices, rows, cols)`` relative to water (HU / 1000).

    :param channels: ``(slices, CHANNELS, rows, cols)``.
    :param corrupted: the uncorrected images, metal limited to :data:`BRIGHTEST_HU`.
    :param nmar: reconstruction after normalised interpolation.
    :param dense: by how much tissue passes :data:`BRIGHTEST_HU` (enamel does): what the uncorrected
        image and NMAR's have in common above. The network does not see it; it is added afterwards.
    """

    channels: torch.Tensor
    corrupted: torch.Tensor
    nmar: torch.Tensor
    dense: torch.Tensor


def image_inputs(
    sinogram: torch.Tensor,
    trace: torch.Tensor,
    context: InpaintingContext,
    reconstruct: FilteredBackProjection,
) -> ImageInputs:
    """Everything that the network is given.

    :param sinogram: of the uncorrected images, ``(slices, views, bins)``.
    :param trace: bool, same shape.
    :param context: of the batch.
    :param reconstruct: for the context's projector.
    """
    projector = context.projector
    li_mu, filled = first_pass(sinogram, trace, context, reconstruct, NMARParameters())
    metal = context.metal_fraction > 0
    li_mu, nmar_mu = (
        without_ringing(image, context.image_mu, metal) for image in (li_mu, reconstruct(filled))
    )
    path = context.metal_path_mm / _PATH_UNIT_MM
    hardened = torch.cat([path * path, path * filled.clamp_min(0.0)])
    squares, products = reconstruct(hardened).chunk(2)
    # The adjoint of ones is the same everywhere inside the field of view.
    missing = projector.adjoint(trace.float())
    row_mm, col_mm = projector.grid.spacing_mm
    missing = missing * (projector.geometry.bin_mm / (projector.geometry.views * row_mm * col_mm))
    corrupted = relative(context.image_mu)
    nmar = relative(nmar_mu)
    channels = torch.stack(
        [
            relative(context.neighbour_mu(-1)),
            corrupted,
            relative(context.neighbour_mu(1)),
            relative(li_mu),
            nmar,
            context.metal_fraction,
            missing,
            torch.asinh(squares / MU_WATER_PER_MM),
            torch.asinh(products / MU_WATER_PER_MM),
        ],
        dim=1,
    )
    lesser = torch.minimum(context.image_mu, nmar_mu) / MU_WATER_PER_MM - 1.0
    dense = (lesser - BRIGHTEST_HU / 1000.0).clamp_min(0.0)
    return ImageInputs(channels, corrupted, nmar, dense)


def relative(image_mu: torch.Tensor) -> torch.Tensor:
    """1/mm -> HU / 1000, limited to what tissue can have."""
    return (image_mu / MU_WATER_PER_MM - 1.0).clamp(-1.1, BRIGHTEST_HU / 1000.0)
