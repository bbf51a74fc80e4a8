"""The preview of the correction's panel: one slice, corrected while the user chooses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from panel_jobs import Background
from panel_support import QTimer, parameter_node, widgets_of

MODULE = "MetalArtifactReduction"


def preview_section(texts: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """The section and its widgets; what was asked, became of the process, was shown, and held."""
    from MetalArtifactReductionLib.jobs import preview
    from MetalArtifactReductionPanel.metal import Metal
    from MetalArtifactReductionPanel.preview_section import PreviewSection

    asked, process, shown, held = (list[Any]() for _ in range(4))
    made = SimpleNamespace(
        warm=lambda slab, middle, options: process.append(f"{options.method} {middle}"),
        ask=lambda slab, middle, metal, options: asked.append((middle, metal, options)),
        poll=lambda: preview.PreviewAnswer(np.full((48, 48), 40.0), "", 1.0, 0.8),
        close=lambda: process.append("closed"),
    )
    monkeypatch.setattr(preview, "Preview", lambda: made)
    views = SimpleNamespace(
        centre=lambda: (48.0, 48.0, 3.0 * 4),
        follow=lambda onMove: None,
        showPreview=lambda *given: shown.append(given) or "node",
        removePreview=lambda node: shown.append(None),
    )
    ui = widgets_of(MODULE, "runCollapsibleButton")
    metal, estimates = Metal(Background(), lambda: None), SimpleNamespace(hold=held.append)
    logic = SimpleNamespace(views=views, metal=metal, estimates=estimates)
    return PreviewSection(ui, texts, logic, lambda: None), ui, asked, process, shown, held


def test_a_preview_follows_what_is_chosen(
    texts: Any, ct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process, which begins with the CT; the slice in view, again for another threshold."""
    section, ui, asked, process, shown, held = preview_section(texts, monkeypatch)
    parameters = parameter_node(inputVolume=ct, method="patient")
    section.show(parameters, "")
    assert not ui.previewButton.visible  # it would train first
    parameters.method = "li"
    section.show(parameters, "no CT")
    assert not ui.previewButton.visible
    section.show(parameters, "")
    assert ui.previewButton.visible and process == ["li 3"]
    ui.previewButton.click()
    (first,) = asked
    assert held == [True], "no measurement takes the processor from it"
    assert first[0] == 3 and first[1] is None and first[2].threshold_hu is None
    QTimer.turn()
    assert shown[-1][:2] == (ct, 4) and "0.8 s" in ui.previewLabel.text and not held[-1]
    section.show(parameters, "")
    QTimer.turn()
    assert len(asked) == 1
    parameters.automaticThreshold, parameters.thresholdHu = False, 1800.0
    section.show(parameters, "")
    QTimer.turn()
    assert len(asked) == 2 and asked[1][2].threshold_hu == 1800.0
    ui.previewButton.click()
    assert shown[-1] is None and not ui.previewLabel.text
    section.show(parameters, "")
    assert process == ["li 3"]  # it waits for the next slice
    section.stop()
    assert process == ["li 3", "closed"]
    section.show(parameters, "")
    assert process[2:] == []  # while a correction has the machine
    section.leave()
    section.show(parameters, "")
    assert process[2:] == ["li 3"]  # again in the panel


def test_a_preview_shows_what_apply_will_do_and_ends_with_its_ct(
    texts: Any, ct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    from MetalArtifactReductionLib import mrml

    section, ui, asked, process, shown, _held = preview_section(texts, monkeypatch)
    metal, _found = mrml.propose_metal(ct.GetScene(), ct)
    parameters = parameter_node(inputVolume=ct, metalSegmentation=metal, automaticThreshold=False)
    section.show(parameters, "")
    ui.previewButton.click()
    for hu in (1800.0, 3500.0):  # above all that is in the CT
        parameters.thresholdHu = hu
        section.show(parameters, "")
        QTimer.turn()
        np.testing.assert_array_equal(asked[-1][1], slicer.util.arrayFromVolume(ct)[1:] == 3071)
    QTimer.turn()
    parameters.inputVolume = ct.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Other")
    parameters.inputVolume.CopyContent(ct)
    section.show(parameters, "")
    assert ui.previewButton.checked  # Slicer may be removing the other CT just now
    QTimer.turn()
    assert not ui.previewButton.checked and shown[-1] is None and process[-1] == "closed"


def test_a_preview_ends_where_a_result_or_the_ct_is_shown(
    texts: Any, scene: Any, ct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it stays pressed, is not seen, and takes the map's colours with its next slice."""
    from MetalArtifactReductionLib import mrml
    from MetalArtifactReductionPanel.result_section import ResultSection
    from MetalArtifactReductionPanel.results import Results

    one, other = (
        mrml.correct_node(scene, ct, method="li", device="cpu", show=False).corrected
        for _ in range(2)
    )
    preview, run_ui, *_, shown, _held = preview_section(texts, monkeypatch)
    views = SimpleNamespace(
        show=lambda *_: None, showInput=lambda *_: None, overlayScale=lambda *_: None
    )
    ui = widgets_of(MODULE, "resultCollapsibleButton")
    parameters = parameter_node(inputVolume=ct, method="li", result=one)
    section = ResultSection(
        ui, texts, Results(Background()), views, lambda: parameters, preview.end
    )
    section.show(parameters)

    def choose(result: Any) -> None:
        parameters.result = result
        section.show(parameters)

    for show in (ui.showButton.click, lambda: choose(other), lambda: choose(None)):
        preview.show(parameters, "")
        run_ui.previewButton.click()
        QTimer.turn()
        section.show(parameters)
        assert run_ui.previewButton.checked and shown[-1], "what is shown stays the same"
        show()
        QTimer.turn()
        assert not run_ui.previewButton.checked and shown[-1] is None
