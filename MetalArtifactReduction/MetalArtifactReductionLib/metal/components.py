"""Which bright parts of a volume are metal: 3-D clean-up with a table that says why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..errors import InputError
from .body import body_mask
from .distances import Distances
from .judgement import (
    BEYOND_TISSUE_HU,
    BLUR_SHARE,
    BULK_HU,
    DENSE_SHARE,
    EVERY_NEIGHBOUR,
    PLAIN_MM,
    PLAIN_SHARE,
    SOLID_MM,
    SOLID_SHARE,
    TIP_OF,
    TIP_SHARE,
    Box,
    air_around,
    bulk_values,
    is_in_bone,
    is_isolated,
    is_thin,
    saturation,
)
from .options import CleanUpParameters
from .threshold import clip_level


@dataclass(frozen=True)
class MetalComponent:
    """One connected bright part.

    :param label: 1, 2, ... by falling volume of those found to be metal, then of the others. What
        the user includes or excludes does not change it.
    :param voxels: number of voxels at or above the threshold.
    :param volume_mm3: of the mask if kept, else of the bright voxels.
    :param highest_hu: brightest voxel.
    :param centre_ijk: centre of mass ``(col, row, slice)`` in voxels.
    :param centre_ras: the same in the patient, mm.
    :param slices: first and last slice.
    :param kept: whether it counts as metal.
    :param remark: why it was kept or left out.
    """

    label: int
    voxels: int
    volume_mm3: float
    highest_hu: float
    centre_ijk: tuple[float, float, float]
    centre_ras: tuple[float, float, float]
    slices: tuple[int, int]
    kept: bool
    remark: str

    @property
    def is_speck(self) -> bool:
        """Too small to be worth a line."""
        return self.remark == SPECK


@dataclass(frozen=True)
class BrightPart:
    """A connected part above the threshold: its box in the volume and its voxels in that box."""

    box: tuple[slice, slice, slice]
    voxels: np.ndarray
    highest_hu: float
    kept: bool
    remark: str


METAL, SPECK, SURFACE = "metal", "speck", "on the skin or outside the body"
TISSUE, STREAK = "bone, tooth or contrast medium", "streak of the metal beside it"
LIKE_TISSUE = "thin, beside teeth or contrast medium as bright"
NO_BRIGHTER = "no brighter than bone"
"""Of a part that is metal only because the user's own threshold says so."""


def bright_parts(
    hu: np.ndarray,
    places: Distances,
    threshold_hu: float,
    certain_hu: float,
    parameters: CleanUpParameters,
) -> list[BrightPart]:
    """Connected parts (26 neighbours) at or above the threshold, each judged.

    Where certain metal is joined to much that is bright and far from it (a filling in a row of
    teeth, a clipped voxel in the skull), only what is nearly as bright as certain is a part.

    :param hu: ``(slices, rows, cols)``.
    :param places: of its voxels.
    :param threshold_hu: where metal begins.
    :param certain_hu: a part with a voxel this bright is metal if nothing else speaks against it;
        not above the threshold if the user says that everything above is metal.
    :returns: the parts, those found to be metal first, then by volume.
    """
    everything, clipped = certain_hu <= threshold_hu, clip_level(hu) is not None
    low = threshold_hu if everything else min(threshold_hu, BULK_HU)
    parts: list[BrightPart] = []
    doubtful: list[Box] = []  # what reaches the certain level and is no metal
    for box, inside in _connected(hu >= low):
        values = hu[box]
        bulk = None if everything else bulk_values(values, inside, certain_hu, places.near(box))
        level, strict = threshold_hu, False
        if bulk is not None:
            level = max(threshold_hu, BLUR_SHARE * certain_hu)
            strict = float(np.percentile(bulk, 95)) >= DENSE_SHARE * certain_hu
        found = []
        for own, voxels in _connected(inside & (values >= level)):
            whole = _shifted(own, box)
            tip = not clipped and bool(inside.sum() > TIP_OF * voxels.sum())
            kept, remark = _judge(hu, places, whole, voxels, certain_hu, strict, tip, parameters)
            highest = float(hu[whole][voxels].max())
            if kept and everything and highest < parameters.clip_hu:
                remark = NO_BRIGHTER
            found.append(BrightPart(whole, voxels, highest, kept, remark))
        if strict and not any(part.kept for part in found):
            doubtful.append(box)
        parts += found
    if doubtful:
        parts = _drop_what_is_alike(hu, places, parts, doubtful, certain_hu, parameters)
    parts = _drop_streaks(places, parts, parameters)
    parts = _judge_surface(hu, places, parts, parameters)
    return sorted(parts, key=lambda part: (not part.kept, -int(part.voxels.sum())))


