"""What tells metal from teeth, bone and contrast medium that are as bright on a clipped scale.

Lengths and shares were chosen on real scans: fillings beside enamel at the clipping level, a port
and sternal wires, veins full of contrast medium, leads on the skin.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

EVERY_NEIGHBOUR = np.ones((3, 3, 3), dtype=bool)
PLANE_NEIGHBOURS = ndimage.generate_binary_structure(3, 1) & np.array(
    [[[False]], [[True]], [[False]]]
)

BLUR_MM = 1.2
"""So far from metal its surroundings begin; two pixels at least."""

AROUND_SHARE = 0.43
"""Of what is certain metal by itself: around bright enamel, or a filling in it, are dentine and
more enamel, which reach this; around a wire, a screw or a crown are marrow, soft tissue and air."""

BEYOND_TISSUE_HU = 4000.0
"""Neither enamel (3500 HU) nor contrast medium in a vein is brighter."""

BULK_HU = 1500.0
"""Teeth, dense bone and contrast medium that metal touches are joined to it above this value."""

BULK_SHARE, BULK_REACH_MM = 0.5, 6.0
"""Metal in something else that is bright: more than this share lies farther from certain voxels ...
"""

FEWEST_CERTAIN, LARGE_MM3 = 0.04, 1000.0
"""... or, if it is this large, fewer than this share of it are certain."""

DENSE_SHARE = 0.66
"""Of the certain level: bulk that reaches this in its brightest twentieth may reach it itself."""

BLUR_SHARE = 0.83
"""Of the certain level: from here to there metal has its thin border, enamel most of itself."""

TIP_OF, TIP_SHARE = 3.0, 0.25
"""A tooth or bone is so many times as large as its tip, of which less than this is saturated."""

SOLID_SHARE, SOLID_MM = 0.5, 2.5
"""So much of a filling or crown is saturated, and so wide, beside enamel that is as well."""

PLAIN_SHARE, PLAIN_MM = 0.6, 1.8
"""The same for metal by itself in a scan whose veins or teeth reach the certain level."""

WIRE_MM = 5.0
"""A wire with its blur is thinner, above :data:`BONE_HU`; a tooth is wider at its crown."""

BONE_HU = 500.0
AIR_HU = -500.0
RIM_MM = (1.5, 4.0)
"""Around a part: beyond its blur, before its surroundings end."""

TOOTH_HU, APART_MM = 1200.0, 3.0
"""What is so dense farther than this from metal, in the slice plane, may be a row of teeth."""

ENAMEL_HU = 1800.0
"""Enamel is as bright; the cortex of a femur or a skull is not."""

JAW_REACH_MM, JAW_MM3 = 15.0, 500.0
"""A part joined to more bone than that within this distance is no lead."""

Box = tuple[slice, slice, slice]
Spacing = tuple[float, float, float]


def widened(box: Box, margin_mm: Spacing, spacing_mm: Spacing, shape: tuple[int, ...]) -> Box:
    """The box with a margin of at least a voxel where one is asked for, cut at the border."""
    pad = [max(1, round(m / s)) if m else 0 for m, s in zip(margin_mm, spacing_mm, strict=True)]
    z, y, x = (
        slice(max(0, b.start - p), min(n, b.stop + p))
        for b, p, n in zip(box, pad, shape, strict=True)
    )
    return z, y, x


def placed(inside: np.ndarray, box: Box, outer: Box) -> np.ndarray:
    """A part's voxels, given in its box, in a larger one."""
    out = np.zeros([b.stop - b.start for b in outer], dtype=bool)
    own = tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    out[own] = inside
    return out


def blur_pixels(spacing_mm: Spacing) -> int:
    """:data:`BLUR_MM` in pixels."""
    return max(2, round(BLUR_MM / min(spacing_mm[1:])))


def around_hu(hu: np.ndarray, part: np.ndarray, blur: int) -> float:
    """Median around a part in its slices, ``blur`` pixels left out; 0 if nothing is there."""
    shell = ndimage.binary_dilation(part, PLANE_NEIGHBOURS, iterations=blur)
    near = ndimage.binary_dilation(shell, PLANE_NEIGHBOURS, iterations=blur) & ~shell
    return float(np.median(hu[near])) if near.any() else 0.0


def bulk_values(
    values: np.ndarray, inside: np.ndarray, certain_hu: float, spacing_mm: Spacing
) -> np.ndarray | None:
    """HU of what a part holds besides certain metal and its border; None where that is little.

    :param values: HU in the part's box.
    :param inside: its voxels.
    """
    core = inside & (values >= certain_hu)
    if not core.any():
        return None
    count = inside.sum()
    if core.sum() < FEWEST_CERTAIN * count and count * float(np.prod(spacing_mm)) >= LARGE_MM3:
        result: np.ndarray | None = values[inside]
        return result
    distance = ndimage.distance_transform_edt(~core, sampling=spacing_mm)
    far = inside & (distance > BULK_REACH_MM)
    return values[far] if far.sum() > BULK_SHARE * count else None


def dense_apart_mm2(
    hu: np.ndarray,
    metal: np.ndarray,
    spacing_mm: Spacing,
    tooth_hu: float = TOOTH_HU,
    apart_mm: float = APART_MM,
) -> np.ndarray:
    """Area that is as dense as teeth apart from metal, by slice.

    :param hu: ``(slices, rows, cols)``.
    :param metal: bool, same shape.
    """
    size = (1, *(2 * round(apart_mm / side) + 1 for side in spacing_mm[1:]))
    apart = (hu > tooth_hu) & ~ndimage.maximum_filter(metal, size)
    result: np.ndarray = apart.sum(axis=(1, 2)) * (spacing_mm[1] * spacing_mm[2])
    return result


