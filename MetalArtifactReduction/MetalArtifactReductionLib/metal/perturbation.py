"""Random variants of a metal mask: other size, place and turn, for training from one patient.

Networks that are trained on a patient's own metal-free slices need metal like the patient's, but
not always the same: the masks are varied in size and position. Every variant is drawn from a
seeded generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class PerturbationParameters:
    """Ranges of the random changes; each is drawn uniformly.

    :param scale: smallest and largest factor of the size.
    :param shift_mm: largest shift along rows and along columns.
    :param rotation_deg: largest turn in the slice plane, either way.
    """

    scale: tuple[float, float] = (0.8, 1.2)
    shift_mm: float = 10.0
    rotation_deg: float = 10.0

    def __post_init__(self) -> None:
        """Reject empty ranges."""
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be a growing pair of positive factors, not {self.scale}")
        if self.shift_mm < 0 or self.rotation_deg < 0:
            raise ValueError(f"shift and rotation must not be negative: {self}")


def perturb_mask(
    mask: np.ndarray,
    spacing_mm: tuple[float, float],
    rng: np.random.Generator,
    parameters: PerturbationParameters | None = None,
    attempts: int = 20,
) -> np.ndarray:
    """One variant of a slice's metal mask, moved and resized about its centre of mass.

    Metal that would leave the image is drawn again, up to ``attempts`` times; then it is returned
    unmoved.

    :param mask: metal fraction of a slice, ``(rows, cols)``, 0..1.
    :param spacing_mm: ``(row, col)``.
    :param rng: seeded generator.
    :returns: float32 fraction, same shape.
    """
    parameters = parameters or PerturbationParameters()
    mask = np.asarray(mask, dtype=np.float32)
    unchanged: np.ndarray = mask.copy()
    total = float(mask.sum())
    if total == 0:
        return unchanged
    centre = np.asarray(ndimage.center_of_mass(mask))
    spacing = np.asarray(spacing_mm, dtype=float)
    for _ in range(attempts):
        scale = rng.uniform(*parameters.scale)
        angle = math.radians(rng.uniform(-parameters.rotation_deg, parameters.rotation_deg))
        shift = rng.uniform(-parameters.shift_mm, parameters.shift_mm, size=2) / spacing
        moved = _moved(mask, spacing, centre, scale, angle, shift)
        border = moved[0].sum() + moved[-1].sum() + moved[:, 0].sum() + moved[:, -1].sum()
        # Area grows with the square of the scale; much less means that metal left the image.
        if border == 0 and moved.sum() > 0.8 * scale**2 * total:
            return moved
    return unchanged


def perturbed_masks(
    masks: np.ndarray,
    spacing_mm: tuple[float, float],
    count: int,
    seed: int,
    parameters: PerturbationParameters | None = None,
) -> np.ndarray:
    """``count`` variants of masks drawn at random from the slices that hold metal.

    :param masks: ``(slices, rows, cols)``, 0..1.
    :returns: float32 ``(count, rows, cols)``; the same for the same seed.
    :raises ValueError: when no slice holds metal.
    """
    with_metal = np.flatnonzero(masks.reshape(len(masks), -1).any(axis=1))
    if with_metal.size == 0:
        raise ValueError("none of the masks holds metal")
    rng = np.random.default_rng(seed)
    out = np.empty((count, *masks.shape[1:]), dtype=np.float32)
    for variant in out:
        variant[...] = perturb_mask(masks[rng.choice(with_metal)], spacing_mm, rng, parameters)
    return out


def _moved(
    mask: np.ndarray,
    spacing: np.ndarray,
    centre: np.ndarray,
    scale: float,
    angle: float,
    shift: np.ndarray,
) -> np.ndarray:
    """Scaled and turned about ``centre`` (in mm, so pixels need not be square), then shifted."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    # affine_transform pulls: output index -> input index.
    pull = np.diag(1 / spacing) @ turn.T @ np.diag(spacing) / scale
    offset = centre - pull @ (centre + shift)
    moved = ndimage.affine_transform(mask, pull, offset, order=1, mode="constant")
    result: np.ndarray = np.clip(moved, 0, 1).astype(np.float32)
    return result
