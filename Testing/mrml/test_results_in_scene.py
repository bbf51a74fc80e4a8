"""Where results are put in the subject hierarchy, what they refer to, and how they look."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.correction import CorrectionResult
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.hierarchy import (
    CORRECTED_REFERENCE,
    INPUT_REFERENCE,
    METAL_REFERENCE,
)
from mrml_support import affine, slice_view_pixels

SHAPE = (12, 40, 48)


@pytest.fixture
def ct(add_volume: Any) -> Any:
    hu = np.full(SHAPE, 40, dtype=np.int16)
    return add_volume(hu, affine(np.diag([-1.0, -1.0, 1.0]), (1.0, 1.0, 2.0)), name="Hip")


def finished(ct: Any, change: float = 120.0, method: str = "nmar") -> CorrectionResult:
    """What a correction hands over, with a known change in a known box."""
    volume = mrml.volume_from_node(ct)
    metal = np.zeros(volume.hu.shape, dtype=np.float32)
    metal[4:8, 18:22, 20:24] = 1.0
    difference = np.zeros_like(metal)
    difference[4:8, 10:16, 20:24] = change
    difference[4:8, 24:30, 20:24] = -change
    corrected = volume.with_hu(volume.hu + difference)
    return CorrectionResult(corrected, metal, difference, method, {"reconstruction": "replace"})


def hierarchy_of(scene: Any) -> Any:
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def children(hierarchy: Any, item: int) -> list[int]:
    import vtk

    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, ids, False)
    return [ids.GetId(index) for index in range(ids.GetNumberOfIds())]


def test_results_lie_in_a_folder_under_the_study(scene: Any, ct: Any) -> None:
    hierarchy = hierarchy_of(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    series = hierarchy.CreateFolderItem(study, "Series group")
    item = hierarchy.CreateItem(series, ct)
    nodes = mrml.add_results(scene, ct, finished(ct, method="nmar"))
    assert hierarchy.GetItemParent(nodes.folder) == study
    assert hierarchy.GetItemParent(item) == series  # the input is not moved
    inside = {hierarchy.GetItemDataNode(child) for child in children(hierarchy, nodes.folder)}
    assert inside == {nodes.corrected, nodes.change_map, nodes.metal}


def test_without_a_study_the_folder_lies_beside_the_input(scene: Any, ct: Any) -> None:
    hierarchy = hierarchy_of(scene)
    group = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "My cases")
    hierarchy.CreateItem(group, ct)
    nodes = mrml.add_results(scene, ct, finished(ct, method="li"))
    assert hierarchy.GetItemParent(nodes.folder) == group


def test_results_of_one_input_share_a_folder_even_after_renaming(
    scene: Any, ct: Any, add_volume: Any
) -> None:
    hierarchy = hierarchy_of(scene)
    first = mrml.add_results(scene, ct, finished(ct, method="li"))
    hierarchy.SetItemName(first.folder, "renamed by the user")
    first.corrected.SetName("renamed too")
    second = mrml.add_results(scene, ct, finished(ct, method="nmar"), metal=first.metal)
    assert second.folder == first.folder
    assert second.metal is first.metal
    assert len(children(hierarchy, first.folder)) == 5
    other = add_volume(
        np.full(SHAPE, 40, dtype=np.int16),
        affine(np.diag([-1.0, -1.0, 1.0]), (1.0, 1.0, 2.0)),
        name="Hip",  # the same name: another patient, another folder
    )
    assert mrml.add_results(scene, other, finished(other, method="li")).folder != first.folder


def test_a_folder_that_was_left_empty_is_used_again(scene: Any, ct: Any, add_volume: Any) -> None:
    """Slicer moves a segmentation beside its CT when its geometry is set anew."""
    hierarchy = hierarchy_of(scene)
    first = mrml.add_results(scene, ct, finished(ct))
    for child in children(hierarchy, first.folder):
        hierarchy.SetItemParent(child, hierarchy.GetSceneItemID())
    again = mrml.add_results(scene, ct, finished(ct, method="li"))
    assert again.folder == first.folder
    other = add_volume(  # the same name: its folder holds what is not this one's
        np.full(SHAPE, 40, dtype=np.int16),
        affine(np.diag([-1.0, -1.0, 1.0]), (1.0, 1.0, 2.0)),
        name="Hip",
    )
    assert mrml.add_results(scene, other, finished(other)).folder != first.folder


def test_results_refer_to_their_input_and_to_each_other(scene: Any, ct: Any) -> None:
    nodes = mrml.add_results(scene, ct, finished(ct, method="nmar"), keep_fraction=True)
    for node in (nodes.corrected, nodes.change_map, nodes.metal, nodes.fraction):
        assert node.GetNodeReference(INPUT_REFERENCE) is ct
        assert node.GetAttribute("MetalArtifactReduction.method") == "nmar"
        kept = node.GetAttribute("MetalArtifactReduction.parameters")
        assert json.loads(kept) == {"reconstruction": "replace"}
    assert nodes.corrected.GetNodeReference(METAL_REFERENCE) is nodes.metal
    assert nodes.change_map.GetNodeReference(CORRECTED_REFERENCE) is nodes.corrected
    assert mrml.results_of(scene, ct, "corrected") == [nodes.corrected]
    assert len(mrml.results_of(scene, ct)) == 4
    assert ct.GetNumberOfNodeReferences(INPUT_REFERENCE) == 0


def test_values_of_the_result_nodes(scene: Any, ct: Any) -> None:
    result = finished(ct)
    nodes = mrml.add_results(scene, ct, result, keep_fraction=True)
    read = mrml.volume_from_node
    np.testing.assert_array_equal(read(nodes.corrected).hu, result.corrected.hu)
    np.testing.assert_array_equal(read(nodes.corrected).hu - read(ct).hu, read(nodes.change_map).hu)
    np.testing.assert_array_equal(read(nodes.fraction).hu, result.metal_fraction)


def test_a_failure_half_way_leaves_the_scene_as_it_was(scene: Any, ct: Any) -> None:
    before = scene.GetNumberOfNodes()
    broken = finished(ct)
    # The last array does not fit: this fails after two nodes were added.
    broken = replace(broken, change_hu=np.zeros((1, 2, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="does not fit"):
        mrml.add_results(scene, ct, broken)
    assert scene.GetNumberOfNodes() == before
    left = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    assert [n.GetName() for n in left if n.IsA("vtkMRMLVolumeNode")] == ["Hip"]
    assert not [n for n in left if n.IsA("vtkMRMLSegmentationNode")]


@pytest.mark.parametrize("preset", sorted(mrml.WINDOWS))
def test_window_presets(ct: Any, preset: str) -> None:
    mrml.apply_window(ct, preset)
    display = ct.GetDisplayNode()
    assert not display.GetAutoWindowLevel()
    assert display.GetLevel() == mrml.WINDOWS[preset].level_hu
    assert display.GetWindow() == mrml.WINDOWS[preset].width_hu
    with pytest.raises(InputError, match=r"'lung'.*bone"):
        mrml.apply_window(ct, "lung")


def test_change_map_is_symmetric_and_diverging(scene: Any, ct: Any) -> None:
    nodes = mrml.add_results(scene, ct, finished(ct, change=120.0))
    display = nodes.change_map.GetDisplayNode()
    assert display.GetLevel() == 0.0
    assert display.GetWindow() == 2 * 150.0  # 120 HU rounded up to 50
    table = display.GetColorNode().GetLookupTable()
    count = table.GetNumberOfTableValues()
    colours = np.array([table.GetTableValue(index) for index in range(count)])
    assert count % 2 == 1
    assert colours[count // 2, 3] == 0.0  # nothing is drawn where nothing changed
    np.testing.assert_allclose(colours[:, [0, 2]], colours[::-1, [2, 0]], atol=1e-3)
    assert colours[0, 2] > 0.9 and colours[0, 0] < 0.1  # darker than before: blue
    again = mrml.add_results(scene, ct, finished(ct, method="li"), metal=nodes.metal)
    assert again.change_map.GetDisplayNode().GetColorNode() is display.GetColorNode()


def test_slice_view_shows_the_change_over_the_corrected_volume(scene: Any, ct: Any) -> None:
    """Pixels of the blended axial slice: grey where unchanged, red and blue in their boxes."""
    nodes = mrml.add_results(scene, ct, finished(ct, change=120.0))
    composite = scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert composite.GetBackgroundVolumeID() == nodes.corrected.GetID()
    assert composite.GetForegroundVolumeID() == nodes.change_map.GetID()
    assert 0 < composite.GetForegroundOpacity() < 1
    pixel = slice_view_pixels(scene, "Red", ct)
    unchanged, raised, lowered = pixel(6, 36, 5), pixel(6, 13, 22), pixel(6, 27, 22)
    assert unchanged[0] == unchanged[1] == unchanged[2] > 0
    assert raised[0] > raised[2] + 50
    assert lowered[2] > lowered[0] + 50


def test_existing_slice_views_are_used(scene: Any, ct: Any) -> None:
    mrml.show_in_slice_views(scene, ct)
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    nodes = mrml.add_results(scene, ct, finished(ct, method="nmar"))
    assert scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode") == count == 3
    mrml.add_results(scene, ct, finished(ct, method="li"), metal=nodes.metal, show=False)
    composite = scene.GetNodeByID("vtkMRMLSliceCompositeNodeGreen")
    assert composite.GetBackgroundVolumeID() == nodes.corrected.GetID()
