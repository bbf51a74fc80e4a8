"""The sections of the correction's panel, each alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.jobs.queue import JobFailed
from MetalArtifactReductionLib.mrml.volumes import vtk_matrix
from panel_jobs import Background
from panel_support import parameter_node, widgets_of
from support import until

MODULE = "MetalArtifactReduction"


def test_input_is_read_once_and_its_problem_said(
    texts: Any, scene: Any, ct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from MetalArtifactReductionLib.mrml import inputs
    from MetalArtifactReductionPanel.input_section import InputSection
    from MetalArtifactReductionPanel.inputs import Inputs

    ui = widgets_of(MODULE, "inputCollapsibleButton")
    read, check_input = [], inputs.check_input

    def check(scene: Any, node: Any) -> Any:
        read.append(node)
        return check_input(scene, node)

    monkeypatch.setattr(inputs, "check_input", check)
    chosen: list[Any] = []
    section = InputSection(ui, texts, Inputs(lambda: None).check, chosen.append)
    assert section.show(None) and not ui.inputMessageLabel.visible  # nothing chosen is no mistake
    for _ in range(2):
        assert section.show(parameter_node(inputVolume=ct)) == ""
    assert read == [None, ct]
    assert "3071" in ui.inputNoteLabel.text
    slicer.util.arrayFromVolume(ct)[...] = 100
    slicer.util.arrayFromVolumeModified(ct)
    assert "Hounsfield" in section.show(parameter_node(inputVolume=ct))
    assert ui.inputMessageLabel.visible


def metal_section(texts: Any, ct: Any, parameters: Any) -> tuple[Any, Any, Background]:
    from MetalArtifactReductionPanel.metal import Metal
    from MetalArtifactReductionPanel.metal_section import MetalSection

    jobs = Background()
    jobs.propose_metal = lambda node, *, on_end, **given: jobs.start("metal", on_end)  # type: ignore[attr-defined]
    jobs.started = lambda handle: handle  # type: ignore[attr-defined]
    ui = widgets_of(MODULE, "metalCollapsibleButton")
    views = SimpleNamespace(goTo=lambda ras: None, goToMetal=lambda metal, volume: None)
    metal = Metal(jobs, lambda: None)
    section = MetalSection(
        ui,
        texts,
        metal=metal,
        views=views,
        current=lambda: parameters,
        onChange=lambda: section.show(parameters, True),
    )
    section.show(parameters, True)
    return section, ui, jobs


def test_a_proposal_is_selected_and_its_parts_are_listed(texts: Any, scene: Any, ct: Any) -> None:
    from MetalArtifactReductionLib import mrml

    parameters = parameter_node(inputVolume=ct)
    section, ui, jobs = metal_section(texts, ct, parameters)
    ui.proposeButton.click()
    assert not ui.proposeButton.enabled and "Looking" in ui.metalMessageLabel.text
    node, found = mrml.propose_metal(scene, ct)
    jobs.list[0].end("done", (node, found))
    assert parameters.metalSegmentation is node and jobs.list == []
    rows = ui.partsTable.rows()
    assert [row[0] for row in rows] == ["1", "2"]
    # Four slices of 13 voxels of 2 x 2 x 3 mm each.
    assert [row[1] for row in rows] == ["0.62", "0.62"]
    assert {row[3] for row in rows} == {"1 ... 4"}
    assert section.slicesWithMetal() == 4
    assert "2 parts" in ui.metalMessageLabel.text and "Metal above" in ui.metalMessageLabel.text


def test_a_proposal_is_taken_back(texts: Any, scene: Any, ct: Any) -> None:
    from MetalArtifactReductionLib import mrml

    parameters = parameter_node(inputVolume=ct)
    section, ui, jobs = metal_section(texts, ct, parameters)
    assert not ui.undoButton.visible
    ui.proposeButton.click()
    node, found = mrml.propose_metal(scene, ct)
    jobs.list[0].end("done", (node, found))
    section.show(parameters, True)
    before = mrml.fraction_from_node(node, ct)
    ui.proposeButton.click()
    node.GetSegmentation().RemoveAllSegments()
    jobs.list[0].end("done", (node, found))
    section.show(parameters, True)
    ui.undoButton.click()
    np.testing.assert_array_equal(mrml.fraction_from_node(node, ct), before)
    own = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    parameters.metalSegmentation = own
    section.show(parameters, True)
    assert not ui.undoButton.visible  # it is no proposal, and Undo would take it away
    parameters.metalSegmentation = node
    section.show(parameters, True)
    ui.undoButton.click()
    assert parameters.metalSegmentation is None and node.GetScene() is None
    assert own.GetScene() is scene


def test_what_the_user_drew_in_a_proposal_is_not_undone(texts: Any, scene: Any, ct: Any) -> None:
    from MetalArtifactReductionLib import mrml

    parameters = parameter_node(inputVolume=ct)
    section, ui, jobs = metal_section(texts, ct, parameters)
    ui.proposeButton.click()
    node, found = mrml.propose_metal(scene, ct)
    jobs.list[0].end("done", (node, found))
    section.show(parameters, True)
    assert ui.undoButton.visible
    voxels = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    stored = voxels.GetPointData().GetScalars()
    for index in range(stored.GetNumberOfTuples() // 2):  # erased
        stored.SetTuple1(index, 0)
    voxels.Modified()
    drawn = mrml.fraction_from_node(node, ct)
    section.undo()  # nobody has told the panel yet
    assert parameters.metalSegmentation is node and node.GetScene() is scene
    assert not ui.undoButton.visible
    ui.proposeButton.click()
    mrml.propose_metal(scene, ct, into=node)
    jobs.list[0].end("done", (node, found))
    section.show(parameters, True)
    assert not np.array_equal(mrml.fraction_from_node(node, ct), drawn)
    ui.undoButton.click()  # the second proposal
    np.testing.assert_array_equal(mrml.fraction_from_node(node, ct), drawn)
    assert not ui.undoButton.visible, "the first has been drawn in"


def test_metal_of_another_scan_is_refused(texts: Any, scene: Any, ct: Any) -> None:
    import slicer

    from MetalArtifactReductionLib import mrml

    metal, _found = mrml.propose_metal(scene, ct)
    other = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Other")
    other.CopyContent(ct)
    other.SetSpacing(1.0, 1.0, 3.0)
    parameters = parameter_node(inputVolume=other, metalSegmentation=metal)
    section, ui, _jobs = metal_section(texts, other, parameters)
    assert "another grid" in section.show(parameters, True) == ui.metalMessageLabel.text
    other.CopyContent(ct)
    assert section.show(parameters, True) == ""  # a copy
    slicer.util.updateVolumeFromArray(other, slicer.util.arrayFromVolume(ct) + 1)
    assert "image differs" in section.show(parameters, True)


def test_a_users_own_segmentation_is_never_replaced(texts: Any, scene: Any, ct: Any) -> None:
    own = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    section, ui, jobs = metal_section(texts, ct, parameter_node(inputVolume=ct))
    given = {}
    jobs.propose_metal = lambda node, *, on_end, **more: (  # type: ignore[attr-defined]
        given.update(more) or jobs.start("metal", on_end)
    )
    section.show(parameter_node(inputVolume=ct, metalSegmentation=own), True)
    ui.proposeButton.click()
    assert given["into"] is None


def test_why_nothing_was_proposed_stays_in_sight(texts: Any, ct: Any) -> None:
    parameters = parameter_node(inputVolume=ct)
    section, ui, jobs = metal_section(texts, ct, parameters)
    ui.proposeButton.click()
    jobs.list[0].end("failed", error="no metal was found", remedy="; give a threshold")
    section.show(parameters, True)  # as after every poll
    assert ui.metalMessageLabel.text == "no metal was found."
    assert ui.lowerButton.visible and ui.drawButton.visible and not ui.surfaceButton.visible
    ui.lowerButton.click()
    assert not parameters.automaticThreshold and parameters.thresholdHu == 1000
    jobs.list[-1].end("failed", error="no metal was found", remedy=". Give include_surface=True")
    assert ui.surfaceButton.visible
    ui.surfaceButton.click()
    assert parameters.includeSurface and not ui.lowerButton.visible
    jobs.list[-1].end("failed", error="no metal was found")
    assert ui.lowerButton.visible
    section.show(parameter_node(), False)
    assert ui.metalMessageLabel.text == "" and not ui.lowerButton.visible


def test_no_metal_is_looked_for_where_the_ct_is_gone(texts: Any, ct: Any) -> None:
    section, ui, jobs = metal_section(texts, ct, parameter_node(inputVolume=ct))
    ui.proposeButton.click()
    section.show(parameter_node(), False)
    jobs.list[0].end("cancelled", error="the volume was removed")
    assert ui.metalMessageLabel.text == "the volume was removed."
    assert not ui.lowerButton.visible and not ui.drawButton.visible


def test_a_correction_that_finds_no_metal_offers_what_helps(texts: Any, ct: Any) -> None:
    section, ui, jobs = metal_section(texts, ct, parameter_node(inputVolume=ct))
    ended: list[Any] = []
    correction = jobs.start("li", section.begin(ended.append))
    correction.end("failed", error="no metal found", remedy=". Give include_surface=True")
    assert ended == [correction] and ui.metalMessageLabel.text == "no metal found."
    assert ui.lowerButton.visible and ui.surfaceButton.visible


def test_metal_that_stayed_behind_is_not_used(texts: Any, scene: Any, ct: Any) -> None:
    from MetalArtifactReductionLib import mrml

    metal, _found = mrml.propose_metal(scene, ct)
    parameters = parameter_node(inputVolume=ct, metalSegmentation=metal)
    section, ui, _jobs = metal_section(texts, ct, parameters)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    ct.SetAndObserveTransformNodeID(transform.GetID())
    assert section.show(parameters, True) == ""
    transform.ApplyTransformMatrix(vtk_matrix(np.diag([-1.0, -1.0, 1.0, 1.0])))
    with pytest.raises(InputError, match="one of them was moved"):
        section.begin(print)
    assert "same transform" in section.show(parameters, True) == ui.metalMessageLabel.text
    metal.SetAndObserveTransformNodeID(transform.GetID())
    assert section.show(parameters, True) == "" and ui.partsTable.visible


def test_a_part_that_is_ticked_or_cleared_is_proposed_again(
    texts: Any, scene: Any, ct: Any
) -> None:
    from MetalArtifactReductionLib import mrml

    parameters = parameter_node(inputVolume=ct, includeSurface=True)
    _section, ui, jobs = metal_section(texts, ct, parameters)
    given: list[Any] = []
    jobs.propose_metal = lambda node, *, clean_up, on_end, **more: (  # type: ignore[attr-defined]
        given.append(clean_up) or jobs.start("metal", on_end)
    )
    ui.proposeButton.click()
    node, found = mrml.propose_metal(scene, ct)
    jobs.list[0].end("done", (node, found))
    assert given[0].include_surface and given[0].exclude == ()
    ui.partsTable.tick(1, False)
    assert given[1].exclude == (2,) and not ui.partsTable.enabled
    again = mrml.propose_metal(scene, ct, clean_up=given[1], into=node)
    jobs.list[0].end("done", again)
    assert ui.partsTable.rowCount == 2 and "1 part" in ui.metalMessageLabel.text
    assert [ui.partsTable.item(row, 0).checkState() for row in range(2)] == [2, 0]
    ui.partsTable.tick(0, False)
    jobs.list[0].end("failed", error="no metal found")
    assert ui.partsTable.item(0, 0).checkState() == 2  # nothing was changed
    ui.partsTable.tick(1, True)
    assert given[-1].include == (2,) and given[-1].exclude == ()


def test_a_segmentation_that_was_drawn_in_has_no_boxes_to_tick(
    texts: Any, scene: Any, ct: Any
) -> None:
    from MetalArtifactReductionLib import mrml

    parameters = parameter_node(inputVolume=ct)
    section, ui, jobs = metal_section(texts, ct, parameters)
    ui.proposeButton.click()
    node, found = mrml.propose_metal(scene, ct)
    jobs.list[0].end("done", (node, found))
    assert ui.partsTable.item(0, 0).checkState() == 2
    segmentation = node.GetSegmentation()
    voxels = segmentation.GetNthSegment(0).GetRepresentation("Binary labelmap")
    voxels.GetPointData().GetScalars().SetTuple1(0, 1)
    voxels.Modified()
    segmentation.Modified()
    section.show(parameters, True)
    assert ui.partsTable.item(0, 0).checkState() is None


def test_own_threshold_or_the_cts(texts: Any, ct: Any) -> None:
    parameters = parameter_node(inputVolume=ct)
    section, ui, _ = metal_section(texts, ct, parameters)
    assert not ui.thresholdSlider.visible and ui.metalMethodComboBox.visible
    parameters.automaticThreshold = False
    section.show(parameters, True)
    assert ui.thresholdSlider.visible and not ui.metalMethodComboBox.visible


def run_section(texts: Any) -> tuple[Any, Any, Background, list[Any]]:
    from MetalArtifactReductionPanel.run_section import RunSection

    jobs, corrected = Background(), []
    ui = widgets_of(MODULE, "runCollapsibleButton")
    texts.status = ui.statusLabel
    names = iter(("First", "Second", "Third"))
    section = RunSection(
        ui, texts, jobs, lambda on_end: jobs.start(next(names), on_end), corrected.append
    )
    section.show(parameter_node(), "")
    return section, ui, jobs, corrected


def test_queue_and_what_became_of_it(texts: Any) -> None:
    section, ui, jobs, corrected = run_section(texts)
    for _ in range(3):
        ui.applyButton.click()
    assert ui.jobsTable.rows() == [[name, "waiting"] for name in ("First", "Second", "Third")]
    ui.jobsTable.selectRow(1)
    ui.cancelButton.click()
    assert [one.state.value for one in jobs.list] == ["waiting", "cancelled", "waiting"]
    jobs.list[0].message = "nothing needed"
    jobs.list[0].end("done", "nodes")
    assert corrected == ["nodes"] and "done in 3 s, nothing needed." in ui.statusLabel.text
    third = jobs.list[2]
    section.clear()  # with the scene; what goes on writes files
    assert ui.jobsTable.rows() == [["Third", "waiting"]] and ui.statusLabel.text == ""
    third.end("failed", error="no metal found", remedy="; give --threshold")
    assert ui.statusLabel.text == "Third: no metal found" and corrected == ["nodes"]
    section.showJobs()
    assert ui.jobsTable.item(0, 0).toolTip == "no metal found"
    assert not ui.cancelButton.visible and not ui.progressBar.visible
    section.clear()
    assert ui.jobsTable.rowCount == 0


def test_cancel_stops_what_goes_on_while_an_ended_job_is_selected(texts: Any) -> None:
    section, ui, jobs, _ = run_section(texts)
    for _number in range(2):
        ui.applyButton.click()
    jobs.list[0].fraction, jobs.list[0].state.value = 1.0, "running"
    section.showJobs()
    assert ui.progressBar.value == 100
    jobs.list[0].end("done", "nodes")
    section.showJobs()
    assert ui.progressBar.value == 0  # the next one has not begun
    ui.jobsTable.selectRow(0)
    ui.cancelButton.click()
    assert [one.state.value for one in jobs.list] == ["done", "cancelled"]


def test_only_faults_of_the_program_are_logged(scene: Any, ct: Any, caplog: Any) -> None:
    from MetalArtifactReductionLib.errors import printable
    from MetalArtifactReductionLib.jobs.call import call_job
    from MetalArtifactReductionPanel.background import BackgroundJobs

    def refuse(_job: Any) -> None:
        raise InputError("no metal found")

    def break_down(_job: Any) -> None:
        raise JobFailed("no such column")

    jobs = BackgroundJobs()
    for work in (refuse, break_down):
        jobs.queue.add(call_job(printable, "text", title=work.__name__), (), work)
    until(lambda: jobs.poll() or jobs.idle)
    assert [one.message.split(":")[0] for one in caplog.records] == ["break_down"]
    jobs.close()


def test_a_job_whose_end_is_said_elsewhere_leaves_no_text(texts: Any) -> None:
    section, ui, jobs, _ = run_section(texts)
    said: list[str] = []
    report = jobs.start("Report", lambda handle: said.append(handle.state.value))
    report.cancel, report.state.value, report.message = lambda: None, "running", "writing"
    section.showJobs()
    assert "Report: writing" in ui.statusLabel.text
    report.message = ""
    ui.cancelButton.click()
    assert ui.statusLabel.text == "Cancelling..."
    report.end("cancelled")
    section.showJobs()
    assert said == ["cancelled"] and ui.statusLabel.text == ""


def test_apply_says_why_it_is_off(texts: Any) -> None:
    section, ui, *_ = run_section(texts)
    section.show(parameter_node(), "the weights are missing")
    assert not ui.applyButton.enabled and ui.applyButton.toolTip == "the weights are missing"
    section.show(None, "")
    assert not ui.applyButton.enabled
