"""Does a correction harm? Rims and bone at the metal, and images that need no correction."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.evaluation.without_reference import distance_mm
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.methods import Method
from MetalArtifactReductionLib.volume import CTVolume

RIM_MM = 2.0
"""Width of the shell in which a dark rim shows."""

NEXT_MM = 5.0
"""Outer edge of the shell after it."""

CORTICAL_HU = 300.0
CORTICAL_REACH_MM = 20.0

_PARTLY_METAL = 0.02


@dataclass(frozen=True)
class Safety:
    """Figures of one corrected image; NaN where there is nothing to measure.

    :param rim_error_hu: mean HU within 2 mm of metal minus the truth's; below 0 is a dark rim.
    :param next_error_hu: the same from 2 to 5 mm.
    :param cortical_dice: Dice of cortical bone (above 300 HU) within 20 mm of metal; 1 is best.
    :param cortical_kept: share of that bone in the truth which the image still shows; 1 is best.
    """

    rim_error_hu: float
    next_error_hu: float
    cortical_dice: float
    cortical_kept: float

    def as_dict(self) -> dict[str, float]:
        """Name -> value, in the order above."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


@dataclass(frozen=True)
class FakeMetal:
    """What a method does to a scan without metal when it is told of some.

    :param rmse_hu: root mean square change over the body outside the mask, in its slices.
    :param highest_change_hu: largest absolute change there.
    :param others_identical: slices without mask came back bit by bit.
    """

    rmse_hu: float
    highest_change_hu: float
    others_identical: bool


def measure_safety(
    image_hu: np.ndarray,
    reference_hu: np.ndarray,
    metal: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float],
    shown_metal: np.ndarray | None = None,
    body: np.ndarray | None = None,
) -> Safety:
    """Measure at the metal; distances are in the slice plane, voxels with metal take no part.

    :param image_hu: ``(slices, rows, cols)``, HU.
    :param reference_hu: the truth, the same scan without metal.
    :param metal: the true metal fraction, same shape.
    :param spacing_mm: ``(slice, row, col)``.
    :param shown_metal: what the correction took for metal and left in the image: fraction or mask.
        It is wider than the true metal by the scanner's blur, hundreds of HU that would hide any
        rim; so rims begin, and bone counts, beside both.
    :param body: default: :func:`MetalArtifactReductionLib.metal.body.body_mask` of the reference.
    :raises ValueError: arrays of different shapes; no metal.
    """
    if not image_hu.shape == reference_hu.shape == metal.shape:
        raise ValueError(
            f"shapes differ: image {image_hu.shape}, reference {reference_hu.shape}, "
            f"metal {metal.shape}"
        )
    is_metal = metal > _PARTLY_METAL
    if not is_metal.any():
        raise ValueError("no metal: nothing to measure around")
    if shown_metal is not None:
        is_metal = is_metal | (shown_metal > 0)
    inside = body_mask(reference_hu, spacing_mm) if body is None else body > 0
    tissue = inside & ~is_metal
    distance = distance_mm(is_metal, spacing_mm)
    error = image_hu.astype(np.float64) - reference_hu
    rim = tissue & (distance <= RIM_MM)
    after = tissue & (distance > RIM_MM) & (distance <= NEXT_MM)
    bony = tissue & (distance <= CORTICAL_REACH_MM)
    found, truth = (bony & (hu > CORTICAL_HU) for hu in (image_hu, reference_hu))
    common, in_truth = int((found & truth).sum()), int(truth.sum())
    nothing = float("nan")
    return Safety(
        rim_error_hu=float(error[rim].mean()) if rim.any() else nothing,
        next_error_hu=float(error[after].mean()) if after.any() else nothing,
        cortical_dice=2.0 * common / (in_truth + int(found.sum())) if in_truth else nothing,
        cortical_kept=common / in_truth if in_truth else nothing,
    )


def fake_metal(
    clean: CTVolume, mask: np.ndarray, method: str | Method, *, device: str = "cpu"
) -> FakeMetal:
    """Correct a scan without metal for metal that is not there.

    Nothing is wrong with the scan, so every change outside the mask is one for the worse. A copy
    of the last slice is added without mask: it must not change at all. What is measured is the
    method itself: nothing is left alone for want of streaks.

    :param clean: a scan without metal and artifacts.
    :param mask: where metal is claimed: fraction or mask, on the same grid.
    :param method: name or inpainter, as :func:`.correction.correct_volume` takes it.
    :raises ValueError: arrays of different shapes; an empty mask.
    """
    if clean.hu.shape != mask.shape:
        raise ValueError(f"volume {clean.hu.shape} and mask {mask.shape} differ")
    claimed = np.flatnonzero((mask > 0).any(axis=(1, 2)))
    if claimed.size == 0:
        raise ValueError("the mask is empty: nothing is claimed to be metal")
    longer = CTVolume(np.concatenate([clean.hu, clean.hu[-1:]]), clean.ijk_to_ras)
    fraction = np.concatenate([mask, np.zeros_like(mask[-1:])]).astype(np.float32)
    image = correct_volume(longer, fraction, method, device=device, always=True).corrected.hu
    changed = np.abs(image[claimed].astype(np.float64) - clean.hu[claimed])
    changed = changed[body_mask(clean.hu, clean.spacing_mm)[claimed] & ~(mask[claimed] > 0)]
    others = np.setdiff1d(np.arange(len(longer.hu)), claimed)
    return FakeMetal(
        rmse_hu=float(np.sqrt((changed**2).mean())) if changed.size else float("nan"),
        highest_change_hu=float(changed.max()) if changed.size else float("nan"),
        others_identical=bool(np.array_equal(image[others], longer.hu[others])),
    )
