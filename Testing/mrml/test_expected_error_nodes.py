"""The map of expected errors in the scene: where it is, how it looks, and that it comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.correction import CorrectionResult
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.evaluation.before_after import compare_before_after
from MetalArtifactReductionLib.jobs.call import result_of
from MetalArtifactReductionLib.mrml import layout, results
from MetalArtifactReductionLib.mrml.hierarchy import (
    CORRECTED_REFERENCE,
    INPUT_REFERENCE,
    METAL_REFERENCE,
)
from MetalArtifactReductionLib.mrml.inputs import check_input
from MetalArtifactReductionLib.mrml.jobs import SceneJobs
from MetalArtifactReductionLib.mrml.kept import expected_error_hu, expected_error_of, parameters_of
from MetalArtifactReductionLib.mrml.results_report import report_job
from mrml_support import affine, slice_view_pixels

pytestmark = pytest.mark.usefixtures("forked_jobs")

SHAPE = (6, 64, 72)
PARAMETERS = {"outside_trace": {"rms_line_integral": 0.02, "rms_line_integral_share": 0.01}}
_, Y, X = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1], 0 : SHAPE[2]]


def metal() -> np.ndarray:
    inside = np.hypot(X - 30, Y - 32) < 4
    inside[[0, -1]] = False
    return inside.astype(np.float32)


@pytest.fixture
def ct(add_volume: Any) -> Any:
    hu = np.where(np.hypot(X - 36, Y - 32) < 30, 40, -1000)
    hu[metal() > 0] = 5000
    return add_volume(hu.astype(np.int16), affine(np.diag([-1.0, -1.0, 1.0]), (2, 2, 3)), "Thigh")


def finished(ct: Any, method: str = "prior") -> CorrectionResult:
    """What a correction hands over: a change on one side, an expected error on the other."""
    volume = mrml.volume_from_node(ct)
    change = np.zeros(SHAPE, dtype=np.float32)
    change[1:-1, 20:28, 40:48] = 90.0
    error = np.zeros(SHAPE, dtype=np.float32)
    error[1:-1, 36:44, 40:48] = 120.0
    return CorrectionResult(
        volume.with_hu(volume.hu + change),
        metal(),
        change,
        method,
        PARAMETERS,
        expected_error_hu=error if method == "prior" else None,
    )


def test_the_map_lies_beside_the_change_map(scene: Any, ct: Any) -> None:
    import slicer

    result = finished(ct)
    nodes = mrml.add_results(scene, ct, result)
    error = nodes.expected_error
    assert error.GetName() == "Error PRIOR Thigh"
    assert error.GetNodeReference(INPUT_REFERENCE) is ct
    assert error.GetNodeReference(METAL_REFERENCE) is nodes.metal
    assert error.GetNodeReference(CORRECTED_REFERENCE) is nodes.corrected
    assert error.GetAttribute("MetalArtifactReduction.method") == "prior"
    assert parameters_of(error) == parameters_of(nodes.corrected) == PARAMETERS
    np.testing.assert_array_equal(mrml.volume_from_node(error).hu, result.expected_error_hu)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folders = {
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
        for node in (error, nodes.change_map)
    }
    assert folders == {nodes.folder}
    assert "map of the expected error" in check_input(scene, error).problem


def test_a_method_that_does_not_know_adds_no_map(scene: Any, ct: Any) -> None:
    nodes = mrml.add_results(scene, ct, finished(ct, "nmar"))
    assert nodes.expected_error is None
    assert mrml.results_of(scene, ct, "expected-error") == []
    assert expected_error_hu(scene, nodes.corrected) is None
    change = layout.overlay_of(scene, nodes.corrected, layout.EXPECTED_ERROR)
    assert change is nodes.change_map
    with pytest.raises(InputError, match=r"'noise'.*expected-error"):
        layout.overlay_of(scene, nodes.corrected, "noise")


def test_colours_rise_from_transparent_to_red(scene: Any, ct: Any) -> None:
    nodes = mrml.add_results(scene, ct, finished(ct))
    display = nodes.expected_error.GetDisplayNode()
    assert display.GetLevel() - display.GetWindow() / 2 == 0.0
    assert display.GetLevel() + display.GetWindow() / 2 == 150.0  # 120 HU rounded up to 50
    table = display.GetColorNode().GetLookupTable()
    count = table.GetNumberOfTableValues()
    colours = np.array([table.GetTableValue(index) for index in range(count)])
    assert colours[0, 3] == 0.0 and colours[-1, 3] == 1.0
    assert (np.diff(colours[:, 3]) >= 0).all()
    assert colours[-1, 0] > 0.8 and colours[-1, 2] < 0.2
    assert display.GetColorNode() is not nodes.change_map.GetDisplayNode().GetColorNode()
    again = mrml.add_results(scene, ct, finished(ct), metal=nodes.metal)
    assert again.expected_error.GetDisplayNode().GetColorNode() is display.GetColorNode()


def test_slice_view_shows_the_map_that_was_asked_for(scene: Any, ct: Any) -> None:
    nodes = mrml.add_results(scene, ct, finished(ct))
    composite = scene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert composite.GetForegroundVolumeID() == nodes.change_map.GetID()  # by itself
    layout.show_result(
        scene,
        nodes.corrected,
        layout.FOUR_UP,
        overlay_opacity=0.6,
        overlay=layout.EXPECTED_ERROR,
    )
    assert composite.GetBackgroundVolumeID() == nodes.corrected.GetID()
    assert composite.GetForegroundVolumeID() == nodes.expected_error.GetID()
    pixel = slice_view_pixels(scene, "Red", ct)
    changed, unsure = pixel(2, 24, 44), pixel(2, 40, 44)
    assert changed[0] == changed[1] == changed[2] > 0
    assert unsure.max() > unsure[:3].min() + 50


def test_comparison_lays_the_error_over_the_corrected_volume(scene: Any, ct: Any) -> None:
    import slicer

    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(scene)
    node = logic.AddSliceNode("MarChange")
    nodes = mrml.add_results(scene, ct, finished(ct))
    plain = mrml.add_results(scene, ct, finished(ct, "nmar"), metal=nodes.metal)
    composite = logic.GetSliceCompositeNode()
    for corrected, overlay, background, foreground, label in (
        (nodes.corrected, "change", ct, nodes.change_map, "Diff"),
        (nodes.corrected, "expected-error", nodes.corrected, nodes.expected_error, "Err"),
        (plain.corrected, "expected-error", ct, plain.change_map, "Diff"),
    ):
        layout.show_result(
            scene, corrected, layout.COMPARISON, overlay_opacity=0.7, overlay=overlay
        )
        assert composite.GetBackgroundVolumeID() == background.GetID()
        assert composite.GetForegroundVolumeID() == foreground.GetID()
        assert node.GetLayoutLabel() == label


def test_map_and_figures_come_back_with_the_scene(scene: Any, ct: Any, tmp_path: Path) -> None:
    nodes = mrml.add_results(scene, ct, finished(ct))
    volume, corrected, fraction = results.corrected_volumes(nodes.corrected)
    error = expected_error_hu(scene, nodes.corrected)
    measured = compare_before_after(volume, corrected.hu, fraction, expected_error_hu=error)
    results.put_measures(scene, nodes.corrected, measured)
    mrml.save_scene(scene, tmp_path / "scene.mrb")
    again = mrml.load_scene(tmp_path / "scene.mrb")
    found = again.GetNodeByID(nodes.corrected.GetID())
    node = expected_error_of(again, found)
    np.testing.assert_array_equal(mrml.volume_from_node(node).hu, error)
    colours = node.GetDisplayNode().GetColorNode()
    assert colours.GetName() == nodes.expected_error.GetDisplayNode().GetColorNode().GetName()
    assert colours.GetLookupTable().GetNumberOfTableValues() == 256
    rows = {one.key: one for one in results.measures_in(results.table_of(again, found))}
    assert np.isnan(rows["expected_error_p95_hu"].before)
    assert rows["expected_error_mean_hu"].after > 0

    job = report_job(again, found, tmp_path / "r.html")
    job.wait()
    report = result_of(job).read_text(encoding="utf-8")
    job.close()
    assert "expected error, strongest colour: 150 HU" in report
    assert "0.02 in line integrals (RMS), 1 % of their values" in report


def test_a_map_of_another_size_is_not_used(scene: Any, ct: Any) -> None:
    nodes = mrml.add_results(scene, ct, finished(ct))
    small = mrml.node_from_volume(
        scene, replace(mrml.volume_from_node(ct), hu=np.zeros((2, 3, 4), np.float32)), "small"
    )
    nodes.expected_error.SetAndObserveImageData(small.GetImageData())
    assert expected_error_hu(scene, nodes.corrected) is None


def test_a_process_brings_the_map_into_the_scene(scene: Any, ct: Any) -> None:
    expected = mrml.correct_node(scene, ct, method="prior", device="cpu", always=True, show=False)
    jobs = SceneJobs(scene)
    try:
        nodes = jobs.correct(
            ct, expected.metal, "prior", device="cpu", always=True, show=False
        ).result()
    finally:
        jobs.close()
    error = mrml.volume_from_node(nodes.expected_error).hu
    np.testing.assert_allclose(
        error, mrml.volume_from_node(expected.expected_error).hu, rtol=1e-3, atol=0.1
    )
    assert error[2].max() > 0.0 and not error[0].any()
