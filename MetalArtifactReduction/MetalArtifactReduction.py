"""Slicer module: the panel and its thin logic. Everything about CT is in MetalArtifactReductionLib.

Nothing heavy is imported here: Slicer imports this file at startup.
"""

from __future__ import annotations

import enum
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

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
Not a medical device.
""")
        self.parent.acknowledgementText = _("""
Linear interpolation: Kalender et al., Radiology 164 (1987). NMAR: Meyer et al., Medical Physics 37
(2010).
""")


#
# Parameters
#


class Method(enum.Enum):
    """Methods of the library, by their names there."""

    NMAR = "nmar"
    LINEAR_INTERPOLATION = "li"

    def label(self) -> str:
        """What the panel shows."""
        return {
            Method.NMAR: _("NMAR: keeps bone next to metal"),
            Method.LINEAR_INTERPOLATION: _("Linear interpolation: the baseline"),
        }[self]


class WindowPreset(enum.Enum):
    """Window presets of the library, by their names there."""

    BONE = "bone"
    SOFT_TISSUE = "soft-tissue"
    METAL = "metal"

    def label(self) -> str:
        """What the panel shows."""
        return {
            WindowPreset.BONE: _("Bone"),
            WindowPreset.SOFT_TISSUE: _("Soft tissue"),
            WindowPreset.METAL: _("Metal and streaks"),
        }[self]


@parameterNodeWrapper
class MetalArtifactReductionParameterNode:
    """Everything the user chose; saved with the scene.

    inputVolume - The CT to correct.
    metalSegmentation - The metal; found from the CT if empty.
    automaticThreshold - Whether a proposal takes its threshold from the CT.
    thresholdHu - Where metal begins if not.
    method - How the metal trace is filled.
    device - Where to compute.
    window - Window preset for CT and corrected volume.
    overlayOpacity - Opacity of the change map over the corrected volume.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    metalSegmentation: vtkMRMLSegmentationNode
    automaticThreshold: bool = True
    thresholdHu: Annotated[float, WithinRange(500, 8000)] = 2500
    method: Method = Method.NMAR
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    window: WindowPreset = WindowPreset.BONE
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = 0.5


#
# MetalArtifactReductionWidget
#


class MetalArtifactReductionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Parameter node <-> panel; the logic does the work."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._running = False
        self._cancelRequested = False
        self._startTime = 0.0

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MetalArtifactReduction.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MetalArtifactReductionLogic()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.proposeButton.connect("clicked(bool)", self.onProposeButton)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        self.ui.windowComboBox.connect("activated(int)", self.onDisplayChanged)
        self.ui.overlaySlider.connect("valueChanged(double)", self.onDisplayChanged)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the module is reloaded or the application closes."""
        self._cancelRequested = True
        self.setParameterNode(None)
        self.removeObservers()

    def onReload(self) -> None:
        """Reload the library together with the module."""
        ours = ("MetalArtifactReductionLib", "MetalArtifactReductionPanel")
        for name in [name for name in sys.modules if name.split(".")[0] in ours]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module; a running job goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """A job that still runs must not add its results to the next scene."""
        self._cancelRequested = True
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """If this module is shown, start over at once."""
        self.ui.resultLabel.text = ""
        self.ui.metalMessageLabel.text = ""
        self.ui.statusLabel.text = ""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Ensure the parameter node exists and is observed."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            usable = (volume for volume in volumes if not self.logic.inputProblem(volume))
            self._parameterNode.inputVolume = next(usable, None)

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
        """Show what can be done now."""
        parameters = self._parameterNode
        volume = parameters.inputVolume if parameters else None
        problem = self.logic.inputProblem(volume)
        self.ui.inputMessageLabel.text = problem if volume else ""
        self.ui.inputMessageLabel.visible = bool(self.ui.inputMessageLabel.text)
        ready = bool(parameters) and not problem and not self._running
        self.ui.applyButton.enabled = ready
        self.ui.applyButton.toolTip = problem or _(
            "Correct the CT and add the results to the scene."
        )
        self.ui.proposeButton.enabled = ready
        self.ui.cancelButton.enabled = self._running
        self.ui.progressBar.visible = self._running
        automatic = parameters.automaticThreshold if parameters else True
        self.ui.thresholdSlider.enabled = not automatic and not self._running
        for name in ("inputSelector", "metalSelector", "methodComboBox", "deviceComboBox"):
            getattr(self.ui, name).enabled = not self._running
        self.ui.automaticThresholdCheckBox.enabled = not self._running

    def onProposeButton(self) -> None:
        """Find the metal and select it, so that Apply uses what the user sees."""
        parameters = self._parameterNode
        earlier = parameters.metalSegmentation
        if not self.logic.isProposal(earlier, parameters.inputVolume):
            earlier = None  # never draw over a segmentation that the user brought
        with self._job(_("Looking for metal...")):
            node, summary, thresholdHu = self.logic.proposeMetal(
                parameters.inputVolume,
                thresholdHu=None if parameters.automaticThreshold else parameters.thresholdHu,
                into=earlier,
            )
            parameters.metalSegmentation = node
            parameters.thresholdHu = thresholdHu
            self.ui.metalMessageLabel.text = summary
            self.ui.statusLabel.text = ""

    def onApplyButton(self) -> None:
        """Run the correction; the panel stays alive through the progress callback."""
        parameters = self._parameterNode
        with self._job(_("Starting...")):
            nodes = self.logic.correct(
                parameters.inputVolume,
                parameters.metalSegmentation,
                parameters.method.value,
                device=parameters.device,
                progress=self._onProgress,
                cancel=lambda: self._cancelRequested,
            )
            if not parameters.metalSegmentation:
                parameters.metalSegmentation = nodes.metal
            self.ui.resultLabel.text = self.logic.resultSummary(nodes)
            seconds = time.monotonic() - self._startTime
            self.ui.statusLabel.text = _("Done in {seconds:.0f} s.").format(seconds=seconds)
            self.onDisplayChanged()

    def onCancelButton(self) -> None:
        """The job stops at its next slice."""
        self._cancelRequested = True
        self.ui.statusLabel.text = _("Cancelling...")

    def onDisplayChanged(self, _value: Any = None) -> None:
        """Window preset or overlay opacity were changed."""
        if self._parameterNode and self._parameterNode.inputVolume:
            self.logic.setDisplay(
                self._parameterNode.inputVolume,
                self._parameterNode.window.value,
                self._parameterNode.overlayOpacity,
            )

    def _onProgress(self, fraction: float, message: str) -> None:
        self.ui.progressBar.value = round(100 * fraction)
        elapsed = time.monotonic() - self._startTime
        if not self._cancelRequested and fraction > 0.05:
            left = elapsed / fraction * (1 - fraction)
            message = _("{message} (about {left:.0f} s left)").format(message=message, left=left)
        if not self._cancelRequested:
            self.ui.statusLabel.text = message
        slicer.app.processEvents()

    @contextmanager
    def _job(self, message: str) -> Iterator[None]:
        """Panel busy while the block runs; what goes wrong is said in words."""
        from MetalArtifactReductionLib.errors import Cancelled, MARError

        self._running = True
        self._cancelRequested = False
        self._startTime = time.monotonic()
        self.ui.progressBar.value = 0
        self.ui.statusLabel.text = message
        self._update()
        slicer.app.processEvents()
        try:
            yield
        except Cancelled:
            self.ui.statusLabel.text = _("Cancelled; nothing was added.")
        except MARError as error:
            self.ui.statusLabel.text = str(error)
            slicer.util.errorDisplay(str(error))
        except Exception as error:
            logging.exception("Metal artifact reduction failed")
            self.ui.statusLabel.text = str(error)
            slicer.util.errorDisplay(_("Failed: {error}\nSee the error log.").format(error=error))
        finally:
            self._running = False
            self._update()


#
# MetalArtifactReductionLogic
#


class MetalArtifactReductionLogic(ScriptedLoadableModuleLogic):
    """Supplies Slicer's scene to the library. Usable without the panel::

    nodes = MetalArtifactReductionLogic().correct(slicer.util.getNode("CT"))
    nodes.corrected, nodes.change_map, nodes.metal
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self) -> MetalArtifactReductionParameterNode:
        """The module's parameter node in the current scene."""
        return MetalArtifactReductionParameterNode(super().getParameterNode())

    def inputProblem(self, volumeNode: vtkMRMLScalarVolumeNode | None) -> str:
        """Why a volume cannot be corrected, in one line; "" if nothing is known against it."""
        from MetalArtifactReductionLib.errors import InputError
        from MetalArtifactReductionLib.mrml import require_scalar_volume

        try:
            require_scalar_volume(volumeNode)
        except InputError as error:
            return str(error)
        return ""

    def isProposal(self, segmentationNode: Any, volumeNode: Any) -> bool:
        """Whether a segmentation was proposed for this volume."""
        from MetalArtifactReductionLib.mrml import results_of

        if not segmentationNode or not volumeNode:
            return False
        return segmentationNode in results_of(slicer.mrmlScene, volumeNode, "metal")

    def proposeMetal(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        thresholdHu: float | None = None,
        into: vtkMRMLSegmentationNode | None = None,
    ) -> tuple[vtkMRMLSegmentationNode, str, float]:
        """Find the metal in a CT.

        :param thresholdHu: where metal begins; from the CT if None.
        :param into: an earlier proposal to replace.
        :returns: segmentation node, one line about it, threshold in HU.
        """
        self.ensureDependencies()
        from MetalArtifactReductionLib.mrml import propose_metal

        node, found = propose_metal(
            slicer.mrmlScene, volumeNode, threshold_hu=thresholdHu, into=into
        )
        parts = sum(component.kept for component in found.components)
        summary = _("{parts} parts, {volume:.1f} cm³, above {threshold:.0f} HU").format(
            parts=parts, volume=found.volume_mm3 / 1000, threshold=found.threshold_hu
        )
        return node, summary, found.threshold_hu

    def correct(
        self,
        volumeNode: vtkMRMLScalarVolumeNode,
        metalSegmentation: vtkMRMLSegmentationNode | None = None,
        method: str = "nmar",
        *,
        device: str = "auto",
        progress: Callable[[float, str], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Any:
        """Reduce the metal artifacts of a CT; waits until it is done.

        :param metalSegmentation: the metal; found from the CT if None.
        :param method: "nmar" or "li".
        :param device: "auto", "cpu", "cuda" or "mps".
        :param progress: called with the fraction done and a message.
        :param cancel: asked between batches of slices; True stops, and nothing is added.
        :param options: see ``MetalArtifactReductionLib.mrml.correct_node``.
        :returns: ``CorrectedNodes``: corrected, change_map, metal, ...
        """
        self.ensureDependencies()
        from MetalArtifactReductionLib.mrml import correct_node

        return correct_node(
            slicer.mrmlScene,
            volumeNode,
            metalSegmentation,
            method,
            device=device,
            progress=progress,
            cancel=cancel,
            **options,
        )

    def resultSummary(self, nodes: Any) -> str:
        """What a correction did, as rich text."""
        facts = nodes.facts()
        rows = (
            (_("Corrected slices"), "{slices_changed} / {slices}"),
            (_("Metal"), "{metal_cm3:.1f} cm³"),
            (_("Mean change outside metal"), "{mean_change_hu:.0f} HU"),
            (_("99 % of the changes are below"), "{p99_change_hu:.0f} HU"),
        )
        cells = "".join(
            f"<tr><td>{name}:&nbsp;</td><td>{value.format(**facts)}</td></tr>"
            for name, value in rows
        )
        return f"<table>{cells}</table>"

    def setDisplay(self, volumeNode: Any, window: str, overlayOpacity: float) -> None:
        """Show a CT and its corrections in one window, and the change maps this opaque."""
        from MetalArtifactReductionLib.mrml import apply_window, results_of, set_overlay_opacity

        for node in [volumeNode, *results_of(slicer.mrmlScene, volumeNode, "corrected")]:
            apply_window(node, window)
        for node in results_of(slicer.mrmlScene, volumeNode, "change"):
            set_overlay_opacity(slicer.mrmlScene, node, overlayOpacity)

    def ensureDependencies(self) -> None:
        """Install the Python packages that are missing, after asking; when work starts only."""
        from MetalArtifactReductionPanel.installation import ensure_dependencies

        ensure_dependencies(Path(__file__).parent / "Resources")
