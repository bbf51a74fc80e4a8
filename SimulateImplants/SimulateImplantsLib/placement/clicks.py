"""Single vertebrae out of a plain bone mask, from one clicked point on each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from MetalArtifactReductionLib.errors import InputError

from .bone_field import LocalGrid, check_mask, crop, distance_to, without_holes
from .geometry import Vector, across, chain_directions, unit

_STEP_MM = 1.1
_REACH_MM = 60.0
_SPECKLE_SHARE = 0.55
_LUMEN_MM = 3.0
_CANCELLOUS_HU = 85.0
_BELOW_MM, _ABOVE_MM = 60.0, 78.0
"""Along the spine: the pedicles of the vertebra above have to be within reach, or its arch would
be taken for the clicked vertebra's."""


@dataclass(frozen=True)
class _Slab:
    """Upper and lower limits of the body along the spine (mm from the click)."""

    top: float
    bottom: float
    next_top: float
    next_bottom: float


def _local_bone(mask: np.ndarray, ijk_to_ras: np.ndarray, grid: LocalGrid) -> np.ndarray:
    """The bone mask on the local grid, cancellous bone inside closed cortex filled."""
    points = grid.to_ras(np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T)
    box = crop(mask, ijk_to_ras, points.min(axis=0) - 4, points.max(axis=0) + 4)
    part = mask[box]
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)[::-1]
    if part.any() and not part.all():
        signed = distance_to(~part, spacing) - distance_to(part, spacing)
    else:
        signed = np.where(part, 9.0, -9.0)
    inverse = np.linalg.inv(ijk_to_ras)
    start = np.array([s.start for s in box], float)
    linear = (inverse[:3, :3] @ grid.axes * grid.spacing_mm)[::-1]
    offset = (inverse[:3, :3] @ grid.origin + inverse[:3, 3])[::-1] - start
    local = ndimage.affine_transform(
        signed.astype(np.float32),
        linear,
        offset,
        output_shape=grid.shape,
        order=1,
        mode="constant",
        cval=-9.0,
    )
    bone = ndimage.binary_fill_holes(local > 0)
    return np.asarray(bone)


def _cancellous(
    bone: np.ndarray, hu: np.ndarray, ijk_to_ras: np.ndarray, grid: LocalGrid
) -> np.ndarray:
    """Bone and what lies between its cortices with the HU of cancellous bone, not of marrow fat.

    Low density leaves hollow shells above a threshold; a way through a hollow pedicle would look
    thin.
    """
    inverse = np.linalg.inv(ijk_to_ras)
    linear = (inverse[:3, :3] @ grid.axes * grid.spacing_mm)[::-1]
    offset = (inverse[:3, :3] @ grid.origin + inverse[:3, 3])[::-1]
    local = ndimage.affine_transform(
        hu, linear, offset, output_shape=grid.shape, order=1, mode="constant", cval=-1000.0
    )
    smooth = ndimage.gaussian_filter(local, 1.0 / grid.spacing_mm)
    reach = _LUMEN_MM / grid.spacing_mm
    pad = int(reach) + 2
    grown = distance_to(np.pad(bone, pad), (1, 1, 1)) <= reach
    closed = distance_to(~grown, (1, 1, 1)) > reach
    return np.asarray(bone | (closed[pad:-pad, pad:-pad, pad:-pad] & (smooth > _CANCELLOUS_HU)))


def _fill_bodies(bone: np.ndarray) -> np.ndarray:
    """Fill cancellous bone below the threshold: holes in sections along the spine.

    Sections that contain the spine's direction and run from left to right or obliquely cut the
    canal open at both ends, and a vertebral body as a closed frame of cortex. Both section
    directions have to agree, so that neural foramina (closed holes seen from the side) stay.
    """
    closed = ndimage.binary_closing(np.pad(bone, 3), iterations=2)[3:-3, 3:-3, 3:-3] | bone
    filled = without_holes(closed, 0) & without_holes(closed, 1) & ~closed
    small = ndimage.binary_opening(filled, iterations=1)
    # Speckle of cancellous bone near the threshold, with bone on most sides.
    about = ndimage.uniform_filter(bone.astype(np.float32), 7)
    return np.asarray(bone | small | (closed & (about > _SPECKLE_SHARE)))


def _offsets(grid: LocalGrid) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the spine's line through the click (2-D) and position along it (mm)."""
    h = grid.spacing_mm
    low = np.array([-_REACH_MM, -_REACH_MM, -_BELOW_MM])
    a, b, c = ((low[i] + h * np.arange(n)).astype(np.float32) for i, n in enumerate(grid.shape))
    return np.hypot(a[:, None], b[None, :]), c


