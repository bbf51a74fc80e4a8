"""How good is a corrected image? The measures of the AAPM CT-MAR challenge, and some more.

The challenge's own definitions are in the scoring description of its public kit (Haneda et al.:
AAPM CT metal artifact reduction grand challenge. Med. Phys. 2025, doi 10.1002/mp.70050). Where it
places regions by hand for 29 known images, the regions here follow from the images, so that any
case can be measured; each docstring says how.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from ..metal.body import body_mask, within_pixels

SSIM_RANGE_HU = 5000.0
"""Data range of the challenge's SSIM and PSNR."""

BONE_HU = 150.0
"""The challenge counts voxels above as bone."""

NEAR_METAL_PIXELS = 20
STREAK_SHARE = 0.05
EDGE_PERCENTILE = 90.0


@dataclass(frozen=True)
class Metrics:
    """Figures of one image against its reference; lower is better unless said otherwise.

    :param mse_hu2: mean square error over the body without metal, HU^2.
    :param psnr_db: 10 log10(5000^2 / mse); higher is better. Says little: 50 dB are 16 HU.
    :param ssim: mean structural similarity over the body without metal, data range 5000 HU,
        Gaussian window of 1.5 pixels (Wang et al. 2004, scikit-image); 1 is best.
    :param rmse_body_hu: root mean square error over the body without metal ("CT number accuracy").
    :param rmse_near_metal_hu: the same within 20 pixels of metal.
    :param streak_amplitude_hu: mean of the highest 5 % of the errors near metal minus mean of the
        lowest 5 %.
    :param noise_ratio: standard deviation in flat soft tissue far from metal, divided by the
        reference's; 1 is best.
    :param edge_strength_soft: 90th percentile of the Sobel magnitude at borders of fat and muscle,
        divided by the reference's; 1 is best, less is blur, more is streaks.
    :param edge_strength_bone: the same at borders of soft tissue and bone.
    :param metal_volume_ratio: volume above the metal threshold divided by the reference's, around
        the metal; 1 is best.
    :param metal_dice: Dice of those two volumes; 1 is best.
    :param bone_volume_ratio: volume above 150 HU, metal left out, divided by the reference's.
    :param bone_dice: Dice of those two volumes; 1 is best.
    """

    mse_hu2: float
    psnr_db: float
    ssim: float
    rmse_body_hu: float
    rmse_near_metal_hu: float
    streak_amplitude_hu: float
    noise_ratio: float
    edge_strength_soft: float
    edge_strength_bone: float
    metal_volume_ratio: float
    metal_dice: float
    bone_volume_ratio: float
    bone_dice: float

    def as_dict(self) -> dict[str, float]:
        """Name -> value, in the order above."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


@dataclass(frozen=True)
class _Regions:
    """Where what is measured, bool arrays ``(slices, rows, cols)``; no metal in any."""

    tissue: np.ndarray
    near: np.ndarray
    streaks: np.ndarray
    flat: np.ndarray
    soft_edges: np.ndarray
    bone_edges: np.ndarray


def evaluate(
    image_hu: np.ndarray,
    reference_hu: np.ndarray,
    metal: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    body: np.ndarray | None = None,
    near_metal: np.ndarray | None = None,
    streak_region: np.ndarray | None = None,
    noise_region: np.ndarray | None = None,
    soft_edges: np.ndarray | None = None,
    bone_edges: np.ndarray | None = None,
    metal_threshold_hu: float | None = None,
    reference_metal: np.ndarray | None = None,
) -> Metrics:
    """All measures of one image or volume.

    Masks that are not given follow from the reference; give them to compare methods on the very
    regions of another publication. NaN stands where a region is empty.

    :param image_hu: the corrected image ``(slices, rows, cols)`` or ``(rows, cols)``, HU.
    :param reference_hu: the truth, without metal artifacts; with or without metal in it.
    :param metal: the true metal: fraction or mask. Whatever is metal by more than 0.02 takes no
        part in the error measures.
    :param spacing_mm: ``(slice, row, col)``.
    :param body: where CT numbers count; default :func:`..metal.body.body_mask` of the reference.
    :param near_metal: default: body within 20 pixels of metal, in the slice plane.
    :param streak_region: default: ``near_metal``.
    :param noise_region: default: the flattest tenth of the soft tissue more than 20 pixels from
        metal, flat as the reference shows it.
    :param soft_edges: default: where fat and muscle meet in the reference, near metal if they do
        there.
    :param bone_edges: default: where soft tissue and bone meet in the reference, near metal if they
        do there.
    :param metal_threshold_hu: default: 250 HU above the highest value near metal in the reference,
        2000 HU at most.
    :param reference_metal: the truth that the image's metal volume is compared with; default: half
        or more of the voxel is metal.
    :raises ValueError: arrays of different shapes.
    """
    image, reference, fraction = (_volume(a) for a in (image_hu, reference_hu, metal))
    if not image.shape == reference.shape == fraction.shape:
        raise ValueError(
            f"shapes differ: image {image.shape}, reference {reference.shape}, "
            f"metal {fraction.shape}"
        )
    is_metal = fraction > 0.02
    inside = body_mask(reference, spacing_mm) if body is None else _volume(body) > 0
    given = (near_metal, streak_region, noise_region, soft_edges, bone_edges)
    regions = _regions(reference, is_metal, inside & ~is_metal, given)
    metal_sizes = _metal_integrity(image, reference, fraction, metal_threshold_hu, reference_metal)
    return _measured(image, reference, regions, metal_sizes)


def default_regions(
    reference_hu: np.ndarray,
    metal: np.ndarray,
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> dict[str, np.ndarray]:
    """The masks that :func:`evaluate` makes itself, by name: made once, given for many images.

    :param reference_hu: ``(slices, rows, cols)``. :param metal: fraction or mask, same shape.
    """
    is_metal = metal > 0.02
    body = body_mask(reference_hu, spacing_mm)
    at = _regions(reference_hu, is_metal, body & ~is_metal, (None,) * 5)
    return {
        "body": body,
        "near_metal": at.near,
        "streak_region": at.streaks,
        "noise_region": at.flat,
        "soft_edges": at.soft_edges,
        "bone_edges": at.bone_edges,
    }


def _regions(
    reference: np.ndarray,
    is_metal: np.ndarray,
    tissue: np.ndarray,
    given: tuple[np.ndarray | None, ...],
) -> _Regions:
    """What is given, in the order of :class:`_Regions` after the tissue; the rest by default."""
    chosen = [None if one is None else tissue & (_volume(one) > 0) for one in given]
    near_metal, streaks, flat, soft, bone = chosen
    close = within_pixels(is_metal, NEAR_METAL_PIXELS)
    near = tissue & close if near_metal is None else near_metal
    if streaks is None:
        streaks = near
    if flat is None:
        flat = flat_region(reference, tissue & ~close)
    if soft is None:
        soft = _edges_near(reference, near, tissue, -250.0, -30.0, 150.0)
    if bone is None:
        bone = _edges_near(reference, near, tissue, -150.0, BONE_HU, 3000.0)
    return _Regions(tissue, near, streaks, flat, soft, bone)


def _measured(
    image: np.ndarray, reference: np.ndarray, at: _Regions, metal_sizes: tuple[float, float]
) -> Metrics:
    error = image.astype(np.float64) - reference
    mse = _mean(error[at.tissue] ** 2)
    bone = ((one > BONE_HU) & at.tissue for one in (image, reference))
    bone_volume, bone_dice = _overlap(*bone)
    soft, bony = (
        _ratio(edge_strength(image, where), edge_strength(reference, where))
        for where in (at.soft_edges, at.bone_edges)
    )
    return Metrics(
        mse_hu2=mse,
        psnr_db=float(10 * np.log10(SSIM_RANGE_HU**2 / mse)) if mse > 0 else float("inf"),
        ssim=_ssim(image, reference, at.tissue),
        rmse_body_hu=float(np.sqrt(mse)),
        rmse_near_metal_hu=float(np.sqrt(_mean(error[at.near] ** 2))),
        streak_amplitude_hu=streak_amplitude(error[at.streaks]),
        noise_ratio=_ratio(noise(image, at.flat), noise(reference, at.flat)),
        edge_strength_soft=soft,
        edge_strength_bone=bony,
        metal_volume_ratio=metal_sizes[0],
        metal_dice=metal_sizes[1],
        bone_volume_ratio=bone_volume,
        bone_dice=bone_dice,
    )


def streak_amplitude(values: np.ndarray, share: float = STREAK_SHARE) -> float:
    """Mean of the highest ``share`` of the values minus mean of the lowest, HU (CT-MAR measure 4).

    :param values: errors (or CT numbers of what should be flat), any shape.
    """
    flat = np.sort(np.ravel(values).astype(np.float64))
    if flat.size == 0:
        return float("nan")
    count = max(1, round(share * flat.size))
    return float(flat[-count:].mean() - flat[:count].mean())


def noise(image: np.ndarray, region: np.ndarray) -> float:
    """Standard deviation in a flat region after its slow trend is taken off, HU.

    The trend is a normalised Gaussian of 4 pixels over the region, slice by slice.
    """
    if not region.any():
        return float("nan")
    values = []
    for layer, where in zip(image, region, strict=True):
        if where.any():
            weight = ndimage.gaussian_filter(where.astype(np.float64), 4)
            trend = ndimage.gaussian_filter(np.where(where, layer, 0.0).astype(np.float64), 4)
            values.append((layer - trend / np.maximum(weight, 1e-6))[where])
    return float(np.concatenate(values).std())


def edge_strength(image: np.ndarray, region: np.ndarray) -> float:
    """90th percentile of the Sobel magnitude in the slice plane (CT-MAR measure 3), HU a pixel."""
    if not region.any():
        return float("nan")
    return float(np.percentile(sobel_magnitude(image)[region], EDGE_PERCENTILE))


def sobel_magnitude(image: np.ndarray) -> np.ndarray:
    """Gradient magnitude by Sobel filters in the slice plane, HU a pixel."""
    out = np.empty(image.shape, dtype=np.float32)
    # Slice by slice: on a volume scipy's filter would also smooth across slices.
    for magnitude, layer in zip(out, image.astype(np.float32), strict=True):
        np.hypot(ndimage.sobel(layer, axis=0), ndimage.sobel(layer, axis=1), out=magnitude)
    return out / 8.0


def flat_region(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The tenth of the soft tissue (0 to 120 HU) in which the smoothed image varies least."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), (0, 2, 2))
    candidates: np.ndarray = where & (smooth > 0) & (smooth < 120)
    if not candidates.any():
        return candidates
    slope = ndimage.gaussian_filter(sobel_magnitude(smooth), (0, 4, 4))
    result: np.ndarray = candidates & (slope <= np.percentile(slope[candidates], 10))
    return result


def edges(
    image: np.ndarray, where: np.ndarray, lowest: float, middle: float, highest: float
) -> np.ndarray:
    """Pixels of a border: both sides of ``middle`` occur next to each other within the limits."""
    smooth = ndimage.gaussian_filter(image.astype(np.float32), (0, 0.7, 0.7))
    low, high = smooth < middle, smooth >= middle
    size = (1, 3, 3)
    border = ndimage.maximum_filter(low, size) & ndimage.maximum_filter(high, size)
    limits = (ndimage.minimum_filter(smooth, size) > lowest) & (
        ndimage.maximum_filter(smooth, size) < highest
    )
    result: np.ndarray = where & border & limits
    return result


def _edges_near(
    image: np.ndarray, near: np.ndarray, tissue: np.ndarray, *limits: float
) -> np.ndarray:
    """Borders near metal, or in all of the body where there are none near metal."""
    border = edges(image, tissue, *limits)
    return border & near if (border & near).any() else border


def _ssim(image: np.ndarray, reference: np.ndarray, where: np.ndarray) -> float:
    from skimage.metrics import structural_similarity

    total, count = 0.0, 0
    for layer, truth, mask in zip(image, reference, where, strict=True):
        if mask.any() and min(layer.shape) >= 11:
            # Metal must not reach into its surroundings through the window.
            shown = np.where(mask, layer, truth).astype(np.float64)
            _, values = structural_similarity(
                shown,
                truth.astype(np.float64),
                data_range=SSIM_RANGE_HU,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                full=True,
            )
            total += float(values[mask].sum())
            count += int(mask.sum())
    return total / count if count else float("nan")


def _metal_integrity(
    image: np.ndarray,
    reference: np.ndarray,
    fraction: np.ndarray,
    threshold: float | None,
    reference_metal: np.ndarray | None,
) -> tuple[float, float]:
    """Volume ratio and Dice within 20 pixels of metal (CT-MAR measure 7)."""
    is_metal = fraction > 0.02
    around = within_pixels(is_metal, NEAR_METAL_PIXELS)
    if not is_metal.any():
        return float("nan"), float("nan")
    if threshold is None:
        highest = float(reference[around].max()) if around.any() else 0.0
        threshold = min(highest + 250.0, 2000.0)
    truth = fraction >= 0.5 if reference_metal is None else _volume(reference_metal) > 0
    return _overlap((image > threshold) & (around | is_metal), truth)


def _overlap(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Volume ratio and Dice coefficient; NaN where there is nothing to compare."""
    volumes = int(found.sum()), int(truth.sum())
    if volumes[1] == 0:
        return float("nan"), float("nan")
    return volumes[0] / volumes[1], 2.0 * int((found & truth).sum()) / sum(volumes)


def _volume(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    return array[None] if array.ndim == 2 else array


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else float("nan")
