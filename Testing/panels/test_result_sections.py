"""The sections of both panels that show a result, each alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from panel_jobs import Background
from panel_support import QTimer, parameter_node, widgets_of

MODULE = "MetalArtifactReduction"


def test_figures_follow_line_and_box(texts: Any, scene: Any, ct: Any) -> None:
    import slicer

    from MetalArtifactReductionLib import mrml
    from MetalArtifactReductionPanel.figures_section import FiguresSection
    from MetalArtifactReductionPanel.results import Results

    nodes = mrml.correct_node(scene, ct, method="li", device="cpu", show=False)
    results = Results(Background())
    panel = slicer.util.VTKObservationMixin()
    ui = widgets_of(MODULE, "resultCollapsibleButton")
    views = SimpleNamespace(
        showFigures=lambda corrected: None, inSlice=lambda ras: (*ras[:2], -1.0)
    )
    section = FiguresSection(ui, texts, results, views, panel)
    section.show(parameter_node(), None)
    assert not ui.measureButton.visible
    line = results.proposeLine(nodes.corrected)
    parameters = parameter_node(inputVolume=ct, result=nodes.corrected, profileLine=line)
    section.show(parameters, nodes.corrected)
    assert ui.measureButton.visible
    assert not ui.exportButton.visible  # not from DICOM
    ui.lineButton.click()
    ui.regionButton.click()
    (row,) = ui.measuresTable.rows()
    assert "Region" in row[0]
    (region,) = results.regions(nodes.corrected)
    assert region.GetCenterWorld()[2] == -1.0  # where the user looks

    def curve() -> Any:
        chart = mrml.results.plot_of(scene, nodes.corrected)
        table = chart.GetNodeReference("MetalArtifactReduction.table")
        return slicer.util.arrayFromTableColumn(table, "original").copy()

    before = curve()
    point = np.array(line.GetNthControlPointPositionWorld(0))
    line.SetNthControlPointPositionWorld(0, *(point + np.array([0.0, 12.0, 0.0])))
    np.testing.assert_array_equal(curve(), before)  # not with every move of the mouse
    QTimer.turn()
    assert len(curve()) != len(before) or not np.array_equal(curve(), before)
    assert "not loaded from DICOM" in ui.exportLabel.text  # still
    panel.removeObservers()


def test_a_new_result_is_selected_unless_the_user_has_gone_on(
    texts: Any, scene: Any, ct: Any
) -> None:
    from MetalArtifactReductionLib import mrml
    from MetalArtifactReductionPanel.result_section import ResultSection
    from MetalArtifactReductionPanel.results import Results
    from MetalArtifactReductionPanel.scene_views import SceneViews

    nodes = mrml.correct_node(scene, ct, method="li", device="cpu", always=True, show=False)
    parameters = parameter_node(inputVolume=ct)
    results = Results(Background())
    shown = []
    views = SceneViews()
    views.show = lambda *given: shown.append(given)  # type: ignore[method-assign]
    ui = widgets_of(MODULE, "resultCollapsibleButton")
    section = ResultSection(ui, texts, results, views, lambda: parameters, lambda: None)
    section.show(parameters)
    assert not ui.showButton.visible
    assert section.take(nodes) is nodes.corrected
    assert parameters.result is nodes.corrected and parameters.metalSegmentation is nodes.metal
    for _piece in range(3):  # one each time that events were served
        assert not shown
        QTimer.turn()
    assert [given[:3] for given in shown] == [(nodes.corrected, "comparison", "soft-tissue")]
    assert section.show(parameters) is nodes.corrected and ui.showButton.visible
    assert "4 / 6" in ui.resultLabel.text
    assert not ui.overlayComboBox.visible  # the method knows no expected error
    parameters.inputVolume, parameters.result = nodes.change_map, None
    assert section.take(nodes) is None and parameters.result is None


def test_the_views_show_the_chosen_result_or_without_one_its_ct(
    texts: Any, scene: Any, ct: Any
) -> None:
    from MetalArtifactReductionLib import mrml
    from MetalArtifactReductionPanel.inputs import Inputs
    from MetalArtifactReductionPanel.result_section import ResultSection
    from MetalArtifactReductionPanel.results import Results

    one, other = (
        mrml.correct_node(scene, ct, method="li", device="cpu", show=False).corrected
        for _ in range(2)
    )
    shown: list[Any] = []
    views = SimpleNamespace(
        show=lambda corrected, *_: shown.append(corrected),
        showInput=lambda volume, window: shown.append(volume),
        overlayScale=lambda *_: None,
    )
    parameters = parameter_node(inputVolume=ct)
    ui = widgets_of(MODULE, "resultCollapsibleButton")
    section = ResultSection(
        ui, texts, Results(Background()), views, lambda: parameters, lambda: None
    )

    def last(change: Any) -> Any:
        """What is shown in the end; the panel hears of every change."""
        shown.clear()
        change()
        section.show(parameters)
        return shown[-1] if shown else None

    def choose(result: Any) -> Any:
        parameters.result = result
        return section.show(parameters)

    assert last(lambda: Inputs(lambda: views).begin(parameters)) is other  # not the CT alone
    assert last(lambda: None) is None  # nothing anew: the user moves on in the views
    assert last(lambda: choose(one)) is one

    def remove() -> None:
        scene.RemoveNode(one)
        choose(None)

    assert last(remove) is ct
    assert last(lambda: choose(other)) is other
    section.show(None)  # the panel is left
    assert last(lambda: None) is other


def test_a_window_that_was_chosen_is_there_again_on_coming_back(
    texts: Any, scene: Any, ct: Any
) -> None:
    from MetalArtifactReductionPanel.result_section import ResultSection
    from MetalArtifactReductionPanel.results import Results
    from MetalArtifactReductionPanel.scene_views import SceneViews

    def done() -> tuple[float, float]:
        while views.turns.busy:
            QTimer.turn()
        return display.GetWindow(), display.GetLevel()

    ct.CreateDefaultDisplayNodes()
    display = ct.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(777.0, 77.0)
    views, parameters = SceneViews(), parameter_node(inputVolume=ct)
    views._fit = lambda nodes: None  # type: ignore[method-assign]  # Slicer's own
    ui = widgets_of(MODULE, "resultCollapsibleButton")
    section = ResultSection(
        ui, texts, Results(Background()), views, lambda: parameters, lambda: None
    )
    section.show(parameters)
    views.showInput(ct, "soft-tissue")
    assert done() == (400.0, 40.0)
    ui.boneButton.click()
    bone = done()
    assert bone not in ((400.0, 40.0), (777.0, 77.0))
    for _ in range(2):
        views.giveBack()
        assert done() == (777.0, 77.0)
        views.again()
        assert done() == bone


def test_dicom_is_written_in_the_background(
    texts: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from MetalArtifactReductionPanel.figures_section import FiguresSection

    jobs = Background()
    results = SimpleNamespace(
        exportAsync=lambda corrected, folder, onEnd: jobs.start(folder, onEnd),
        indexed=lambda paths: "a/metal.dcm" in paths,
    )
    ui = widgets_of(MODULE, "resultCollapsibleButton")
    section = FiguresSection(ui, texts, results, None, slicer.util.VTKObservationMixin())
    for state, given, said in (
        ("done", {"nodes": ("a/corrected", "a/change")}, "Written: a/corrected, a/change"),
        (
            "done",
            {"nodes": ("a/corrected", "a/metal.dcm")},
            "Written: a/corrected, a/metal.dcm; in Slicer's DICOM database, too",
        ),
        ("cancelled", {"error": "cancelled"}, "cancelled"),
        ("failed", {"error": "a: no room"}, "a: no room"),
    ):
        section.exportDicom("a")
        assert ui.exportLabel.text == "Writing..."
        jobs.list[-1].end(state, **given)
        assert ui.exportLabel.text == said


def test_slices_that_need_no_correction_are_counted(texts: Any, scene: Any, ct: Any) -> None:
    """Rods without any streak."""
    from MetalArtifactReductionLib import mrml
    from MetalArtifactReductionPanel.results import Results

    nodes = mrml.correct_node(scene, ct, method="li", device="cpu", show=False)
    results = Results(Background())
    assert "0 / 6" in results.summary(nodes.corrected)
    assert "Linear interpolation" in results.summary(nodes.corrected)  # as the list calls it
    assert "4 of 4 slices with metal: no streaks" in results.summary(nodes.corrected)


def test_flicker_shows_both_and_ends_with_the_result(texts: Any, scene: Any, ct: Any) -> None:
    from MetalArtifactReductionLib import mrml
    from MetalArtifactReductionPanel.result_section import ResultSection
    from MetalArtifactReductionPanel.results import Results
    from MetalArtifactReductionPanel.scene_views import SceneViews

    nodes = mrml.correct_node(scene, ct, method="li", device="cpu", show=True)
    parameters = parameter_node(inputVolume=ct, result=nodes.corrected)
    ui = widgets_of(MODULE, "resultCollapsibleButton")
    views = SceneViews()
    views.show = lambda *given: None  # type: ignore[method-assign]  # it is shown already
    section = ResultSection(
        ui, texts, Results(Background()), views, lambda: parameters, lambda: None
    )
    section.show(parameters)
    composite = scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    seen = []
    ui.flickerButton.click()
    for _ in range(2):
        QTimer.turn()
        seen.append((ui.flickerButton.text, composite.GetBackgroundVolumeID()))
    assert seen == [("Original", ct.GetID()), ("Corrected", nodes.corrected.GetID())]
    QTimer.turn()
    ui.flickerButton.click()
    assert composite.GetBackgroundVolumeID() == nodes.corrected.GetID()
    assert ui.flickerButton.text == "Flicker" and section._timer not in QTimer.waiting


def test_nothing_is_measured_while_a_slice_is_awaited(
    monkeypatch: pytest.MonkeyPatch, ct: Any
) -> None:
    from MetalArtifactReductionPanel import installation
    from MetalArtifactReductionPanel.estimates import Estimates

    monkeypatch.setattr(installation, "nothing_missing", lambda resources: True)
    monkeypatch.setattr(
        "MetalArtifactReductionLib.jobs.estimate.Estimator",
        lambda queue: SimpleNamespace(seconds=lambda options, matrix, slices: 4.0 * slices),
    )
    jobs = SimpleNamespace(idle=True, queue=SimpleNamespace(queue=SimpleNamespace(jobs=[])))
    estimates = Estimates(jobs, Path())
    estimates.hold(True)
    assert estimates.seconds(ct, None, 3) is None
    estimates.hold(False)
    assert estimates.seconds(ct, None, 3) == 12.0
    running = Background().start("", lambda handle: None)
    running.ended, running.cancel = False, lambda: setattr(running, "ended", True)
    estimates._measuring = [running]
    estimates.hold(True)
    assert running.ended, "it gives way"


def test_a_window_that_was_chosen_is_there_again_without_any_result(
    tools: Any, work: Any, ct: Any
) -> None:
    from SimulateImplantsPanel.simulation_sections import ResultSection

    ui = widgets_of("SimulateImplants", "resultCollapsibleButton")
    section = ResultSection(ui, work, tools)
    parameters = SimpleNamespace(
        inputVolume=ct,
        shown=SimpleNamespace(value="corrupted"),
        window=SimpleNamespace(value="metal"),
    )
    section.show(parameters, None)
    ct.CreateDefaultDisplayNodes()
    ct.GetDisplayNode().SetAutoWindowLevel(False)

    def opened() -> float:
        ct.GetDisplayNode().SetWindowLevel(777.0, 77.0)
        section.again()
        while work.turns.busy:
            QTimer.turn()
        return float(ct.GetDisplayNode().GetWindow())

    assert opened() == 777.0  # as the user left it
    ui.windowComboBox.emit("activated", 0)
    assert opened() > 1000
    section.clear()
    assert opened() == 777.0