def _body_limits(bone: np.ndarray, grid: LocalGrid, name: str) -> _Slab:
    """Where the discs above and below the clicked body are, from bone along the spine."""
    radius, t = _offsets(grid)
    column = bone[radius < 11.0]
    profile = ndimage.gaussian_filter1d(column.mean(axis=0), 0.8)
    if profile[np.abs(t) < 12].max() < 0.3:
        raise InputError(
            f"{name}: no vertebral body at the clicked point; click into the middle of the body "
            "or lower the bone threshold"
        )

    def walk(sign: float) -> tuple[float, float]:
        """(end of the body, far side of the disc) in direction ``sign``."""
        order = np.argsort(sign * t)
        s, p = sign * t[order], profile[order]
        inside = (s > 4) & (s < 32)
        peak = float(p[(s > -8) & (s < 24)].max())
        # A body hollow under the threshold is thin inside: the gap comes after the endplate.
        plate = s[(s > 4) & (p > 0.75 * peak)]
        gap = inside & (p < 0.55 * peak) & (s > (plate[0] if len(plate) else 4))
        if gap.any():
            # The lowest point of the first gap, and the gap's extent about it.
            first = int(np.flatnonzero(gap)[0])
            stop = first
            while stop + 1 < len(p) and p[stop + 1] < 0.55 * peak:
                stop += 1
            return float(s[first]), float(s[stop])
        # A narrow or bridged disc: the least bone between 9 and 24 mm.
        narrow = (s > 9) & (s < 24)
        k = int(np.flatnonzero(narrow)[np.argmin(p[narrow])])
        return float(s[k]), float(s[k])

    up, down = walk(1.0), walk(-1.0)
    return _Slab(up[0], -down[0], up[1], -down[1])


def nearest_through_bone(bone: np.ndarray, markers: np.ndarray, step_mm: float) -> np.ndarray:
    """For each bone voxel the marker whose way to it through bone is shortest.

    Ways through thin bone count as longer (cost 1 / depth^2 a mm): a facet joint whose gap the
    scanner did not resolve is a narrow bridge and a detour, never the shortest way to an arch.

    :param markers: 0 for none, 1, 2, ... inside the bone.
    :return: marker numbers, 0 outside and where no marker leads.
    """
    depth = distance_to(~np.pad(bone, 1), [step_mm] * 3)[1:-1, 1:-1, 1:-1]
    cost = 1.0 / np.square(np.clip(depth, 0.5 * step_mm, 6.0))
    index = np.full(bone.shape, -1, np.int64)
    count = int(bone.sum())
    index[bone] = np.arange(count)
    rows, columns, weights = [], [], []
    for offset in np.argwhere(np.ones((3, 3, 3))) - 1:
        length = float(np.linalg.norm(offset))
        # Half of the 18 neighbours; the graph is undirected.
        if length == 0 or length > 1.5 or tuple(offset) < (0, 0, 0):
            continue
        here = tuple(
            slice(max(-o, 0), n - max(o, 0)) for o, n in zip(offset, bone.shape, strict=True)
        )
        there = tuple(
            slice(max(o, 0), n - max(-o, 0)) for o, n in zip(offset, bone.shape, strict=True)
        )
        pair = bone[here] & bone[there]
        rows.append(index[here][pair])
        columns.append(index[there][pair])
        weights.append(0.5 * length * step_mm * (cost[here][pair] + cost[there][pair]))
    labels = markers[bone]
    numbers = np.unique(labels[labels > 0])
    for k, number in enumerate(numbers):
        # One node per marker, joined to all of its voxels at no cost.
        voxels = np.flatnonzero(labels == number)
        rows.append(np.full(len(voxels), count + k))
        columns.append(voxels)
        weights.append(np.full(len(voxels), 1e-9))
    size = count + len(numbers)
    graph = coo_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), (size, size)
    ).tocsr()
    sources = np.arange(count, size)
    _, _, source = dijkstra(
        graph, directed=False, indices=sources, min_only=True, return_predecessors=True
    )
    out = np.zeros(bone.shape, np.int32)
    found = source[:count]
    out[bone] = np.where(found >= count, numbers[np.clip(found - count, 0, len(numbers) - 1)], 0)
    return out


def _split(bone: np.ndarray, ways: np.ndarray, grid: LocalGrid, slab: _Slab) -> np.ndarray:
    """The clicked vertebra: the bone nearer to its body than to the others', through bone."""
    h = grid.spacing_mm
    radius, along = _offsets(grid)
    near, t = (radius < 11.0)[..., None], along[None, None, :]
    # The next bodies may lie off the line where the spine is curved.
    about = (radius < 16.0)[..., None]
    height = slab.top - slab.bottom
    own = near & (t < slab.top - 0.15 * height) & (t > slab.bottom + 0.15 * height)
    above = about & (t > slab.next_top + 2.0)
    below = about & (t < slab.next_bottom - 2.0)
    # Bone across a disc (bridging osteophytes) is cut in the disc's middle; the facet joints
    # lie further back than this radius.
    wide = (radius < 17.0)[..., None]
    disc = wide & (
        (np.abs(t - 0.5 * (slab.top + slab.next_top)) < 1.0)
        | (np.abs(t - 0.5 * (slab.bottom + slab.next_bottom)) < 1.0)
    )
    open_bone = ways & ~disc
    markers = np.zeros(bone.shape, np.int32)
    markers[own & open_bone] = 1
    markers[above & open_bone] = 2
    markers[below & open_bone] = 3
    parts = nearest_through_bone(open_bone, markers, h)
    mine = (parts == 1) & bone & (t < slab.top + 26) & (t > slab.bottom - 32)
    mine = ndimage.binary_opening(mine, iterations=1) | (mine & own)
    labels, _ = ndimage.label(mine)
    counts = np.bincount(labels[own & mine])
    counts[0:1] = 0
    return _solid(labels == int(np.argmax(counts)), h)