def saturation(
    values: np.ndarray,
    inside: np.ndarray,
    certain_hu: float,
    spacing_mm: Spacing,
    *,
    everywhere: bool = False,
) -> tuple[float, float]:
    """Share of a part that reaches the certain level, and the width in mm of what does.

    The share is that of the voxels above :data:`BLUR_SHARE` of the level; the width is the diameter
    of the largest disc in a slice, on a grid of 0.25 mm.

    :param everywhere: count all voxels of the part, not only those beside what reaches the level:
        enamel of the teeth around is joined to a filling.
    """
    core = inside & (values >= certain_hu)
    counted = inside & (values >= BLUR_SHARE * certain_hu)
    if not everywhere:
        blur = blur_pixels(spacing_mm)
        counted &= ndimage.binary_dilation(core, PLANE_NEIGHBOURS, iterations=blur)
    share = float(core.sum() / max(1, counted.sum()))
    width = 0.0
    fine_mm = min(0.25, *spacing_mm[1:])
    zoom = [s / fine_mm for s in spacing_mm[1:]]
    for k in np.flatnonzero(core.any(axis=(1, 2))):
        rows, cols = (np.flatnonzero(core[k].any(axis=axis)) for axis in (1, 0))
        cut = (
            slice(max(0, rows[0] - 2), rows[-1] + 3),
            slice(max(0, cols[0] - 2), cols[-1] + 3),
        )
        layer = np.pad(values[k][cut], 1, constant_values=0.0)
        fine = ndimage.zoom(layer, zoom, order=1, grid_mode=True, mode="nearest")
        depth = ndimage.distance_transform_edt(fine >= certain_hu)
        width = max(width, (2.0 * float(depth.max()) - 1.0) * fine_mm)
    return share, width


def is_isolated(
    hu: np.ndarray, spacing_mm: Spacing, box: Box, reach_mm: float, *, ends: bool = False
) -> bool:
    """By itself in soft tissue: not joined to bone, in the slice plane, within the reach.

    :param ends: it has to end along the slices as well, as a wire need not.
    """
    outer = widened(box, (reach_mm,) * 3, spacing_mm, hu.shape)
    bony = ndimage.label(hu[outer] > BONE_HU, structure=EVERY_NEIGHBOUR)[0]
    own = tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    rim = np.ones(bony.shape, dtype=bool)
    rim[1 if ends else 0 : -1 if ends else None, 1:-1, 1:-1] = False
    return not np.intersect1d(bony[own][hu[box] >= hu[box].max()], bony[rim]).any()


def is_thin(hu: np.ndarray, spacing_mm: Spacing, box: Box, inside: np.ndarray) -> bool:
    """Whether no disc of :data:`WIRE_MM` fits into a part, and what it is joined to, in a slice."""
    outer = widened(box, (0.0, WIRE_MM, WIRE_MM), spacing_mm, hu.shape)
    bony = ndimage.label(hu[outer] > BONE_HU, structure=EVERY_NEIGHBOUR)[0]
    own = np.isin(bony, np.unique(bony[placed(inside, box, outer)]))
    depth_mm = max(
        float(ndimage.distance_transform_edt(np.pad(layer, 1), sampling=spacing_mm[1:]).max())
        for layer in own
    )
    return 2.0 * depth_mm - min(spacing_mm[1:]) < WIRE_MM


def in_teeth(
    hu: np.ndarray, spacing_mm: Spacing, box: Box, bright: np.ndarray, certain_hu: float
) -> bool:
    """Whether something bright lies in what is dense, as enamel does and fillings do.

    :param bright: its voxels in its box.
    :param certain_hu: see :func:`.certain.certain_hu`.
    """
    blur = blur_pixels(spacing_mm)
    _, row, col = spacing_mm
    outer = widened(box, (0.0, 2 * blur * row, 2 * blur * col), spacing_mm, hu.shape)
    around = around_hu(hu[outer], placed(bright, box, outer), blur)
    return around >= AROUND_SHARE * certain_hu


def air_around(hu: np.ndarray, spacing_mm: Spacing, box: Box, inside: np.ndarray) -> float:
    """Share of air around a part, in the slice plane."""
    outer = widened(box, (0.0, RIM_MM[1], RIM_MM[1]), spacing_mm, hu.shape)
    part = placed(inside, box, outer)
    distance = np.stack(
        [ndimage.distance_transform_edt(~layer, sampling=spacing_mm[1:]) for layer in part]
    )
    rim = (distance > RIM_MM[0]) & (distance <= RIM_MM[1])
    rim[~np.any(part, axis=(1, 2))] = False
    return float((hu[outer][rim] < AIR_HU).mean()) if rim.any() else 0.0


def is_in_bone(hu: np.ndarray, spacing_mm: Spacing, box: Box, inside: np.ndarray) -> bool:
    """Joined to bone of some size, as a tooth is to the jaw, in an open mouth too."""
    outer = widened(box, (JAW_REACH_MM,) * 3, spacing_mm, hu.shape)
    part = placed(inside, box, outer)
    labels = ndimage.label(hu[outer] > BONE_HU, structure=EVERY_NEIGHBOUR)[0]
    own = np.unique(labels[part])
    near = ndimage.distance_transform_edt(~part, sampling=spacing_mm) <= RIM_MM[0]
    bone = np.isin(labels, own[own > 0]) & ~near
    return float(bone.sum()) * float(np.prod(spacing_mm)) >= JAW_MM3
