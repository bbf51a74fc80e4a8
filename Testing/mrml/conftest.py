"""Real MRML scenes, and nodes put into them without the code under test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.mrml.volumes import image_data, vtk_matrix
from phantom_support import small_spine, vertebrae
from SimulateImplantsLib.mrml import propose
from SimulateImplantsLib.phantoms import Phantom


@pytest.fixture
def scene() -> Any:
    pytest.importorskip("slicer", reason="the package slicer-core is not installed")
    return mrml.headless_scene()


@pytest.fixture
def add_volume(scene: Any) -> Any:
    """Adds a volume node straight through VTK, not through the code under test."""

    def add(
        array: np.ndarray, ijk_to_ras: np.ndarray, name: str = "CT", kind: str = "ScalarVolume"
    ) -> Any:
        node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", name)
        node.SetIJKToRASMatrix(vtk_matrix(ijk_to_ras))
        node.SetAndObserveImageData(image_data(array))
        node.CreateDefaultDisplayNodes()
        return node

    return add


@pytest.fixture
def add_transform(scene: Any) -> Any:
    def add(matrix: np.ndarray, name: str = "Registration") -> Any:
        node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        node.SetMatrixTransformToParent(vtk_matrix(matrix))
        return node

    return add


@pytest.fixture
def warp(scene: Any) -> Any:
    """A transform node that is not linear."""
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (30, 30, 30)):
        points.InsertNextPoint(point)
        moved.InsertNextPoint([value * 1.1 + (value > 40) for value in point])
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    warp = scene.AddNewNodeByClass("vtkMRMLTransformNode", "Warp")
    warp.SetAndObserveTransformToParent(spline)
    return warp


@pytest.fixture(scope="session")
def spine() -> Phantom:
    return small_spine()


@pytest.fixture(scope="session")
def proposed(spine: Phantom) -> Any:
    """A scene with the screws of two levels; made once, changed by no test."""
    pytest.importorskip("slicer", reason="the package slicer-core is not installed")
    scene = mrml.headless_scene()
    node = mrml.node_from_volume(scene, spine.volume, "Spine")
    return scene, node, propose(scene, node, vertebrae(spine))
