"""Slicer module: the panel and its thin logic. Everything about implants is in SimulateImplantsLib.

Nothing heavy is imported here: Slicer imports this file at startup.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import slicer
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLModelNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from SimulateImplantsPanel.choices import Model, Shown, Sides, WindowPreset, from_scene
from SimulateImplantsPanel.hints import hint_for
from SimulateImplantsPanel.implant_sections import AddSection, ImplantsSection, SelectedSection
from SimulateImplantsPanel.patient_sections import BoneSection, InputSection
from SimulateImplantsPanel.sample_data import register_sample_data
from SimulateImplantsPanel.sections import State
from SimulateImplantsPanel.selftest import SimulateImplantsTest
from SimulateImplantsPanel.simulation_sections import (
    ResultSection,
    SamplesSection,
    SimulationSection,
)
from SimulateImplantsPanel.tools import Tools
from SimulateImplantsPanel.work import Work

__all__ = ["SimulateImplantsTest"]  # the Reload & Test button and ctest look for it here

_LONG_TO_LOAD = (
    "scipy.ndimage",
    "scipy.linalg",
    "scipy.optimize",
    "scipy.interpolate",
    "scipy.sparse.csgraph",
    "scipy.spatial.transform",
    "pydantic",
    "packaging.requirements",
    "MetalArtifactReductionLib.mrml",
    "SimulateImplantsLib.implants",
    "SimulateImplantsLib.placement.procedures",
    "SimulateImplantsPanel.simulations",
)
DOCUMENTATION = "https://github.com/MetalArtifactReduction/SlicerMetalArtifactReduction#readme"


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
        self.parent.helpText += _('<p>More in the <a href="{url}">documentation</a>.</p>').format(
            url=DOCUMENTATION
        )
        self.parent.acknowledgementText = _("""
Grades of screw placement: Gertzbein and Robbins, Spine 15 (1990).
""")
        slicer.app.connect("startupCompleted()", lambda: register_sample_data(_makeSample))


@parameterNodeWrapper
class SimulateImplantsParameterNode:
    """Everything the user chose; saved with the scene.

    inputVolume - The clean CT.
    boneSegmentation - Its bones.
    boneThresholdHu - Where bone begins when it is found by threshold.
    points - One point in each vertebral body or femoral head, for plain bone.
    lowestLevel - Level of the lowest point when the points are not labelled.
    proposal - What to propose: a name of the library's procedures.
    sides - On which sides.
    levels - Which vertebrae; empty for all.
    rods - Whether proposed screws get rods.
    rodDiameter - Diameter of rods in mm.
    variant - 0 for what fits best, or the number of a sampled variant.
    kind - Family of a single implant to add, by the library's name.
    preset - Its size, by the name in the library's table.
    surface - A model node to be used as an implant.
    surfaceMaterial - What it is made of.
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
    lowestLevel: Annotated[str, Choice([
        "S1", "L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8", "C6", "C5", "C4", "C3",
    ])] = "L5"  # fmt: skip
    proposal: str = "spine"
    sides: Sides = Sides.BOTH
    levels: str = ""
    rods: bool = True
    rodDiameter: Annotated[str, Choice(["4.75", "5.5", "6", "6.35"])] = "5.5"
    variant: Annotated[int, WithinRange(0, 999999)] = 0
    kind: str = "pedicle-screw"
    preset: str = "6.5 x 45 mm"
    surface: vtkMRMLModelNode
    surfaceMaterial: Annotated[
        str, Choice(["Ti6Al4V", "cp-Ti", "CoCrMo", "316L", "tantalum", "PEEK", "UHMWPE"])
    ] = "Ti6Al4V"
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


class SimulateImplantsWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Wires the panel's sections to each other, to the parameter node and to the logic."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None

    @property
    def _parameterNode(self) -> Any:
        return self.parameters.node

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SimulateImplants.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SimulateImplantsLogic()
        self._setUpSections()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self._opened()  # a reloaded module is shown already

    def _setUpSections(self) -> None:
        from MetalArtifactReductionPanel.parameters import ParameterLink
        from MetalArtifactReductionPanel.texts import Texts

        ui, tools = self.ui, self.logic.tools

        def part(name: str) -> Any:
            return slicer.util.childWidgetVariables(getattr(ui, f"{name}CollapsibleButton"))

        self.texts = Texts(ui.statusLabel)
        self.texts.manage(ui.hintLabel, ui.inputMessageLabel, ui.boneMessageLabel)
        self.texts.manage(ui.resultLabel, ui.noteLabel)
        work = self.work = Work(part("simulation"), self._prepare, self._onWork)
        self.input = InputSection(part("input"), work, tools)
        self.bone = BoneSection(part("bone"), work, tools)
        self.implants = ImplantsSection(part("implants"), work, tools, self._onSelected)
        self.add = AddSection(part("add"), work, tools, self.implants)
        self.selected = SelectedSection(
            part("selected"), work, tools, self.implants, self._implantsChanged
        )
        self.result = ResultSection(part("result"), work, tools)
        self.simulation = SimulationSection(part("simulation"), work, tools, self.result)
        self.samples = SamplesSection(part("samples"), work, tools, self.result)
        self.parameters = ParameterLink(ui, self, self._update)

    def cleanup(self) -> None:
        """Called when the module is reloaded or the application closes."""
        if self.logic is not None:
            self.work.turns.clear()
            self.work.cancel()
            self.implants.close()
            self.logic.tools.close()
            self.parameters.connect(None)
        self.removeObservers()

    def onReload(self) -> None:
        """Reload the library together with the module."""
        ours = ("SimulateImplantsLib", "SimulateImplantsPanel", "MetalArtifactReductionLib")
        for name in [name for name in sys.modules if name.split(".")[0] in ours]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.work.turns.load(_LONG_TO_LOAD, self._opened)

    def _opened(self) -> None:
        if not self.parent.isEntered:
            return
        self.logic.tools.borrowViews()
        self.initializeParameterNode()
        if self.logic.tools.ready():
            self.implants.onSelectionChanged()

    def exit(self) -> None:
        """Called each time the user opens a different module; implants go on following."""
        self.work.turns.clear()
        self.parameters.connect(None)
        if self.logic.tools.ready():
            self.logic.tools.editing.showHandlesOf([])
        self.work.turns.begin(self.logic.tools.giveViewsBack())

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """A job that still runs must not add its results to the next scene."""
        self.work.turns.clear()
        self.work.cancel()
        self.parameters.connect(None)
        list(self.logic.tools.giveViewsBack())

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """If this module is shown, start over at once."""
        self.work.say("")
        for section in (self.bone, self.implants, self.result):
            section.clear()
        if self.parent.isEntered:
            self.logic.tools.borrowViews()
            self.initializeParameterNode()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        """A scene was loaded under the open panel: the wrapper still holds the old values."""
        if self.parent.isEntered:
            self.parameters.connect(None)
            self.logic.tools.forgetHistory()
            self.initializeParameterNode()
            if self.logic.tools.ready():
                self.implants.onSelectionChanged()  # nobody selected whose handles were saved

    def initializeParameterNode(self) -> None:
        """Ensure the parameter node exists and is observed."""
        self.parameters.connect(self.logic.getParameterNode())
        if self.logic.tools.follow(self._implantsChanged):
            self.implants.fill()
        if not self._parameterNode.inputVolume:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            usable = (volume for volume in volumes if not self.logic.tools.inputProblem(volume))
            self._parameterNode.inputVolume = next(usable, None)
        self.result.again()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Enable what can be done, and say what comes next."""
        parameters = self._parameterNode
        problem = self.input.problem(parameters)
        free = bool(parameters) and not self.work.running
        ready = free and not problem
        bone = ready and bool(parameters.boneSegmentation)
        chosen = len(self.implants.chosen())
        state = State(free, ready, bone, self.implants.count(), chosen)
        self.work.show()
        for section in (
            self.input,
            self.bone,
            self.implants,
            self.add,
            self.selected,
            self.simulation,
            self.result,
            self.samples,
        ):
            section.show(parameters, state)
        self.ui.selectedCollapsibleButton.visible = chosen == 1
        self.ui.hintLabel.text = hint_for(
            parameters,
            state,
            self.implants.quality,
            self.logic.tools.hasResults,
            self.logic.tools.segmentator(),
        )
        self.ui.hintLabel.visible = bool(self.ui.hintLabel.text)
        self.texts.changed()

    def _prepare(self) -> None:
        """Before anything starts."""
        self.logic.tools.install()
        self.logic.tools.follow(self._implantsChanged)
        self.implants.settle()

    def _onWork(self) -> None:
        """Something begins or has ended."""
        if not self.work.running and self._parameterNode and self.logic.tools.ready():
            self.implants.fill()
        self._update()

    def _onSelected(self) -> None:
        self.selected.fill()
        self._update()

    def _implantsChanged(self, one: Any) -> None:
        self.add.changed(one)
        self.implants.changed(one)


class SimulateImplantsLogic(ScriptedLoadableModuleLogic):
    """Supplies Slicer's scene to the library. Usable without the panel::

    logic = SimulateImplantsLogic()
    logic.propose(slicer.util.getNode("CT"), slicer.util.getNode("Bones"), "spine")
    nodes = logic.simulate(slicer.util.getNode("CT"))
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.tools = Tools()

    def getParameterNode(self) -> SimulateImplantsParameterNode:
        """The module's parameter node in the current scene."""
        return SimulateImplantsParameterNode(from_scene(super().getParameterNode()))

    def addSample(self, which: str, progress: Any = None) -> Any:
        """A procedural patient, see ``Tools.addSample``."""
        self.tools.install()
        return self.tools.addSample(which, progress)

    def implants(self) -> list[Any]:
        """The implants in the scene, ``SceneImplant``."""
        return list(self.tools.editing.every())

    def propose(self, ct: Any, bone: Any, what: str = "spine", **options: Any) -> Any:
        """Fit implants to the bone and add them, see ``SimulateImplantsPanel.implants``."""
        self.tools.install()
        return self.tools.editing.propose(ct, bone, what, **options)

    def edit(self, one: Any, **changes: Any) -> None:
        """Change parameters of an implant; line and rods follow."""
        self.tools.editing.edit(one, **changes)

    def measure(self, ct: Any, bone: Any = None, **progress: Any) -> Any:
        """Quality of the placement, see ``SimulateImplantsPanel.implants``."""
        return self.tools.editing.measure(ct, bone, **progress)

    def simulate(self, ct: Any, *what: str, **options: Any) -> Any:
        """Simulate the implants' artifacts, see ``Simulations.simulate``."""
        self.tools.install()
        return self.tools.simulations.simulate(ct, *what, **options)

    def simulateAsync(self, ct: Any, *what: str, **options: Any) -> Any:
        """As :meth:`simulate`, in a process of its own."""
        self.tools.install()
        return self.tools.simulations.simulateAsync(ct, *what, **options)


def _makeSample(which: str, progress: Any) -> list[Any]:
    """A phantom for the Sample Data module: CT and bones."""
    nodes = SimulateImplantsLogic().addSample(which, progress=progress)
    return [nodes.ct, nodes.bone]
