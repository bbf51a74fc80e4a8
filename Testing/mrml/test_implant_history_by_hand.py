"""Undo and redo when the user, or another part of Slicer, has changed the scene by other means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from MetalArtifactReductionLib import mrml as scenes
from MetalArtifactReductionLib.mrml.transaction import all_of
from mrml_support import SCREW, at, construct, facts, places
from SimulateImplantsLib import mrml
from SimulateImplantsLib.implants import implant_from_dict
from SimulateImplantsLib.implants.user_mesh import UserMesh
from SimulateImplantsLib.mrml.propose import _added
from SimulateImplantsLib.placement.plan import PlacementPlan, PlannedImplant


def test_a_head_stays_where_it_is_while_its_stem_goes_and_comes(scene: Any) -> None:
    history = mrml.PlacementHistory(scene)
    stem = mrml.add_implant(scene, implant_from_dict({"kind": "hip-stem"}), at(9.0))
    head = mrml.add_implant(scene, implant_from_dict({"kind": "femoral-head"}))
    head.transform.SetAndObserveTransformNodeID(stem.transform.GetID())
    history.note()
    mrml.remove(stem)
    history.note()
    for _ in range(2):
        for turn, wanted in (
            (history.undo, [9.0, 9.0]),
            (history.undo, []),
            (history.redo, [9.0, 9.0]),
            (history.redo, [9.0]),
        ):
            turn()
            assert places(scene) == wanted
            # That of the stem stays below the head, and is the stem's own again.
            transforms = scene.GetNumberOfNodesByClass("vtkMRMLLinearTransformNode")
            assert transforms == (2 if wanted else 0)


def test_what_lay_under_a_transform_that_is_gone_is_back_in_its_place(
    scene: Any, add_transform: Any
) -> None:
    above = add_transform(at(100.0))
    one = mrml.add_implant(scene, implant_from_dict(SCREW), at(5.0))
    one.transform.SetAndObserveTransformNodeID(above.GetID())
    history = mrml.PlacementHistory(scene)
    mrml.remove(one)
    history.note()
    scene.RemoveNode(above)
    for _ in range(2):
        history.undo()
        assert places(scene) == [105.0]
        history.note()
        assert history.can_redo  # what was put elsewhere by that is no change
        history.redo()
        assert places(scene) == []


def test_one_that_lost_its_transform_is_whole_again(scene: Any) -> None:
    screws, rod, link = construct(scene)
    history = mrml.PlacementHistory(scene, link.paused)
    before = facts(scene)
    scene.RemoveNode(screws[0].transform)
    history.note()
    mrml.set_matrix(rod, at(4.0))
    history.note()
    history.undo()  # the rod holds what is no implant any more
    history.undo()
    assert facts(scene) == before
    link.stop()


def test_names_that_the_user_gave_twice_stay_so(scene: Any) -> None:
    history = mrml.PlacementHistory(scene)
    scene.AddNewNodeByClass("vtkMRMLModelNode", "mine")
    for right in (0.0, 20.0):
        one = mrml.add_implant(scene, implant_from_dict(SCREW), at(right))
        one.model.SetName("mine")
    history.note()
    mrml.remove(one)
    history.note()
    history.undo()
    assert [one.name for one in mrml.implants_of(scene)] == ["mine", "mine"]


def test_what_lies_under_a_surface_of_the_users_stays_there(scene: Any) -> None:
    import vtk

    ball = vtk.vtkSphereSource()
    ball.SetRadius(10.0)
    ball.Update()
    surface = UserMesh.from_polydata(ball.GetOutput(), "Ti6Al4V")
    below = mrml.add_implant(scene, surface, at(50.0))
    one = mrml.add_implant(scene, implant_from_dict(SCREW), at(3.0))
    mrml.add_line(one).SetAndObserveTransformNodeID(below.transform.GetID())
    one.transform.SetAndObserveTransformNodeID(below.transform.GetID())
    history = mrml.PlacementHistory(scene)
    mrml.remove(one)
    history.note()
    history.undo()
    assert places(scene) == [50.0, 53.0]
    (one,) = mrml.implants_of(scene, "pedicle-screw")
    assert one.line.GetTransformNodeID() == below.transform.GetID()


def test_an_imported_one_is_not_taken_for_one_that_is_gone(scene: Any, tmp_path: Path) -> None:
    history = mrml.PlacementHistory(scene)
    first = mrml.add_implant(scene, implant_from_dict(SCREW), at(5.0))
    node_id = first.model.GetID()
    path = scenes.save_scene(scene, tmp_path / "saved" / "scene.mrml")
    history.note()
    mrml.remove(first)
    history.note()
    history.undo()
    scene.SetURL(str(path))
    scene.Import()
    assert scene.GetNodeByID(node_id) is not None  # the id was free
    history.note()
    for one in mrml.implants_of(scene):
        mrml.remove(one)
    history.note()
    history.undo()
    assert places(scene) == [5.0, 5.0]
    history.undo()
    assert places(scene) == [5.0]


def test_a_copied_node_goes_without_the_line_of_its_original(scene: Any) -> None:
    one = mrml.add_implant(scene, implant_from_dict(SCREW))
    mrml.add_line(one)
    history = mrml.PlacementHistory(scene)
    copy = scene.CreateNodeByClass("vtkMRMLModelNode")
    copy.UnRegister(None)
    copy.Copy(one.model)
    scene.AddNode(copy)
    history.note()
    history.undo()
    assert len(mrml.implants_of(scene)) == 1
    assert one.line is not None and one.transform.GetScene() is scene


def test_of_several_alike_the_nearest_keeps_the_name_of_the_users(scene: Any) -> None:
    ct = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    wire = {"kind": "wire"}
    plan = PlacementPlan(tuple(PlannedImplant(wire, at(9.0 * k)) for k in range(3)))

    def names() -> list[str]:
        all_of(_added(scene, ct, plan))
        return [one.name for one in mrml.implants_of(scene)]

    usual = names()
    mrml.implants_of(scene)[1].model.SetName("mine")
    for _ in range(2):
        assert names() == [usual[0], "mine", usual[1]]
    assert usual == ["wire", "wire_1", "wire_2"]
