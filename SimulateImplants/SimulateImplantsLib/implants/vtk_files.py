"""Surfaces from VTK's own formats, read in a process of their own.

VTK's readers trust the file: a damaged one makes them crash or wait.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.leftovers import temporary_folder
from MetalArtifactReductionLib.jobs.child_process import kill_tree, start_python

from .mesh import Mesh

READERS = {
    ".vtk": "vtkmodules.vtkIOLegacy:vtkPolyDataReader",
    ".vtp": "vtkmodules.vtkIOXML:vtkXMLPolyDataReader",
}

_SECONDS = 60.0
_MOST_MEMORY = 1 << 32  # address space; VTK itself takes a part of it
_PACKAGES = ("MetalArtifactReductionLib", "SimulateImplantsLib")


def read_vtk(path: Path) -> Mesh:
    """A surface from a file in one of :data:`READERS`.

    :raises InputError: damaged, or no triangles in it.
    """
    with (
        temporary_folder() as folder,
        Path(os.devnull).open("w") as nowhere,
    ):
        made = folder / "surface.npz"
        arguments = ["-m", __name__, str(path.absolute()), str(made)]
        with start_python(
            arguments, packages=_PACKAGES, folder=folder, out=nowhere, err=nowhere
        ) as process:
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
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        most = _MOST_MEMORY + 64 * Path(source).stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    module, _, name = READERS[Path(source).suffix.lower()].partition(":")
    reader = getattr(import_module(module), name)()  # all of vtk takes a second
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
    from vtkmodules.util.numpy_support import vtk_to_numpy

    corners = vtk_to_numpy(cells.GetConnectivityArray())
    offsets = vtk_to_numpy(cells.GetOffsetsArray())
    in_order = bool((np.diff(offsets) >= 0).all()) and int(offsets[-1:].sum()) <= len(corners)
    return in_order and (not len(corners) or 0 <= corners.min() <= corners.max() < points)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
