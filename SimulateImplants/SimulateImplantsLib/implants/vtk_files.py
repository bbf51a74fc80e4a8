"""Surfaces from VTK's own formats, read in a process of their own.

VTK's readers trust the file: a damaged one makes them crash or wait.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.leftovers import own_prefix
from MetalArtifactReductionLib.jobs.child_process import kill_tree, start_python

from .mesh import Mesh

READERS = {".vtk": "vtkPolyDataReader", ".vtp": "vtkXMLPolyDataReader"}

_SECONDS = 60.0
_PACKAGES = ("MetalArtifactReductionLib", "SimulateImplantsLib")


def read_vtk(path: Path) -> Mesh:
    """A surface from a file in one of :data:`READERS`.

    :raises InputError: damaged, or no triangles in it.
    """
    with (
        tempfile.TemporaryDirectory(prefix=own_prefix()) as name,
        Path(os.devnull).open("w") as nowhere,
    ):
        folder = Path(name)
        made = folder / "surface.npz"
        process = start_python(
            ["-m", __name__, str(path.absolute()), str(made)],
            packages=_PACKAGES,
            folder=folder,
            out=nowhere,
            err=nowhere,
        )
        try:
            code = process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            kill_tree(process)
        if code != 0 or not made.is_file():
            raise InputError(f"{path.name}: no readable surface; it is damaged, export it again")
        with np.load(made, allow_pickle=False) as file:
            mesh = Mesh(file["points"], file["triangles"])
    if not len(mesh.triangles):
        raise InputError(f"{path.name}: no triangles in this file; it is damaged or no surface")
    return mesh


def main(source: str, target: str) -> int:
    """The process: reads, checks every corner of every cell, and writes points and triangles."""
    import vtk

    reader = getattr(vtk, READERS[Path(source).suffix.lower()])()
    reader.SetFileName(source)
    reader.Update()
    polydata = reader.GetOutput()
    if polydata is None or not all(
        _is_sound(cells, polydata.GetNumberOfPoints())
        for cells in (polydata.GetPolys(), polydata.GetStrips())
    ):
        return 1
    mesh = Mesh.from_polydata(polydata)
    np.savez(target, points=mesh.points, triangles=mesh.triangles)
    return 0


def _is_sound(cells: Any, points: int) -> bool:
    """Whether no cell has a corner that is no point; the triangle filter does not ask."""
    from vtk.util.numpy_support import vtk_to_numpy

    corners = vtk_to_numpy(cells.GetConnectivityArray())
    offsets = vtk_to_numpy(cells.GetOffsetsArray())
    in_order = bool((np.diff(offsets) >= 0).all()) and int(offsets[-1:].sum()) <= len(corners)
    return in_order and (not len(corners) or 0 <= corners.min() <= corners.max() < points)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