def overruled(
    parts: list[BrightPart],
    ijk_to_ras: np.ndarray,
    places: Distances,
    parameters: CleanUpParameters,
) -> list[BrightPart]:
    """The parts with what the user says of them, in the same order.

    :param parts: as :func:`bright_parts` gives them: the first has the label 1.
    :raises InputError: a label that no part has, or a sphere without a part.
    """
    surface = [n for n, part in enumerate(parts, 1) if part.remark == SURFACE]
    say = dict.fromkeys(surface if parameters.include_surface else (), True)
    for kept, labels, spheres in (
        (True, parameters.include, parameters.include_near),
        (False, parameters.exclude, parameters.exclude_near),
    ):
        for sphere in spheres:
            inside = [
                n for n, part in enumerate(parts, 1) if _meets(part, ijk_to_ras, places, sphere)
            ]
            if not inside:
                raise InputError(
                    f"no bright part within {sphere[3]:g} mm of R {sphere[0]:g}, A {sphere[1]:g}, "
                    f"S {sphere[2]:g}; choose a larger radius or a lower threshold"
                )
            say.update(dict.fromkeys(inside, kept))
        for label in labels:
            if not 1 <= label <= len(parts):
                raise InputError(f"no part {label}; there are parts 1 to {len(parts)}")
            say[label] = kept
    return [
        replace(part, kept=say[n], remark=f"{'included' if say[n] else 'excluded'} by the user")
        if n in say and say[n] != part.kept
        else part
        for n, part in enumerate(parts, 1)
    ]


def _meets(
    part: BrightPart,
    ijk_to_ras: np.ndarray,
    places: Distances,
    sphere: tuple[float, float, float, float],
) -> bool:
    """Whether a voxel of the part lies in the sphere."""
    index = places.even(np.argwhere(part.voxels) + [axis.start for axis in part.box])
    points = index[:, ::-1] @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    return bool((np.linalg.norm(points - sphere[:3], axis=1) <= sphere[3]).any())


def _connected(mask: np.ndarray) -> Iterator[tuple[Box, np.ndarray]]:
    """Box and voxels of each connected part of a mask."""
    hit = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if hit[0].size == 0:
        return
    crop = tuple(slice(int(h[0]), int(h[-1]) + 1) for h in hit)
    labels, _ = ndimage.label(mask[crop], structure=EVERY_NEIGHBOUR)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        yield _shifted(box, crop), labels[box] == label


def _judge(
    hu: np.ndarray,
    places: Distances,
    box: Box,
    inside: np.ndarray,
    certain_hu: float,
    strict: bool,
    tip: bool,
    parameters: CleanUpParameters,
) -> tuple[bool, str]:
    """Whether one part is metal, by itself, and why.

    :param strict: it is joined to teeth or contrast medium that may be as bright.
    :param tip: of something large that is dense, on an unclipped scale.
    """
    values, spacing_mm = hu[box], places.near(box)
    highest = float(values[inside].max())
    if places.volume_mm3(inside, box) < parameters.minimal_volume_mm3:
        return False, SPECK
    if highest >= max(BEYOND_TISSUE_HU, certain_hu):
        return True, METAL
    if highest < certain_hu:
        reach_mm = parameters.clip_reach_mm
        alone = highest >= parameters.clip_hu and is_isolated(hu, spacing_mm, box, reach_mm)
        # A crown lies by itself in its slices as a wire does, but is wider and has a root.
        metal = alone and (
            is_thin(hu, spacing_mm, box, inside)
            or is_isolated(hu, spacing_mm, box, reach_mm, ends=True)
        )
        return (True, METAL) if metal else (False, TISSUE)
    if not strict and not tip:
        return True, METAL
    share, width = saturation(values, inside, certain_hu, spacing_mm, everywhere=not strict)
    metal = share >= SOLID_SHARE and width >= SOLID_MM if strict else share >= TIP_SHARE
    return (True, METAL) if metal else (False, TISSUE)


