"""Implants as nodes: added, read, changed, copied, removed, saved and loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.volumes import numpy_matrix, vtk_matrix
from mrml_support import affine, rotation
from SimulateImplantsLib import mrml as implants_mrml
from SimulateImplantsLib.implants import implant_from_dict, implant_kinds
from SimulateImplantsLib.implants.cage import InterbodyCage
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.implants.total_hip import TotalHip
from SimulateImplantsLib.implants.user_mesh import UserMesh
from SimulateImplantsLib.mrml import (
    add_implant,
    add_line,
    change_parameters,
    duplicate,
    implant_of_node,
    implants_of,
    new_construct,
    placed_implants,
    remove,
    set_matrix,
)
from SimulateImplantsLib.mrml.nodes import usual_name


def test_what_an_implant_is_called_is_what_it_is() -> None:
    assert usual_name("pedicle-screw", "L4", "left") == "L4 left pedicle screw"
    assert usual_name("pedicle-screw", "S2AI", "left") == "S2AI left screw"  # in no pedicle


def rigid(seed: int, at: tuple[float, float, float] = (10.0, -20.0, 30.0)) -> np.ndarray:
    matrix = np.eye(4)
    turn = rotation(seed)
    matrix[:3, :3] = turn * np.sign(np.linalg.det(turn))
    matrix[:3, 3] = at
    return matrix


def world_bounds(model: Any) -> np.ndarray:
    """By VTK's own means: the surface as the 3-D view shows it."""
    bounds = [0.0] * 6
    model.GetRASBounds(bounds)
    return np.array(bounds)


def node_ids(scene: Any) -> set[str]:
    return {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}


@pytest.mark.parametrize("kind", sorted(set(implant_kinds()) - {"user-mesh"}))
def test_every_family_comes_back_from_its_nodes(scene: Any, kind: str) -> None:
    implant = implant_from_dict({"kind": kind})
    matrix = rigid(1)
    one = add_implant(scene, implant, matrix, side="left", level="L4", construct="1 spine")
    assert one.implant == implant
    assert (one.kind, one.material, one.side) == (kind, implant.material, "left")
    assert (one.level, one.order, one.construct) == ("L4", 0, "1 spine")
    np.testing.assert_allclose(one.matrix(), matrix, atol=1e-12)
    placed = one.placed()
    assert placed.implant == implant
    # The view shows the surface where the placement says.
    points = implant.mesh().points @ matrix[:3, :3].T + matrix[:3, 3]
    expected = np.stack([points.min(axis=0), points.max(axis=0)], axis=1).ravel()
    # Turned boxes only bound the turned surface from outside.
    bounds = world_bounds(one.model)
    assert (bounds[::2] <= expected[::2] + 1e-3).all()
    assert (bounds[1::2] >= expected[1::2] - 1e-3).all()


def test_node_set_up_for_editing(scene: Any) -> None:
    one = add_implant(scene, PedicleScrew(), rigid(2))
    assert one.model.GetParentTransformNode() is one.transform
    handles = one.transform.GetDisplayNode()
    assert not handles.GetEditorScalingEnabled()
    assert handles.GetEditorVisibility()
    assert handles.GetEditorSliceIntersectionVisibility()
    assert one.model.GetDisplayNode().GetVisibility2D()
    assert one.model.GetPolyData().GetPointData().GetNormals() is not None
    for node in (one.model, one.transform):
        assert implant_of_node(node) == one
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = [hierarchy.GetItemByDataNode(node) for node in (one.model, one.transform)]
    assert hierarchy.GetItemParent(items[0]) == hierarchy.GetItemParent(items[1])


def test_handles_of_the_selected_only(scene: Any) -> None:
    first = add_implant(scene, PedicleScrew(), rigid(2))
    second = add_implant(scene, PedicleScrew(), rigid(3))
    add_line(first)
    implants_mrml.show_handles_of(scene, [second])
    assert not first.transform.GetDisplayNode().GetEditorVisibility()
    assert not first.line.GetDisplayNode().GetVisibility()
    assert second.transform.GetDisplayNode().GetEditorVisibility()


def test_materials_have_their_colours(scene: Any) -> None:
    hip = add_implant(scene, TotalHip())
    display = hip.model.GetDisplayNode()
    assert display.GetScalarVisibility()
    colors = hip.model.GetPolyData().GetPointData().GetArray(display.GetActiveScalarName())
    assert colors.GetNumberOfTuples() == hip.model.GetPolyData().GetNumberOfPoints()
    values = {colors.GetTuple3(i) for i in range(colors.GetNumberOfTuples())}
    assert len(values) == len({part.material for part in TotalHip().parts()})
    screw = add_implant(scene, PedicleScrew())
    assert not screw.model.GetDisplayNode().GetScalarVisibility()


