"""Slicer module: the panel and its thin logic. Everything about implants is in SimulateImplantsLib.

Nothing heavy is imported here: Slicer imports this file at startup.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import qt
import slicer
import vtk
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLModelNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from SimulateImplantsPanel import tables
from SimulateImplantsPanel.choices import Kind, Model, Plane, Proposal, Shown, Sides, WindowPreset
from SimulateImplantsPanel.hints import next_step
from SimulateImplantsPanel.jobs import PanelJobs
from SimulateImplantsPanel.logic import SimulateImplantsLogicBase
from SimulateImplantsPanel.sample_data import register_sample_data
from SimulateImplantsPanel.selftest import SimulateImplantsTest

__all__ = [
    "SimulateImplants",
    "SimulateImplantsLogic",
    "SimulateImplantsTest",  # the Reload & Test button and ctest look for it here
    "SimulateImplantsWidget",
]

#
# SimulateImplants
#


class SimulateImplants(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Simulate Implants")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = ["MetalArtifactReduction"]
        self.parent.contributors = ["The MetalArtifactReduction developers"]
        self.parent.helpText = _("""
Places spine screws, rods, hip prostheses and nails on a patient's bones, turns them into voxels,
and simulates the artifacts that they cause in CT, with known truth. Not a clinical planning tool.
""")
        self.parent.acknowledgementText = _("""
Grades of screw placement: Gertzbein and Robbins, Spine 15 (1990).
""")
        slicer.app.connect("startupCompleted()", register_sample_data)


#
# Parameters
#


@parameterNodeWrapper
class SimulateImplantsParameterNode:
    """Everything the user chose; saved with the scene.

    inputVolume - The clean CT.
    boneSegmentation - Its bones.
    boneThresholdHu - Where bone begins when it is found by threshold.
    points - One point in each vertebral body or femoral head, for plain bone.
    lowestLevel - Level of the lowest point when the points are not labelled.
    proposal - What to propose.
    sides - On which sides.
    levels - Which vertebrae; empty for all.
    rods - Whether proposed screws get rods.
    rodDiameter - Diameter of rods in mm.
    variant - 0 for what fits best, or the number of a sampled variant.
    kind - Family of a single implant to add.
    preset - Its size, by the name in the library's table.
    surface - A model node to be used as an implant.
    surfaceMaterial - What it is made of.
    alignedView - Slice view that is turned to an implant.
    alignedPlane - How it is turned.
    model - How artifacts come about.
    acquisition - Preset of the simulated scanner.
    kvp - Tube voltage.
    noise - Whether there is quantum noise.
    photons - Dose: decimal logarithm of the photons of a ray.
    seed - Of the noise.
    device - Where to compute.
    window - Window preset of CT and results.
    shown - Which volume the slice views show.
    samples - How many sampled variants to write.
    samplesSeed - What they follow from.
    randomShare - Percentage of them with random shapes instead of implants.
    samplesFolder - Where they go.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    boneSegmentation: vtkMRMLSegmentationNode
    boneThresholdHu: Annotated[float, WithinRange(50, 600)] = 200
    points: vtkMRMLMarkupsFiducialNode
    lowestLevel: Annotated[
        str, Choice(["S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8"])
    ] = "L5"
    proposal: Proposal = Proposal.SPINE
    sides: Sides = Sides.BOTH
    levels: str = ""
    rods: bool = True
    rodDiameter: Annotated[str, Choice(["4.75", "5.5", "6", "6.35"])] = "5.5"
    variant: Annotated[int, WithinRange(0, 999999)] = 0
    kind: Kind = Kind.PEDICLE_SCREW
    preset: str = "6.5 x 45 mm"
    surface: vtkMRMLModelNode
    surfaceMaterial: Annotated[
        str, Choice(["Ti6Al4V", "cp-Ti", "CoCrMo", "316L", "tantalum", "PEEK", "UHMWPE"])
    ] = "Ti6Al4V"
    alignedView: Annotated[str, Choice(["Red", "Yellow", "Green"])] = "Red"
    alignedPlane: Plane = Plane.ALONG
    model: Model = Model.PHYSICS
    acquisition: Annotated[
        str,
        Choice(
            [
                "reference",
                "low-dose",
                "high-dose",
                "80-kvp",
                "140-kvp",
                "extended-scale",
                "beam-hardening-only",
                "monoenergetic",
                "parallel",
                "wide-field",
            ]
        ),
    ] = "reference"
    kvp: Annotated[float, WithinRange(80, 140)] = 120
    noise: bool = True
    photons: Annotated[float, WithinRange(4, 9)] = 6.6
    seed: Annotated[int, WithinRange(0, 999999)] = 0
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    window: WindowPreset = WindowPreset.BONE
    shown: Shown = Shown.CORRUPTED
    samples: Annotated[int, WithinRange(1, 9999)] = 10
    samplesSeed: Annotated[int, WithinRange(0, 999999)] = 0
    randomShare: Annotated[float, WithinRange(0, 100)] = 0
    samplesFolder: str = ""


