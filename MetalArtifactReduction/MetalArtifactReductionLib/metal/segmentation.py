"""Find the metal in a CT volume."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..correction_options import SEGMENTATIONS
from ..errors import InputError
from ..volume import CTVolume
from .certain import certain_hu
from .components import BrightPart, CleanUpParameters, MetalComponent, bright_parts
from .fraction import part_fraction
from .threshold import certain_level, clip_level, kmeans_threshold, propose_threshold


@dataclass(frozen=True)
class MetalSegmentation:
    """Metal found in a volume.

    :param fraction: share of each voxel that is metal, float32 0..1, ``(slices, rows, cols)``.
    :param threshold_hu: where metal begins.
    :param method: ``"threshold"``, ``"kmeans"`` or ``"given"`` (threshold by the user).
    :param components: the bright parts, those that count as metal first.
    """

    fraction: np.ndarray
    threshold_hu: float
    method: str
    components: tuple[MetalComponent, ...]

    @property
    def mask(self) -> np.ndarray:
        """Voxels that are metal by half or more."""
        return self.fraction >= 0.5

    @property
    def volume_mm3(self) -> float:
        """Metal volume over all kept components."""
        return sum(component.volume_mm3 for component in self.components if component.kept)

    @property
    def slices(self) -> np.ndarray:
        """Indices of the slices that hold metal."""
        return np.flatnonzero(self.fraction.reshape(len(self.fraction), -1).any(axis=1))


def segment_metal(
    volume: CTVolume,
    method: str = "threshold",
    *,
    threshold_hu: float | None = None,
    clean_up: CleanUpParameters | None = None,
) -> MetalSegmentation:
    """Threshold, 3-D clean-up and soft borders.

    :param volume: the CT; values may be clipped at any level.
    :param method: ``"threshold"`` (from the bright tail, see
        :func:`.threshold.propose_threshold`) or ``"kmeans"`` (:func:`.threshold.kmeans_threshold`).
    :param threshold_hu: a threshold of the user's own instead of either; every part above it then
        counts as metal, whatever its brightness, if the clean-up allows.
    :param clean_up: what to leave out.
    :raises InputError: unknown method; no metal found.
    """
    clean_up = clean_up or CleanUpParameters()
    hu = volume.hu
    if threshold_hu is not None:
        if not np.isfinite(threshold_hu):
            raise InputError(f"metal threshold {threshold_hu} HU is not a number; give it in HU")
        method, threshold = "given", float(threshold_hu)
        certain = threshold
    elif method == "threshold":
        threshold = propose_threshold(hu)
        certain = certain_level(hu, threshold)
    elif method == "kmeans":
        threshold = kmeans_threshold(hu).threshold_hu
        certain = certain_level(hu, threshold)
    else:
        raise InputError(
            f"unknown metal segmentation {method!r}; choose one of {', '.join(SEGMENTATIONS)}"
        )
    parts = bright_parts(hu, volume.spacing_mm, threshold, certain, clean_up)
    if not any(part.kept for part in parts):
        raise InputError(_nothing_found(hu, threshold, parts))

    clipped_from, certain_from = clip_level(hu), certain_hu(hu)
    fraction = np.zeros(hu.shape, dtype=np.float32)
    components = []
    for label, part in enumerate(parts, start=1):
        component = _describe(label, part, volume.spacing_mm)
        if part.kept:
            box, share = part_fraction(hu, volume.spacing_mm, part, clipped_from, certain_from)
            np.maximum(fraction[box], share, out=fraction[box])
            volume_mm3 = float(share.sum(dtype=np.float64)) * float(np.prod(volume.spacing_mm))
            component = replace(component, volume_mm3=volume_mm3)
        components.append(component)
    return MetalSegmentation(fraction, threshold, method, tuple(components))


def _describe(
    label: int, part: BrightPart, spacing_mm: tuple[float, float, float]
) -> MetalComponent:
    z, y, x = np.nonzero(part.voxels)
    centre = (
        float(x.mean()) + part.box[2].start,
        float(y.mean()) + part.box[1].start,
        float(z.mean()) + part.box[0].start,
    )
    return MetalComponent(
        label=label,
        voxels=len(z),
        volume_mm3=len(z) * float(np.prod(spacing_mm)),
        highest_hu=part.highest_hu,
        centre_ijk=centre,
        slices=(part.box[0].start, part.box[0].stop - 1),
        kept=part.kept,
        remark=part.remark,
    )


def _nothing_found(hu: np.ndarray, threshold: float, parts: list[BrightPart]) -> str:
    message = (
        f"no metal found: the highest value is {float(hu.max()):.0f} HU and the threshold "
        f"{threshold:.0f} HU"
    )
    surface = sum("skin" in part.remark for part in parts)
    if surface:
        return (
            f"{message}, but {surface} bright part(s) lie on the skin or outside the body (leads?);"
            " include the surface if they are to be corrected"
        )
    return f"{message}; if there is metal, give a lower threshold or a mask"
