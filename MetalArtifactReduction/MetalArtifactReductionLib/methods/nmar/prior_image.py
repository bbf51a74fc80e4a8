"""The prior image of NMAR, when all there is to make it from is a reconstructed image.

Meyer et al. (see `nmar`) segment air, soft tissue and bone in the uncorrected image when artifacts
are mild, and in the linearly interpolated one when they are severe. Here the two are mixed place by
place: each counts the more the less its soft tissue deviates around there, shadows come from the
interpolated one, and bone has to be the brighter the more the image streaks: the mixed one away
from metal, and beside it, where interpolation smears what rays through metal should tell, the
uncorrected one. The numbers were chosen by measured error on simulated hips, nails, screws, rods
and clips (13 slices, fan beam, 120 kVp, noise) and by looking at real nails, sternal wires and a
dental restoration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...metal.neighbourhood import widened
from ...tomography.attenuation import MU_WATER_PER_MM
from ...tomography.smoothing import gaussian_smooth


@dataclass(frozen=True)
class PriorParameters:
    """How the prior image is made; HU as in the corrupted image.

    :param air_hu: below is air (0 in the prior).
    :param bone_hu: lowest and highest threshold of bone.
    :param bone_base_hu: threshold of bone for an image without streaks ...
    :param bone_per_streak: ... plus 1000 HU times this times the streaks' mean square (relative to
        water): 150 HU for streaks of 100 HU, so that bright streaks do not pass as bone.
    :param smoothing_mm: standard deviation of the Gaussian before the thresholds.
    :param reach_mm: streaks are judged within this distance from metal.
    :param blur_mm: so near to metal the uncorrected image shows the metal's blur and shadow.
    :param smeared_mm: so near to metal the interpolated image smears bone.
    :param uncorrected: mix in the uncorrected image; False takes the interpolated image alone.
    """

    air_hu: float = -500.0
    bone_hu: tuple[float, float] = (250.0, 700.0)
    bone_base_hu: float = 200.0
    bone_per_streak: float = 15.0
    smoothing_mm: float = 0.9
    reach_mm: float = 30.0
    blur_mm: float = 1.5
    smeared_mm: float = 12.0
    uncorrected: bool = True

    def __post_init__(self) -> None:
        """Reject lengths that are not above 0 and thresholds out of order."""
        for name in ("smoothing_mm", "reach_mm", "blur_mm", "smeared_mm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a length above 0")
        if not self.air_hu < self.bone_hu[0] <= self.bone_hu[1]:
            raise ValueError(
                f"air_hu {self.air_hu} and bone_hu {self.bone_hu} do not rise; give air below bone"
            )


_FAT, _MUSCLE = 0.9, 1.05
"""Soft tissue relative to water: what deviates from both is a streak."""

_RAMP_AIR, _RAMP_BONE = 0.6, 0.2
_BRIGHTEST = 3.2
_DARKEST_TISSUE = 0.95
_NOISE_POWER = 3e-4
_MILD, _SEVERE = 1.2e-3, 4.9e-3
"""Mean squares of 35 and 70 HU: up to the first, the uncorrected image alone is the best prior."""
_AGREED_BONE, _AGREED_AIR = 1.2, 0.75
_BESIDE_MM = 3.0
"""So near to what both images call bone or air, its blur is no streak."""
_WINDOW_MM = 10.0
"""Standard deviation of the Gaussian within which streaks are judged."""
_AROUND_MM, _UNKNOWN = 2.0, 1e-3
"""What lies around metal is seen so far, and is soft tissue deep inside large metal."""
_BONE_AGAIN = 0.7
"""Share of its height that bone gets in a prior made of an earlier NMAR's image: at its full height
what is wrong with it would grow from pass to pass. There, the uncorrected image counts only where
streaks are mild, so that its streaks no longer hide nearly all bone that touches a prosthesis."""
_SLICE_MEAN_COUNTS = 0.05
_SMEARED_EDGE_MM = 4.0
"""Standard deviation of the Gaussian by which bone away from metal goes over to that beside it."""


def prior_image(
    corrupted_mu: torch.Tensor,
    interpolated_mu: torch.Tensor,
    metal_fraction: torch.Tensor,
    spacing_mm: tuple[float, float],
    parameters: PriorParameters | None = None,
    again: bool = False,
) -> torch.Tensor:
    """Air 0, soft tissue as water, bone as it is; metal replaced by soft tissue, or air.

    With mild streaks the classes give way to the smoothed image itself.

    :param corrupted_mu: the uncorrected images ``(slices, rows, cols)`` in 1/mm.
    :param interpolated_mu: a first correction (linear interpolation, or an earlier NMAR), same.
    :param metal_fraction: 0..1, same shape.
    :param spacing_mm: ``(row, col)``.
    :param again: the first correction is an earlier NMAR, see :data:`_BONE_AGAIN`.
    :returns: prior images in 1/mm, same shape.
    """
    p = parameters or PriorParameters()
    # One pixel more: the blur around the metal is neither bone nor tissue.
    metal = widened(metal_fraction > 0, (1, 1))
    sigma = [max(0.5, p.smoothing_mm / s) for s in spacing_mm]
    interpolated = _without_metal(interpolated_mu / MU_WATER_PER_MM, metal, spacing_mm)
    smooth = gaussian_smooth(interpolated, sigma)
    blur = (max(1, round(p.blur_mm / spacing_mm[0])), max(1, round(p.blur_mm / spacing_mm[1])))
    corrupted = (corrupted_mu / MU_WATER_PER_MM).clamp_(max=_BRIGHTEST)
    corrupted = torch.where(widened(metal, blur), interpolated, corrupted)
    smooth_corrupted = gaussian_smooth(corrupted, sigma)

    # Streaks, judged where the interpolated image shows the body, away from what both call bone or
    # air: anatomy is no streak.
    agreed = (smooth_corrupted > _AGREED_BONE) & (smooth > _AGREED_BONE)
    agreed |= (smooth_corrupted < _AGREED_AIR) & (smooth < _AGREED_AIR)
    beside = (max(1, round(_BESIDE_MM / spacing_mm[0])), max(1, round(_BESIDE_MM / spacing_mm[1])))
    judged = (smooth > 0.5) & ~widened(agreed, beside) & ~widened(metal, blur)
    judged &= _near(metal, p.reach_mm, spacing_mm)
    streaks = _tissue_deviation(smooth_corrupted, judged, spacing_mm)
    skin = ((smooth - 1.0 - p.air_hu / 1000.0) / _RAMP_AIR + 0.5).clamp(0.0, 1.0)
    air = (1.0 - skin) * smooth.clamp(0.0, 0.5)
    interpolated_streaks = _tissue_deviation(smooth, judged, spacing_mm)
    smeared = torch.minimum(streaks, interpolated_streaks) if again else streaks
    mild, of_bone = torch.zeros_like(streaks), smeared
    if p.uncorrected:
        mild = ((_SEVERE - streaks) / (_SEVERE - _MILD)).clamp(0.0, 1.0)
        weight = interpolated_streaks / (interpolated_streaks + streaks)
        weight = mild + (1.0 - mild) * weight
        # Dark places may be shadows, however mild the rest of the slice.
        shadow = ((1.0 - smooth_corrupted) / 0.15).clamp(0.0, 1.0)
        weight = weight * (1.0 - shadow) * (mild if again else 1.0)
        smooth = smooth + weight * (smooth_corrupted - smooth)
        mixed = interpolated_streaks + weight * (streaks - interpolated_streaks)
        of_bone = mixed + _smeared(metal, p.smeared_mm, spacing_mm) * (smeared - mixed)

    # What is hardly streaked needs no classes: they would show where every ray meets metal.
    height = _BONE_AGAIN if again else 1.0
    classes = 1.0 + height * _bony(smooth, of_bone, p) * (smooth - 1.0)
    tissue = classes + mild * (smooth.clamp(min=_DARKEST_TISSUE) - classes)
    return (skin * tissue + mild * air) * MU_WATER_PER_MM


def _without_metal(
    image: torch.Tensor, metal: torch.Tensor, spacing_mm: tuple[float, float]
) -> torch.Tensor:
    """Soft tissue in place of metal, and air where most around it is: a clip lies on the skin."""
    sigma = [_AROUND_MM / side for side in spacing_mm]
    known = (~metal).to(image)
    tissue = gaussian_smooth(known * (image > 0.5), sigma) + _UNKNOWN
    share = tissue / (gaussian_smooth(known, sigma) + _UNKNOWN)
    return torch.where(metal, ((share - 0.5) / _RAMP_AIR + 0.5).clamp(0.0, 1.0), image)


def _bony(image: torch.Tensor, streaks: torch.Tensor, p: PriorParameters) -> torch.Tensor:
    """1 in bone, with short ramps: jumps would alias, as steps that the measured rays lack."""
    bone = 1.0 + p.bone_base_hu / 1000.0 + p.bone_per_streak * streaks
    bone = bone.clamp(1.0 + p.bone_hu[0] / 1000.0, 1.0 + p.bone_hu[1] / 1000.0)
    return ((image - bone) / _RAMP_BONE + 0.5).clamp(0.0, 1.0)


def _smeared(metal: torch.Tensor, reach_mm: float, spacing_mm: tuple[float, float]) -> torch.Tensor:
    """1 where interpolation smears bone, falling to 0 away from metal."""
    near = _near(metal, reach_mm, spacing_mm).to(torch.float32)
    return gaussian_smooth(near, [_SMEARED_EDGE_MM / s for s in spacing_mm])


def _near(metal: torch.Tensor, reach_mm: float, spacing_mm: tuple[float, float]) -> torch.Tensor:
    """Pixels in a box of about ``reach_mm`` around metal, found on every fourth pixel."""
    coarse = F.max_pool2d(metal[:, None].float(), 4, ceil_mode=True)[:, 0] > 0
    radius = (
        max(1, round(reach_mm / 4 / spacing_mm[0])),
        max(1, round(reach_mm / 4 / spacing_mm[1])),
    )
    fine = widened(coarse, radius).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return fine[:, : metal.shape[1], : metal.shape[2]]


def _tissue_deviation(
    image: torch.Tensor, where: torch.Tensor, spacing_mm: tuple[float, float]
) -> torch.Tensor:
    """Mean square deviation from fat or muscle, whichever is nearer, around each pixel.

    Where there is nothing to judge around, it is the slice's own.
    """
    x = image.clamp(0.0, 2.0)
    square = torch.minimum((x - _FAT) ** 2, (x - _MUSCLE) ** 2) * where
    count = where.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    mean = square.sum(dim=(1, 2), keepdim=True) / count
    # So smooth that every fourth pixel says it all.
    sums = F.avg_pool2d(torch.stack([square, where.to(square)], dim=1), 4, ceil_mode=True)
    sigma = [_WINDOW_MM / side / 4 for side in spacing_mm]
    total, weight = (gaussian_smooth(one, sigma) for one in sums.unbind(dim=1))
    coarse = (total + _SLICE_MEAN_COUNTS * mean) / (weight + _SLICE_MEAN_COUNTS) + _NOISE_POWER
    rows, cols = image.shape[1:]
    fine = F.interpolate(coarse[:, None], scale_factor=4.0, mode="bilinear", align_corners=False)
    return fine[:, 0, :rows, :cols]
