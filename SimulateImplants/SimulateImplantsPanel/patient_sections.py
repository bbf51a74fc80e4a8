"""The panel's sections "CT" and "Bone"."""

from __future__ import annotations

from typing import Any

from .choices import PELVIS, SPINE, marked_by, on_vertebrae, site_of
from .hints import points_of, where_to_click
from .sections import State
from .tools import Tools
from .work import Work


class InputSection:
    """Which CT, and phantoms to begin with.

    :param ui: the section's widgets.
    """

    def __init__(self, ui: Any, work: Work, tools: Tools) -> None:
        self._ui, self._work, self._tools = ui, work, tools
        self._parameters: Any = None
        work.connect(ui.spinePhantomButton, lambda: self.addSample("spine", SPINE))
        work.connect(ui.pelvisPhantomButton, lambda: self.addSample("pelvis", PELVIS))

    def problem(self, parameters: Any) -> str:
        """Why there is no usable CT, also beside the selector; "" if there is one."""
        self._parameters = parameters
        volume = parameters.inputVolume if parameters else None
        problem = self._tools.inputProblem(volume)
        self._ui.inputMessageLabel.text = problem if volume else ""
        self._ui.inputMessageLabel.visible = bool(self._ui.inputMessageLabel.text)
        return problem

    def show(self, parameters: Any, state: State) -> None:
        """What can be done."""
        for button in (self._ui.spinePhantomButton, self._ui.pelvisPhantomButton):
            button.enabled = state.free
        self._ui.inputSelector.enabled = not self._work.running

    def addSample(self, which: str, proposal: str) -> Any:
        """Start to make a phantom, chosen at once with what can be proposed for it."""

        def made(nodes: Any) -> None:
            p = self._parameters
            if p is None:
                return  # the panel was left meanwhile
            p.inputVolume, p.boneSegmentation, p.proposal = nodes.ct, nodes.bone, proposal
            self._tools.views.fit(nodes.ct)
            self._tools.views.lookAt([nodes.bone])

        return self._tools.addSampleAsync(which, **self._work.callbacks(made))


class BoneSection:
    """Bone by threshold, points in it, vertebrae from both.

    :param ui: the section's widgets.
    """

    def __init__(self, ui: Any, work: Work, tools: Tools) -> None:
        self._ui, self._work, self._tools = ui, work, tools
        self._parameters: Any = None
        self._named: tuple[str, str] | None = None  # for what the points are named
        ui.segmentatorButton.connect("clicked(bool)", lambda _on: tools.openSegmentator())
        work.connect(ui.thresholdButton, self.segment)
        work.connect(ui.placePointsButton, self.placePoints)
        work.connect(ui.splitButton, self.split)

    def show(self, parameters: Any, state: State) -> None:
        """What can be done."""
        self._parameters = parameters
        self._ui.segmentatorButton.visible = bool(self._tools.segmentator())
        self._ui.segmentatorButton.text = self._tools.segmentator()
        self._ui.thresholdButton.enabled = state.ready
        self._ui.placePointsButton.enabled = state.ready
        spine = bool(parameters) and on_vertebrae(parameters.proposal)
        neck = spine and site_of(parameters.proposal) == "neck"
        for widget in (self._ui.lowestLevelComboBox, self._ui.lowestLevelComboBoxLabel):
            widget.visible = spine
        # The screws of a neck are found from the points alone.
        self._ui.splitButton.visible = spine and not neck and bool(parameters.points)
        if spine and neck != parameters.lowestLevel.startswith("C"):
            parameters.lowestLevel = "C6" if neck else "L5"
        if parameters:
            self._rename(parameters)
            if points_of(parameters) and self._ui.boneMessageLabel.text == where_to_click(
                parameters.proposal
            ):
                self._ui.boneMessageLabel.text = ""  # done
        self._ui.splitButton.enabled = state.bone
        self._ui.boneSelector.enabled = not self._work.running

    def _rename(self, parameters: Any) -> None:
        """Points that were named for another region or lowest level say what they mark now."""
        p, before = parameters, self._named
        self._named = (marked_by(p.proposal), p.lowestLevel)
        if before not in (None, self._named):
            self._ui.boneMessageLabel.text = ""  # it was about another choice
            if points_of(p) and p.inputVolume:
                self._tools.bone.name_points(p.points, p.inputVolume, *self._named)

    def clear(self) -> None:
        """The scene is gone."""
        self._ui.boneMessageLabel.text, self._named = "", None

    def segment(self) -> Any:
        """Start to find bone by threshold."""
        p = self._parameters
        return self._tools.bone.segmentAsync(
            self._tools.jobs,
            p.inputVolume,
            p.boneThresholdHu,
            p.boneSegmentation,
            **self._work.callbacks(self._segmented),
        )

    def _segmented(self, node: Any) -> None:
        """Bone was found."""
        p = self._parameters
        if p is None:
            return  # the panel was left meanwhile
        p.boneSegmentation = node
        self._tools.views.lookAt([node])
        self._ui.boneMessageLabel.text = "" if points_of(p) else where_to_click(p.proposal)

    def placePoints(self) -> None:
        """Let the user click."""
        p = self._parameters
        p.points = self._tools.bone.placePoints(
            p.points,
            p.inputVolume,
            marked_by(p.proposal),
            p.lowestLevel,
            self._work.changed,
        )

    def split(self) -> Any:
        """Start to part the vertebrae at the points."""
        p = self._parameters
        plain = p.boneSegmentation

        def parted(given: Any) -> None:
            node, warnings = given
            plain.GetDisplayNode().SetVisibility(False)  # the parts lie in it
            if self._parameters is not None:
                self._parameters.boneSegmentation = node
                self._tools.views.lookAt([node])
            self._ui.boneMessageLabel.text = "\n".join(warnings)

        return self._tools.bone.splitAsync(
            self._tools.jobs,
            p.inputVolume,
            plain,
            p.points,
            p.lowestLevel,
            **self._work.callbacks(parted),
        )
