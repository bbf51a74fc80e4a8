"""Which bright parts of a volume are metal: 3-D clean-up with a table that says why."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from .body import body_mask

_EVERY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class CleanUpParameters:
    """What is left out of the metal.

    :param minimal_volume_mm3: smaller specks are noise or the tips of streaks. A clip or a wire,
        blurred by the scanner, is several times that.
    :param include_surface: keep small metal on the skin or outside the body (ECG leads, zips,
        table parts); large parts, like an external fixator, are always kept.
    :param surface_depth_mm: a part whose deepest voxel is nearer to the skin lies on the skin.
    :param surface_volume_mm3: parts from here on are never taken for a lead.
    :param clip_reach_mm: a part that does not reach the certain level still counts as metal (a
        clip in soft tissue) if what is brighter than 500 HU around it ends within this distance.
    :param clip_hu: ... and it is at least this bright.
    :param streak_volume_mm3: smaller parts near (within ``streak_reach_mm``) metal of more than
        30 times their volume are the bright ends of its streaks.
    :param streak_reach_mm: see above.
    """

    minimal_volume_mm3: float = 2.0
    include_surface: bool = False
    surface_depth_mm: float = 9.0
    surface_volume_mm3: float = 300.0
    clip_reach_mm: float = 6.0
    clip_hu: float = 1500.0
    streak_volume_mm3: float = 15.0
    streak_reach_mm: float = 30.0


@dataclass(frozen=True)
class MetalComponent:
    """One connected bright part.

    :param label: 1, 2, ... by falling volume of those kept, then of those left out.
    :param voxels: number of voxels at or above the threshold.
    :param volume_mm3: of the metal (sum of fractions) if kept, else of the bright voxels.
    :param highest_hu: brightest voxel.
    :param centre_ijk: centre of mass ``(col, row, slice)`` in voxels.
    :param slices: first and last slice.
    :param kept: whether it counts as metal.
    :param remark: why it was kept or left out.
    """

    label: int
    voxels: int
    volume_mm3: float
    highest_hu: float
    centre_ijk: tuple[float, float, float]
    slices: tuple[int, int]
    kept: bool
    remark: str


@dataclass(frozen=True)
class BrightPart:
    """A connected part above the threshold: its box in the volume and its voxels in that box."""

    box: tuple[slice, slice, slice]
    voxels: np.ndarray
    highest_hu: float
    kept: bool
    remark: str


def bright_parts(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    threshold_hu: float,
    certain_hu: float,
    parameters: CleanUpParameters,
) -> list[BrightPart]:
    """Connected parts (26 neighbours) at or above the threshold, each judged.

    :param hu: ``(slices, rows, cols)``.
    :param spacing_mm: ``(slice, row, col)``.
    :param threshold_hu: where metal begins.
    :param certain_hu: a part with a voxel this bright is metal wherever it is inside the body.
    :returns: the parts, largest first.
    """
    mask = hu >= threshold_hu
    hit = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if hit[0].size == 0:
        return []
    crop = tuple(slice(int(h[0]), int(h[-1]) + 1) for h in hit)
    labels, _ = ndimage.label(mask[crop], structure=_EVERY_NEIGHBOUR)
    boxes = ndimage.find_objects(labels)
    voxel_mm3 = float(np.prod(spacing_mm))
    parts = []
    for label, box in enumerate(boxes, start=1):
        inside = labels[box] == label
        whole = _shifted(box, crop)
        highest = float(hu[whole][inside].max())
        volume = float(inside.sum()) * voxel_mm3
        if volume < parameters.minimal_volume_mm3:
            kept, remark = False, "speck"
        elif highest < certain_hu and not _is_clip(hu, spacing_mm, whole, highest, parameters):
            kept, remark = False, "bone, tooth or contrast medium"
        else:
            kept, remark = True, "metal"
        parts.append(BrightPart(whole, inside, highest, kept, remark))
    parts = _drop_streaks(spacing_mm, parts, parameters)
    parts = _judge_surface(hu, spacing_mm, parts, parameters)
    return sorted(parts, key=lambda part: (not part.kept, -int(part.voxels.sum())))


def _drop_streaks(
    spacing_mm: tuple[float, float, float], parts: list[BrightPart], parameters: CleanUpParameters
) -> list[BrightPart]:
    """Leave out what is tiny beside large metal."""
    voxel_mm3 = float(np.prod(spacing_mm))
    volume = np.array([part.voxels.sum() * voxel_mm3 for part in parts])
    low = np.array([[axis.start for axis in part.box] for part in parts]) * spacing_mm
    high = np.array([[axis.stop for axis in part.box] for part in parts]) * spacing_mm
    large = np.array([part.kept for part in parts]) & (volume >= parameters.streak_volume_mm3)
    out = []
    for index, part in enumerate(parts):
        if part.kept and volume[index] < parameters.streak_volume_mm3:
            gap = np.maximum(np.maximum(low - high[index], low[index] - high), 0)
            near = np.linalg.norm(gap, axis=1) < parameters.streak_reach_mm
            if (near & large & (volume > 30 * volume[index])).any():
                part = replace(part, kept=False, remark="streak of the metal beside it")
        out.append(part)
    return out


def _judge_surface(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    parts: list[BrightPart],
    parameters: CleanUpParameters,
) -> list[BrightPart]:
    """Mark small metal on the skin or outside the body."""
    largest = parameters.surface_volume_mm3 / float(np.prod(spacing_mm))
    doubtful = [part.kept and part.voxels.sum() < largest for part in parts]
    slices = [
        np.arange(part.box[0].start, part.box[0].stop)
        for part, ask in zip(parts, doubtful, strict=True)
        if ask
    ]
    if not slices:
        return parts
    index = np.unique(np.concatenate(slices))
    body = dict(zip(index.tolist(), body_mask(hu[index], spacing_mm, coarse_mm=2.0), strict=True))
    out = []
    for part, ask in zip(parts, doubtful, strict=True):
        if ask and _depth_mm(body, spacing_mm, part) < parameters.surface_depth_mm:
            part = replace(
                part, kept=parameters.include_surface, remark="on the skin or outside the body"
            )
        out.append(part)
    return out


def _shifted(box: tuple[slice, ...], crop: tuple[slice, ...]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(b.start + c.start, b.stop + c.start) for b, c in zip(box, crop, strict=True))
    return z, y, x


def padded(
    box: tuple[slice, slice, slice], pad: tuple[int, int, int], shape: tuple[int, ...]
) -> tuple[slice, slice, slice]:
    """The box with a margin, cut at the volume's border."""
    z, y, x = (
        slice(max(0, b.start - p), min(n, b.stop + p))
        for b, p, n in zip(box, pad, shape, strict=True)
    )
    return z, y, x


