"""Slicer module: the panel and its thin logic. Everything about CT is in MetalArtifactReductionLib.

Nothing heavy is imported here: Slicer imports this file at startup.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import slicer
from slicer import vtkMRMLMarkupsLineNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MetalArtifactReductionPanel.background import BackgroundJobs
from MetalArtifactReductionPanel.choices import (
    MetalMethod,
    Overlay,
    Views,
    WindowPreset,
    correction_asked,
    from_scene,
    method_problem,
    methods,
)
from MetalArtifactReductionPanel.estimates import Estimates
from MetalArtifactReductionPanel.figures_section import FiguresSection
from MetalArtifactReductionPanel.input_section import InputSection
from MetalArtifactReductionPanel.inputs import Inputs
from MetalArtifactReductionPanel.metal_section import MetalSection
from MetalArtifactReductionPanel.method_section import MethodSection
from MetalArtifactReductionPanel.parameters import ParameterLink
from MetalArtifactReductionPanel.preview_section import PreviewSection
from MetalArtifactReductionPanel.result_section import ResultSection
from MetalArtifactReductionPanel.run_section import RunSection
from MetalArtifactReductionPanel.selftest import MetalArtifactReductionTest
from MetalArtifactReductionPanel.texts import Texts
from MetalArtifactReductionPanel.turns import Turns

__all__ = ["MetalArtifactReductionTest"]  # the Reload & Test button and ctest look for it here

_LONG_TO_LOAD = (
    *("scipy.ndimage", "packaging.requirements", "MetalArtifactReductionLib.mrml"),
    *(f"MetalArtifactReductionPanel.{name}" for name in ("metal", "results", "scene_views")),
)
_RESOURCES = Path(__file__).parent / "Resources"
DOCUMENTATION = "https://github.com/MetalArtifactReduction/SlicerMetalArtifactReduction#readme"


class MetalArtifactReduction(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Metal Artifact Reduction")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.contributors = ["The MetalArtifactReduction developers"]
        self.parent.helpText = _("""
Reduces the streaks and shadows around metal implants in a reconstructed CT. The metal is found or
taken from a segmentation, the rays through it are replaced in the re-projected slices, and the
slices are reconstructed again. The original is kept; a map shows everything that was changed.
Slicer stays usable meanwhile. Not a medical device: next to metal, a corrected image may lose or
invent structures.
""")
        self.parent.helpText += _('<p>More in the <a href="{url}">documentation</a>.</p>').format(
            url=DOCUMENTATION
        )
        self.parent.acknowledgementText = _("""
Linear interpolation: Kalender et al., Radiology 164 (1987). NMAR: Meyer et al., Medical Physics 37
(2010).
""")


@parameterNodeWrapper
class MetalArtifactReductionParameterNode:
    """Everything the user chose; saved with the scene.

    inputVolume - The CT to correct.
    metalSegmentation - The metal; found from the CT if empty.
    metalMethod - How a proposal finds where metal begins.
    automaticThreshold - Whether a proposal takes its threshold from the CT.
    thresholdHu - Where metal begins if not.
    includeSurface - Whether small metal on the skin counts.
    method - How the metal trace is filled: a name of the library's methods, or "file".
    weightsFile - Trained weights for the method "file".
    slicesAbove - Slices above the metal for training on this patient.
    slicesBelow - Slices below the metal for training on this patient.
    device - Where to compute.
    always - Whether slices without streaks are corrected, too.
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
    includeSurface: bool = False
    method: str = "nmar"
    weightsFile: str = ""
    slicesAbove: Annotated[int, WithinRange(0, 100)] = 11
    slicesBelow: Annotated[int, WithinRange(0, 100)] = 11
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    always: bool = False
    result: vtkMRMLScalarVolumeNode
    views: Views = Views.COMPARISON
    window: WindowPreset = WindowPreset.SOFT_TISSUE
    overlay: Overlay = Overlay.CHANGE
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = 0.5
    profileLine: vtkMRMLMarkupsLineNode


class MetalArtifactReductionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Wires the panel's sections to each other, to the parameter node and to the logic."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.parameters: Any = None  # until the sections are there

    @property
    def _parameterNode(self) -> Any:
        return self.parameters and self.parameters.node

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MetalArtifactReduction.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MetalArtifactReductionLogic()
        slicer.app.connect("aboutToQuit()", self._onQuit)
        self.texts = Texts(self.ui.statusLabel)
        self._loading = Turns()
        self._loading.said = self.texts.said
        uiWidget.enabled = False  # nothing can be chosen that the sections would not hear of
        self._loading.load(_LONG_TO_LOAD, partial(self._setUpSections, uiWidget))

    def _setUpSections(self, uiWidget: Any) -> None:
        ui, logic, part, texts = self.ui, self.logic, slicer.util.childWidgetVariables, self.texts
        logic.jobs.onPoll = self._onPoll
        logic.views.turns.said = partial(texts.said, ui.statusLabel)
        self.input = InputSection(
            part(ui.inputCollapsibleButton), texts, logic.inputs.check, self._begin
        )
        self.metal = MetalSection(
            part(ui.metalCollapsibleButton),
            texts,
            metal=logic.metal,
            views=logic.views,
            current=logic.getParameterNode,
            onChange=self._update,
        )
        self.method = MethodSection(
            part(ui.methodCollapsibleButton),
            texts,
            methods=methods,
            problem=method_problem,
            estimate=logic.estimates.text,
            trainingSlices=logic.metal.trainingSlices,
        )
        run, result = part(ui.runCollapsibleButton), part(ui.resultCollapsibleButton)
        self.run = RunSection(run, texts, logic.jobs, self._correct, self._onCorrected)
        self.preview = PreviewSection(run, texts, logic, self._update)
        self.result = ResultSection(
            result, texts, logic.results, logic.views, logic.getParameterNode, self.preview.end
        )
        self.figures = FiguresSection(result, texts, logic.results, logic.views, self)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.parameters = ParameterLink(ui, self, self._update)
        uiWidget.enabled = True
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the module is reloaded or the application closes."""
        slicer.app.disconnect("aboutToQuit()", self._onQuit)
        self._onQuit()

    def _onQuit(self) -> None:
        """No process, no file and no editor may outlive the panel."""
        if self.logic is not None:
            self._loading.clear()
            if self.parameters:
                self._putAway()
                self.logic.views.turns.clear()
            self.logic.close()
        self.removeObservers()

    def _putAway(self) -> None:
        """End what only makes sense while the panel shows this scene."""
        self.result.stopFlicker()
        self.preview.leave()
        self.metal.stopEditing()
        self.parameters.connect(None)
        self.logic.views.turns.clear()
        self.logic.views.giveBack()

    def onReload(self) -> None:
        """Reload the library together with the module."""
        ours = ("MetalArtifactReductionLib", "MetalArtifactReductionPanel")
        for name in [name for name in sys.modules if name.split(".")[0] in ours]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Called each time the user opens this module."""
        if self.parameters:
            self.initializeParameterNode()

    def exit(self) -> None:
        """Called each time the user opens a different module; running jobs go on."""
        if self.parameters:
            self._putAway()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """The jobs of this scene end by themselves: the library sees to that."""
        self._putAway()

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """If this module is shown, start over at once."""
        for section in (self.metal, self.run, self.result, self.figures):
            section.clear()
        self.initializeParameterNode()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        """A scene was loaded under the open panel: the wrapper still holds the old values."""
        self.parameters.connect(None)
        self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Ensure the parameter node exists and is observed, while the panel is shown."""
        if not self.parent.isEntered:
            return
        self.parameters.connect(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = self.logic.inputs.firstUsable()
        self.logic.views.again()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Show what can be done now, and say why not."""
        parameters = self._parameterNode
        problem = self.input.show(parameters)
        ready = bool(parameters) and not problem
        elsewhere = self.metal.show(parameters, ready)
        unusable = self.method.show(parameters, ready, self.metal.slicesWithMetal())
        problem = problem or elsewhere or unusable
        self.run.show(parameters, problem)
        self.preview.show(parameters, problem)
        self.figures.show(parameters, self.result.show(parameters))

    def _onPoll(self) -> None:
        """Jobs moved on."""
        self.run.showJobs()
        if self._parameterNode and self.logic.jobs.idle:
            self._update()

    def _correct(self, onEnd: Callable[[Any], None]) -> None:
        """Add a correction to the queue, as the panel says it."""
        onEnd = self.metal.begin(onEnd)
        self.preview.stop()
        p = self._parameterNode
        self.logic.correctAsync(
            p.inputVolume, p.metalSegmentation, onEnd=onEnd, **correction_asked(p)
        )
        self.logic.views.prepare()

    def _begin(self, parameters: Any) -> None:
        """Another CT is chosen."""
        self.logic.inputs.begin(parameters)
        self._fold(parameters.result is not None)

    def _fold(self, done: bool) -> None:
        """Room for the result once there is one: what led to it is done."""
        ui = self.ui
        for one in (ui.metalCollapsibleButton, ui.methodCollapsibleButton):
            one.collapsed = done
        ui.resultCollapsibleButton.collapsed = not done

    def _onCorrected(self, nodes: Any) -> None:
        """A correction ended well: select and show its result."""
        if self.result.take(nodes) is not None:
            self._fold(True)


