"""Undo and redo of implants, what outlives saving, names of clicked points, planes of a screw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml as scenes
from MetalArtifactReductionLib.mrml.hierarchy import item_of
from mrml_support import SCREW, at, construct, facts, places
from phantom_support import vertebrae
from SimulateImplantsLib import mrml
from SimulateImplantsLib.implants import implant_from_dict
from SimulateImplantsLib.placement.procedures import ProposalOptions


def test_every_settled_change_is_undone_and_done_again(scene: Any) -> None:
    history = mrml.PlacementHistory(scene)
    one = mrml.add_implant(scene, implant_from_dict(SCREW), at(10.0))
    history.note()
    mrml.set_matrix(one, at(30.0))  # dragged: only where it came to rest counts
    history.note()
    mrml.add_implant(scene, implant_from_dict(SCREW), at(-5.0))
    history.note()
    history.note()  # nothing happened since
    seen = [places(scene)]
    while history.can_undo:
        history.undo()
        seen.append(places(scene))
    assert seen == [[-5.0, 30.0], [30.0], [10.0], []]
    while history.can_redo:
        history.redo()
    assert places(scene) == [-5.0, 30.0]
    history.undo()
    mrml.add_implant(scene, implant_from_dict(SCREW), at(7.0))
    history.note()
    assert not history.can_redo


def drag(one: Any, mm: float, *, released: bool = True) -> None:
    tip = np.array(one.line.GetNthControlPointPositionWorld(1))
    one.line.SetNthControlPointPositionWorld(1, tip[0] + mm, *tip[1:])
    if released:
        one.line.InvokeEvent(one.line.PointEndInteractionEvent)


def test_what_did_not_change_keeps_its_nodes_and_what_did_gets_all_back(scene: Any) -> None:
    screws, rod, link = construct(scene)
    screws[1].model.SetName("mine_2")
    history = mrml.PlacementHistory(scene, link.paused)
    nodes = {one.model.GetID() for one in mrml.implants_of(scene)}
    screws[0].model.GetDisplayNode().SetOpacity(0.5)
    seen = [facts(scene)]
    drag(screws[1], 8.0)
    history.note()
    seen.append(facts(scene))
    mrml.remove(screws[2])
    history.note()
    seen.append(facts(scene))
    assert seen[0] != seen[1] and len(seen[2]) == 3
    for turn in (-1, 1, -1):
        wanted = seen[1::-1] if turn < 0 else seen[1:]
        for state in wanted:
            history.undo() if turn < 0 else history.redo()
            assert facts(scene) == state
    assert facts(scene) == seen[0]
    known = {one.model.GetID() for one in mrml.implants_of(scene)}
    assert len(nodes & known) == 3  # all but the one that had been removed
    assert screws[0].model.GetDisplayNode().GetOpacity() == 0.5
    drag(screws[0], 3.0)
    assert rod.model.GetPolyData().GetBounds() != tuple(seen[0][rod.name][-1])  # it still follows
    link.stop()


def test_undo_in_steps_is_whole_whenever_it_is_left(scene: Any) -> None:
    screws, _, link = construct(scene)
    history = mrml.PlacementHistory(scene, link.paused)
    before = facts(scene)
    for one in screws[1:]:
        mrml.remove(one)
    history.note()
    after = facts(scene)
    for taken in range(1, 4):
        steps = history.in_steps(-1)
        for _ in range(taken):
            next(steps)
        assert facts(scene) not in (before, after)
        history.note()  # half-way is no state
        steps.close()
        assert facts(scene) == before and history.can_redo and not history.can_undo
        history.redo()
        assert facts(scene) == after
    first, second = history.in_steps(-1), history.in_steps(1)
    next(first)
    next(second)  # pressed before the first was through
    assert history.can_redo
    for steps in (first, second):
        list(steps)
    assert facts(scene) == after and history.can_undo
    link.stop()


def test_a_scene_closed_half_way_stays_empty(scene: Any) -> None:
    import slicer

    screws, _, link = construct(scene)
    history = mrml.PlacementHistory(scene, link.paused)
    for one in screws:
        mrml.remove(one)
    history.note()
    steps = history.in_steps(-1)
    next(steps)
    scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, lambda _scene, _event: steps.close())
    scene.Clear(0)
    assert list(steps) == [] and mrml.implants_of(scene) == []
    link.stop()


def test_a_drag_that_goes_on_is_undone_from_where_it_is(scene: Any) -> None:
    screws, _, link = construct(scene)
    history = mrml.PlacementHistory(scene, link.paused)
    before = facts(scene)
    drag(screws[0], 5.0, released=False)  # and not taken down yet
    half = facts(scene)
    history.undo()
    assert facts(scene) == before
    drag(screws[0], 5.0, released=False)
    assert facts(scene)[screws[0].name][2] == half[screws[0].name][2]
    history.undo()
    assert facts(scene) == before
    assert history.can_redo
    link.stop()


def test_what_is_made_anew_lies_where_its_ct_lies(
    scene: Any, add_volume: Any, add_transform: Any
) -> None:
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    ct = add_volume(np.zeros((4, 20, 20), np.int16), np.eye(4))
    ct.SetAndObserveTransformNodeID(add_transform(at(100.0)).GetID())
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(item_of(hierarchy, ct), study)
    one = mrml.add_implant(scene, implant_from_dict(SCREW), at(3.0), name="mine_2", like=ct)
    history = mrml.PlacementHistory(scene)
    mrml.remove(one)
    history.note()
    history.undo()
    (one,) = mrml.implants_of(scene)
    assert one.name == "mine_2" and one.transform.GetName() == "mine_2 placement"
    assert one.matrix()[0, 3] == 103.0 and one.matrix(ct)[0, 3] == 3.0
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(one.model))
    assert hierarchy.GetItemParent(folder) == study


def test_a_head_is_back_on_its_stem(scene: Any) -> None:
    name = mrml.new_construct(scene, "hip left")
    stem = mrml.add_implant(scene, implant_from_dict({"kind": "hip-stem"}), construct=name)
    head = mrml.add_implant(scene, implant_from_dict({"kind": "femoral-head"}), construct=name)
    head.transform.SetAndObserveTransformNodeID(stem.transform.GetID())
    history = mrml.PlacementHistory(scene)
    before = facts(scene)
    mrml.remove(head)
    mrml.remove(stem)
    history.note()
    assert scene.GetNumberOfNodesByClass("vtkMRMLLinearTransformNode") == 0
    history.undo()
    assert facts(scene) == before
    stem, head = mrml.implants_of(scene)
    mrml.set_matrix(stem, at(9.0))
    assert head.matrix()[0, 3] == 9.0


def test_grades_outlive_saving_and_end_with_a_change(
    scene: Any, add_volume: Any, tmp_path: Path
) -> None:
    hu = np.full((20, 40, 40), 40, np.int16)
    hu[:, :5] = -1000
    ct = add_volume(hu, np.diag([-1.0, -1.0, 1.0, 1.0]))
    mrml.add_implant(scene, implant_from_dict(SCREW), like=ct)
    (row,) = mrml.placement_quality(scene, ct)
    scenes.save_scene(scene, tmp_path / "scene.mrb")
    (one,) = mrml.implants_of(scenes.load_scene(tmp_path / "scene.mrb"))
    kept = mrml.quality_of(one)
    assert kept is not None
    assert (kept.grade, kept.size, kept.note) == (row.grade, row.size, row.note)
    assert kept.mean_hu == pytest.approx(row.mean_hu, nan_ok=True)
    assert mrml.forget_quality(one) and mrml.quality_of(one) is None
    assert not mrml.forget_quality(one)


def test_points_carry_their_level_until_the_user_names_one(scene: Any) -> None:
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")

    def labels() -> list[str]:
        mrml.name_points(points, None, "spine", "L5")
        count = points.GetNumberOfControlPoints()
        return [points.GetNthControlPointLabel(index) for index in range(count)]

    points.AddControlPoint(0, 0, 70)
    assert labels() == ["L5"]
    points.AddControlPoint(0, 0, 0)
    points.AddControlPoint(0, 0, 35)
    assert labels() == ["L3", "L5", "L4"]
    points.SetNthControlPointDescription(0, "")
    points.SetNthControlPointLabel(0, "T12")
    assert labels() == ["T12", "L5", "L4"]


def test_points_of_hips_carry_their_side(scene: Any, add_volume: Any) -> None:
    ct = add_volume(np.zeros((4, 20, 20), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
    points.AddControlPoint(-2.0, -10.0, 2.0)
    points.AddControlPoint(-18.0, -10.0, 2.0)
    mrml.name_points(points, ct, "hip")
    assert [points.GetNthControlPointLabel(i) for i in (0, 1)] == ["hip right", "hip left"]


def test_points_of_other_places_are_numbered_however_they_were_named(
    scene: Any, add_volume: Any
) -> None:
    ct = add_volume(np.zeros((4, 20, 20), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
    for right in (-2.0, -4.0):
        points.AddControlPoint(right, -10.0, 2.0)
    for site in ("hip", "aorta"):
        mrml.name_points(points, ct, site)
    assert len(mrml.clicks_of(points, ct)) == 2


def test_three_planes_hold_the_whole_screw(scene: Any) -> None:
    import slicer

    one = mrml.add_implant(scene, implant_from_dict(SCREW), at(10.0))
    nodes = [slicer.vtkMRMLSliceNode() for _ in mrml.PLANES]
    for node, plane in zip(nodes, mrml.PLANES, strict=True):
        node.SetDimensions(300, 200, 1)
        mrml.show_plane(node, one, plane)
    axis = one.matrix()[:3, 2]
    normals = [np.array([n.GetSliceToRAS().GetElement(i, 2) for i in range(3)]) for n in nodes]
    assert [abs(float(normal @ axis)) for normal in normals] == pytest.approx([0, 0, 1], abs=1e-6)
    assert abs(float(normals[0] @ normals[1])) == pytest.approx(0, abs=1e-6)
    assert all(min(node.GetFieldOfView()[:2]) > 45 for node in nodes)


def test_what_the_user_called_an_implant_outlives_a_new_proposal(scene: Any, spine: Any) -> None:
    ct = scenes.node_from_volume(scene, spine.volume, "Spine")
    options = ProposalOptions(sides=("left",), rods=False)
    labels = vertebrae(spine)

    def names() -> set[str]:
        mrml.propose(scene, ct, labels, options=options)
        mrml.propose(scene, ct, labels, options=options)
        return {one.name for one in mrml.implants_of(scene)}

    assert names() == {"L3 left pedicle screw", "L4 left pedicle screw"}
    first, second = mrml.implants_of(scene)
    assert first.transform.GetName() == f"{first.name} placement"
    first.model.SetName("trial_2")
    mrml.add_implant(scene, implant_from_dict(SCREW), name="L4 left pedicle screw_2")
    second.model.SetName("L4 left pedicle screw_7")
    assert names() == {"trial_2", "L4 left pedicle screw_2", "L4 left pedicle screw_7"}
