"""The panel's sections "Simulation", "Result" and "Samples"."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .choices import Shown, scanner_options
from .sections import State
from .tools import Tools
from .work import Work


class ResultSection:
    """What came out, and which volume the slice views show.

    :param ui: the section's widgets.
    """

    def __init__(self, ui: Any, work: Work, tools: Tools) -> None:
        self._ui, self._work, self._tools = ui, work, tools
        self._parameters: Any = None
        self._chosen = False
        ui.windowComboBox.connect("activated(int)", self.choose)
        ui.shownComboBox.connect("activated(int)", self.choose)

    def show(self, parameters: Any, state: State) -> None:
        """Remember what is chosen."""
        self._parameters = parameters

    def clear(self) -> None:
        """The scene is gone."""
        self._chosen = False
        self.say("")

    def say(self, *lines: str) -> None:
        """Show rich text, a paragraph each."""
        self._ui.resultLabel.text = "<br>".join(lines)

    def choose(self, _index: Any = None) -> None:
        """The user has chosen a window, or the volume to show."""
        self._chosen = True
        self.onDisplayChanged()

    def onDisplayChanged(self) -> None:
        """Window preset or the volume to show was changed."""
        p = self._parameters
        if p and p.inputVolume:
            views = self._tools.views
            self._work.turns.follow(views.setDisplay(p.inputVolume, p.shown.value, p.window.value))

    def again(self) -> None:
        """The panel is opened: show what it says is shown."""
        p = self._parameters
        if p and (self._chosen or self._tools.hasResults(p.inputVolume)):
            self.onDisplayChanged()

    def take(self, summary: str) -> None:
        """A simulation has ended: say what it did, and show it."""
        self.say(summary)
        p = self._parameters
        if p:
            p.shown = Shown.CORRUPTED
            self.onDisplayChanged()
            placed = self._tools.editing.every()
            self._work.turns.follow(self._tools.views.bringIntoView(placed, p.inputVolume))


class SimulationSection:
    """Scanner and model; starts a simulation.

    :param ui: the section's widgets. :param result: says what came out.
    """

    def __init__(self, ui: Any, work: Work, tools: Tools, result: ResultSection) -> None:
        self._ui, self._work, self._tools, self._result = ui, work, tools, result
        self._parameters: Any = None
        work.connect(ui.voxelizeButton, self.voxelize)
        work.connect(ui.simulateButton, self.simulate)
        ui.acquisitionComboBox.connect("activated(int)", self.onAcquisitionChosen)

    def show(self, parameters: Any, state: State) -> None:
        """What can be done."""
        self._parameters, ui = parameters, self._ui
        ui.voxelizeButton.enabled = ui.simulateButton.enabled = state.ready and state.implants > 0
        physics = bool(parameters) and parameters.model.value == "physics"
        for widget in (
            ui.kvpSlider, ui.kvpSliderLabel, ui.noiseCheckBox, ui.noiseCheckBoxLabel,
            ui.seedSpinBox, ui.seedSpinBoxLabel,
        ):  # fmt: skip
            widget.visible = physics  # the other models know neither beam nor noise
        ui.photonsSlider.visible = physics and parameters.noise

    def onAcquisitionChosen(self, _index: int) -> None:
        """Take tube voltage and dose from the preset."""
        p = self._parameters
        with self._work.said():
            p.kvp, photons = self._tools.simulations.preset(p.acquisition)
            p.noise = photons is not None
            p.photons = p.photons if photons is None else photons

    def voxelize(self) -> Any:
        """Start to lay the metal fraction over the CT."""
        self._result.say("")
        simulations, volume = self._tools.simulations, self._parameters.inputVolume

        def then(nodes: tuple[Any, tuple[str, ...]]) -> None:
            node, warnings = nodes
            self._work.turns.follow(simulations.showFraction(volume, node))
            text = _("Metal fraction laid over the CT: {volume:.2f} cm³.")
            self._result.say(text.format(volume=simulations.millilitres(node)), *warnings)

        return simulations.voxelizeAsync(volume, **self._work.callbacks(then))

    def simulate(self) -> Any:
        """Start a simulation."""
        self._result.say("")
        simulations = self._tools.simulations
        return simulations.simulateAsync(
            self._parameters.inputVolume,
            **scanner_options(self._parameters),
            **self._work.callbacks(lambda nodes: self._result.take(simulations.summary(nodes))),
        )


class SamplesSection:
    """Sampled variants into a folder.

    :param ui: the section's widgets. :param result: says what came out.
    """

    def __init__(self, ui: Any, work: Work, tools: Tools, result: ResultSection) -> None:
        self._ui, self._work, self._tools, self._result = ui, work, tools, result
        self._parameters: Any = None
        work.connect(ui.samplesFolderButton, self.chooseFolder)
        work.connect(ui.samplesButton, self.sample)

    def show(self, parameters: Any, state: State) -> None:
        """What can be done."""
        self._parameters = parameters
        folder = bool(parameters) and bool(parameters.samplesFolder.strip())
        self._ui.samplesButton.enabled = state.ready and folder
        self._ui.samplesFolderButton.enabled = state.free

    def chooseFolder(self) -> None:
        """Ask for a folder."""
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder for the variants"), self._parameters.samplesFolder
        )
        if folder:
            self._parameters.samplesFolder = folder

    def sample(self) -> Any:
        """Start to write variants."""
        self._result.say("")
        p = self._parameters
        return self._tools.simulations.sampleAsync(
            p.inputVolume,
            p.boneSegmentation,
            p.points,
            p.proposal,
            p.samplesFolder,
            count=p.samples,
            samplingSeed=p.samplesSeed,
            randomShare=p.randomShare / 100,
            sides=p.sides.names(),
            lowest=p.lowestLevel,
            **scanner_options(p),
            **self._work.callbacks(self._sampled),
        )

    def _sampled(self, told: Any) -> None:
        text = _("Cases in the folder: {made}.").format(made=told["made"])
        self._result.say(text, *told["reasons"])
