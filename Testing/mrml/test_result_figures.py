"""What is said about inputs; parts of the metal; tables, plots, layouts and reports of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.correction import CorrectionResult
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.evaluation.before_after import compare_before_after
from MetalArtifactReductionLib.jobs.call import result_of
from MetalArtifactReductionLib.jobs.correction import measure
from MetalArtifactReductionLib.jobs.task import TaskRequest
from MetalArtifactReductionLib.mrml import layout, results
from MetalArtifactReductionLib.mrml.inputs import check_input
from MetalArtifactReductionLib.mrml.parts import metal_parts
from MetalArtifactReductionLib.mrml.results_report import report_job, update_regions
from MetalArtifactReductionLib.mrml.volumes import vtk_matrix
from mrml_support import affine, rotation

SHAPE = (8, 60, 70)
SPACING = (2.0, 2.0, 3.0)


def body(clip: float = 3000.0) -> np.ndarray:
    """A cylinder with two metal rods and a dark band between them, as int16 HU."""
    _, y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1], 0 : SHAPE[2]]
    hu = np.where((x - 35) ** 2 + (y - 30) ** 2 < 26**2, 40.0, -1000.0)
    hu[2:6][(abs(y - 30) < 3)[2:6] & (x > 24)[2:6] & (x < 46)[2:6]] = -200.0
    hu[metal_mask()] = clip
    hu[4, 30, 24] += 82.0  # one brightest voxel: not clipped
    return hu.astype(np.int16)


def metal_mask() -> np.ndarray:
    z, y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1], 0 : SHAPE[2]]
    rods = ((x - 23) ** 2 + (y - 30) ** 2 < 10) | ((x - 47) ** 2 + (y - 30) ** 2 < 5)
    return rods & (z > 1) & (z < 6)


AXIAL = affine(np.diag([-1.0, -1.0, 1.0]), SPACING)


@pytest.fixture
def ct(add_volume: Any) -> Any:
    return add_volume(body(), AXIAL, name="Hip")


@pytest.fixture
def nodes(scene: Any, ct: Any) -> Any:
    """A correction whose outcome is known: the band is filled."""
    volume = mrml.volume_from_node(ct)
    fraction = metal_mask().astype(np.float32)
    corrected = np.where(volume.hu == -200.0, 40.0, volume.hu)
    result = CorrectionResult(
        volume.with_hu(corrected), fraction, corrected - volume.hu, "li", {"window": "ramp"}
    )
    return mrml.add_results(scene, ct, result)


#
# Inputs
#


def test_a_usual_ct_has_no_remarks(scene: Any, ct: Any) -> None:
    found = check_input(scene, ct)
    assert (found.problem, found.notes) == ("", ())


def test_problems_are_said_in_words(scene: Any, ct: Any, nodes: Any, add_volume: Any) -> None:
    import slicer

    assert "choose a CT" in check_input(scene, None).problem
    for kind, said in (("LabelMap", "labelmap"), ("Vector", "Vector"), ("Scalar", "no voxels")):
        node = scene.AddNewNodeByClass(f"vtkMRML{kind}VolumeNode")
        assert said in check_input(scene, node).problem
    pet = add_volume(np.where(body() < 0, 0, 700).astype(np.int16), AXIAL, name="PET")
    assert "MR or PET" in check_input(scene, pet).problem
    assert "map of changes" in check_input(scene, nodes.change_map).problem
    assert "choose a CT" in check_input(scene, nodes.metal).problem.replace("scalar volume", "CT")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(ct)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    assert "MR by its DICOM header" in check_input(scene, ct).problem
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    assert check_input(scene, ct).problem == ""


def test_what_is_unusual_is_noted(scene: Any, nodes: Any, add_volume: Any) -> None:
    def only_note(node: Any) -> str:
        found = check_input(scene, node)
        assert found.problem == ""
        assert len(found.notes) == 1
        return found.notes[0]

    clipped = body()
    clipped[metal_mask()] = 3071
    assert "3071 HU" in only_note(add_volume(clipped, AXIAL))
    assert "result of a correction" in only_note(nodes.corrected)
    turned = Rotation.from_euler("x", 12, degrees=True).as_matrix()
    assert "tilted by 12°" in only_note(add_volume(body(), affine(turned, SPACING)))
    sheared = AXIAL.copy()
    sheared[1, 2] = np.tan(np.radians(12)) * SPACING[2]
    assert "gantry (12.0°)" in only_note(add_volume(body(), sheared))
    sagittal = affine(np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), (2.0, 3.0, 2.0))
    assert "sagittal or coronal" in only_note(add_volume(body().transpose(2, 0, 1), sagittal))
    # A turn about the patient's axis leaves the slices axial.
    about = Rotation.from_euler("z", 12, degrees=True).as_matrix()
    assert check_input(scene, add_volume(body(), affine(about, SPACING))).notes == ()


def test_one_time_point_of_a_sequence_is_noted(scene: Any, ct: Any) -> None:
    import slicer

    for kind in (slicer.vtkMRMLSequenceNode, slicer.vtkMRMLSequenceBrowserNode):
        scene.RegisterNodeClass(kind())
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Phases")
    sequence.SetDataNodeAtValue(ct, "0")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "4D CT")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(ct, sequence, False)
    assert any("4D CT" in note for note in check_input(scene, ct).notes)


#
# Parts
#


def test_parts_have_their_volume_place_and_values(
    scene: Any, ct: Any, nodes: Any, add_transform: Any
) -> None:
    move = np.eye(4)
    move[:3, :3] = rotation(5)
    move[:3, 3] = (3.0, -20.0, 11.0)
    transform = add_transform(move)
    for node in (ct, nodes.metal):
        node.SetAndObserveTransformNodeID(transform.GetID())
    first, second = metal_parts(nodes.metal, ct)
    counts = [np.count_nonzero(metal_mask()[:, :, :35]), np.count_nonzero(metal_mask()[:, :, 35:])]
    assert (first.number, second.number) == (1, 2)
    assert first.volume_mm3 == pytest.approx(counts[0] * 12.0)
    assert second.volume_mm3 == pytest.approx(counts[1] * 12.0)
    assert (first.highest_hu, second.highest_hu) == (3082.0, 3000.0)
    assert first.slices == (2, 5)
    expected = move @ AXIAL @ np.array([23.0, 30.0, 3.5, 1.0])
    np.testing.assert_allclose(first.centre_ras, expected[:3], atol=1e-4)


#
# Table, plot, regions
#


def measured(ct: Any, nodes: Any) -> Any:
    volume = mrml.volume_from_node(ct)
    corrected = mrml.volume_from_node(nodes.corrected)
    return compare_before_after(volume, corrected.hu, metal_mask().astype(np.float32))


def test_table_holds_the_figures_also_after_saving(
    scene: Any, ct: Any, nodes: Any, tmp_path: Path
) -> None:
    measures = measured(ct, nodes)
    table = results.put_measures(scene, nodes.corrected, measures)
    assert results.put_measures(scene, nodes.corrected, measures) is table
    assert results.table_of(scene, nodes.corrected) is table
    read = results.measures_in(table)
    assert [one.key for one in read] == [one.key for one in measures]
    for one, other in zip(read, measures, strict=True):
        assert (one.title, one.unit) == (other.title, other.unit)
        np.testing.assert_allclose(
            [one.before, one.after], [other.before, other.after], atol=0.006, equal_nan=True
        )
    mrml.save_scene(scene, tmp_path / "scene.mrb")
    again = mrml.load_scene(tmp_path / "scene.mrb")
    corrected = again.GetFirstNodeByName(nodes.corrected.GetName())
    kept = results.measures_in(results.table_of(again, corrected))
    assert [one.key for one in kept] == [one.key for one in measures]
    np.testing.assert_allclose(
        [one.after for one in kept], [one.after for one in read], atol=0.006, equal_nan=True
    )


def test_measuring_in_a_process_gives_the_same(ct: Any, nodes: Any) -> None:
    volume, corrected, fraction = results.corrected_volumes(nodes.corrected)
    request = TaskRequest(
        {"ijk_to_ras": volume.ijk_to_ras.tolist()},
        {"original": volume.hu, "corrected": corrected.hu, "fraction": fraction},
        progress=lambda fraction, message: None,
        cancel=lambda: False,
    )
    values, direct = measure(request).values["measures"], measured(ct, nodes)
    assert [one["key"] for one in values] == [one.key for one in direct]
    np.testing.assert_allclose(
        [one["after"] for one in values], [one.after for one in direct], equal_nan=True
    )


def test_profile_is_plotted_along_the_line(scene: Any, ct: Any, nodes: Any) -> None:
    from vtk.util.numpy_support import vtk_to_numpy

    with pytest.raises(InputError, match="no line"):
        results.put_profile(scene, nodes.corrected, None)
    line = results.propose_line(scene, nodes.corrected)
    chart = results.put_profile(scene, nodes.corrected, line)
    assert results.put_profile(scene, nodes.corrected, line) is chart
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    table = chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable()
    columns = {
        name: vtk_to_numpy(table.GetColumnByName(name)) for name in ("mm", "original", "corrected")
    }
    assert columns["original"].max() >= 3000.0
    assert columns["original"].min() < -199.0
    inside = columns["original"] == -200.0
    assert inside.sum() > 10
    np.testing.assert_allclose(columns["corrected"][inside][1:-1], 40.0)
    assert results.propose_line(scene, nodes.corrected, into=line) is line
    assert line.GetNumberOfControlPoints() == 2


def test_profile_follows_a_line_under_another_transform(
    scene: Any, ct: Any, nodes: Any, add_transform: Any
) -> None:
    line = results.propose_line(scene, nodes.corrected)
    expected = results.line_of(line, ct)
    transform = add_transform(affine(rotation(2), (1.0, 1.0, 1.0)))
    for node in (ct, nodes.corrected, nodes.metal):
        node.SetAndObserveTransformNodeID(transform.GetID())
    again = results.propose_line(scene, nodes.corrected)
    found = results.line_of(again, ct)
    np.testing.assert_allclose(found.start, expected.start, atol=1e-3)
    np.testing.assert_allclose(found.end, expected.end, atol=1e-3)


def test_regions_are_measured_and_follow_the_boxes(scene: Any, ct: Any, nodes: Any) -> None:
    results.put_measures(scene, nodes.corrected, measured(ct, nodes))
    count = len(measured(ct, nodes))
    centre = (AXIAL @ np.array([35.0, 30.0, 3.5, 1.0]))[:3]
    region = results.add_region(scene, nodes.corrected, tuple(centre), size_mm=8.0)
    read = results.measures_in(update_regions(scene, nodes.corrected))
    assert len(read) == count + 1
    assert (read[-1].before, read[-1].after) == (-200.0, 40.0)
    region.SetCenterWorld((AXIAL @ np.array([35.0, 45.0, 3.5, 1.0]))[:3])
    read = results.measures_in(update_regions(scene, nodes.corrected))
    assert (read[-1].before, read[-1].after) == (40.0, 40.0)
    scene.RemoveNode(region)
    assert len(results.measures_in(update_regions(scene, nodes.corrected))) == count


def test_turned_box_holds_the_voxels_within(scene: Any, ct: Any, nodes: Any) -> None:
    centre = (AXIAL @ np.array([35.0, 30.0, 3.5, 1.0]))[:3]
    region = results.add_region(scene, nodes.corrected, tuple(centre))
    region.SetSize(30.0, 10.0, 8.0)
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = rotation(9), centre
    region.SetAndObserveObjectToNodeMatrix(vtk_matrix(turned))
    (mask,) = results.region_masks(scene, ct).values()
    k, j, i = np.nonzero(np.ones(SHAPE))
    world = (AXIAL @ np.array([i, j, k, np.ones(i.size)]))[:3]
    local = turned[:3, :3].T @ (world - centre[:, None])
    expected = (np.abs(local) <= np.array([[15.0], [5.0], [4.0]])).all(axis=0)
    assert 0.5 < expected.sum() * 12.0 / (30 * 10 * 8) < 2
    np.testing.assert_array_equal(mask.ravel(), expected)


#
# Views
#


@pytest.mark.parametrize("name", [layout.COMPARISON, layout.FIGURES])
def test_layouts_hold_the_three_views(scene: Any, name: str) -> None:
    root = ElementTree.fromstring(layout.layout_xml(name))
    views = [view.get("singletontag") for view in root.iter("view")]
    assert views[:3] == list(layout.VIEWS)
    rows = 2 if name == layout.COMPARISON else 1
    groups = [entry.text for entry in root.iter("property") if entry.get("name") == "viewgroup"]
    assert len(groups) == 3 * rows
    assert len(set(groups)) == rows
    assert [view.removesuffix(layout.SECOND_ROW) for view in views[: 3 * rows]] == rows * [
        *layout.VIEWS
    ]
    node = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    for _ in range(2):
        layout.use_layout(node, name)
        assert node.GetCurrentLayoutDescription().count("vtkMRMLSliceNode") == 3 * rows
    layout.use_layout(node, layout.FOUR_UP)
    assert node.GetViewArrangement() == node.SlicerLayoutFourUpView


def add_comparison_views(scene: Any) -> list[Any]:
    import slicer

    logics = []
    for name in [*layout.VIEWS, *(view + layout.SECOND_ROW for view in layout.VIEWS)]:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(scene)
        logic.AddSliceNode(name)
        logics.append(logic)
    return logics


def test_comparison_shows_original_corrected_and_change(scene: Any, ct: Any, nodes: Any) -> None:
    logics = add_comparison_views(scene)
    shown = layout.show_result(scene, nodes.corrected, layout.COMPARISON, overlay_opacity=0.7)
    assert len(shown) == 6
    assert [node.GetLayoutName() for node in shown[:3]] == list(layout.VIEWS)
    composites = [logic.GetSliceCompositeNode() for logic in logics]
    row = [ct.GetID(), nodes.corrected.GetID(), ct.GetID()]
    assert [one.GetBackgroundVolumeID() for one in composites] == 2 * row
    assert composites[1].GetForegroundOpacity() == 0.0
    assert composites[2].GetForegroundVolumeID() == nodes.change_map.GetID()
    assert composites[2].GetForegroundOpacity() == 0.7
    assert all(one.GetLinkedControl() for one in composites)
    four = layout.show_result(scene, nodes.corrected, layout.FOUR_UP, overlay_opacity=0.5)
    assert {node.GetLayoutName() for node in four} == {"Red", "Yellow", "Green"}

    def focal_points() -> list[tuple[float, ...]]:
        cameras = scene.GetNumberOfNodesByClass("vtkMRMLCameraNode")
        return [
            tuple(scene.GetNthNodeByClass(i, "vtkMRMLCameraNode").GetFocalPoint())
            for i in range(cameras)
        ]

    scene.AddNewNodeByClass("vtkMRMLCameraNode")
    nodes.metal.CreateClosedSurfaceRepresentation()
    layout.look_at(scene, nodes.metal)
    middle = np.mean([part.centre_ras for part in metal_parts(nodes.metal, ct)], axis=0)
    assert focal_points()[0] == pytest.approx(middle, abs=5.0)
    layout.fill_views(scene, (0.0, 30.0, 10.0, 50.0, -5.0, 5.0), (0.0, -1.0, 0.0))
    layout.fill_views(scene, (1.0, -1.0, 1.0, -1.0, 1.0, -1.0))  # nothing there: nothing changes
    camera = scene.GetNthNodeByClass(0, "vtkMRMLCameraNode")
    right, front, top = np.subtract(camera.GetPosition(), camera.GetFocalPoint())
    assert focal_points()[0] == pytest.approx((15.0, 30.0, 0.0))
    assert (right, top) == pytest.approx((0.0, 0.0)) and front < 0
    # The ball around the box touches the edges of the view.
    half = np.radians(camera.GetViewAngle()) / 2
    assert -front * np.sin(half) == pytest.approx(np.linalg.norm([30.0, 40.0, 10.0]) / 2)
    layout.go_to(scene, (1.0, 2.0, -950.0))
    assert shown[0].GetSliceToRAS().GetElement(2, 3) == pytest.approx(-950.0)


def test_flicker_shows_both_in_turn_and_leaves_things_as_they_were(
    scene: Any, ct: Any, nodes: Any
) -> None:
    composite = scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    opacity = composite.GetForegroundOpacity()
    assert opacity > 0
    flicker = layout.Flicker(scene, nodes.corrected)
    seen = []
    for _ in range(3):
        flicker.turn()
        seen.append(composite.GetBackgroundVolumeID())
    assert seen == [ct.GetID(), nodes.corrected.GetID(), ct.GetID()]
    assert composite.GetForegroundOpacity() == 0.0
    flicker.stop()
    assert composite.GetBackgroundVolumeID() == nodes.corrected.GetID()
    assert composite.GetForegroundOpacity() == opacity
    flicker.turn()
    scene.RemoveNode(nodes.corrected)
    flicker.stop()  # nothing to go back to


def test_results_without_their_original_are_refused(scene: Any, ct: Any, nodes: Any) -> None:
    with pytest.raises(InputError, match="correct a CT first"):
        layout.show_result(scene, None, layout.FOUR_UP, overlay_opacity=0.5)
    scene.RemoveNode(nodes.metal)
    with pytest.raises(InputError, match="lost its metal"):
        results.corrected_volumes(nodes.corrected)
    scene.RemoveNode(ct)
    with pytest.raises(InputError, match="lost its original"):
        results.corrected_volumes(nodes.corrected)


#
# Report
#


def test_report_of_a_result(scene: Any, ct: Any, nodes: Any, tmp_path: Path) -> None:
    results.put_measures(scene, nodes.corrected, measured(ct, nodes))
    written, not_placed = [], scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode")
    for line in (results.propose_line(scene, nodes.corrected), not_placed):
        how = {"line_node": line, "facts": {"Date": "2020-01-02"}}
        job = report_job(scene, nodes.corrected, tmp_path / "r.html", **how)
        job.wait()
        written.append(result_of(job).read_text(encoding="utf-8"))
        job.close()
        nodes.corrected.SetAttribute("MetalArtifactReduction.parameters", "{broken")
    for expected in ("Hip", "Kalender", "2020-01-02", "ramp", "Streak amplitude", "2 to 5"):
        assert expected in written[0]
    assert "ramp" not in written[1]