class MetalArtifactReductionLogic(ScriptedLoadableModuleLogic):
    """Supplies Slicer's scene to the library. Usable without the panel::

    nodes = MetalArtifactReductionLogic().correct(slicer.util.getNode("CT"))
    nodes.corrected, nodes.change_map, nodes.metal
    job = MetalArtifactReductionLogic().correctAsync(slicer.util.getNode("CT"), onEnd=print)
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.jobs = BackgroundJobs()
        self.estimates = Estimates(self.jobs, _RESOURCES)
        self.inputs = Inputs(lambda: self.views)

    @cached_property
    def metal(self) -> Any:
        """Finds and lists the metal: ``Metal``."""
        from MetalArtifactReductionPanel.metal import Metal

        return Metal(self.jobs, self.ensureDependencies)

    @cached_property
    def views(self) -> Any:
        """Shows CTs and results: ``SceneViews``."""
        from MetalArtifactReductionPanel.scene_views import SceneViews

        return SceneViews()

    @cached_property
    def results(self) -> Any:
        """Measures and exports results: ``Results``."""
        from MetalArtifactReductionPanel.results import Results

        return Results(self.jobs)

    def getParameterNode(self) -> MetalArtifactReductionParameterNode:
        """The module's parameter node in the current scene."""
        return MetalArtifactReductionParameterNode(from_scene(super().getParameterNode()))

    def ensureDependencies(self, method: str = "") -> None:
        """Install the Python packages that ``method`` misses, after asking; when work starts."""
        from MetalArtifactReductionPanel.installation import ensure_dependencies

        ensure_dependencies(_RESOURCES, method)

    def close(self) -> None:
        """End every process, remove every temporary file."""
        self.jobs.close()
        self.estimates.close()

    def correct(
        self,
        volumeNode: Any,
        metalSegmentation: Any = None,
        method: str = "",
        *,
        options: Any = None,
        **more: Any,
    ) -> Any:
        """Reduce the metal artifacts of a CT; waits until it is done.

        :param metalSegmentation: the metal; found from the CT if None.
        :param method: a name of the library's methods, or the path of a weights file.
        :param options: ``CorrectionOptions``; :param more: single ones that go before them, and
            what else ``MetalArtifactReductionLib.mrml.correct_node`` takes.
        :returns: ``CorrectedNodes``: corrected, change_map, metal, ...
        """
        self.ensureDependencies(method or getattr(options, "method", ""))
        from MetalArtifactReductionLib.mrml import correct_node

        return correct_node(
            slicer.mrmlScene, volumeNode, metalSegmentation, method, options=options, **more
        )

    def correctAsync(
        self,
        volumeNode: Any,
        metalSegmentation: Any = None,
        method: str = "",
        *,
        options: Any = None,
        onProgress: Callable[[Any], None] | None = None,
        onEnd: Callable[[Any], None] | None = None,
        **more: Any,
    ) -> Any:
        """As :meth:`correct`, in a process of its own; returns at once.

        :param onProgress, onEnd: called with the handle, in Slicer's own thread.
        :returns: job handle: ``done``, ``nodes``, ``error``, ``cancel()``, ``result()``.
        """
        self.ensureDependencies(method or getattr(options, "method", ""))
        self.estimates.cancel()
        more |= {"options": options, "on_progress": onProgress, "on_end": onEnd}
        handle = self.jobs.queue.correct(volumeNode, metalSegmentation, method, **more)
        return self.jobs.started(handle)
