"""From the inpainted sinogram and the original image to the corrected image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage

from ..metal.neighbourhood import largest_around, metal_window, widened
from ..tomography.attenuation import mu_to_hu
from ..tomography.smoothing import gaussian_smooth, without_ringing

SPLIT_SIGMA_MM = 1.5
"""Standard deviation of the Gaussian that splits low from high frequencies."""

SPLIT_REACH_MM = 10.0
"""Distance from metal at which the original's high frequencies count for half."""

HIGHEST_AIR_HU = -900.0
"""Air with its noise, and padding, lie below."""

BONE_HU = (400.0, 700.0)
"""What both images show as bright begins to count as bone, and counts in full."""

ENAMEL_HU, ENAMEL_SHARE = (900.0, 1200.0), 0.25

AGREED_MM, AGREED_FLOOR_HU = 2.0, 10.0
"""Width of the places that are asked, and changes that are noise."""

AGREED_LIMIT_HU = 400.0
"""Larger changes count as these: at bone and metal they would outvote all streaks around."""

RIM_REACH_MM = (4.0, 8.0)
"""Within the first nothing is left of a new rim, from the second on all of it: no step."""

RIM = 1.25
"""What is brighter than so many times the proposal is a rim; of bone the proposal shows less."""

NO_RIM_HU = (0.0, 60.0)
"""What lies between is soft tissue."""

CORNERS = ([0, 0, -1, -1], [0, -1, 0, -1])


def recombine(
    how: str,
    original_hu: torch.Tensor,
    metal_fraction: torch.Tensor,
    sinogram: torch.Tensor,
    inpainted: torch.Tensor,
    reconstruct: Callable[[torch.Tensor], torch.Tensor],
    spacing_mm: tuple[float, float],
) -> torch.Tensor:
    """The image free of metal, in HU, ``(slices, rows, cols)``.

    ``"replace"``: the reconstruction of the inpainted sinogram.
    ``"add-change"``: the original plus the reconstruction of what the inpainting changed. Keeps the
    original's texture, and its high-frequency streaks.
    ``"frequency-split"``: low frequencies of ``"replace"``; high ones of the original close to
    metal, going over to those of ``"replace"`` farther away. Brings back edges of bone at the
    implant that the inpainting blurred, and the fine streaks there. After Meyer, Raupach, Lell,
    Schmidt, Kachelriess: Frequency split metal artifact reduction (FSMAR). Med. Phys. 39 (2012)
    1904-1916.

    :param how: one of :data:`.options.RECONSTRUCTIONS`.
    :param original_hu: uncorrected images in HU.
    :param metal_fraction: 0..1, same shape.
    :param sinogram: of the original images, ``(slices, views, bins)``.
    :param inpainted: the same with the trace filled.
    :param reconstruct: sinogram -> attenuation in 1/mm (linear).
    :param spacing_mm: ``(row, col)``.
    """
    metal = metal_fraction > 0
    if how == "add-change":
        # Linear: the change of the attenuation, so water's own value must not be added to it.
        change_hu = mu_to_hu(reconstruct(inpainted - sinogram)) + 1000.0
        return without_ringing(original_hu + change_hu, original_hu, metal)
    replaced = without_ringing(mu_to_hu(reconstruct(inpainted)), original_hu, metal)
    if how == "replace":
        return replaced
    if how == "frequency-split":
        sigma = [SPLIT_SIGMA_MM / s for s in spacing_mm]
        # Without the metal itself, whose edge would leak into the high frequencies around it.
        original = torch.where(widened(metal, (1, 1)), replaced, original_hu)
        difference = original - replaced
        high = difference - gaussian_smooth(difference, sigma)
        return replaced + _closeness(metal, spacing_mm) * high
    raise ValueError(f"unknown reconstruction {how!r}")


