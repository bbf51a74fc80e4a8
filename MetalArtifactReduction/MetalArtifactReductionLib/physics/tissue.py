"""Decomposition of a tissue image into water and cortical bone."""

from __future__ import annotations

import torch

from .materials import material

BONE_ONSET_HU = 100.0
"""Above this, tissue is taken as a mixture of soft tissue and cortical bone."""

KNEE_HU = 50.0
"""Half width of the smooth onset of bone, so that noise in soft tissue makes no jumps."""


def cortical_bone_hu(energy_kev: float) -> float:
    """HU of cortical bone (ICRU-44) at an energy."""
    ratio = material("cortical-bone").mu_per_mm(energy_kev) / material("water").mu_per_mm(
        energy_kev
    )
    return float(1000.0 * (ratio - 1.0))


def water_and_bone(hu: torch.Tensor, energy_kev: float) -> torch.Tensor:
    """Volume fractions of water and cortical bone that attenuate as the image says.

    Below ``BONE_ONSET_HU`` everything is water of varying density (so is air and fat). From there
    bone rises linearly with HU until cortical bone is reached, as for a mixture by volume of soft
    tissue and cortical bone; the corner at the onset is a parabola of half width ``KNEE_HU``.
    Denser voxels are dense cortical bone. For every voxel
    ``water mu_w(E) + bone mu_b(E) = mu_w(E) (1 + HU / 1000)`` at the energy ``E`` of the image, so
    a monoenergetic scan at ``E`` gives the image back.

    :param hu: HU, any shape, float tensor; below -1000 is air.
    :param energy_kev: energy for which the HU hold.
    :returns: ``(2, *hu.shape)``: fraction of water (density 1 g/cm3) and of cortical bone (density
        1.92 g/cm3). Dimensionless, never negative, may pass 1 for denser matter.
    """
    bone_hu = cortical_bone_hu(energy_kev)
    above = hu - BONE_ONSET_HU
    knee = (above + KNEE_HU).clamp(0.0, 2 * KNEE_HU) ** 2 / (4 * KNEE_HU)
    rising = torch.where(above > KNEE_HU, above, knee)
    relative = (1.0 + hu / 1000.0).clamp_min(0.0)  # mu relative to water
    bone_relative = 1.0 + bone_hu / 1000.0
    bone = torch.where(hu < bone_hu, rising / (bone_hu - BONE_ONSET_HU), relative / bone_relative)
    water = (relative - bone * bone_relative).clamp_min(0.0)
    return torch.stack([water, bone])
