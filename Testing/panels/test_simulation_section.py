"""The section "Simulation" of the implants' panel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from panel_support import widgets_of


def test_beam_and_noise_are_asked_for_where_the_model_knows_them(tools: Any, work: Any) -> None:
    from SimulateImplantsPanel.choices import Model
    from SimulateImplantsPanel.simulation_sections import SimulationSection

    ui = widgets_of("SimulateImplants", "simulationCollapsibleButton")
    section = SimulationSection(ui, work, tools, None)
    state = SimpleNamespace(ready=True, implants=1)
    of_physics = ("kvpSlider", "noiseCheckBox", "photonsSlider", "seedSpinBox", "kvpSliderLabel")
    for model in Model:
        section.show(SimpleNamespace(model=model, noise=True), state)
        seen = {getattr(ui, name).visible for name in of_physics}
        assert seen == {model is Model.PHYSICS}
        assert ui.acquisitionComboBox.visible
