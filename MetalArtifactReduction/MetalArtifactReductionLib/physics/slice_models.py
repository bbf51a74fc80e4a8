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

    :param sinograms: ``(1 or 2, views, bins)``: with implants, then without metal if asked for.
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
    :param normals: standard normal numbers ``(2, views, bins)``, used with and without metal.
    """
    others = [k for k, one in enumerate(materials) if with_reference and not one.is_metal]
    displaced = [fractions[:0], fractions, *([fractions[others]] if others else [])]
    left = torch.stack([(1.0 - one.sum(dim=0)).clamp_min(0.0) for one in displaced])
    tissue_mm, implant_mm = scanner.tissue_paths(hu, left), scanner.implant_paths(fractions)
    without = scanner.transmitted(tissue_mm[0])
    signal = scanner.transmitted_with_implants(without, tissue_mm[1], implant_mm, materials)
    sinograms = [scanner.line_integrals(signal, normals)]
    if with_reference:
        if others:  # liners and cement are what a correction should show
            implants = [materials[k] for k in others]
            without = scanner.transmitted_with_implants(
                without, tissue_mm[2], implant_mm[others], implants
            )
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
    line_integrals = scanner.cells(image.expand(2 if with_reference else 1, -1, -1))
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
