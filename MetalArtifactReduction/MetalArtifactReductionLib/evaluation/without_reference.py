"""Measures that need no truth: for real metal, where nobody knows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..metal.body import body_mask, within_pixels
from ..metal.segmentation import metal_volume_mm3
from .metrics import flat_region, noise, streak_amplitude

SHELLS_MM = ((0.0, 2.0), (2.0, 5.0), (5.0, 10.0), (10.0, 20.0))
"""Distances from the metal of the shells around it."""


@dataclass(frozen=True)
class ReferenceFreeMetrics:
    """Figures of one image by itself; compare those of a correction with those of the original.

    :param streak_amplitude_hu: mean of the highest 5 % minus mean of the lowest 5 % of the soft
        tissue (as the original shows it after smoothing) within 30 mm of metal. Anatomy has a
        share in it: about 150 to 250 HU where fat and muscle meet.
    :param noise_hu: standard deviation in flat soft tissue far from metal.
    :param shell_mean_hu: mean HU in shells around the metal (distance in mm from, to). A dark rim
        shows as a fall in the first shell.
    :param metal_volume_mm3: of the voxels that are metal by half or more.
    """

    streak_amplitude_hu: float
    noise_hu: float
    shell_mean_hu: dict[tuple[float, float], float]
    metal_volume_mm3: float

    def as_dict(self) -> dict[str, float]:
        """Name -> value, the shells as ``mean_hu_0_2_mm``."""
        shells = {f"mean_hu_{a:g}_{b:g}_mm": v for (a, b), v in self.shell_mean_hu.items()}
        return {
            "streak_amplitude_hu": self.streak_amplitude_hu,
            "noise_hu": self.noise_hu,
            **shells,
            "metal_volume_mm3": self.metal_volume_mm3,
        }


def evaluate_without_reference(
    image_hu: np.ndarray,
    metal_fraction: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float],
    soft_tissue: np.ndarray | None = None,
    noise_region: np.ndarray | None = None,
    body: np.ndarray | None = None,
) -> ReferenceFreeMetrics:
    """Measure an image against itself.

    To compare images of one scan, measure all of them in the same regions: make these once with
    :func:`soft_tissue_near_metal` (from the corrected image: the original's streaks leave
    its tissue out) and pass them on.

    :param image_hu: ``(slices, rows, cols)``, HU.
    :param metal_fraction: 0..1, same shape.
    :param spacing_mm: ``(slice, row, col)``.
    :param soft_tissue: where streaks are measured.
    :param noise_region: where noise is measured; default: the flattest tenth of the soft tissue
        more than 20 pixels from metal, in slices with metal.
    :param body: default: :func:`..metal.body.body_mask` of the image.
    :raises ValueError: arrays of different shapes; no metal.
    """
    if image_hu.shape != metal_fraction.shape:
        raise ValueError(f"image {image_hu.shape} and metal {metal_fraction.shape} differ")
    kept = np.flatnonzero(metal_fraction.reshape(len(metal_fraction), -1).any(axis=1))
    if kept.size == 0:
        raise ValueError("no metal: nothing to measure around")
    image, fraction = image_hu[kept], metal_fraction[kept]
    metal = fraction > 0
    inside = body_mask(image, spacing_mm) if body is None else body[kept] > 0
    if soft_tissue is None:
        tissue = soft_tissue_near_metal(image, fraction, spacing_mm=spacing_mm, body=inside)
    else:
        tissue = (soft_tissue[kept] > 0) & ~metal
    if noise_region is None:
        quiet = flat_region(image, inside & ~metal & ~within_pixels(metal, 20))
    else:
        quiet = noise_region[kept] > 0
    distance = distance_mm(metal, spacing_mm)
    shells = {}
    for low, high in SHELLS_MM:
        shell = image[inside & ~metal & (distance > low) & (distance <= high)]
        shells[(low, high)] = float(shell.mean()) if shell.size else float("nan")
    return ReferenceFreeMetrics(
        streak_amplitude_hu=streak_amplitude(image[tissue]),
        noise_hu=noise(image, quiet),
        shell_mean_hu=shells,
        metal_volume_mm3=metal_volume_mm3(fraction, float(np.prod(spacing_mm))),
    )


def soft_tissue_near_metal(
    image_hu: np.ndarray,
    metal_fraction: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float],
    body: np.ndarray | None = None,
    reach_mm: float = 30.0,
) -> np.ndarray:
    """Body within ``reach_mm`` of metal that is neither bone nor gas when smoothed by 3 mm.

    :returns: bool, same shape; the two millimetres at the metal are left out.
    """
    inside = body_mask(image_hu, spacing_mm) if body is None else body > 0
    sigma = (0.0, 3.0 / spacing_mm[1], 3.0 / spacing_mm[2])
    smooth = ndimage.gaussian_filter(np.clip(image_hu, -1000, 1000).astype(np.float32), sigma)
    distance = distance_mm(metal_fraction > 0, spacing_mm)
    result: np.ndarray = (
        inside & (smooth > -200) & (smooth < 150) & (distance > 2.0) & (distance <= reach_mm)
    )
    return result


def distance_mm(metal: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Distance to metal in the slice plane in mm; infinite in slices without metal."""
    out = np.full(metal.shape, np.inf, dtype=np.float32)
    for index in np.flatnonzero(metal.reshape(len(metal), -1).any(axis=1)):
        out[index] = ndimage.distance_transform_edt(~metal[index], sampling=spacing_mm[1:])
    return out