def _solid(bone: np.ndarray, step_mm: float) -> np.ndarray:
    """Close gaps of under 5 mm: cancellous bone and vessels below the threshold are no surface."""
    pad = 5
    padded = np.pad(bone, pad)
    reach = 2.4 / step_mm
    grown = distance_to(padded, (1, 1, 1)) <= reach
    closed = distance_to(~grown, (1, 1, 1)) > reach
    filled = ndimage.binary_fill_holes(closed | padded)
    return np.asarray(filled[pad:-pad, pad:-pad, pad:-pad])


def _to_volume(
    inside: np.ndarray, grid: LocalGrid, shape: tuple[int, ...], ijk_to_ras: np.ndarray
) -> np.ndarray:
    """A local mask on the CT's grid."""
    ras = grid.to_ras(np.argwhere(inside))
    out = np.zeros(shape, bool)
    box = crop(out, ijk_to_ras, ras.min(axis=0) - 2, ras.max(axis=0) + 2)
    h = grid.spacing_mm
    signed = distance_to(~inside, (1, 1, 1)) - distance_to(inside, (1, 1, 1))
    # Index of the local grid for each voxel index (slice, row, col) of the box.
    flip = ijk_to_ras[:3, :3][:, ::-1]
    linear = grid.axes.T @ flip / h
    start = flip @ np.array([s.start for s in box], float) + ijk_to_ras[:3, 3]
    offset = grid.axes.T @ (start - grid.origin) / h
    size = tuple(s.stop - s.start for s in box)
    value = ndimage.affine_transform(
        signed.astype(np.float32), linear, offset, size, order=1, mode="constant", cval=-9.0
    )
    out[box] = value > 0
    return out


def segment_vertebra(
    bone: np.ndarray,
    ijk_to_ras: np.ndarray,
    click: Vector,
    up: Vector = (0.0, 0.0, 1.0),
    name: str = "vertebra",
    hu: np.ndarray | None = None,
) -> np.ndarray:
    """One vertebra out of a mask of all bone.

    The bone about the click is resampled, bodies are filled, the discs above and below are found
    along the spine, and a watershed of the bone's depth parts the arches at their facet joints.

    :param bone: boolean ``(slices, rows, cols)``: all bone, such as a threshold.
    :param click: RAS point in the vertebral body.
    :param up: roughly along the spine, upwards (within 30 degrees).
    :param hu: the CT's values; with them cancellous bone below the threshold is filled better.
    :return: boolean mask on the same grid.
    :raises InputError: click outside the volume or not in a body.
    """
    point = np.asarray(click, float)
    ijk = np.linalg.inv(ijk_to_ras)[:3] @ np.append(point, 1.0)
    if np.any(ijk < -0.5) or np.any(ijk > np.array(bone.shape[::-1]) - 0.5):
        raise InputError(
            f"{name}: the clicked point {np.round(point, 1).tolist()} lies outside the volume"
        )
    w = unit(up)
    u = across((1.0, 0.0, 0.0), w)
    axes = np.stack([u, np.cross(w, u), w], axis=1)
    low = np.array([-_REACH_MM, -_REACH_MM, -_BELOW_MM])
    high = np.array([_REACH_MM, _REACH_MM, _ABOVE_MM])
    grid = LocalGrid.spanning(point, axes, low, high, _STEP_MM)
    local = _local_bone(bone, ijk_to_ras, grid)
    if not local.any():
        raise InputError(f"{name}: no bone near the clicked point; lower the bone threshold")
    local = _fill_bodies(local)
    # The ways through bone take in what is probably cancellous; the mask itself does not.
    ways = local if hu is None else _cancellous(local, hu, ijk_to_ras, grid)
    slab = _body_limits(local, grid, name)
    inside = _split(local, ways, grid, slab)
    if not inside.any():
        raise InputError(f"{name}: no vertebra at the clicked point; click into the body's middle")
    return _to_volume(inside, grid, bone.shape, ijk_to_ras)


def segment_vertebrae(
    bone: np.ndarray,
    ijk_to_ras: np.ndarray,
    clicks: Mapping[str, Vector],
    hu: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """One mask for each clicked vertebra; the names of the clicks become the names of levels.

    :raises InputError: empty mask, no click, or a click that hits no vertebra.
    """
    if not clicks:
        raise InputError("no vertebra is clicked; click once into the body of each vertebra")
    mask = check_mask(bone, np.asarray(bone).shape, "bone")
    up = chain_directions(clicks)
    return {
        name: segment_vertebra(mask, ijk_to_ras, click, up[name], name, hu)
        for name, click in clicks.items()
    }
