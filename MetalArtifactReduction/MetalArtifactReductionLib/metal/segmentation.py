"""Find the metal in a CT volume."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InputError
from ..progress import Progress, report
from ..volume import CTVolume, Orientation
from .certain import certain_hu
from .components import (
    SURFACE,
    BrightPart,
    MetalComponent,
    bright_parts,
    overruled,
)
from .distances import Distances
from .fraction import part_fraction
from .options import SEGMENTATIONS, CleanUpParameters
from .threshold import certain_level, clip_level, kmeans_threshold, propose_threshold


@dataclass(frozen=True)
class MetalSegmentation:
    """Metal found in a volume.

    :param fraction: share of each voxel that is metal, float32 0..1, ``(slices, rows, cols)``.
    :param threshold_hu: where metal begins.
    :param method: ``"threshold"``, ``"kmeans"`` or ``"given"`` (threshold by the user).
    :param components: the bright parts, those that count as metal first.
    """

    fraction: np.ndarray = field(repr=False)
    threshold_hu: float
    method: str
    components: tuple[MetalComponent, ...]

    @property
    def mask(self) -> np.ndarray:
        """Voxels that are metal by half or more."""
        return self.fraction >= 0.5

    @property
    def volume_mm3(self) -> float:
        """Volume of the mask."""
        return sum(component.volume_mm3 for component in self.components if component.kept)

    @property
    def slices(self) -> np.ndarray:
        """Indices of the slices that hold metal."""
        return np.flatnonzero(self.fraction.reshape(len(self.fraction), -1).any(axis=1))


def metal_volume_mm3(fraction: np.ndarray, voxel_mm3: float | np.ndarray) -> float:
    """Volume of the voxels that are metal by half or more, which is that of the mask.

    :param voxel_mm3: of one voxel, as of :attr:`..volume.CTVolume.voxel_mm3`.
    """
    mask = fraction >= 0.5
    if isinstance(voxel_mm3, float):
        return int(np.count_nonzero(mask)) * voxel_mm3
    return float((mask * voxel_mm3).sum())


def segment_metal(
    volume: CTVolume,
    method: str = "threshold",
    *,
    threshold_hu: float | None = None,
    clean_up: CleanUpParameters | None = None,
    progress: Progress | None = None,
) -> MetalSegmentation:
    """Threshold, 3-D clean-up and soft borders.

    >>> row, col = np.mgrid[-32:32, -32:32]
    >>> hu = np.where(np.hypot(row, col) < 28, 40.0, -1000.0)  # a body of soft tissue
    >>> hu[np.hypot(row, col - 9) < 3] = 3071.0  # and a rod in it
    >>> volume = CTVolume(np.stack([hu] * 4).astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    >>> metal = segment_metal(volume)
    >>> [(part.kept, part.highest_hu) for part in metal.components]
    [(True, 3071.0)]

    :param volume: the CT; values may be clipped at any level. How it is stored does not matter.
    :param method: ``"threshold"`` (from the bright tail, see
        :func:`.threshold.propose_threshold`) or ``"kmeans"`` (:func:`.threshold.kmeans_threshold`).
    :param threshold_hu: a threshold of the user's own instead of either; every part above it then
        counts as metal, whatever its brightness, if the clean-up allows.
    :param clean_up: what to leave out, and what the user says of single parts.
    :param progress: told where it is.
    :raises InputError: unknown method; no metal found; a part to include or exclude is not there.
    """
    clean_up = clean_up or CleanUpParameters()
    given = volume
    volume, turn = given.anatomical()
    hu = volume.hu
    report(progress, 0.0, "proposing a threshold")
    threshold, certain = _levels(hu, method, threshold_hu)
    method = method if threshold_hu is None else "given"
    places = Distances.of(given, turn)
    report(progress, _BY_THRESHOLD, "looking at bright parts")
    found = bright_parts(hu, places, threshold, certain, clean_up)
    parts = overruled(found, volume.ijk_to_ras, places, clean_up)
    clipped_from, certain_from = clip_level(hu), certain_hu(hu)
    fraction = np.zeros(hu.shape, dtype=np.float32)
    components = []
    for label, part in enumerate(parts, start=1):
        done = _BY_PARTS + (1.0 - _BY_PARTS) * (label - 1) / len(parts)
        report(progress, done, f"part {label} of {len(parts)}")
        component = _describe(label, part, given, turn, places)
        if part.kept:
            spacing_mm, enamel = places.near(part.box), threshold_hu is None
            box, share = part_fraction(
                hu, spacing_mm, part, clipped_from, certain_from, enamel=enamel
            )
            new = (share >= 0.5) & (fraction[box] < 0.5)  # what two parts share counts once
            component = replace(component, volume_mm3=places.volume_mm3(new, box))
            np.maximum(fraction[box], share, out=fraction[box])
        components.append(component)
    if not any(part.kept for part in parts):
        raise _nothing_found(hu, threshold, components)
    report(progress, 1.0, "done")
    return MetalSegmentation(turn.undo(fraction), threshold, method, tuple(components))


def _levels(hu: np.ndarray, method: str, given_hu: float | None) -> tuple[float, float]:
    """The threshold, and from where on a bright part is certainly metal."""
    if given_hu is not None:
        if not np.isfinite(given_hu):
            raise InputError(f"metal threshold {given_hu} HU is not a number; give it in HU")
        return float(given_hu), float(given_hu)
    if method not in SEGMENTATIONS:
        raise InputError(
            f"unknown metal segmentation {method!r}; choose one of {', '.join(SEGMENTATIONS)}"
        )
    by_tail = method == "threshold"
    threshold = propose_threshold(hu) if by_tail else kmeans_threshold(hu).threshold_hu
    return threshold, certain_level(hu, threshold)


def _describe(
    label: int, part: BrightPart, volume: CTVolume, turn: Orientation, places: Distances
) -> MetalComponent:
    """A part of the turned volume, told in the volume's own indices."""
    turned = np.argwhere(part.voxels) + [axis.start for axis in part.box]
    shape = tuple(volume.hu.shape[axis] for axis in turn.axes)
    index = turn.undo_index(turned, shape)
    k, j, i = index.mean(axis=0).tolist()
    even_kji = turn.undo_index(places.even(turned), shape).mean(axis=0)
    r, a, s, _ = (volume.ijk_to_ras @ [*even_kji[::-1], 1.0]).tolist()
    return MetalComponent(
        label=label,
        voxels=len(index),
        volume_mm3=places.volume_mm3(part.voxels, part.box),
        highest_hu=part.highest_hu,
        centre_ijk=(i, j, k),
        centre_ras=(r, a, s),
        slices=(int(index[:, 0].min()), int(index[:, 0].max())),
        kept=part.kept,
        remark=part.remark,
    )


MOST_NAMED = 5

_BY_THRESHOLD, _BY_PARTS = 0.1, 0.9
"""Shares of the time, measured on CTs of 512 x 512."""


def _nothing_found(
    hu: np.ndarray, threshold: float, components: list[MetalComponent]
) -> InputError:
    """What there was instead, and the options that say otherwise."""
    message = (
        f"no metal found: the highest value is {float(hu.max()):.0f} HU and the threshold "
        f"{threshold:.0f} HU"
    )
    left_out = [one for one in components if not one.is_speck]
    if not left_out:
        remedy = "give a lower threshold (threshold_hu=..., --threshold HU) or a mask"
        return InputError(message, f"; if there is metal, {remedy}")
    named = "; ".join(
        f"part {one.label}, {one.volume_mm3:.0f} mm³ up to {one.highest_hu:.0f} HU in slices "
        f"{one.slices[0]}-{one.slices[1]}: {one.remark}"
        for one in left_out[:MOST_NAMED]
    )
    more = len(left_out) - MOST_NAMED
    more_text = f"; and {more} more" if more > 0 else ""
    surface = any(one.remark == SURFACE for one in left_out)
    options = [
        *(["include_surface=True (--include-surface)"] if surface else []),
        f"include=({left_out[0].label},) (--include {left_out[0].label})",
        "threshold_hu=... (--threshold HU)",
    ]
    return InputError(
        f"{message}. Left out: {named}{more_text}",
        f". If one of them is metal, give {', '.join(options[:-1])} or {options[-1]}, or a mask",
    )
