"""Closed triangle meshes in numpy, and the two ways most implants are made: loft and revolve.

vtk is imported only where a vtkPolyData is made or read: parametric implants and their
voxelisation need numpy and scipy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import vtk

WELD_MM = 1.2345e-6
"""Points closer than this are one point (no round number, so that none lies between two cells)."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    :param points: float64 ``(n, 3)`` in mm.
    :param triangles: int64 ``(m, 3)`` point indices, counter-clockwise seen from outside.
    """

    points: np.ndarray
    triangles: np.ndarray

    @property
    def volume_mm3(self) -> float:
        """Signed volume (divergence theorem); negative where the normals point inwards."""
        return float(signed_volumes(self).sum())

    @property
    def bounds_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner, each ``(3,)``."""
        return self.points.min(axis=0), self.points.max(axis=0)

    def transformed(self, matrix: np.ndarray) -> Mesh:
        """The mesh moved by a ``(4, 4)`` matrix; a mirroring one keeps the normals outward."""
        points = self.points @ matrix[:3, :3].T + matrix[:3, 3]
        flip = np.linalg.det(matrix[:3, :3]) < 0
        return Mesh(points, self.triangles[:, ::-1].copy() if flip else self.triangles)

    def outward(self) -> Mesh:
        """The same mesh with its normals outward (for a single closed shell)."""
        return self if self.volume_mm3 >= 0 else Mesh(self.points, self.triangles[:, ::-1].copy())

    def to_polydata(self) -> vtk.vtkPolyData:
        """The mesh as vtkPolyData (double points, triangles, no normals)."""
        import vtk
        from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

        points = vtk.vtkPoints()
        points.SetData(numpy_to_vtk(np.ascontiguousarray(self.points, dtype=np.float64), deep=True))
        cells = vtk.vtkCellArray()
        count = len(self.triangles)
        offsets = np.arange(0, 3 * count + 1, 3, dtype=np.int64)
        cells.SetData(
            numpy_to_vtkIdTypeArray(offsets, deep=True),
            numpy_to_vtkIdTypeArray(self.triangles.astype(np.int64).ravel(), deep=True),
        )
        polydata = vtk.vtkPolyData()
        polydata.SetPoints(points)
        polydata.SetPolys(cells)
        return polydata

    @staticmethod
    def from_polydata(polydata: vtk.vtkPolyData) -> Mesh:
        """Polygons and strips of a vtkPolyData as triangles; points are kept as they are."""
        from vtkmodules.util.numpy_support import vtk_to_numpy
        from vtkmodules.vtkFiltersCore import vtkTriangleFilter

        triangulate = vtkTriangleFilter()
        triangulate.SetInputData(polydata)
        triangulate.PassVertsOff()
        triangulate.PassLinesOff()
        triangulate.Update()
        result = triangulate.GetOutput()
        if result.GetNumberOfPoints() == 0 or result.GetNumberOfPolys() == 0:
            return Mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
        points = vtk_to_numpy(result.GetPoints().GetData()).astype(np.float64)
        triangles = vtk_to_numpy(result.GetPolys().GetConnectivityArray()).reshape(-1, 3)
        return Mesh(points, triangles.astype(np.int64))


def signed_volumes(mesh: Mesh) -> np.ndarray:
    """Signed volume of the tetrahedron of each triangle with the mesh's centre, ``(m,)`` mm3."""
    centred = mesh.points - mesh.points.mean(axis=0)
    a, b, c = (centred[mesh.triangles[:, k]] for k in range(3))
    result: np.ndarray = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0
    return result


def join(*meshes: Mesh) -> Mesh:
    """Several meshes as one, nothing merged (overlapping shells stay overlapping shells)."""
    starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate(
            [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]
        ),
    )


