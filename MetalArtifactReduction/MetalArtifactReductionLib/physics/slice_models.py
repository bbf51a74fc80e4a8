"""The three ways to make the sinogram of a slice with implants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..tomography.attenuation import MU_WATER_PER_MM, hu_to_mu
from ..tomography.trace import TraceParameters, trace_from_path
from .materials import Material, material
from .scanner import Scanner


@dataclass(frozen=True)
class SliceScan:
    """Sinograms of one slice.

    :param sinograms: ``(1 or 2, views, bins)``: with implants, then without if it was asked for.
    :param metal_path_mm: path of each ray in metal, ``(views, bins)``.
    """

    sinograms: torch.Tensor
    metal_path_mm: torch.Tensor


def physics_slice(
    scanner: Scanner,
    hu: torch.Tensor,
    fractions: torch.Tensor,
    materials: Sequence[Material],
    normals: torch.Tensor | None,
    with_reference: bool,
) -> SliceScan:
    """Polychromatic acquisition, see :class:`Scanner`.

    :param hu: tissue, ``(rows, cols)``.
    :param fractions: of the implants, ``(implants, rows, cols)``; they displace tissue.
    :param normals: standard normal numbers ``(2, views, bins)``, used with and without implants.
    """
    left = (1.0 - fractions.sum(dim=0)).clamp_min(0.0)
    all_tissue_mm, left_mm = scanner.tissue_paths(hu, torch.stack([torch.ones_like(left), left]))
    implant_mm = scanner.implant_paths(fractions)
    without = scanner.transmitted(all_tissue_mm)
    signal = scanner.transmitted_with_implants(without, left_mm, implant_mm, materials)
    sinograms = [scanner.line_integrals(signal, normals)]
    if with_reference:
        sinograms.append(scanner.line_integrals(without, normals))
    return SliceScan(torch.stack(sinograms), _metal_path(scanner, implant_mm, materials))


def trace_slice(
    scanner: Scanner,
    hu: torch.Tensor,
    fractions: torch.Tensor,
    materials: Sequence[Material],
    fill_with_maximum: bool,
    with_reference: bool,
) -> SliceScan:
    """Line integrals of the slice with the metal trace overwritten.

    The trace is every bin whose ray meets metal (:class:`TraceParameters` without dilation). It is
    set to the largest line integral of the slice, or to 0. Implants that are not metal are in the
    image at the HU they have at the reference energy.
    """
    energy = scanner.parameters.reference_energy_kev
    image = hu_to_mu(hu) * scanner.seen
    clean = image.clone()
    for fraction, implant in zip(fractions, materials, strict=True):
        if not implant.is_metal:
            image += fraction * (relative_mu(implant, energy) * MU_WATER_PER_MM - clean)
    line_integrals = scanner.cells(torch.stack([image, clean] if with_reference else [image]))
    path_mm = _metal_path(scanner, scanner.implant_paths(fractions), materials)
    trace = trace_from_path(path_mm, TraceParameters().minimal_path_mm(scanner.cells))
    fill = float(line_integrals[0].max()) if fill_with_maximum else 0.0
    line_integrals[0][trace] = fill
    return SliceScan(line_integrals, path_mm)


def relative_mu(implant: Material, energy_kev: float) -> float:
    """Attenuation of a material relative to water's."""
    return float(implant.mu_per_mm(energy_kev) / material("water").mu_per_mm(energy_kev))


def _metal_path(
    scanner: Scanner, implant_mm: torch.Tensor, materials: Sequence[Material]
) -> torch.Tensor:
    """Path in everything that is metal, averaged over the rays of each cell."""
    shape = scanner.cells.sinogram_shape
    rays = implant_mm.shape[-1] // shape[1]
    share = implant_mm.new_full((rays,), 1 / rays)  # a mean of the last axis takes far longer
    cells = implant_mm.new_zeros(shape)
    for path_mm, implant in zip(implant_mm, materials, strict=True):
        if implant.is_metal:
            cells += (path_mm.reshape(-1, rays) @ share).view(shape)
    return cells
