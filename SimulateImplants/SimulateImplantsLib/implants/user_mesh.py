"""A user's own surface as an implant, checked when it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.inputs import check_readable
from MetalArtifactReductionLib.files.surfaces import SURFACE_SUFFIXES, read_surface

from .base import Implant, ImplantPart
from .mesh import Mesh, edge_counts, signed_volumes, weld
from .rays import enclosed_volumes
from .vtk_files import READERS, read_vtk

if TYPE_CHECKING:
    import vtk

SMALLEST_MM, LARGEST_MM = 2.0, 700.0
"""Longest side of anything implanted: from a marker to a long nail, with room to spare."""

OVERLAP_TOLERANCE = 1e-4
"""Share of the volume that may be enclosed twice: rounding of coordinates in files."""

_UNITS = ((1000.0, "m"), (25.4, "inches"), (10.0, "cm"), (0.1, "1/10 mm"), (0.001, "um"))


@dataclass(frozen=True, eq=False)
class UserMesh(Implant):
    """Closed surface from a file (STL, OBJ, PLY, VTK, VTP) or from memory.

    Frame: the file's own axes, in mm after scaling.

    :param path: file with the surface; empty where the mesh comes from memory.
    :param material: name of the material.
    :param scale: factor from the file's unit to mm.
    :param allow_self_intersection: take a surface that passes through itself all the same; what
        it encloses twice counts once.
    :param mesh_mm: the surface; read from the file when not given.
    """

    kind: ClassVar[str] = "user-mesh"

    path: str = ""
    material: str = "Ti6Al4V"
    scale: float = 1.0
    allow_self_intersection: bool = False
    mesh_mm: Mesh | None = field(default=None, repr=False)

    def check(self) -> None:
        """Read the file if there is one; InputError says what is wrong with the surface."""
        if self.scale <= 0:
            raise InputError(f"user-mesh: scale of {self.scale:g} is not positive")
        if (self.mesh_mm is None) == (not self.path):
            raise InputError("user-mesh: give the path of an STL, OBJ, PLY, VTK or VTP file")
        if self.mesh_mm is None:
            raw = read_mesh(Path(self.path))
            name = Path(self.path).name
        else:
            raw, name = self.mesh_mm, "the model"
        mesh = Mesh(raw.points * self.scale, raw.triangles)
        mesh = checked_surface(mesh, name, allow_self_intersection=self.allow_self_intersection)
        object.__setattr__(self, "_checked", mesh)

    @staticmethod
    def from_polydata(
        polydata: vtk.vtkPolyData,
        material: str = "Ti6Al4V",
        *,
        scale: float = 1.0,
        allow_self_intersection: bool = False,
    ) -> UserMesh:
        """An implant from a surface in memory (a model node's, for instance)."""
        mesh = Mesh.from_polydata(polydata)
        return UserMesh("", material, scale, allow_self_intersection, mesh)

    def parts(self) -> list[ImplantPart]:
        """One part."""
        return [ImplantPart("mesh", self._surface, self.material, "user mesh")]

    @property
    def _surface(self) -> Mesh:
        checked: Mesh = self.__dict__["_checked"]
        return checked

    def to_dict(self) -> dict[str, Any]:
        """As the base; a surface that came without a file cannot be written down."""
        if not self.path:
            raise InputError(
                "user-mesh: a surface from memory has no file; save it as STL and use its path"
            )
        result = super().to_dict()
        del result["mesh_mm"]
        return result

    def __eq__(self, other: object) -> bool:
        """Same surface, material and options."""
        if not isinstance(other, UserMesh):
            return NotImplemented
        mine, theirs = self._surface, other._surface
        return (
            (self.path, self.material, self.scale, self.allow_self_intersection)
            == (other.path, other.material, other.scale, other.allow_self_intersection)
            and np.array_equal(mine.points, theirs.points)
            and np.array_equal(mine.triangles, theirs.triangles)
        )

    def __hash__(self) -> int:
        """By file and options."""
        return hash((self.path, self.material, self.scale, self.allow_self_intersection))


def read_mesh(path: Path) -> Mesh:
    """Read a surface file; InputError for a wrong name, type or content."""
    check_readable(path)
    suffix = path.suffix.lower()
    if suffix in SURFACE_SUFFIXES:
        return Mesh(*read_surface(path))
    if suffix in READERS:
        return read_vtk(path)
    raise InputError(
        f"{path.name}: {path.suffix or 'no'} extension is no surface format; "
        f"take one of {', '.join((*SURFACE_SUFFIXES, *READERS))}"
    )


def checked_surface(mesh: Mesh, name: str, *, allow_self_intersection: bool = False) -> Mesh:
    """Weld and orient a surface; InputError where it is open, self-intersecting or not in mm.

    Self-intersection is judged by what matters here, enclosed volume: rays along three axes, 256
    across the longest side, look for space that the surface goes round twice or inside out. A
    touch or a fold thinner than a ray's distance is not seen and does no harm.

    :param mesh: triangles as read, possibly with every corner stored apart (STL).
    :param name: of the surface, for the message.
    """
    if not len(mesh.triangles):
        raise InputError(f"{name}: the surface has no triangles")
    if not np.isfinite(mesh.points).all():
        raise InputError(f"{name}: the surface has coordinates that are not finite numbers")
    low, high = mesh.bounds_mm
    extent = float((high - low).max())
    if not SMALLEST_MM <= extent <= LARGEST_MM:
        fits = [
            f"pass scale={factor:g} if the file is in {unit}"
            for factor, unit in _UNITS
            if 10.0 <= extent * factor <= 500.0
        ]
        hint = ", ".join(fits) or "scale it to mm"
        raise InputError(
            f"{name}: longest side of {extent:.3g} mm is no implant's; coordinates have to be in "
            f"mm ({hint})"
        )
    mesh = weld(mesh, tolerance_mm=max(1e-6, 1e-7 * extent))
    if not len(mesh.triangles):
        raise InputError(f"{name}: no triangle of the surface has an area; export it again")
    boundary, branching, _ = edge_counts(mesh.triangles)
    if boundary:
        raise InputError(
            f"{name}: the surface is open ({boundary} boundary edges); close its holes first"
        )
    if branching:
        raise InputError(
            f"{name}: {branching} edges are shared by more than two triangles; the surface has to "
            "be a closed manifold (merge or remove the inner walls)"
        )
    mesh = _oriented(mesh, name)
    below, once, more = enclosed_volumes(mesh)
    wrong = below + more
    if wrong > OVERLAP_TOLERANCE * (once + more) and not allow_self_intersection:
        raise InputError(
            f"{name}: the surface intersects itself ({wrong:.3g} mm3, "
            f"{100 * wrong / (once + more):.2g} % of its volume, are enclosed twice or inside "
            "out); repair it, or allow self-intersection to count such space once"
        )
    return mesh


def _oriented(mesh: Mesh, name: str) -> Mesh:
    """Neighbours agree about outside, and every outer shell has its normals outward."""
    if edge_counts(mesh.triangles)[2]:
        mesh = Mesh(mesh.points, _consistent(mesh.triangles, name))
    shells = _shells(mesh)
    volumes = signed_volumes(mesh)
    triangles = mesh.triangles.copy()
    boxes = []
    for shell in range(shells.max() + 1):
        corners = mesh.points[mesh.triangles[shells == shell]].reshape(-1, 3)
        boxes.append((corners.min(axis=0), corners.max(axis=0)))
    for shell, (low, high) in enumerate(boxes):
        if volumes[shells == shell].sum() >= 0:
            continue
        # Inward normals mean a cavity only inside another shell.
        cavity = any(
            other != shell and (box[0] <= low).all() and (high <= box[1]).all()
            for other, box in enumerate(boxes)
        )
        if not cavity:
            triangles[shells == shell] = triangles[shells == shell][:, ::-1]
    return Mesh(mesh.points, triangles)


def _consistent(triangles: np.ndarray, name: str) -> np.ndarray:
    """Turn triangles so that neighbours run along their common edge in opposite directions.

    Every triangle exists twice, as it is and turned over; those that fit each other are linked.
    Of an orientable shell this makes two components, of which the first has the majority.
    """
    count = len(triangles)
    start, end = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    key = np.minimum(start, end) * (int(triangles.max()) + 1) + np.maximum(start, end)
    first, second = np.argsort(key, kind="stable").reshape(-1, 2).T  # both sides of each edge
    fits = (start < end)[first] != (start < end)[second]
    one, other = first // 3, second // 3
    links_from = np.concatenate([one, one + count])
    links_to = np.concatenate(
        [np.where(fits, other, other + count), np.where(fits, other + count, other)]
    )
    graph = coo_array(
        (np.ones(len(links_from), dtype=np.int8), (links_from, links_to)), shape=(2 * count,) * 2
    )
    labels = connected_components(graph, directed=False)[1]
    kept, turned = labels[:count], labels[count:]
    if (kept == turned).any():
        raise InputError(f"{name}: the surface is one-sided (like a Klein bottle); rebuild it")
    # The side that most triangles of a shell are on already stays as it is.
    sizes = np.bincount(kept, minlength=int(labels.max()) + 1)
    flip = sizes[turned] > sizes[kept]
    flip |= (sizes[turned] == sizes[kept]) & (turned < kept)
    result: np.ndarray = triangles.copy()
    result[flip] = result[flip][:, ::-1]
    return result


def _shells(mesh: Mesh) -> np.ndarray:
    """Number of the connected shell of each triangle, ``(m,)``."""
    t = mesh.triangles
    start, end = np.concatenate([t[:, 0], t[:, 1]]), np.concatenate([t[:, 1], t[:, 2]])
    count = len(mesh.points)
    graph = coo_array((np.ones(len(start), dtype=np.int8), (start, end)), shape=(count, count))
    shells: np.ndarray = connected_components(graph, directed=False)[1][t[:, 0]]
    return shells
