"""The section of the correction's panel that chooses the method."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from MetalArtifactReductionLib.methods import registry
from panel_support import parameter_node, widgets_of

MODULE = "MetalArtifactReduction"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A method of somebody else's, registered for one test."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    entry = replace(
        registry.methods()["li"],
        name="toy",
        label="Toy: does next to nothing",
        explanation="For tests only.",
    )
    registry.register(entry)
    return entry


def method_section(texts: Any, **more: Any) -> tuple[Any, Any]:
    from MetalArtifactReductionPanel import choices
    from MetalArtifactReductionPanel.method_section import MethodSection

    ui = widgets_of(MODULE, "methodCollapsibleButton")
    needs = {
        "methods": choices.methods,
        "problem": choices.method_problem,
        "estimate": lambda volume, options, slices: f"{options.method} for {slices} slices",
        "trainingSlices": lambda metal, volume, above, below: f"{above} and {below}",
    }
    return MethodSection(ui, texts, **{**needs, **more}), ui


def test_a_registered_method_appears_and_can_be_chosen(texts: Any, toy: Any) -> None:
    section, ui = method_section(texts)
    parameters = parameter_node()
    assert section.show(parameters, True, 4) == ""
    assert ui.methodComboBox.currentText == "NMAR"
    ui.methodComboBox.setCurrentText(toy.label)
    assert parameters.method == "toy"
    assert section.show(parameters, True, 4) == ""
    assert ui.methodLabel.text == toy.explanation
    assert ui.estimateLabel.text == "toy for 4 slices"


def test_only_methods_that_correct_are_offered(texts: Any) -> None:
    section, ui = method_section(texts)
    section.show(parameter_node(), True, None)
    labels = [entry.label for entry in registry.methods().values()]
    assert ui.methodComboBox.items == [*labels, "Trained model from a file"]


def test_a_method_that_is_unknown_here_is_said(texts: Any) -> None:
    section, ui = method_section(texts)
    parameters = parameter_node(method="of-another-computer")
    assert "of-another-computer" in section.show(parameters, True, 4)
    assert "Not available" in ui.methodLabel.text
    assert ui.methodComboBox.currentIndex == -1
    assert parameters.method == "of-another-computer"  # showing it changes nothing


def test_what_else_a_method_needs_is_asked_for(texts: Any) -> None:
    section, ui = method_section(texts)
    section.show(parameter_node(method="nmar"), True, 4)
    assert not ui.weightsLineEdit.visible and not ui.slicesAboveSpinBox.visible
    section.show(parameter_node(method="patient"), True, 4)
    assert ui.slicesAboveSpinBox.visible and ui.slicesLabel.text == "11 and 7"
    assert "training" in ui.estimateLabel.text
    assert "no weights file" in section.show(parameter_node(method="file"), True, 4)
    assert ui.weightsLineEdit.visible and ui.estimateLabel.text == "-"


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("NMAR", "nmar"),
        ("PRIOR_STRICT", "prior-strict"),
        ("LINEAR_INTERPOLATION", "li"),
        ("TRACE_CNN", "trace-cnn"),
        ("FILE", "file"),
        ("unet", "unet"),
        ("somebody's_own", "somebody's_own"),
    ],
)
def test_scenes_of_the_first_release_keep_their_method(scene: Any, stored: str, name: str) -> None:
    from MetalArtifactReductionPanel.choices import from_scene

    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    node.SetParameter("method", stored)
    assert from_scene(node).GetParameter("method") == name
