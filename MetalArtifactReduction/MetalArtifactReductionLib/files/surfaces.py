"""Surfaces of implants from STL, OBJ and PLY, and the voxels that they enclose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError
from ..volume import CTVolume
from .inputs import check_readable

SURFACE_SUFFIXES = (".stl", ".obj", ".ply")
"""Of triangle meshes that are read here."""

_SAMPLES = 3  # rays across a voxel in each direction of the slice: fractions in ninths


def read_surface(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of a file, checked: no index beyond the points, no coordinate that is no number.

    :returns: points ``(n, 3)`` float64 in the file's own unit, corners ``(m, 3)`` int64.
    :raises InputError: damaged, no triangles, or the package trimesh is missing.
    """
    check_readable(path)
    try:
        import trimesh
    except ImportError as error:
        raise InputError(
            f"{path}: surfaces need the package trimesh ({error}): pip install trimesh"
        ) from None
    try:
        with path.open("rb") as file:
            kind = path.suffix.lower().lstrip(".")
            mesh = trimesh.load_mesh(file, file_type=kind, process=False, skip_materials=True)
        meshes = mesh.dump() if isinstance(mesh, trimesh.Scene) else [mesh]
        joined = trimesh.util.concatenate(meshes) if len(meshes) > 1 else meshes[0]
        points = np.array(joined.vertices, dtype=np.float64).reshape(-1, 3)
        triangles = np.array(joined.faces, dtype=np.int64).reshape(-1, 3)
    except MemoryError:
        raise InputError(f"{path}: claims more than fits into memory; export it again") from None
    except Exception as error:  # trimesh raises whatever a damaged file leads it to
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: no readable surface ({text}); export it again") from None
    if not len(triangles) or not len(points):
        raise InputError(f"{path}: no triangles in this file; it is damaged or no surface")
    if triangles.min() < 0 or triangles.max() >= len(points):
        raise InputError(
            f"{path}: a triangle has corner {int(triangles.max())} of {len(points)} points; export"
            " it again"
        )
    if not np.isfinite(points).all():
        raise InputError(f"{path}: coordinates that are not finite numbers; export it again")
    return points, triangles


def voxelised(points: np.ndarray, triangles: np.ndarray, path: Path, like: CTVolume) -> np.ndarray:
    """Share of each voxel of a CT within a closed surface, by the parity of its crossings.

    3D Slicer writes RAS or LPS into surfaces and says so in a comment only. LPS, its usage since
    version 4.11 and that of DICOM, is taken where the surface lies in the CT that way, else RAS.

    :param points: ``(n, 3)`` in mm. :param path: named in the error.
    :returns: float32 0..1, ``(slices, rows, cols)``.
    :raises InputError: not within the CT.
    """
    slices, rows, cols = like.hu.shape
    to_index = np.linalg.inv(like.ijk_to_ras)
    size = np.array([cols, rows, slices])
    candidates = [points * sign for sign in ((-1.0, -1.0, 1.0), (1.0, 1.0, 1.0))]
    placed = [one @ to_index[:3, :3].T + to_index[:3, 3] for one in candidates]
    inside = [float(np.mean(((i > -0.5) & (i < size - 0.5)).all(axis=1))) for i in placed]
    index = placed[int(np.argmax(inside))]
    if max(inside) == 0:
        low, high = points.min(axis=0), points.max(axis=0)
        raise InputError(
            f"{path}: the surface, {_listed(low)} to {_listed(high)} mm, does not lie in the CT;"
            " move it there in 3D Slicer and export it, or give the mask as .nrrd"
        )
    levels = np.arange(slices, dtype=float)
    if like.uneven is not None and like.uneven[0] == 0:
        levels = like.uneven[1] / like.spacing_mm[0]
    share = np.zeros(like.hu.shape, np.float32)
    offsets = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    for dy in offsets:
        for dx in offsets:
            share += _parity(index - (dx, dy, 0.0), triangles, levels, (rows, cols))
    return share / _SAMPLES**2


def _listed(values: np.ndarray) -> str:
    return f"({', '.join(f'{x:.4g}' for x in values)})"


def _parity(
    index: np.ndarray, triangles: np.ndarray, levels: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Voxels whose ray along the slices, from below, has crossed the surface an odd time.

    Crossings are counted at whole columns and rows; an edge belongs to one of its triangles only,
    by the sign of a nudge that no coordinate has.

    :param levels: where the slices lie, in mean distances from the first. :param shape: rows, cols.
    """
    rows, cols = shape
    flips = np.zeros((len(levels) + 1, rows, cols), np.uint8)
    corners = index[triangles] + (1.234e-7, 2.345e-7, 0.0)
    low = np.ceil(corners.min(axis=1)[:, :2]).astype(int).clip(0)
    high = np.floor(corners.max(axis=1)[:, :2]).astype(int).clip(None, (cols - 1, rows - 1))
    for corner, (x0, y0), (x1, y1) in zip(corners, low, high, strict=True):
        if x0 > x1 or y0 > y1:
            continue
        x, y = np.meshgrid(np.arange(x0, x1 + 1), np.arange(y0, y1 + 1))
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corner
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0:
            continue
        v = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
        w = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
        hit = (v >= 0) & (w >= 0) & (v + w <= 1)
        height = az + v * (bz - az) + w * (cz - az)
        first = np.searchsorted(levels, height[hit])  # the first voxel centre above
        np.add.at(flips, (first, y[hit], x[hit]), 1)
    return (np.cumsum(flips[:-1], axis=0, dtype=np.uint32) & 1).astype(np.float32)