#
# SimulateImplantsWidget
#


class SimulateImplantsWidget(PanelJobs, ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Parameter node <-> panel; the logic does the work. What buttons do is in ``PanelJobs``."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._running = False
        self._cancelRequested = False
        self._startTime = 0.0
        self._drawing = False
        self._handle = None
        self._quality: dict[str, Any] = {}
        self._tableTimer = None
        self._presetsOf = None

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SimulateImplants.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SimulateImplantsLogic()
        tables.set_up_implants_table(self.ui.implantsTable)
        self.ui.parametersTable.setHorizontalHeaderLabels([_("Parameter"), _("Value")])
        self.ui.parametersTable.verticalHeader().setDefaultSectionSize(22)
        # While a screw is dragged its row changes many times a second.
        self._tableTimer = qt.QTimer()
        self._tableTimer.setSingleShot(True)
        self._tableTimer.setInterval(100)
        self._tableTimer.connect("timeout()", self._fillTables)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        for button, work in (
            ("spinePhantomButton", lambda: self._addSample("spine")),
            ("pelvisPhantomButton", lambda: self._addSample("pelvis")),
            ("thresholdButton", self._segmentBone),
            ("placePointsButton", self._placePoints),
            ("splitButton", self._splitVertebrae),
            ("proposeButton", self._propose),
            ("addButton", self._add),
            ("drawButton", self._draw),
            ("addSurfaceButton", self._addSurface),
            ("duplicateButton", self._duplicate),
            ("removeButton", self._remove),
            ("rodButton", self._addRod),
            ("crossLinkButton", self._addCrossLink),
            ("measureButton", self._measure),
            ("fitButton", self._fit),
            ("alignButton", self._align),
            ("straightenButton", lambda: self.logic.straighten()),
            ("voxelizeButton", self._voxelize),
            ("simulateButton", self._simulate),
            ("samplesFolderButton", self._chooseFolder),
            ("samplesButton", self._sample),
        ):
            getattr(self.ui, button).connect("clicked(bool)", self._job(work))
        self.ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        self.ui.implantsTable.connect("itemSelectionChanged()", self.onSelectionChanged)
        self.ui.parametersTable.connect("cellChanged(int,int)", self.onParameterEdited)
        for slider, name in (
            ("diameterSlider", "diameter_mm"),
            ("lengthSlider", "length_mm"),
            ("headAngleSlider", "head_angle_deg"),
        ):
            getattr(self.ui, slider).connect(
                "valueChanged(double)", lambda value, name=name: self.onSliderMoved(name, value)
            )
        self.ui.presetComboBox.connect("activated(int)", self.onPresetChosen)
        self.ui.acquisitionComboBox.connect("activated(int)", self.onAcquisitionChosen)
        self.ui.windowComboBox.connect("activated(int)", self.onDisplayChanged)
        self.ui.shownComboBox.connect("activated(int)", self.onDisplayChanged)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the module is reloaded or the application closes."""
        self._cancelRequested = True
        if self._tableTimer is not None:
            self._tableTimer.stop()
        if self.logic is not None:
            self.logic.stopFollowing()
            self.logic.close()
        self.setParameterNode(None)
        self.removeObservers()

    def onReload(self) -> None:
        """Reload the library together with the module."""
        ours = ("SimulateImplantsLib", "SimulateImplantsPanel", "MetalArtifactReductionLib")
        for name in [name for name in sys.modules if name.split(".")[0] in ours]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module; implants go on following."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """A job that still runs must not add its results to the next scene."""
        self._cancelRequested = True
        self._quality = {}
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """If this module is shown, start over at once."""
        for label in ("boneMessageLabel", "implantsMessageLabel", "resultLabel", "statusLabel"):
            getattr(self.ui, label).text = ""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        """A scene was loaded under the open panel: the wrapper still holds the old values."""
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Ensure the parameter node exists and is observed."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            usable = (volume for volume in volumes if not self.logic.inputProblem(volume))
            self._parameterNode.inputVolume = next(usable, None)

    def setParameterNode(self, inputParameterNode: SimulateImplantsParameterNode | None) -> None:
        """Connect the panel to a parameter node, or to none."""
        if self._parameterNode:
            if self._parameterNodeGuiTag is not None:
                self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameterNode = inputParameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            if self._parameterNodeGuiTag is None:
                # Slicer 5.8 keeps the tag to itself. Without it the old connection stays alive
                # and, when combo boxes are filled anew, sets their parameters to the last choice.
                self._parameterNodeGuiTag = max(self._parameterNode._parameterGUIs)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
            if self.logic.follow(self._implantsChanged):
                self._fillTables()
        self._update()

    #
    # What can be done now
    #

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Enable what can be done, and say why not."""
        parameters = self._parameterNode
        volume = parameters.inputVolume if parameters else None
        problem = self.logic.inputProblem(volume)
        self.ui.inputMessageLabel.text = problem if volume else ""
        self.ui.inputMessageLabel.visible = bool(self.ui.inputMessageLabel.text)
        free = bool(parameters) and not self._running
        ready = free and not problem
        if parameters and parameters.kind != self._presetsOf and self.logic.canWork():
            self._fillPresets()
        bone = ready and bool(parameters.boneSegmentation)
        count = self.ui.implantsTable.rowCount
        chosen = len(tables.selected_ids(self.ui.implantsTable))
        for names, enabled in (
            ("spinePhantomButton pelvisPhantomButton", free),
            ("thresholdButton placePointsButton addButton drawButton", ready),
            ("splitButton", bone and bool(parameters.points)),
            ("proposeButton", bone),
            ("addSurfaceButton", ready and bool(parameters.surface)),
            ("duplicateButton removeButton", free and chosen > 0),
            ("rodButton", free and chosen > 1),
            ("crossLinkButton", free and chosen == 2),
            ("alignButton parametersTable", free and chosen == 1),
            ("fitButton", bone and chosen == 1),
            ("measureButton voxelizeButton simulateButton", ready and count > 0),
            ("samplesButton", ready and bool(parameters.samplesFolder.strip())),
            ("straightenButton samplesFolderButton", free),
            ("inputSelector boneSelector implantsTable", not self._running),
            ("photonsSlider", free and parameters.noise),
            ("cancelButton", self._running),
        ):
            for name in names.split():
                getattr(self.ui, name).enabled = enabled
        self.ui.progressBar.visible = self._running
        self.ui.hintLabel.text = "" if self._running else self._nextStep(problem)
        self.ui.hintLabel.visible = bool(self.ui.hintLabel.text)

    def _nextStep(self, problem: str) -> str:
        parameters = self._parameterNode
        if parameters is None:
            return ""
        return next_step(
            ct=not problem,
            bone=self.logic.boneNames(parameters.boneSegmentation),
            spine=parameters.proposal is Proposal.SPINE,
            points=parameters.points.GetNumberOfControlPoints() if parameters.points else 0,
            implants=self.ui.implantsTable.rowCount,
            measured=bool(self._quality),
            simulated=self.logic.hasResults(parameters.inputVolume),
        )

    def _implantsChanged(self, one: Any) -> None:
        """The scene's implants changed, perhaps many times a second."""
        if one is not None and one.line is not None and self._drawing:
            self._drawing = False
            self.ui.implantsMessageLabel.text = ""
        if one is not None and self._quality.pop(one.model.GetID(), None) is not None:
            self.ui.implantsMessageLabel.text = _(
                "{name} was changed after it was measured: Measure again."
            ).format(name=one.name)
        self._tableTimer.start()

    def _fillTables(self) -> None:
        implants = self.logic.implants()
        sizes = [self.logic.sizeText(one) for one in implants]
        tables.fill_implants_table(self.ui.implantsTable, implants, sizes, self._quality)
        self._fillSelected()
        self._update()

    def _selected(self) -> list[Any]:
        return self.logic.implantsById(tables.selected_ids(self.ui.implantsTable))

    def _fillSelected(self) -> None:
        """Sliders and table of the one selected implant."""
        chosen = self._selected()
        one = chosen[0] if len(chosen) == 1 else None
        implant = self.logic.implantOf(one) if one else None
        ranges = self.logic.ranges(implant)
        for slider, name in (
            (self.ui.diameterSlider, "diameter_mm"),
            (self.ui.lengthSlider, "length_mm"),
            (self.ui.headAngleSlider, "head_angle_deg"),
        ):
            fixed = name == "length_mm" and getattr(implant, "path_mm", None)
            slider.enabled = name in ranges and not fixed
            if slider.enabled:
                blocked = slider.blockSignals(True)
                slider.minimum, slider.maximum = ranges[name].minimum, ranges[name].maximum
                slider.singleStep = ranges[name].step
                slider.value = getattr(implant, name)
                slider.blockSignals(blocked)
        tables.fill_parameters_table(self.ui.parametersTable, implant, ranges)

    def _fillPresets(self) -> None:
        """Offer the sizes of the family."""
        self._presetsOf = self._parameterNode.kind
        combo = self.ui.presetComboBox
        names = self.logic.presetNames(self._parameterNode.kind.value)
        blocked = combo.blockSignals(True)
        combo.clear()
        combo.addItems(names)
        if names and self._parameterNode.preset not in names:
            self._parameterNode.preset = names[0]
        combo.setCurrentText(self._parameterNode.preset if names else "")
        combo.enabled = bool(names)
        combo.blockSignals(blocked)

    #
    # Small changes
    #

    def onPresetChosen(self, _index: int) -> None:
        """Remember the size."""
        if self._parameterNode:
            self._parameterNode.preset = self.ui.presetComboBox.currentText

    def onAcquisitionChosen(self, _index: int) -> None:
        """Take tube voltage and dose from the preset."""
        with self._said():
            kvp, photons = self.logic.presetOfScanner(self._parameterNode.acquisition)
            self._parameterNode.kvp = kvp
            self._parameterNode.noise = photons is not None
            if photons is not None:
                self._parameterNode.photons = photons

    def onSelectionChanged(self) -> None:
        """Show handles and parameters of what is selected."""
        with self._said(dialog=False):
            self.logic.showHandlesOf(self._selected())
            self._fillSelected()
            self._update()

    def onSliderMoved(self, name: str, value: float) -> None:
        """Change one parameter of the selected implant."""
        self._edit({name: value})

    def onParameterEdited(self, row: int, column: int) -> None:
        """A value was typed into the table of parameters."""
        name = self.ui.parametersTable.item(row, 0).data(qt.Qt.UserRole)
        text = self.ui.parametersTable.item(row, 1).text()
        chosen = self._selected()
        if column == 1 and len(chosen) == 1:
            now = getattr(self.logic.implantOf(chosen[0]), name)
            self._edit({name: tables.edited_value(text, now)})

    def _edit(self, changes: dict[str, Any]) -> None:
        chosen = self._selected()
        if len(chosen) == 1 and not self._running:
            with self._said(dialog=False):
                self.logic.edit(chosen[0], **changes)
            self._implantsChanged(chosen[0])

    def onDisplayChanged(self, _index: Any = None) -> None:
        """Window preset or the volume to show was changed."""
        parameters = self._parameterNode
        if parameters and parameters.inputVolume:
            with self._said():
                self.logic.setDisplay(
                    parameters.inputVolume, parameters.shown.value, parameters.window.value
                )

    def onCancelButton(self) -> None:
        """The job stops at its next step."""
        self._cancelRequested = True
        if self._handle is not None:
            self._handle.cancel()
        self.ui.statusLabel.text = _("Cancelling...")


#
# SimulateImplantsLogic
#


class SimulateImplantsLogic(SimulateImplantsLogicBase):
    """Supplies Slicer's scene to the library. Usable without the panel::

    logic = SimulateImplantsLogic()
    logic.propose(slicer.util.getNode("CT"), slicer.util.getNode("Bones"), "spine")
    nodes = logic.simulate(slicer.util.getNode("CT"))
    """

    def getParameterNode(self) -> SimulateImplantsParameterNode:
        """The module's parameter node in the current scene."""
        return SimulateImplantsParameterNode(super().getParameterNode())
