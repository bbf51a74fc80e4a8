"""Undo and redo of implants, what outlives saving, names of clicked points, planes of a screw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml as scenes
from SimulateImplantsLib import mrml
from SimulateImplantsLib.implants import implant_from_dict

SCREW = {"kind": "pedicle-screw", "preset": "6.5 x 45 mm"}


def at(right: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = right
    return matrix


def places(scene: Any) -> list[float]:
    return sorted(float(one.matrix()[0, 3]) for one in mrml.implants_of(scene))


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