def weld(mesh: Mesh, tolerance_mm: float = WELD_MM) -> Mesh:
    """Merge coincident points, drop triangles that collapse and points that no triangle uses."""
    keys = np.round(mesh.points / tolerance_mm).astype(np.int64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    triangles = inverse.reshape(-1)[mesh.triangles]
    a, b, c = triangles.T
    triangles = triangles[(a != b) & (b != c) & (c != a)]
    used, compact = np.unique(triangles, return_inverse=True)
    return Mesh(mesh.points[first[used]], compact.reshape(-1, 3))


def edge_counts(triangles: np.ndarray) -> tuple[int, int, int]:
    """How far a triangle mesh is from a closed, consistently oriented manifold.

    :return: edges used once (boundary), more than twice (non-manifold), and twice in the same
        direction (the two triangles disagree about which side is out).
    """
    start, end = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    forward = np.where(start < end, 1, -1)
    key = np.minimum(start, end) * (int(triangles.max(initial=0)) + 1) + np.maximum(start, end)
    _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    balance = np.bincount(inverse, weights=forward, minlength=len(counts))
    return (
        int((counts == 1).sum()),
        int((counts > 2).sum()),
        int(((counts == 2) & (balance != 0)).sum()),
    )


def loft(rings: np.ndarray, start: np.ndarray | None = None, end: np.ndarray | None = None) -> Mesh:
    """Closed surface through a row of rings, each end closed by a fan to a point.

    It does not intersect itself as long as no two rings touch and every end ring is
    star-shaped about its end point.

    :param rings: ``(rings, points, 3)``; each ring closed and counter-clockwise about the
        direction from the first ring to the last.
    :param start: apex of the first fan; None takes the mean of the first ring (flat cap).
    :param end: the same at the other end.
    """
    count, size, _ = rings.shape
    first = rings[0].mean(axis=0) if start is None else np.asarray(start, dtype=float)
    last = rings[-1].mean(axis=0) if end is None else np.asarray(end, dtype=float)
    index = np.arange(count * size).reshape(count, size)
    here, right = index, np.roll(index, -1, axis=1)
    a, b, c, d = here[:-1], right[:-1], right[1:], here[1:]
    sides = np.concatenate(
        [np.stack([a, b, c], axis=-1).reshape(-1, 3), np.stack([a, c, d], axis=-1).reshape(-1, 3)]
    )
    apex = np.full(size, count * size)
    caps = [
        np.stack([apex, right[0], here[0]], axis=-1),
        np.stack([apex + 1, here[-1], right[-1]], axis=-1),
    ]
    points = np.concatenate([rings.reshape(-1, 3), first[None], last[None]])
    return Mesh(points, np.concatenate([sides, *caps]))


def circle(count: int) -> np.ndarray:
    """Unit directions ``(count, 2)`` of a regular polygon, counter-clockwise."""
    angle = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def equal_area_radius(count: int) -> float:
    """Circumradius of the regular polygon whose area is that of the unit circle."""
    step = 2 * np.pi / count
    return float(np.sqrt(step / np.sin(step)))


def revolve(profile: np.ndarray, segments: int = 64) -> Mesh:
    """Solid of revolution about z.

    Round sections become polygons of the same area, so that volumes are right.

    :param profile: ``(n, 2)`` of (radius, z) in mm from one axis point (radius 0) to another,
        not crossing itself; radii in between are positive.
    """
    radius = profile[1:-1, 0] * equal_area_radius(segments)
    rings = np.empty((len(radius), segments, 3))
    rings[..., :2] = radius[:, None, None] * circle(segments)
    rings[..., 2] = profile[1:-1, 1, None]
    axis = np.array([0.0, 0.0, 1.0])
    return loft(rings, axis * profile[0, 1], axis * profile[-1, 1]).outward()


def arc(radius: float, start: float, end: float, count: int, centre_z: float = 0.0) -> np.ndarray:
    """Meridian arc ``(count, 2)`` of (radius, z) for :func:`revolve`; angles (rad) from +z."""
    angle = np.linspace(start, end, count)
    # A chord lies inside its arc: the radius that gives the arc's own area makes up for it.
    step = abs(end - start) / (count - 1)
    grown = radius * equal_area_radius(max(3, round(2 * np.pi / step)))
    return np.stack([grown * np.sin(angle), centre_z + grown * np.cos(angle)], axis=-1)
