"""Lines that drive screws, rods that follow their screws, cross-links that follow their rods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.volumes import vtk_matrix
from mrml_support import affine, rotation
from SimulateImplantsLib.implants.hip_stem import HipStem
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.mrml import (
    ImplantLink,
    SceneImplant,
    add_cross_link,
    add_implant,
    add_line,
    add_rod,
    begin_line,
    edit_implant,
    finish_line,
    implants_of,
    remove,
    rods_through,
    screws_of,
    set_matrix,
    update_from_line,
    update_line,
)
from SimulateImplantsLib.placement.geometry import axis_placement

ENTRY, TARGET = 0, 1


def point(line: Any, index: int) -> np.ndarray:
    return np.array(line.GetNthControlPointPositionWorld(index))


def move(line: Any, index: int, to: np.ndarray) -> None:
    line.SetNthControlPointPositionWorld(index, *to)


def tip(one: SceneImplant) -> np.ndarray:
    """The point of the displayed surface that is farthest along the screw, in the world."""
    from vtk.util.numpy_support import vtk_to_numpy

    points = vtk_to_numpy(one.model.GetPolyData().GetPoints().GetData())
    local = np.append(points[np.argmax(points[:, 2])], 1.0)
    return (one.matrix() @ local)[:3]


def add_screws(
    scene: Any, count: int = 3, side: str = "right", like: Any = None
) -> list[SceneImplant]:
    """Screws in a row that is neither straight nor along an axis."""
    sign = 1.0 if side == "right" else -1.0
    screws = []
    for index in range(count):
        entry = np.array([sign * (22 - index), -60.0 + 4 * (index % 2), 32.0 * index])
        target = entry + np.array([-sign * 12.0, 42.0, 3.0 * index])
        one = add_implant(
            scene, PedicleScrew(length_mm=45), axis_placement(entry, target), side=side, like=like
        )
        add_line(one)
        screws.append(one)
    return screws


def seat(screw: SceneImplant) -> np.ndarray:
    """Where the rod has to pass, in the world."""
    implant = screw.implant
    assert isinstance(implant, PedicleScrew)
    return implant.rod_seat().transformed(screw.matrix()).position


def depth_in_rod(rod: SceneImplant, where: np.ndarray) -> float:
    """How deep a world point lies in the displayed rod, by VTK: its radius on the axis."""
    import vtk

    matrix = vtk_matrix(np.linalg.inv(rod.matrix()))
    local = matrix.MultiplyPoint((*where, 1.0))[:3]
    distance = vtk.vtkImplicitPolyDataDistance()
    distance.SetInput(rod.model.GetPolyData())
    return -distance.EvaluateFunction(local)


def assert_rod_in_seats(rod: SceneImplant, radius: float = 2.75) -> None:
    for screw in screws_of(rod):
        assert depth_in_rod(rod, seat(screw)) == pytest.approx(radius, abs=0.15)


def test_line_begins_where_the_screw_is(scene: Any) -> None:
    (screw,) = add_screws(scene, 1)
    assert screw.line.GetNumberOfControlPoints() == 2
    np.testing.assert_allclose(point(screw.line, ENTRY), screw.matrix()[:3, 3], atol=1e-6)
    expected = screw.matrix() @ [0, 0, 45, 1]
    np.testing.assert_allclose(point(screw.line, TARGET), expected[:3], atol=1e-6)
    assert not update_line(screw)  # nothing to do
    assert add_line(screw) is screw.line


@pytest.mark.parametrize(
    ("distance", "length"), [(45.0, 45.0), (47.0, 45.0), (48.0, 50.0), (5.0, 25.0), (140.0, 100.0)]
)
def test_moving_the_line_moves_the_screw(scene: Any, distance: float, length: float) -> None:
    (screw,) = add_screws(scene, 1)
    entry = np.array([-3.0, 12.0, 7.0])
    direction = np.array([2.0, -1.0, 2.0]) / 3.0
    move(screw.line, ENTRY, entry)
    move(screw.line, TARGET, entry + distance * direction)
    assert update_from_line(screw)
    np.testing.assert_allclose(screw.matrix()[:3, 3], entry, atol=1e-6)
    np.testing.assert_allclose(screw.matrix()[:3, 2], direction, atol=1e-6)
    assert screw.implant.length_mm == length  # type: ignore[attr-defined]
    np.testing.assert_allclose(np.linalg.norm(tip(screw) - entry), length, atol=1.5)
    assert not update_from_line(screw)
    update_line(screw)
    np.testing.assert_allclose(point(screw.line, TARGET), entry + length * direction, atol=1e-6)


def test_screw_keeps_its_turn_when_its_line_moves(scene: Any) -> None:
    """The slot of the tulip must not spin while the line is dragged."""
    (screw,) = add_screws(scene, 1)
    before = screw.matrix()[:3, 0]
    move(screw.line, TARGET, point(screw.line, TARGET) + np.array([3.0, 0.0, 3.0]))
    update_from_line(screw)
    assert float(before @ screw.matrix()[:3, 0]) > 0.99


def test_length_without_snapping(scene: Any) -> None:
    (screw,) = add_screws(scene, 1)
    entry = point(screw.line, ENTRY)
    move(screw.line, TARGET, entry + 41.3 * screw.matrix()[:3, 2])
    update_from_line(screw, snap=False)
    assert screw.implant.length_mm == pytest.approx(41.3)  # type: ignore[attr-defined]


def test_unfinished_lines_change_nothing(scene: Any) -> None:
    (screw,) = add_screws(scene, 1)
    before = screw.matrix()
    move(screw.line, TARGET, point(screw.line, ENTRY))
    assert not update_from_line(screw)  # no direction
    screw.line.RemoveNthControlPoint(TARGET)
    assert not update_from_line(screw)
    np.testing.assert_allclose(screw.matrix(), before)
    update_line(screw)
    assert screw.line.GetNumberOfControlPoints() == 2


def test_only_straight_implants_have_lines(scene: Any) -> None:
    stem = add_implant(scene, HipStem())
    with pytest.raises(InputError, match="no entry and target: move its handles"):
        add_line(stem)
    with pytest.raises(InputError, match="no entry and target: add it without a line"):
        begin_line(scene, HipStem())


def test_link_follows_line_and_transform(scene: Any) -> None:
    (screw,) = add_screws(scene, 1)
    changed: list[Any] = []
    link = ImplantLink(scene, changed.append)
    move(screw.line, ENTRY, np.array([20.0, -70.0, 10.0]))
    np.testing.assert_allclose(screw.matrix()[:3, 3], [20, -70, 10], atol=1e-6)
    assert screw in changed
    # The end of the drag brings the target to the tip of the real screw.
    screw.line.InvokeEvent(screw.line.PointEndInteractionEvent)
    distance = np.linalg.norm(point(screw.line, TARGET) - point(screw.line, ENTRY))
    assert distance == pytest.approx(screw.implant.length_mm)  # type: ignore[attr-defined]
    # The other way round: the handles move, the line follows.
    place = axis_placement((1, 2, 3), (1, 40, 3))
    screw.transform.SetMatrixTransformToParent(vtk_matrix(place))
    np.testing.assert_allclose(point(screw.line, ENTRY), [1, 2, 3], atol=1e-6)
    link.stop()
    screw.transform.SetMatrixTransformToParent(vtk_matrix(np.eye(4)))
    np.testing.assert_allclose(point(screw.line, ENTRY), [1, 2, 3], atol=1e-6)


def test_screw_appears_on_the_line_that_the_user_draws(
    scene: Any, add_volume: Any, add_transform: Any
) -> None:
    ct = add_volume(np.zeros((2, 2, 2)), affine(np.eye(3), (1.0, 1.0, 1.0)))
    shift = np.eye(4)
    shift[:3, 3] = (100.0, 0.0, 0.0)
    ct.SetAndObserveTransformNodeID(add_transform(shift).GetID())
    link = ImplantLink(scene)
    line = begin_line(scene, PedicleScrew(diameter_mm=5.5), like=ct)
    assert finish_line(line) is None
    line.AddControlPointWorld(10.0, -50.0, 0.0)
    assert implants_of(scene) == []
    line.AddControlPointWorld(10.0, -12.0, 0.0)
    (screw,) = implants_of(scene)
    assert screw.line is line
    assert screw.implant.diameter_mm == 5.5  # type: ignore[attr-defined]
    assert screw.implant.length_mm == 40.0  # type: ignore[attr-defined]
    np.testing.assert_allclose(screw.matrix()[:3, 3], [10, -50, 0], atol=1e-6)
    np.testing.assert_allclose(screw.matrix(ct)[:3, 3], [-90, -50, 0], atol=1e-6)
    move(line, ENTRY, np.array([12.0, -50.0, 0.0]))
    np.testing.assert_allclose(screw.matrix()[:3, 3], [12, -50, 0], atol=1e-6)
    link.stop()


def test_rod_lies_in_the_heads_which_turn_to_it(scene: Any) -> None:
    screws = add_screws(scene)
    rod = add_rod(scene, [screws[1], screws[2], screws[0]])
    assert screws_of(rod) == screws[::-1]  # from the head down
    assert rod.side == "right"
    assert_rod_in_seats(rod)
    implant = rod.implant
    assert isinstance(implant, Rod)
    line, tangent = implant.centre_line()
    for screw in screws:
        head = screw.implant
        assert isinstance(head, PedicleScrew)
        slot = head.rod_seat().transformed(screw.matrix()).direction
        along = tangent[np.argmin(np.linalg.norm(line - seat(screw), axis=1))]
        assert abs(float(slot @ along)) > np.cos(np.deg2rad(2.0))


def test_rod_follows_its_screws(scene: Any) -> None:
    screws = add_screws(scene)
    rod = add_rod(scene, screws)
    link = ImplantLink(scene)
    before = np.array(rod.implant.path_mm)  # type: ignore[attr-defined]
    move(screws[1].line, ENTRY, point(screws[1].line, ENTRY) + np.array([5.0, 0.0, 2.0]))
    assert_rod_in_seats(rod)
    assert np.abs(np.array(rod.implant.path_mm) - before).max() > 3.0  # type: ignore[attr-defined]
    set_matrix(screws[0], screws[0].matrix() @ axis_placement((2, 0, -4), (2, 0, 9)))
    assert_rod_in_seats(rod)
    edit_implant(screws[2], diameter_mm=8.0)  # a thicker ball lifts the seat
    assert_rod_in_seats(rod)
    edit_implant(rod, diameter_mm=6.35)
    assert_rod_in_seats(rod, 6.35 / 2)
    assert {one.implant.rod_diameter_mm for one in screws} == {6.35}  # type: ignore[attr-defined]
    link.stop()


def test_rod_under_a_transform(scene: Any, add_volume: Any, add_transform: Any) -> None:
    ct = add_volume(np.zeros((2, 2, 2)), affine(np.eye(3), (1.0, 1.0, 1.0)))
    matrix = np.eye(4)
    turn = rotation(3)
    matrix[:3, :3] = turn * np.sign(np.linalg.det(turn))
    matrix[:3, 3] = (40.0, -5.0, 300.0)
    registration = add_transform(matrix)
    ct.SetAndObserveTransformNodeID(registration.GetID())
    screws = add_screws(scene, like=ct)
    rod = add_rod(scene, screws, like=ct)
    assert_rod_in_seats(rod)
    link = ImplantLink(scene)
    text = rod.model.GetAttribute("SimulateImplants.parameters")
    registration.SetMatrixTransformToParent(vtk_matrix(np.eye(4)))
    assert rod.model.GetAttribute("SimulateImplants.parameters") == text  # nothing moved in the CT
    assert_rod_in_seats(rod)
    move(screws[0].line, ENTRY, point(screws[0].line, ENTRY) + np.array([0.0, 4.0, 0.0]))
    assert_rod_in_seats(rod)
    link.stop()


def test_rod_that_cannot_follow_stays_and_says_so(scene: Any) -> None:
    screws = add_screws(scene)
    rod = add_rod(scene, screws)
    link = ImplantLink(scene)
    before = rod.implant
    place = screws[1].matrix()
    set_matrix(screws[1], screws[0].matrix())  # two screws in one place
    assert rod.implant == before
    assert "apart" in rod.problem
    set_matrix(screws[1], place)
    assert rod.problem == ""
    assert_rod_in_seats(rod)
    link.stop()


def test_removing_a_screw_frees_or_shortens_its_rod(scene: Any) -> None:
    screws = add_screws(scene)
    rod = add_rod(scene, screws)
    remove(screws[0])
    assert screws_of(rod) == screws[:0:-1]
    assert_rod_in_seats(rod)
    last = rod.implant
    remove(screws[1])
    assert screws_of(rod) == []
    assert rod.implant == last  # it keeps its shape
    assert rods_through(screws[2]) == []


def test_model_deleted_elsewhere_takes_its_companions_along(scene: Any) -> None:
    screws = add_screws(scene)
    rod = add_rod(scene, screws)
    changed: list[Any] = []
    link = ImplantLink(scene, changed.append)
    line, transform = screws[0].line, screws[0].transform
    scene.RemoveNode(screws[0].model)
    assert line.GetScene() is None
    assert transform.GetScene() is None
    assert len(screws_of(rod)) == 2
    assert_rod_in_seats(rod)
    assert changed[-1] is None
    link.stop()


def test_rods_refuse_what_they_cannot_hold(scene: Any) -> None:
    screws = add_screws(scene, 2)
    count = scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="two or more screws, 1 selected"):
        add_rod(scene, screws[:1])
    stem = add_implant(scene, HipStem(), name="Stem")
    with pytest.raises(InputError, match="'Stem' is none; select screws only"):
        add_rod(scene, [*screws, stem])
    set_matrix(screws[1], screws[0].matrix())
    with pytest.raises(InputError, match="apart"):
        add_rod(scene, screws)
    remove(stem)
    assert scene.GetNumberOfNodes() == count


def test_cross_link_follows_its_rods(scene: Any) -> None:
    right, left = add_screws(scene, 2), add_screws(scene, 2, "left")
    rods = [add_rod(scene, right), add_rod(scene, left)]
    cross_link = add_cross_link(scene, *rods)
    implant = cross_link.implant
    assert implant.distance_mm == pytest.approx(  # type: ignore[attr-defined]
        np.linalg.norm(seat(right[0]) - seat(left[0])), abs=1.5
    )
    # The bar passes behind the rods, where the bone is not.
    behind = cross_link.matrix()[:3, 1]
    assert float(behind @ [0.0, -1.0, 0.0]) > 0.8
    link = ImplantLink(scene)
    for screw in left:
        place = screw.matrix()
        place[0, 3] -= 6.0
        set_matrix(screw, place)
    assert cross_link.implant.distance_mm == pytest.approx(  # type: ignore[attr-defined]
        implant.distance_mm + 6.0,  # type: ignore[attr-defined]
        abs=0.1,
    )
    hooks = (
        cross_link.matrix()
        @ np.array(
            [[s * 0.5 * cross_link.implant.distance_mm, 0, 0, 1] for s in (-1, 1)]  # type: ignore[attr-defined]
        ).T
    )
    for rod, hook in zip(rods, hooks.T, strict=True):
        assert depth_in_rod(rod, hook[:3]) == pytest.approx(2.75, abs=0.15)
    with pytest.raises(InputError, match="ties two rods"):
        add_cross_link(scene, rods[0], right[0])
    link.stop()


def test_everything_is_editable_after_saving_and_loading(scene: Any, tmp_path: Path) -> None:
    screws = add_screws(scene)
    add_rod(scene, screws)
    mrml.save_scene(scene, tmp_path / "case.mrb")
    loaded = mrml.headless_scene()
    link = ImplantLink(loaded)  # as the module does: it is there before the scene is
    mrml.load_scene(tmp_path / "case.mrb", loaded)
    (rod,) = implants_of(loaded, "rod")
    again = screws_of(rod)
    assert [one.name for one in again] == [one.name for one in screws[::-1]]
    before = np.array(rod.implant.path_mm)  # type: ignore[attr-defined]
    middle = again[1]
    entry = point(middle.line, ENTRY) + np.array([4.0, -3.0, 1.0])
    move(middle.line, ENTRY, entry)
    np.testing.assert_allclose(middle.matrix()[:3, 3], entry, atol=1e-5)
    assert_rod_in_seats(rod)
    assert np.abs(np.array(rod.implant.path_mm) - before).max() > 2.0  # type: ignore[attr-defined]
    edit_implant(middle, length_mm=30.0)
    distance = np.linalg.norm(point(middle.line, TARGET) - point(middle.line, ENTRY))
    assert distance == pytest.approx(30.0)
    link.stop()


def test_closing_the_scene_with_a_link(scene: Any) -> None:
    add_rod(scene, add_screws(scene))
    link = ImplantLink(scene)
    scene.Clear()
    assert implants_of(scene) == []
    (screw,) = add_screws(scene, 1)
    move(screw.line, ENTRY, np.array([5.0, 5.0, 5.0]))
    np.testing.assert_allclose(screw.matrix()[:3, 3], [5, 5, 5], atol=1e-6)
    link.stop()
