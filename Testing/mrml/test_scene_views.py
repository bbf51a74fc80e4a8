"""What slice views show of metal and results, and that they are given back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the package slicer-core is not installed")

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.evaluation.report_pictures import noise_level_hu
from MetalArtifactReductionLib.mrml import layout
from MetalArtifactReductionLib.mrml.belonging import metal_problem
from MetalArtifactReductionLib.mrml.borrowed import BorrowedViews
from MetalArtifactReductionLib.mrml.display import show_change
from MetalArtifactReductionLib.mrml.volumes import vtk_matrix
from MetalArtifactReductionLib.mrml.zoom import MARGIN_MM, most_metal, zoom
from MetalArtifactReductionLib.volume import CTVolume


@pytest.fixture
def scene() -> Any:
    return mrml.headless_scene()


def ct_with_wedge(scene: Any) -> Any:
    """Metal in slices 2 to 5; most of it, 30 mm wide, in slice 4."""
    hu = np.full((8, 40, 50), -1000.0, np.float32)
    hu[:, 4:36, 4:46] = 40.0
    for k, half in ((2, 1), (3, 2), (4, 5), (5, 1)):
        hu[k, 18:22, 25 - half : 25 + half] = 3000.0
    affine = np.diag([-3.0, -3.0, 4.0, 1.0])
    affine[:3, 3] = (70.0, 60.0, -100.0)
    return mrml.node_from_volume(scene, CTVolume(hu, affine), "CT")


def test_views_go_to_the_slice_with_most_metal(scene: Any) -> None:
    ct = ct_with_wedge(scene)
    metal, _found = mrml.propose_metal(scene, ct)
    place = most_metal(metal, ct)
    assert place.centre_ras == pytest.approx((70 - 3 * 24.5, 60 - 3 * 19.5, -100 + 4 * 4.0))
    assert place.size_mm == pytest.approx(9 * 3 + 2 * MARGIN_MM)
    mrml.show_in_slice_views(scene, ct)
    nodes = layout.slice_nodes(scene)
    zoom(nodes, place)
    for node in nodes:
        to_ras = node.GetSliceToRAS()
        assert [to_ras.GetElement(i, 3) for i in range(3)] == pytest.approx(place.centre_ras)
        assert min(node.GetFieldOfView()[:2]) == pytest.approx(place.size_mm)


def test_metal_is_an_outline(scene: Any) -> None:
    metal, _found = mrml.propose_metal(scene, ct_with_wedge(scene))
    assert not metal.GetDisplayNode().GetVisibility2DFill()
    assert metal.GetDisplayNode().GetVisibility2DOutline()


def test_noise_is_that_of_the_tissue(scene: Any) -> None:
    rng = np.random.default_rng(0)
    hu = np.full((6, 96, 96), 50.0) + rng.normal(0, 12.0, (6, 96, 96))
    assert noise_level_hu(hu) == pytest.approx(12.0, rel=0.1)
    assert noise_level_hu(np.full((2, 32, 32), -1000.0)) == 0.0


def test_changes_within_the_noise_stay_clear(scene: Any) -> None:
    change = mrml.node_from_volume(scene, CTVolume(np.zeros((2, 20, 20)), np.eye(4)), "Change")
    show_change(change, 200.0, noise_hu=30.0)
    colors = change.GetDisplayNode().GetColorNode()
    shown = np.array([colors.GetLookupTable().GetTableValue(i)[3] for i in range(255)])
    amounts = np.linspace(-200, 200, 255)
    np.testing.assert_array_equal(shown > 0, np.abs(amounts) >= 30.0)


def test_views_are_given_back(scene: Any) -> None:
    ct = ct_with_wedge(scene)
    ct.GetDisplayNode().SetAutoWindowLevel(False)
    ct.GetDisplayNode().SetWindowLevel(1234.0, 56.0)
    mrml.show_in_slice_views(scene, ct)
    lent = BorrowedViews(scene)
    lent.window(ct)
    mrml.apply_window(ct, "metal")
    mrml.correct_node(scene, ct, method="li", device="cpu", always=True)
    lent.give_back()
    assert ct.GetDisplayNode().GetWindow() == 1234.0 and ct.GetDisplayNode().GetLevel() == 56.0
    for composite in (
        scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode") for index in range(3)
    ):
        assert composite.GetBackgroundVolumeID() == ct.GetID()
        assert composite.GetForegroundVolumeID() is None


def test_no_views_at_all_are_not_given_back(scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.use_layout(node, layout.COMPARISON)
    for lent, back in (
        (node.SlicerLayoutNone, 6),  # none while a scene is closed
        (node.SlicerLayoutOneUpYellowSliceView, 7),
        (node.GetViewArrangement(), node.SlicerLayoutFourUpView),  # of a scene saved with a result
    ):
        node.SetViewArrangement(lent)
        views = BorrowedViews(scene)
        node.SetViewArrangement(6)
        views.give_back()
        assert node.GetViewArrangement() == back


def test_what_was_seen_through_is_as_it_was_unless_the_user_changed_it(scene: Any) -> None:
    for changed, back in ((None, 0.9), (0.6, 0.6)):
        bone = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        bone.CreateDefaultDisplayNodes()
        display = bone.GetDisplayNode()
        display.SetOpacity3D(0.9)
        views = BorrowedViews(scene)
        for opacity in (0.4, 0.2):
            views.see_through(display, opacity)
        if changed is not None:
            display.SetOpacity3D(changed)
        views.give_back()
        assert display.GetOpacity3D() == back


def test_metal_of_another_scan_is_hidden_while_the_views_are_lent(scene: Any) -> None:
    first, second = ct_with_wedge(scene), ct_with_wedge(scene)
    second.SetSpacing(3.0, 3.0, 3.0)
    metals = [mrml.propose_metal(scene, ct)[0] for ct in (first, second)]
    shown = [metal.GetDisplayNode() for metal in metals]
    views = BorrowedViews(scene)
    views.hide_metal_of_others(first)
    assert [bool(display.GetVisibility()) for display in shown] == [True, False]
    views.give_back()
    assert all(display.GetVisibility() for display in shown)


def test_metal_of_this_ct_stays_shown_where_the_ct_was_moved(scene: Any) -> None:
    ct = ct_with_wedge(scene)
    metal, _ = mrml.propose_metal(scene, ct)
    moved = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = 20.0
    moved.SetMatrixTransformToParent(vtk_matrix(matrix))
    ct.SetAndObserveTransformNodeID(moved.GetID())
    assert metal_problem(metal, ct), "it lies askew"
    views = BorrowedViews(scene)
    views.hide_metal_of_others(ct)
    assert metal.GetDisplayNode().GetVisibility()
    mrml.propose_metal(scene, ct, into=metal)
    assert metal_problem(metal, ct) == "" and metal.GetDisplayNode().GetVisibility()


def test_one_slice_shows_the_result_over_its_original(scene: Any) -> None:
    ct = ct_with_wedge(scene)
    nodes = mrml.correct_node(scene, ct, method="li", device="cpu", always=True)
    layout.show_result(scene, nodes.corrected, layout.SINGLE, overlay_opacity=0.5)
    composite = scene.GetNthNodeByClass(0, "vtkMRMLSliceCompositeNode")
    both = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
    assert both == (ct.GetID(), nodes.corrected.GetID())
    flicker = layout.Flicker(scene, nodes.corrected)
    flicker.turn()
    assert composite.GetForegroundOpacity() == 0.0
    flicker.stop()
    assert composite.GetForegroundOpacity() == 1.0


def test_views_made_ahead_are_as_their_layout_makes_them(scene: Any) -> None:
    """What is said in the layout's description, which Slicer reads."""
    from xml.etree import ElementTree

    mrml.show_in_slice_views(scene, ct_with_wedge(scene))  # brings the orientations
    for view in ElementTree.fromstring(layout.layout_xml(layout.COMPARISON)).iter("view"):
        name = view.get("singletontag")
        assert name
        for _twice in range(2):
            layout.add_view(scene, name)
        (node,) = (one for one in layout.slice_nodes(scene) if one.GetLayoutName() == name)
        wanted = {one.get("name"): one.text for one in view.iter("property")}
        assert node.GetOrientation() == wanted["orientation"]
        assert node.GetLayoutLabel() == wanted["viewlabel"]
        assert str(node.GetViewGroup()) == wanted["viewgroup"]
        rgb = "".join(f"{round(255 * part):02x}" for part in node.GetLayoutColor())
        assert f"#{rgb}" == wanted["viewcolor"]