def test_displayed_surface_keeps_the_volume(scene: Any) -> None:
    """Normals split points at sharp edges; what is shown is still the implant."""
    import vtk

    implant = InterbodyCage()
    one = add_implant(scene, implant)
    properties = vtk.vtkMassProperties()
    properties.SetInputData(one.model.GetPolyData())
    expected = sum(part.mesh.volume_mm3 for part in implant.parts())
    assert properties.GetVolume() == pytest.approx(expected, rel=1e-5)


def test_names_do_not_matter(scene: Any) -> None:
    one = add_implant(scene, PedicleScrew(), rigid(4))
    add_line(one)
    for node in (one.model, one.transform, one.line):
        node.SetName("renamed")
    (found,) = implants_of(scene)
    assert found == one
    assert found.transform is one.transform
    assert found.line is one.line


def test_changing_parameters(scene: Any) -> None:
    one = add_implant(scene, PedicleScrew(length_mm=45), rigid(5))
    before = world_bounds(one.model)
    change_parameters(one, length_mm=30.0, diameter_mm=5.5)
    assert (one.implant.length_mm, one.implant.diameter_mm) == (30.0, 5.5)  # type: ignore[attr-defined]
    assert not np.allclose(world_bounds(one.model), before)
    with pytest.raises(InputError, match="101 mm is outside 25 to 100"):
        change_parameters(one, length_mm=101)
    with pytest.raises(InputError, match="no parameter 'weight'"):
        change_parameters(one, weight=1)
    assert one.implant.length_mm == 30.0  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="cannot become a rod"):
        implants_mrml.nodes.set_implant(one, Rod())


def test_placements_that_are_not_rigid_are_refused(scene: Any) -> None:
    before = node_ids(scene)
    with pytest.raises(InputError, match="scales or shears"):
        add_implant(scene, PedicleScrew(), np.diag([1000.0, 1000.0, 1000.0, 1.0]))
    with pytest.raises(InputError, match="finite numbers"):
        add_implant(scene, PedicleScrew(), np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="neither 'left' nor 'right'"):
        add_implant(scene, PedicleScrew(), side="port")
    assert node_ids(scene) == before


def test_implants_stay_with_a_ct_under_a_transform(
    scene: Any, add_volume: Any, add_transform: Any
) -> None:
    ct = add_volume(np.zeros((4, 5, 6)), affine(np.eye(3), (1.0, 1.0, 1.0)))
    registration = add_transform(rigid(6))
    ct.SetAndObserveTransformNodeID(registration.GetID())
    place = rigid(7)
    one = add_implant(scene, PedicleScrew(), place, like=ct)
    np.testing.assert_allclose(one.matrix(ct), place, atol=1e-9)
    np.testing.assert_allclose(one.matrix(), rigid(6) @ place, atol=1e-9)
    registration.SetMatrixTransformToParent(vtk_matrix(rigid(8)))
    np.testing.assert_allclose(one.matrix(ct), place, atol=1e-9)
    np.testing.assert_allclose(one.matrix(), rigid(8) @ place, atol=1e-9)
    set_matrix(one, rigid(9))  # in the world
    np.testing.assert_allclose(one.matrix(), rigid(9), atol=1e-9)
    set_matrix(one, place, ct)
    np.testing.assert_allclose(one.matrix(ct), place, atol=1e-9)
    (placed,) = placed_implants(scene, ct)
    np.testing.assert_allclose(placed.placement, place, atol=1e-9)


def test_hardening_the_model_does_not_move_the_implant(scene: Any) -> None:
    place = rigid(10)
    one = add_implant(scene, PedicleScrew(), place)
    one.model.HardenTransform()
    np.testing.assert_allclose(one.matrix(), place, atol=1e-9)


def test_a_bent_parent_is_refused(scene: Any, warp: Any) -> None:
    one = add_implant(scene, PedicleScrew(), name="Screw")
    one.transform.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(InputError, match="'Screw placement' lies under the non-linear transform"):
        one.matrix()


def test_order_and_constructs(scene: Any) -> None:
    names = []
    for construct in ("", new_construct(scene, "spine left")):
        for _ in range(2):
            names.append(add_implant(scene, PedicleScrew(), construct=construct))
    assert [one.order for one in names] == [0, 1, 0, 1]
    assert names[-1].construct == "1 spine left"
    assert new_construct(scene) == "2"
    assert implants_of(scene) == names
    assert implants_of(scene, "rod") == []