def _drop_what_is_alike(
    hu: np.ndarray,
    places: Distances,
    parts: list[BrightPart],
    doubtful: list[Box],
    certain_hu: float,
    parameters: CleanUpParameters,
) -> list[BrightPart]:
    """Leave out thin parts in a scan where teeth or contrast medium are as bright as metal."""
    low, high = places.corners_mm(doubtful)
    out = []
    for part in parts:
        if part.kept and part.highest_hu < BEYOND_TISSUE_HU:
            first, last = places.corners_mm([part.box])
            gap = np.maximum(np.maximum(low - last, first - high), 0)
            spacing_mm = places.near(part.box)
            if np.linalg.norm(gap, axis=1).min() <= parameters.contrast_reach_mm:
                share, width = saturation(hu[part.box], part.voxels, certain_hu, spacing_mm)
                plain = share >= PLAIN_SHARE and width >= PLAIN_MM
                if not plain and not (
                    part.highest_hu >= certain_hu
                    and is_isolated(hu, spacing_mm, part.box, parameters.clip_reach_mm, ends=True)
                ):
                    part = replace(part, kept=False, remark=LIKE_TISSUE)
        out.append(part)
    return out


def _drop_streaks(
    places: Distances, parts: list[BrightPart], parameters: CleanUpParameters
) -> list[BrightPart]:
    """Leave out what is tiny beside large metal."""
    if not any(part.kept for part in parts):
        return parts
    volume = np.array([places.volume_mm3(part.voxels, part.box) for part in parts])
    low, high = places.corners_mm([part.box for part in parts])
    large = np.array([part.kept for part in parts]) & (volume >= parameters.streak_volume_mm3)
    out = []
    for index, part in enumerate(parts):
        if part.kept and volume[index] < parameters.streak_volume_mm3:
            gap = np.maximum(np.maximum(low - high[index], low[index] - high), 0)
            near = np.linalg.norm(gap, axis=1) < parameters.streak_reach_mm
            if (near & large & (volume > 30 * volume[index])).any():
                part = replace(part, kept=False, remark=STREAK)
        out.append(part)
    return out


def _judge_surface(
    hu: np.ndarray,
    places: Distances,
    parts: list[BrightPart],
    parameters: CleanUpParameters,
) -> list[BrightPart]:
    """Mark small metal on the skin or outside the body."""
    largest_mm3 = parameters.surface_volume_mm3
    doubtful = [
        part.kept and places.volume_mm3(part.voxels, part.box) < largest_mm3 for part in parts
    ]
    slices = [
        np.arange(part.box[0].start, part.box[0].stop)
        for part, ask in zip(parts, doubtful, strict=True)
        if ask
    ]
    if not slices:
        return parts
    index = np.unique(np.concatenate(slices))
    body = dict(
        zip(index.tolist(), body_mask(hu[index], places.spacing_mm, coarse_mm=2.0), strict=True)
    )
    out = []
    for part, ask in zip(parts, doubtful, strict=True):
        spacing_mm = places.near(part.box)
        if (
            ask
            and _depth_mm(body, spacing_mm, part) < parameters.surface_depth_mm
            and air_around(hu, spacing_mm, part.box, part.voxels) >= parameters.surface_air
            and not is_in_bone(hu, spacing_mm, part.box, part.voxels)
        ):
            part = replace(part, kept=False, remark=SURFACE)
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
