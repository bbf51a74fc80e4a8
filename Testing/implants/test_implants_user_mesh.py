"""A user's own surface: read in every format, and told what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import vtk

from MetalArtifactReductionLib.errors import InputError
from SimulateImplantsLib.implants import implant_from_dict
from SimulateImplantsLib.implants.mesh import Mesh, join
from SimulateImplantsLib.implants.user_mesh import UserMesh
from support import shared_data

WRITERS = {
    ".stl": vtk.vtkSTLWriter,
    ".obj": vtk.vtkOBJWriter,
    ".ply": vtk.vtkPLYWriter,
    ".vtk": vtk.vtkPolyDataWriter,
    ".vtp": vtk.vtkXMLPolyDataWriter,
}


def sphere(radius: float = 10.0, centre: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    source = vtk.vtkSphereSource()
    source.SetRadius(radius)
    source.SetCenter(*centre)
    source.SetThetaResolution(60)
    source.SetPhiResolution(60)
    source.Update()
    return Mesh.from_polydata(source.GetOutput())


def user_mesh(mesh: Mesh, **options: object) -> UserMesh:
    return UserMesh.from_polydata(mesh.to_polydata(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", WRITERS)
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ball{suffix}"
    writer = WRITERS[suffix]()
    writer.SetFileName(str(path))
    writer.SetInputData(sphere().to_polydata())
    writer.Write()
    before = path.read_bytes()
    implant = UserMesh(str(path), "CoCrMo")
    assert implant.mesh().volume_mm3 == pytest.approx(sphere().volume_mm3, rel=1e-5)
    assert implant_from_dict(implant.to_dict()) == implant
    assert UserMesh(str(path), "CoCrMo", scale=2.0) != implant
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "length"), [("pedicle_screw_D5L45.stl", 53.0), ("pedicle_screw_D6L50.stl", 58.0)]
)
def test_real_screws(name: str, length: float) -> None:
    path = shared_data(f"implants/{name}")
    implant = UserMesh(str(path))
    low, high = implant.mesh().bounds_mm
    assert (high - low).max() == pytest.approx(length, abs=0.01)
    reader = vtk.vtkSTLReader()
    reader.SetFileName(str(path))
    reader.Update()
    properties = vtk.vtkMassProperties()
    properties.SetInputConnection(reader.GetOutputPort())
    assert implant.mesh().volume_mm3 == pytest.approx(properties.GetVolume(), rel=1e-4)


def test_inward_normals_are_turned() -> None:
    mesh = sphere()
    turned = user_mesh(Mesh(mesh.points, mesh.triangles[:, ::-1]))
    assert turned.mesh().volume_mm3 == pytest.approx(mesh.volume_mm3)
    mixed = mesh.triangles.copy()
    mixed[::3] = mixed[::3, ::-1]
    assert user_mesh(Mesh(mesh.points, mixed)).mesh().volume_mm3 == pytest.approx(mesh.volume_mm3)
    one = sphere(5, (30, 0, 0))
    one = Mesh(one.points, one.triangles[:, ::-1])
    both = user_mesh(join(mesh, one)).mesh().volume_mm3
    assert both == pytest.approx(mesh.volume_mm3 - one.volume_mm3)


def test_one_sided_surface() -> None:
    # A Klein bottle's grid: closed, every edge shared by two triangles, no inside.
    n, m = 24, 16
    u = 2 * np.pi * np.arange(n)[:, None] / n
    v = 2 * np.pi * (np.arange(m)[None, :] + 0.5) / m
    r = 10 + 3 * (np.cos(u / 2) * np.sin(v) - np.sin(u / 2) * np.sin(2 * v))
    z = 3 * (np.sin(u / 2) * np.sin(v) + np.cos(u / 2) * np.sin(2 * v))
    points = np.stack([r * np.cos(u), r * np.sin(u), z], axis=-1).reshape(-1, 3)
    faces = []
    for i in range(n):
        for j in range(m):
            k = (j + 1) % m
            right = (i + 1) * m if i + 1 < n else 0
            # Once round, v runs backwards.
            c, d = (right + k, right + j) if i + 1 < n else (m - 1 - k, m - 1 - j)
            faces += [[i * m + j, i * m + k, c], [i * m + j, c, d]]
    with pytest.raises(InputError, match="one-sided"):
        user_mesh(Mesh(points, np.array(faces)))


def test_a_cavity_stays_hollow() -> None:
    hole = sphere(5)
    mesh = join(sphere(), Mesh(hole.points, hole.triangles[:, ::-1]))
    assert user_mesh(mesh).mesh().volume_mm3 == pytest.approx(
        sphere().volume_mm3 - hole.volume_mm3, rel=1e-9
    )


def test_open_surface_counts_the_edges() -> None:
    mesh = sphere()
    with pytest.raises(InputError, match=r"open \(3 boundary edges\)"):
        user_mesh(Mesh(mesh.points, np.delete(mesh.triangles, 500, axis=0)))


def test_non_manifold_surface() -> None:
    points = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [3, 3, 9], [3, 3, -9]], dtype=float)
    faces = [[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 1, 4], [1, 2, 4], [2, 0, 4]]
    with pytest.raises(InputError, match="3 edges are shared by more than two triangles"):
        user_mesh(Mesh(points, np.array(faces)))


@pytest.mark.parametrize("distance", [2.0, 10.0, 19.0])
def test_overlapping_shells_intersect(distance: float) -> None:
    mesh = join(sphere(), sphere(10, (distance, 0, 0)))
    # Lens of two balls: pi (2 r - d)^2 (d^2 + 4 d r) / (12 d).
    lens = np.pi * (20 - distance) ** 2 * (distance**2 + 40 * distance) / (12 * distance)
    with pytest.raises(InputError, match="intersects itself") as caught:
        user_mesh(mesh)
    told = float(str(caught.value).split("(")[1].split(" mm3")[0])
    assert told == pytest.approx(lens, rel=0.06)  # the balls are polyhedra
    assert user_mesh(mesh, allow_self_intersection=True).mesh().triangles.shape[0] > 0


def test_sheet_pushed_through_the_other_side_intersects() -> None:
    mesh = sphere()
    points = mesh.points.copy()
    cap = points[:, 2] > 8
    points[cap, 2] -= 22  # the cap comes out below
    with pytest.raises(InputError, match="intersects itself"):
        user_mesh(Mesh(points, mesh.triangles))


@pytest.mark.parametrize(
    ("factor", "remedy"),
    [(1e-3, "scale=1000"), (0.05, "scale=10 "), (1e3, "scale=0.001"), (1e-9, "scale it to mm")],
)
def test_not_in_mm_proposes_the_factor(factor: float, remedy: str) -> None:
    mesh = sphere()
    with pytest.raises(InputError) as caught:
        user_mesh(Mesh(mesh.points * factor, mesh.triangles))
    assert remedy in str(caught.value) + " " and "\n" not in str(caught.value)


def test_scale_is_applied() -> None:
    mesh = sphere()
    small = Mesh(mesh.points / 1000, mesh.triangles)
    assert user_mesh(small, scale=1000.0).mesh().volume_mm3 == pytest.approx(mesh.volume_mm3)
    with pytest.raises(InputError, match="scale of -1"):
        user_mesh(mesh, scale=-1.0)


def test_broken_files(tmp_path: Path) -> None:
    beyond = (
        b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty"
    )
    beyond += b" float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    beyond += b"0 0 0\n9 0 0\n0 9 0\n3 0 1 70000000\n"
    for name, content, why in (
        ("a.stl", b"", "the file is empty"),
        ("b.ply", b"ply nonsense", "no readable surface"),
        ("c.vtp", b"<VTK", "no triangles"),
        ("e.ply", beyond, "70000000"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: .*{why}"):
            UserMesh(str(tmp_path / name))
    (tmp_path / "d.step").write_text("x")
    with pytest.raises(InputError, match=r"\.step extension"):
        UserMesh(str(tmp_path / "d.step"))
    mesh = sphere()
    points = mesh.points.copy()
    points[7, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        user_mesh(Mesh(points, mesh.triangles))
