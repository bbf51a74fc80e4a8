"""Parts of a phantom and how they are painted, slab by slab in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .canvas import Box, Grid, blend, coverage
from .sdf import Points

Distance = Callable[[Points], np.ndarray]
Value = float | Callable[[Points, np.ndarray, np.ndarray], np.ndarray]
"""HU of a layer: a number, or a function of the points, a unit texture and the depth in mm."""
Layers = tuple[tuple[float, Value], ...]

_SLAB_VOXELS = 400_000


@dataclass(frozen=True)
class Part:
    """Soft tissue: painted over what is there.

    :param layers: ``(depth_mm, HU)``: what lies deeper than ``depth_mm`` under the surface; a
        later layer covers the earlier ones; a negative depth is a coat around the part.
    :param low, high: patient box (mm) that holds the part.
    """

    distance: Distance
    layers: Layers
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Bone:
    """A labelled bone: a cortical shell about cancellous bone, perhaps with a marrow cavity.

    :param cortex_mm: thickness of the cortex, or a function of the points that gives it.
    :param lower_name: label of the part where ``cut`` is negative (one bone, two labels).
    """

    name: str
    distance: Distance
    low: np.ndarray
    high: np.ndarray
    cortex_mm: float | Distance
    cortex_hu: float
    cancellous_hu: float
    marrow: Distance | None = None
    marrow_hu: float = -40.0
    lower_name: str | None = None
    cut: Distance | None = None


def part(
    distance: Distance,
    hu: Value | Layers,
    low: Sequence[float] | np.ndarray,
    high: Sequence[float] | np.ndarray,
) -> Part:
    """A :class:`Part` of one value or of layers."""
    layers = hu if isinstance(hu, tuple) else ((0.0, hu),)
    return Part(distance, layers, np.asarray(low, float), np.asarray(high, float))


def slabs(grid: Grid) -> Iterator[tuple[slice, Grid]]:
    """Blocks of slices whose temporaries stay in the processor's cache."""
    step = max(4, _SLAB_VOXELS // (grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], step):
        stop = min(start + step, grid.shape[0])
        yield slice(start, stop), grid.slab(start, stop)


def paint_parts(hu: np.ndarray, grid: Grid, parts: Sequence[Part], texture: np.ndarray) -> None:
    """Paint the parts in order into ``hu`` (slices, rows, cols)."""
    for where, sub in slabs(grid):
        view, grain = hu[where], texture[where]
        for item in parts:
            box = sub.box_around(item.low, item.high)
            if box is None:
                continue
            p = sub.points(box)
            x, y, z, distance = np.broadcast_arrays(*p, item.distance(p), view[box])[:4]
            for depth, hu_of in item.layers:
                share = coverage(distance, sub, depth)
                touched = share > 0
                if not touched.any():
                    continue
                value: float | np.ndarray
                if callable(hu_of):
                    inside = (x[touched], y[touched], z[touched])
                    value = hu_of(inside, grain[box][touched], -distance[touched])
                else:
                    value = hu_of
                blend(view[box], touched, share[touched], value)


def _separate(fields: list[tuple[Box, np.ndarray]], gap_mm: float) -> None:
    """Keep bones apart by a joint space: where two meet, each ends half the gap before."""
    for i in range(len(fields)):
        for j in range(i + 1, len(fields)):
            (box_a, a), (box_b, b) = fields[i], fields[j]
            common = [
                slice(max(s.start, t.start), min(s.stop, t.stop))
                for s, t in zip(box_a, box_b, strict=True)
            ]
            if any(s.stop <= s.start for s in common):
                continue
            cut_a, cut_b = (
                tuple(
                    slice(c.start - s.start, c.stop - s.start)
                    for c, s in zip(common, box, strict=True)
                )
                for box in (box_a, box_b)
            )
            va, vb = a[cut_a], b[cut_b]
            half = 0.5 * (va - vb)
            np.maximum(va, half + np.float32(gap_mm / 2), out=a[cut_a])
            np.maximum(vb, np.float32(gap_mm / 2) - half, out=b[cut_b])


def _paint_bone(
    view: np.ndarray,
    grid: Grid,
    p: Points,
    bone: Bone,
    distance: np.ndarray,
    grain: np.ndarray,
) -> None:
    """Cortex, then cancellous bone that is denser next to it, then marrow."""
    share = coverage(distance, grid)
    touched = share > 0
    blend(view, touched, share[touched], bone.cortex_hu)
    thickness = bone.cortex_mm(p) if callable(bone.cortex_mm) else np.float32(bone.cortex_mm)
    inner = distance + thickness
    share = coverage(inner, grid)
    touched = share > 0
    depth = np.maximum(-inner[touched], 0)
    value = bone.cancellous_hu * (1 + 0.6 * np.exp(-depth / 1.5) + 0.28 * grain[touched])
    blend(view, touched, share[touched], value)
    if bone.marrow is not None:
        share = coverage(np.maximum(bone.marrow(p), inner), grid)
        touched = share > 0
        blend(view, touched, share[touched], bone.marrow_hu + 12 * grain[touched])


def paint_bones(
    hu: np.ndarray, grid: Grid, bones: Sequence[Bone], texture: np.ndarray, gap_mm: float = 2.0
) -> dict[str, np.ndarray]:
    """Paint the bones and return their masks (a voxel belongs to a bone when its centre does)."""
    labels: dict[str, np.ndarray] = {}
    for where, sub in slabs(grid):
        fields: list[tuple[Box, np.ndarray]] = []
        present: list[Bone] = []
        for bone in bones:
            box = sub.box_around(bone.low, bone.high)
            if box is not None:
                fields.append((box, bone.distance(sub.points(box))))
                present.append(bone)
        _separate(fields, gap_mm)
        view, grain = hu[where], texture[where]
        for bone, (box, distance) in zip(present, fields, strict=True):
            inside = distance < 0
            if not inside.any():
                continue
            _paint_bone(view[box], sub, sub.points(box), bone, distance, grain[box])
            if bone.lower_name is None or bone.cut is None:
                pieces = {bone.name: inside}
            else:
                upper = bone.cut(sub.points(box)) > 0
                pieces = {bone.name: inside & upper, bone.lower_name: inside & ~upper}
            for name, piece in pieces.items():
                labels.setdefault(name, np.zeros(grid.shape, bool))[where][box] |= piece
    return labels