def agreed_change(
    corrected_hu: torch.Tensor,
    original_hu: torch.Tensor,
    proposed_hu: torch.Tensor,
    spacing_mm: tuple[float, float],
) -> torch.Tensor:
    """The original with as much of the correction, place by place, as leads towards a proposal.

    Streaks that a correction adds lie elsewhere than those that it takes away; one share for the
    whole slice would give both or neither. The share is that of least squares around each pixel,
    between 0 and 1: the result lies between the original and the correction, whatever the proposal
    invents.

    :param corrected_hu: free of metal, ``(slices, rows, cols)``.
    :param original_hu: uncorrected images.
    :param proposed_hu: as a network proposes them, free of metal.
    :param spacing_mm: ``(row, col)``.
    """
    place = [AGREED_MM / side for side in spacing_mm]
    own, proposed = (
        (x - original_hu).clamp(-AGREED_LIMIT_HU, AGREED_LIMIT_HU)
        for x in (corrected_hu, proposed_hu)
    )
    common, whole = (
        gaussian_smooth(x, place) + AGREED_FLOOR_HU**2 for x in (own * proposed, own**2)
    )
    return original_hu + (common / whole).clamp(0.0, 1.0) * (corrected_hu - original_hu)


def keep_bone(
    corrected_hu: torch.Tensor,
    original_hu: torch.Tensor,
    proposed_hu: torch.Tensor,
    metal_fraction: torch.Tensor,
) -> torch.Tensor:
    """The corrected image with the bone and teeth that the uncorrected one and a proposal share.

    Both are wrong in different ways: streaks are bright in the first only. So the lesser of the two
    is anatomy, which a correction must not lose. Beside metal, whose blur is in both, there is bone
    where there is bone after it.

    :param corrected_hu: free of metal, ``(slices, rows, cols)``.
    :param original_hu: uncorrected images.
    :param proposed_hu: as a network proposes them, free of metal.
    :param metal_fraction: 0..1.
    """
    share = _ramp(torch.minimum(original_hu, proposed_hu), *BONE_HU)
    blurred = widened(metal_fraction > 0, (1, 1))
    if (window := metal_window(blurred, (4, 4))) is not None:
        clear = (~blurred[window]).float()
        near = [gaussian_smooth(x, [1.0, 1.0]) for x in (share[window] * clear, clear)]
        after = near[0] / near[1].clamp(min=0.05)
        share[window] = torch.where(blurred[window], share[window] * after, share[window])
    # Where enamel and metal touch, the network takes some of the enamel's height for the metal's.
    allowed = proposed_hu * (1.0 + ENAMEL_SHARE * _ramp(proposed_hu, *ENAMEL_HU))
    kept = torch.minimum(original_hu, allowed)
    return torch.maximum(corrected_hu, corrected_hu + share * (kept - corrected_hu))


def without_rims(
    corrected_hu: torch.Tensor,
    original_hu: torch.Tensor,
    proposed_hu: torch.Tensor,
    metal_fraction: torch.Tensor,
    teeth: torch.Tensor,
    spacing_mm: tuple[float, float],
) -> torch.Tensor:
    """The corrected image without the dark and bright rims that a filled trace ends in.

    Close to metal nothing below 0 HU is darker than both the original and a proposal, and nothing
    above 60 HU is brighter than the proposal by over a quarter: the original is no witness there,
    where metal's blur and streaks brighten it. Of enamel the proposal is none, either, since it
    looks like those.

    :param corrected_hu: free of metal, ``(slices, rows, cols)``; the others as in
        :func:`keep_bone`.
    :param teeth: share 0..1 to which a slice is one of teeth, ``(slices,)``.
    :param spacing_mm: ``(row, col)``.
    """
    reaches = torch.linspace(*RIM_REACH_MM, 6)[:-1].tolist()
    share = torch.zeros_like(corrected_hu)
    for reach in reaches:
        rows, cols = (max(1, round(reach / side)) for side in spacing_mm)
        share += widened(metal_fraction > 0, (rows, cols)) / len(reaches)
    least = torch.minimum(original_hu, proposed_hu).clamp(max=NO_RIM_HU[0])
    lack = (least - corrected_hu).clamp(min=0.0)
    excess = (corrected_hu - (RIM * proposed_hu).clamp(min=NO_RIM_HU[1])).clamp(min=0.0)
    enamel = teeth[:, None, None] * _ramp(corrected_hu, *BONE_HU)
    return corrected_hu + share * (lack - (1.0 - enamel) * excess)


