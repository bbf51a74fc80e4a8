"""Slicer module: the panel and its thin logic. Everything about CT is in MetalArtifactReductionLib.

Nothing heavy is imported here: Slicer imports this file at startup.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import slicer
import vtk
from slicer import vtkMRMLMarkupsLineNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from MetalArtifactReductionPanel import tables
from MetalArtifactReductionPanel.choices import MetalMethod, Method, Overlay, Views, WindowPreset
from MetalArtifactReductionPanel.editing import MetalEditor
from MetalArtifactReductionPanel.logic import MetalArtifactReductionLogicBase
from MetalArtifactReductionPanel.metal_section import PanelMetal
from MetalArtifactReductionPanel.result_section import PanelResults
from MetalArtifactReductionPanel.run_section import PanelRuns
from MetalArtifactReductionPanel.selftest import MetalArtifactReductionTest

__all__ = [
    "MetalArtifactReduction",
    "MetalArtifactReductionLogic",
    "MetalArtifactReductionTest",  # the Reload & Test button and ctest look for it here
    "MetalArtifactReductionWidget",
]

#
# MetalArtifactReduction
#


class MetalArtifactReduction(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Metal Artifact Reduction")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MetalArtifactReduction developers"]
        self.parent.helpText = _("""
Reduces the streaks and shadows around metal implants in a reconstructed CT. The metal is found or
taken from a segmentation, the rays through it are replaced in the re-projected slices, and the
slices are reconstructed again. The original is kept; a map shows everything that was changed.
Slicer stays usable meanwhile. Not a medical device: next to metal, a corrected image may lose or
invent structures.
""")
        self.parent.acknowledgementText = _("""
Linear interpolation: Kalender et al., Radiology 164 (1987). NMAR: Meyer et al., Medical Physics 37
(2010).
""")


#
# Parameters
#


@parameterNodeWrapper
class MetalArtifactReductionParameterNode:
    """Everything the user chose; saved with the scene.

    inputVolume - The CT to correct.
    metalSegmentation - The metal; found from the CT if empty.
    metalMethod - How a proposal finds where metal begins.
    automaticThreshold - Whether a proposal takes its threshold from the CT.
    thresholdHu - Where metal begins if not.
    method - How the metal trace is filled.
    weightsFile - Trained weights for the method "file".
    slicesAbove - Slices above the metal for training on this patient.
    slicesBelow - Slices below the metal for training on this patient.
    device - Where to compute.
    result - Corrected volume to look at.
    views - Layout of the views.
    window - Window preset for CT and corrected volume.
    overlay - Map over the result.
    overlayOpacity - Opacity of the map.
    profileLine - Line along which HU are plotted.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    metalSegmentation: vtkMRMLSegmentationNode
    metalMethod: MetalMethod = MetalMethod.THRESHOLD
    automaticThreshold: bool = True
    thresholdHu: Annotated[float, WithinRange(500, 8000)] = 2500
    method: Method = Method.NMAR
    weightsFile: str = ""
    slicesAbove: Annotated[int, WithinRange(0, 100)] = 11
    slicesBelow: Annotated[int, WithinRange(0, 100)] = 11
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    result: vtkMRMLScalarVolumeNode
    views: Views = Views.COMPARISON
    window: WindowPreset = WindowPreset.BONE
    overlay: Overlay = Overlay.CHANGE
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = 0.5
    profileLine: vtkMRMLMarkupsLineNode


#
# MetalArtifactReductionWidget
#


