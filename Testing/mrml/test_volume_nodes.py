"""Volume nodes <-> CTVolume: exact HU, geometry to 1e-6, bad nodes refused in words."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.errors import InputError, MARError
from MetalArtifactReductionLib.mrml.inputs import check_input
from MetalArtifactReductionLib.mrml.preview import put_preview, slab_of, slice_at
from mrml_support import affine, rotation, world_position

SHAPE = (5, 6, 7)  # (k, j, i)
SPACING_MM = (0.7, 0.8, 2.5)
# Columns are the directions of i, j, k in RAS.
AXIAL = np.diag([-1.0, -1.0, 1.0])
SAGITTAL = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=float)  # i: AP, j: SI, k: LR
CORONAL = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=float)  # i: LR, j: SI, k: AP


def distinct_values(dtype: str = "int16") -> np.ndarray:
    values = np.arange(np.prod(SHAPE)) - 100
    return np.random.default_rng(0).permutation(values).reshape(SHAPE).astype(dtype)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "uint16"])
def test_values_survive_the_round_trip_exactly(scene: Any, add_volume: Any, dtype: str) -> None:
    stored = distinct_values(dtype)
    node = add_volume(stored, affine(AXIAL, SPACING_MM))
    volume = mrml.volume_from_node(node)
    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu, stored)
    copy = mrml.node_from_volume(scene, volume, "copy", like=node)
    np.testing.assert_array_equal(mrml.volume_from_node(copy).hu, stored)


@pytest.mark.parametrize(
    ("directions", "slices_along"),
    [(AXIAL, 0), (SAGITTAL, 1), (CORONAL, 1), (rotation(1), None), (rotation(2), None)],
)
@pytest.mark.parametrize("moved", [False, True])
def test_every_voxel_keeps_its_place_in_the_world(
    scene: Any,
    add_volume: Any,
    add_transform: Any,
    directions: np.ndarray,
    slices_along: int | None,
    moved: bool,
) -> None:
    stored = distinct_values()
    node = add_volume(stored, affine(directions, SPACING_MM))
    if moved:
        matrix = affine(rotation(9), (1.0, 1.2, 0.9))  # a registration may scale
        node.SetAndObserveTransformNodeID(add_transform(matrix).GetID())
    volume = mrml.volume_from_node(node)
    copy = mrml.node_from_volume(scene, volume, "copy", like=node)

    if slices_along is not None:
        assert volume.hu.shape[0] == SHAPE[slices_along]
    assert copy.GetImageData().GetDimensions() == node.GetImageData().GetDimensions()
    for value in stored.ravel()[::17]:
        expected = world_position(node, value)
        np.testing.assert_allclose(world_position(copy, value), expected, atol=1e-6)
        # The array's own geometry says the same place once the transform is put in.
        slice_, row, col = np.argwhere(volume.hu == value)[0]
        world = mrml.volume_from_node(node, world=True)
        if not moved:
            np.testing.assert_array_equal(world.ijk_to_ras, volume.ijk_to_ras)
        k, j, i = np.argwhere(world.hu == value)[0]
        np.testing.assert_allclose((world.ijk_to_ras @ [i, j, k, 1])[:3], expected, atol=1e-6)
        if not moved:
            assert (slice_, row, col) == (k, j, i)


def test_slices_are_axial_whatever_the_storage_order(add_volume: Any) -> None:
    """The same patient stored axially and sagittally gives the same array."""
    stored = distinct_values()
    axial = affine(AXIAL, (0.7, 0.8, 2.5))
    sagittal_array = stored.transpose(2, 0, 1)  # k: the columns, j: the slices, i: the rows
    sagittal = np.column_stack([axial[:, 1], axial[:, 2], axial[:, 0], axial[:, 3]])
    first = mrml.volume_from_node(add_volume(stored, axial))
    second = mrml.volume_from_node(add_volume(np.ascontiguousarray(sagittal_array), sagittal))
    np.testing.assert_array_equal(first.hu, second.hu)
    np.testing.assert_allclose(first.ijk_to_ras, second.ijk_to_ras, atol=1e-12)


def test_results_follow_when_the_transform_is_edited(
    scene: Any, add_volume: Any, add_transform: Any
) -> None:
    node = add_volume(distinct_values(), affine(AXIAL, SPACING_MM))
    transform = add_transform(np.eye(4))
    node.SetAndObserveTransformNodeID(transform.GetID())
    copy = mrml.node_from_volume(scene, mrml.volume_from_node(node), "copy", like=node)
    transform.SetMatrixTransformToParent(
        add_transform(affine(rotation(4), (1, 1, 1))).GetMatrixTransformToParent()
    )
    for value in (-100, 0, 100):
        np.testing.assert_allclose(world_position(copy, value), world_position(node, value))


def test_the_input_is_neither_shared_nor_changed(scene: Any, add_volume: Any) -> None:
    stored = distinct_values("float32")
    node = add_volume(stored, affine(AXIAL, SPACING_MM))
    volume = mrml.volume_from_node(node)
    copy = mrml.node_from_volume(scene, volume, "CT", like=node)
    volume.hu[...] = 7.0
    np.testing.assert_array_equal(mrml.volume_from_node(node).hu, stored)
    np.testing.assert_array_equal(mrml.volume_from_node(copy).hu, stored)
    assert copy.GetName() != node.GetName()


def test_an_extent_that_does_not_start_at_zero_shifts_the_first_voxel(add_volume: Any) -> None:
    stored = distinct_values()
    node = add_volume(stored, affine(rotation(3), SPACING_MM))
    node.GetImageData().SetExtent(4, 10, 2, 7, -3, 1)
    volume = mrml.volume_from_node(node, world=True)
    for value in (-100, 3, 90):
        k, j, i = np.argwhere(volume.hu == value)[0]
        place = (volume.ijk_to_ras @ [i, j, k, 1])[:3]
        np.testing.assert_allclose(place, world_position(node, value), atol=1e-6)


def test_a_non_linear_parent_is_refused(scene: Any, add_volume: Any, warp: Any) -> None:
    node = add_volume(distinct_values(), affine(AXIAL, SPACING_MM), name="Bent CT")
    node.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(InputError, match=r"'Bent CT'.*non-linear transform 'Warp'.*put it"):
        mrml.volume_from_node(node)


def acquisition_transform(scene: Any, node: Any, moved_mm: np.ndarray) -> Any:
    """As Slicer's DICOM module makes it: a vector at each corner of each slice, all the same.

    :param moved_mm: ``(slices, 3)`` RAS.
    """
    slicer = pytest.importorskip("slicer")
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    columns, rows, slices = node.GetImageData().GetDimensions()
    grid = vtk.vtkImageData()
    grid.SetOrigin(*node.GetOrigin())
    grid.SetDimensions(2, 2, slices)
    size = np.array(node.GetSpacing()) * (columns, rows, 1)
    grid.SetSpacing(*size)
    vectors = np.repeat(moved_mm, 4, axis=0)
    grid.GetPointData().SetScalars(numpy_to_vtk(vectors, deep=True))
    directions = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(directions)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(directions)
    transform.SetDisplacementGridData(grid)
    made = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "CT acquisition transform")
    made.SetAndObserveTransformToParent(transform)
    return made


@pytest.mark.parametrize("tilted", [False, True])
def test_an_acquisition_transform_is_kept(scene: Any, add_volume: Any, tilted: bool) -> None:
    values = np.random.default_rng(0).permutation(5 * 24 * 24).reshape(SHAPE[0], 24, 24) - 1000
    node = add_volume(values.astype(np.int16), affine(AXIAL, SPACING_MM), name="CT")
    moved = np.zeros((SHAPE[0], 3))
    if tilted:
        moved[:, 1] = 0.8 * np.arange(SHAPE[0])
    else:
        moved[3:, 2] = 4.0  # a gap of 4 mm
    transform = acquisition_transform(scene, node, moved)
    node.SetAndObserveTransformNodeID(transform.GetID())
    volume = mrml.volume_from_node(node)
    found = check_input(scene, node)
    assert not found.problem
    assert any("'CT acquisition transform'" in note for note in found.notes)
    copy = mrml.node_from_volume(scene, volume, "copy", like=node)
    for value in (-100, 3, 90):
        np.testing.assert_allclose(
            world_position(copy, value), world_position(node, value), atol=1e-6
        )
        k, j, i = np.argwhere(volume.hu == value)[0]
        world = mrml.volume_from_node(node, world=True).ijk_to_ras @ [i, j, k, 1]
        expected = np.array(world_position(node, value))
        error = np.abs(world[:3] - expected)
        assert error.max() < (1e-6 if tilted else 2.0)
    assert not np.allclose(expected, (volume.ijk_to_ras @ [i, j, k, 1])[:3], atol=0.1)


def test_nodes_that_are_no_ct_are_refused(scene: Any, add_volume: Any) -> None:
    matrix = affine(AXIAL, SPACING_MM)
    labels = add_volume(distinct_values(), matrix, name="Labels", kind="LabelMapVolume")
    vector = add_volume(distinct_values(), matrix, name="Photo", kind="VectorVolume")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "Bone")
    colour = add_volume(distinct_values(), matrix, name="Colour")
    colour.GetImageData().AllocateScalars(3, 3)
    for node, message in (
        (labels, "'Labels' is a labelmap"),
        (vector, "'Photo' is a VectorVolume"),
        (empty, "'Nothing' has no voxels"),
        (model, "'Bone' is a Model"),
        (colour, "'Colour' has 3 components"),
        (None, "choose a CT volume"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            mrml.volume_from_node(node)
        assert "\n" not in str(caught.value)


def test_importing_the_package_imports_no_mrml() -> None:
    code = "import sys, MetalArtifactReductionLib.mrml; sys.exit('slicer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("installed", ["nothing", "another package called slicer"])
def test_without_slicer_core_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, installed: str
) -> None:
    import types

    other = None if installed == "nothing" else types.ModuleType("slicer")
    monkeypatch.setitem(sys.modules, "slicer", other)
    with pytest.raises(mrml.SceneUnavailable, match=r"pip install .*(headless|slicer-core)") as e:
        mrml.headless_scene()
    assert isinstance(e.value, MARError)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL])
def test_a_slab_is_a_part_of_its_volume(
    scene: Any, add_volume: Any, orientation: np.ndarray
) -> None:
    """However the voxels are stored; a previewed slice lies where the volume's own does."""
    node = add_volume(distinct_values(), affine(orientation, SPACING_MM))
    volume = mrml.volume_from_node(node)
    slab, middle = slab_of(node, 2, margin=1)
    assert middle == 1
    np.testing.assert_array_equal(slab.hu, volume.hu[1:4])
    assert slab.ijk_to_ras @ [2, 3, 1, 1] == pytest.approx(volume.ijk_to_ras @ [2, 3, 2, 1])

    assert slice_at(node, tuple((volume.ijk_to_ras @ [3, 3, 3.2, 1])[:3])) == 3
    shown = put_preview(scene, node, 3, volume.hu[3] + 1)
    assert put_preview(scene, node, 4, volume.hu[4] + 2, shown) is shown
    assert "choose the CT" in check_input(scene, shown).problem  # Slicer may offer it as a volume
    again = mrml.volume_from_node(shown)
    np.testing.assert_array_equal(again.hu[0], volume.hu[4] + 2)
    assert again.ijk_to_ras @ [1, 2, 0, 1] == pytest.approx(volume.ijk_to_ras @ [1, 2, 4, 1])
    assert not shown.GetSaveWithScene()
