"""Panels without Qt: sections on stand-ins for their widgets, with real MRML scenes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import panel_support
from MetalArtifactReductionLib import mrml


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scene that the panels take for Slicer's."""
    pytest.importorskip("slicer", reason="the package slicer-core is not installed")
    scene = mrml.headless_scene()
    panel_support.install(monkeypatch, scene)
    return scene


@pytest.fixture
def texts(scene: Any) -> Any:
    """Of the correction's panel."""
    from MetalArtifactReductionPanel.texts import Texts

    return Texts(panel_support.QLabel())


@pytest.fixture
def ct(scene: Any) -> Any:
    """A water cylinder with two metal rods in four of six slices."""
    import slicer

    z, y, x = np.mgrid[:6, :48, :48]
    hu = np.where((x - 24) ** 2 + (y - 24) ** 2 < 20**2, 40.0, -1000.0)
    for column in (14, 34):
        hu[(z > 0) & (z < 5) & ((x - column) ** 2 + (y - 24) ** 2 < 5)] = 3071.0
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(node, hu.astype(np.int16))
    node.SetSpacing(2.0, 2.0, 3.0)
    return node


@pytest.fixture
def tools(scene: Any) -> Any:
    from SimulateImplantsPanel.tools import Tools

    tools = Tools()
    yield tools
    tools.close()


@pytest.fixture
def work(scene: Any) -> Any:
    from SimulateImplantsPanel.work import Work

    ui = panel_support.widgets_of("SimulateImplants", "simulationCollapsibleButton")
    ui.simulateButton.enabled = True  # as its section does
    return Work(ui, lambda: None, lambda: None)


@pytest.fixture
def sections(tools: Any, work: Any) -> Any:
    """List of implants, "Add" and "Selected" on the scene, wired as the panel does it."""
    from SimulateImplantsPanel.implant_sections import AddSection, ImplantsSection, SelectedSection

    uis = {
        name: panel_support.widgets_of("SimulateImplants", f"{name}CollapsibleButton")
        for name in ("implants", "add", "selected")
    }
    implants = ImplantsSection(uis["implants"], work, tools, lambda: selected.fill())
    add = AddSection(uis["add"], work, tools, implants)
    selected = SelectedSection(uis["selected"], work, tools, implants, implants.changed)
    assert tools.follow(implants.changed)
    return SimpleNamespace(implants=implants, add=add, selected=selected, **{
        f"{name}_ui": ui for name, ui in uis.items()
    })  # fmt: skip