class MetalArtifactReductionWidget(
    PanelMetal, PanelRuns, PanelResults, ScriptedLoadableModuleWidget, VTKObservationMixin
):
    """Parameter node <-> panel; the logic does the work. Each section has its own mixin."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._editor = None
        self._proposal = None
        self._fitTimer = None
        self._fitAgain = False
        self._chosen: Any = None
        self._parts: tuple[Any, ...] = ()
        self._partsOf: Any = None
        self._flicker = None
        self._flickerTimer = None
        self._followTimer = None
        self._shownResult = None
        self._followed: list[Any] = []

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MetalArtifactReduction.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MetalArtifactReductionLogic()
        self.logic.onPoll = self._onPoll
        self._editor = MetalEditor(self.ui.editorFrame.layout())
        tables.set_titles(self.ui)
        self._setUpTexts()
        self._setUpResults()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.ui.proposeButton.connect("clicked(bool)", lambda _on: self.onProposeButton())
        self.ui.editButton.connect("toggled(bool)", self.onEditButton)
        self.ui.partsTable.connect("itemSelectionChanged()", self.onPartSelected)
        self.ui.weightsButton.connect("clicked(bool)", lambda _on: self.onWeightsButton())
        self.ui.applyButton.connect("clicked(bool)", lambda _on: self.onApplyButton())
        self.ui.cancelButton.connect("clicked(bool)", lambda _on: self.onCancelButton())
        self.ui.viewsComboBox.connect("activated(int)", lambda _index: self.onShowButton())
        self.ui.overlayComboBox.connect("activated(int)", lambda _index: self.onShowButton())
        self.ui.windowComboBox.connect("activated(int)", self.onDisplayChanged)
        self.ui.overlaySlider.connect("valueChanged(double)", self.onDisplayChanged)
        self.ui.showButton.connect("clicked(bool)", lambda _on: self.onShowButton())
        self.ui.flickerButton.connect("toggled(bool)", self.onFlickerButton)
        self.ui.measureButton.connect("clicked(bool)", lambda _on: self.onMeasureButton())
        self.ui.lineButton.connect("clicked(bool)", lambda _on: self.onLineButton())
        self.ui.regionButton.connect("clicked(bool)", lambda _on: self.onRegionButton())
        self.ui.reportButton.connect("clicked(bool)", lambda _on: self.onReportButton())
        self.ui.exportButton.connect("clicked(bool)", lambda _on: self.onExportButton())
        slicer.app.connect("aboutToQuit()", self._onQuit)
        self.initializeParameterNode()

    def fitWidth(self) -> None:
        """Nothing may be cut off: the panel is at least as wide as what it holds."""
        area = self.ui.scrollArea
        contents = self.ui.scrollAreaContents.minimumSizeHint.width()
        area.setMinimumWidth(contents + area.verticalScrollBar().sizeHint.width() + 2)
        self._fitTimer.start()

    def cleanup(self) -> None:
        """Called when the module is reloaded or the application closes."""
        slicer.app.disconnect("aboutToQuit()", self._onQuit)
        self._onQuit()

    def _onQuit(self) -> None:
        """No process, no file and no editor may outlive the panel."""
        self._putAway()
        if self.logic is not None:
            self.logic.close()
        self.removeObservers()

    def _putAway(self) -> None:
        """End what only makes sense while the panel shows this scene."""
        if self.logic is not None:
            self._stopFlicker()
            self._stopEditing()
        self.setParameterNode(None)

    def onReload(self) -> None:
        """Reload the library together with the module."""
        ours = ("MetalArtifactReductionLib", "MetalArtifactReductionPanel")
        for name in [name for name in sys.modules if name.split(".")[0] in ours]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        self.fitWidth()

    def exit(self) -> None:
        """Called each time the user opens a different module; running jobs go on."""
        self._putAway()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """The jobs of this scene end by themselves: the library sees to that."""
        self._proposal = None
        self._putAway()

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """If this module is shown, start over at once."""
        for name in (
            "overlayLabel",
            "resultLabel",
            "metalMessageLabel",
            "statusLabel",
            "exportLabel",
        ):
            self._say(getattr(self.ui, name), "")
        for handle in self.logic.jobHandles():
            self.logic.jobs.forget(handle)
        self._showJobs()
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
            self._parameterNode.inputVolume = self.logic.firstUsableVolume()

    def setParameterNode(
        self, inputParameterNode: MetalArtifactReductionParameterNode | None
    ) -> None:
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
        self._update()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Show what can be done now, and say why not."""
        if self.logic is None:
            return
        parameters = self._parameterNode
        chosen = parameters and (
            parameters.inputVolume,
            parameters.metalSegmentation,
            parameters.method,
        )
        if chosen != self._chosen and self.logic.jobs.idle:
            self._say(self.ui.statusLabel, "")  # it was about another choice
        self._chosen = chosen
        problem = self._showInput().problem
        ready = bool(parameters) and not problem
        self._showParts()
        unusable = self._showMethod(ready)
        self.ui.applyButton.enabled = ready and not unusable
        self.ui.applyButton.toolTip = (
            problem or unusable or _("Correct the CT in the background and add the results.")
        )
        self.ui.proposeButton.enabled = ready and self._proposal is None
        self.ui.editButton.enabled = ready
        automatic = parameters.automaticThreshold if parameters else True
        self.ui.thresholdSlider.enabled = not automatic
        self.ui.metalMethodComboBox.enabled = automatic
        self._showJobs()
        self._showResultSection()

    def _onPoll(self) -> None:
        """Jobs moved on."""
        self._showJobs()
        parameters = self._parameterNode
        if parameters and self.logic.jobs.idle:
            self._update()


#
# MetalArtifactReductionLogic
#


class MetalArtifactReductionLogic(MetalArtifactReductionLogicBase):
    """Supplies Slicer's scene to the library. Usable without the panel::

    nodes = MetalArtifactReductionLogic().correct(slicer.util.getNode("CT"))
    nodes.corrected, nodes.change_map, nodes.metal
    job = MetalArtifactReductionLogic().correctAsync(slicer.util.getNode("CT"), onEnd=print)
    """

    def getParameterNode(self) -> MetalArtifactReductionParameterNode:
        """The module's parameter node in the current scene."""
        return MetalArtifactReductionParameterNode(super().getParameterNode())