def test_duplicate_is_independent(scene: Any) -> None:
    one = add_implant(scene, PedicleScrew(), rigid(11), side="left", level="L5")
    add_line(one)
    copy = duplicate(one)
    assert copy.implant == one.implant
    assert (copy.side, copy.level) == ("left", "L5")
    assert copy.transform is not one.transform
    assert copy.line is not None
    assert copy.line is not one.line
    shift = copy.matrix() - one.matrix()
    assert shift[0, 3] == pytest.approx(-15.0)
    shift[0, 3] = 0.0
    np.testing.assert_allclose(shift, 0, atol=1e-9)
    before = one.matrix()
    set_matrix(copy, rigid(12))
    change_parameters(copy, length_mm=30.0)
    np.testing.assert_allclose(one.matrix(), before)
    assert one.implant.length_mm == 45.0  # type: ignore[attr-defined]


def test_removing_leaves_nothing_behind(scene: Any) -> None:
    add_implant(scene, PedicleScrew())  # folders are made with the first
    before = node_ids(scene)
    one = add_implant(scene, PedicleScrew(), rigid(13))
    add_line(one)
    remove(one)
    assert node_ids(scene) == before


def test_removing_keeps_a_transform_that_the_user_put_more_under(
    scene: Any, add_volume: Any
) -> None:
    one = add_implant(scene, PedicleScrew(), rigid(13))
    volume = add_volume(np.zeros((2, 2, 2)), np.eye(4))
    transform = one.transform
    volume.SetAndObserveTransformNodeID(transform.GetID())
    remove(one)
    assert volume.GetParentTransformNode() is transform


def sphere(radius: float, resolution: int = 32) -> Any:
    import vtk

    source = vtk.vtkSphereSource()
    source.SetRadius(radius)
    source.SetThetaResolution(resolution)
    source.SetPhiResolution(resolution)
    source.Update()
    return source.GetOutput()


def test_surface_of_the_users_own_survives_without_its_file(scene: Any, tmp_path: Path) -> None:
    import vtk

    file = tmp_path / "ball.stl"
    writer = vtk.vtkSTLWriter()
    writer.SetInputData(sphere(8.0))
    writer.SetFileName(str(file))
    writer.Write()
    implant = UserMesh(str(file), "316L")
    one = add_implant(scene, implant, rigid(14), name="Ball")
    file.unlink()
    target = tmp_path / "scene.mrb"
    mrml.save_scene(scene, target)
    (loaded,) = implants_of(mrml.load_scene(target))
    assert loaded.material == "316L"
    again = loaded.implant
    assert again.mesh().volume_mm3 == pytest.approx(implant.mesh().volume_mm3, rel=1e-4)
    np.testing.assert_allclose(loaded.matrix(), one.matrix(), atol=1e-6)


@pytest.mark.parametrize(
    ("radius", "words"), [(0.008, "no implant's"), (8000.0, "no implant's")], ids=["m", "um"]
)
def test_surface_in_wrong_units_is_refused(radius: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        UserMesh.from_polydata(sphere(radius))


def test_damaged_parameters_name_the_node(scene: Any) -> None:
    one = add_implant(scene, PedicleScrew(), name="Screw of L4")
    one.model.SetAttribute("SimulateImplants.parameters", '{"kind": "pedicle-screw", "x": 1}')
    with pytest.raises(InputError, match="'Screw of L4' cannot be read from the scene"):
        _ = one.implant
    scene.RemoveNode(one.transform)
    with pytest.raises(InputError, match="lost its transform node"):
        one.matrix()


def test_no_implants(scene: Any) -> None:
    assert implants_of(scene) == []
    with pytest.raises(InputError, match="no implant in the scene: add or propose one first"):
        placed_implants(scene)


def test_saved_scene_holds_everything(scene: Any, tmp_path: Path) -> None:
    one = add_implant(
        scene, PedicleScrew(length_mm=35), rigid(15), side="right", level="T12", construct="3 x"
    )
    add_line(one)
    mrml.save_scene(scene, tmp_path / "case.mrb")
    (loaded,) = implants_of(mrml.load_scene(tmp_path / "case.mrb"))
    assert loaded.implant == one.implant
    assert (loaded.side, loaded.level, loaded.construct) == ("right", "T12", "3 x")
    np.testing.assert_allclose(loaded.matrix(), one.matrix(), atol=1e-6)
    assert loaded.line.GetNumberOfControlPoints() == 2
    handles = loaded.transform.GetDisplayNode()
    assert handles.GetEditorVisibility()
    assert not handles.GetEditorScalingEnabled()
    text = loaded.model.GetAttribute("SimulateImplants.parameters")
    assert json.loads(text)["length_mm"] == 35
    import vtk

    matrix = vtk.vtkMatrix4x4()
    loaded.transform.GetMatrixTransformToParent(matrix)
    np.testing.assert_allclose(numpy_matrix(matrix), rigid(15), atol=1e-6)