def put_metal_back(
    free_of_metal_hu: torch.Tensor,
    original_hu: torch.Tensor,
    metal_fraction: torch.Tensor,
    certain: torch.Tensor,
) -> torch.Tensor:
    """Return the metal to the corrected image.

    Certain metal and a voxel of fraction 1 get their original value. A border voxel gets
    ``fraction * metal + (1 - fraction) * corrected``, where ``metal`` is the brightest original
    value among its neighbours: the original border voxel itself is no use, for what is not metal in
    it is artifact. But it is not made brighter than the original nor darker than the corrected
    image, so no new rim can arise.

    :param free_of_metal_hu: corrected images in HU, ``(slices, rows, cols)``.
    :param original_hu: uncorrected images in HU.
    :param metal_fraction: 0..1.
    :param certain: bool, see :func:`..metal.certain.certain_metal`.
    """
    window = metal_window((metal_fraction > 0) | certain, (2, 2))
    out = free_of_metal_hu.clone()
    if window is None:
        return out
    fraction = torch.where(certain, 1.0, metal_fraction)
    free, original, fraction = (x[window] for x in (out, original_hu, fraction))
    metal_hu = largest_around(original.masked_fill(fraction <= 0, -1024.0), (2, 2))
    mixed = free + fraction * (metal_hu - free)
    mixed = torch.minimum(mixed, torch.maximum(original, free))
    mixed = torch.where(fraction >= 1, original, mixed)
    out[window] = torch.where(fraction > 0, mixed, free)
    return out


def restore_padding(corrected_hu: np.ndarray, original_hu: np.ndarray) -> np.ndarray:
    """Give the area outside the scanner's field of view its original values again.

    Padding is what lies below -1024 HU in the air around the body (dark streaks inside the body may
    lie as low), and air of the one value that all four corners of a slice share, as far as it is
    connected to a corner. Elsewhere values are limited to -1024 HU.

    :param corrected_hu: ``(slices, rows, cols)`` in HU.
    :param original_hu: same shape.
    :returns: float32, same shape.
    """
    out: np.ndarray = np.maximum(corrected_hu, -1024.0).astype(np.float32)
    for layer, original in zip(out, original_hu, strict=True):
        padding = original < -1024.0
        if padding.any():
            padding &= _connected_to_corners(original <= HIGHEST_AIR_HU)
        corners = original[CORNERS]
        if corners[0] <= HIGHEST_AIR_HU and (corners == corners[0]).all():
            padding |= _connected_to_corners(original == corners[0])
        layer[padding] = original[padding]
    return out


def _connected_to_corners(mask: np.ndarray) -> np.ndarray:
    """The parts of a slice's mask that hold a corner."""
    labels, _ = ndimage.label(mask)
    at_corners = labels[CORNERS]
    return np.isin(labels, at_corners[at_corners > 0])


def _ramp(image: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return ((image - low) / (high - low)).clamp(0.0, 1.0)


def _closeness(metal: torch.Tensor, spacing_mm: tuple[float, float]) -> torch.Tensor:
    """1 at metal, 0.5 at :data:`SPLIT_REACH_MM`, falling like a Gaussian."""
    distance = np.stack(
        [
            ndimage.distance_transform_edt(~layer, sampling=spacing_mm)
            for layer in metal.cpu().numpy()
        ]
    ).astype(np.float32)
    weight = 0.5 ** ((distance / SPLIT_REACH_MM) ** 2)
    return torch.from_numpy(weight).to(metal.device)