def _is_clip(
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    box: tuple[slice, slice, slice],
    highest_hu: float,
    parameters: CleanUpParameters,
) -> bool:
    """By itself in soft tissue: not joined to bone, in the slice plane, within the reach."""
    if highest_hu < parameters.clip_hu:
        return False
    pad = [max(1, round(parameters.clip_reach_mm / s)) for s in spacing_mm]
    outer = padded(box, (pad[0], pad[1], pad[2]), hu.shape)
    bony = ndimage.label(hu[outer] > 500.0, structure=_EVERY_NEIGHBOUR)[0]
    inside = tuple(
        slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True)
    )
    rim = np.ones(bony.shape, dtype=bool)
    rim[:, 1:-1, 1:-1] = False
    return not np.intersect1d(bony[inside][hu[box] >= highest_hu], bony[rim]).any()


def _depth_mm(
    body: dict[int, np.ndarray], spacing_mm: tuple[float, float, float], part: BrightPart
) -> float:
    """How deep under the skin the part reaches, in the slice plane."""
    deepest = 0.0
    margin = [round(30.0 / s) for s in spacing_mm[1:]]
    z, y, x = part.box
    rows = slice(max(0, y.start - margin[0]), y.stop + margin[0])
    cols = slice(max(0, x.start - margin[1]), x.stop + margin[1])
    for k in range(z.start, z.stop):
        area = body[k][rows, cols]
        if area.all():
            return float("inf")
        distance = ndimage.distance_transform_edt(area, sampling=spacing_mm[1:])
        here = part.voxels[k - z.start]
        at = distance[y.start - rows.start :, x.start - cols.start :]
        values = at[: here.shape[0], : here.shape[1]][here]
        deepest = max(deepest, float(values.max(initial=0.0)))
    return deepest
