"""The panel's sections "CT" and "Metal"."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from . import tables
from .choices import Method


class PanelMetal:
    """Mixin of the widget: input, proposal, parts, editing.

    Reads the parameter node, asks the logic, shows what came of it; nothing else.
    """

    logic: Any
    ui: Any
    _parameterNode: Any
    _editor: Any
    _proposal: Any
    _parts: tuple[Any, ...]
    _partsOf: Any
    _said: Any
    _say: Any
    _update: Any
    fitWidth: Any

    def _showInput(self) -> Any:
        """Problem and notes beside the selector; returns what was found."""
        volume = self._parameterNode.inputVolume if self._parameterNode else None
        check = self.logic.checkInput(volume)
        self._say(self.ui.inputMessageLabel, check.problem if volume else "")
        self._say(self.ui.inputNoteLabel, "\n".join(check.notes))
        return check

    def onProposeButton(self) -> None:
        """Find the metal and select it, so that Apply uses what the user sees."""
        parameters = self._parameterNode
        self._stopEditing()
        earlier = parameters.metalSegmentation
        if not self.logic.isProposal(earlier, parameters.inputVolume):
            earlier = None  # never draw over a segmentation that the user brought
        with self._said():
            self._proposal = self.logic.proposeMetalAsync(
                parameters.inputVolume,
                None if parameters.automaticThreshold else parameters.thresholdHu,
                earlier,
                parameters.metalMethod.value,
                onEnd=self._onProposed,
            )
            self._say(self.ui.metalMessageLabel, _("Looking for metal..."))
        self._update()

    def _onProposed(self, handle: Any) -> None:
        self._proposal = None
        self.logic.jobs.forget(handle)  # the queue is the list of corrections
        self._say(self.ui.statusLabel, "")
        if not handle.done:
            self._say(self.ui.metalMessageLabel, handle.error)
            return
        node, found = handle.nodes
        parameters = self.logic.getParameterNode()
        if node.GetNodeReference("MetalArtifactReduction.input") is not parameters.inputVolume:
            return  # the user has gone on to another CT
        parameters.metalSegmentation = node
        parameters.thresholdHu = min(max(found.threshold_hu, 500), 8000)
        self._partsOf = None
        self._showParts()
        left_out = [part.remark for part in found.components if not part.kept]
        message = self.ui.metalMessageLabel.text  # how many parts
        message += " " + _("Metal above {threshold:.0f} HU.").format(threshold=found.threshold_hu)
        if left_out:
            message += " " + _("Left out: {remarks}.").format(remarks=_counted(left_out))
        self._say(self.ui.metalMessageLabel, message)
        self.logic.goToMetal(node, parameters.inputVolume)

    def _showParts(self) -> None:
        """List the parts of the chosen segmentation, if it or the CT changed."""
        parameters = self._parameterNode
        metal = parameters.metalSegmentation if parameters else None
        volume = parameters.inputVolume if parameters else None
        key = None
        if metal and volume:
            key = (metal, metal.GetSegmentation().GetMTime(), volume, volume.GetMTime())
        if key == self._partsOf and key is not None:
            return
        self._partsOf, self._parts = key, ()
        self._say(self.ui.metalMessageLabel, "")
        if key is not None and not self.logic.inputProblem(volume):
            with self._said(self.ui.metalMessageLabel):
                self._parts = self.logic.metalParts(metal, volume)
                total = sum(part.volume_mm3 for part in self._parts) / 1000
                count = len(self._parts)
                text = (
                    _("1 part, {total:.1f} cm³.")
                    if count == 1
                    else _("{count} parts, {total:.1f} cm³.")
                )
                text = text.format(count=count, total=total)
                self._say(self.ui.metalMessageLabel, text)
        tables.fill(self.ui.partsTable, tables.part_rows(self._parts))
        self.ui.partsTable.visible = bool(self._parts)

    def onPartSelected(self) -> None:
        """Show the part in the slice views."""
        for row in tables.selected_rows(self.ui.partsTable)[:1]:
            self.logic.goTo(self._parts[row].centre_ras)

    def onEditButton(self, checked: bool) -> None:
        """Open or close the tools; without a segmentation begin an empty one."""
        if not checked:
            self._stopEditing()
            return
        parameters = self._parameterNode
        with self._said():
            if not parameters.metalSegmentation:
                parameters.metalSegmentation = self.logic.newSegmentation(parameters.inputVolume)
            self._editor.open(parameters.metalSegmentation, parameters.inputVolume)
            self.ui.editorFrame.visible = True
            self.fitWidth()
            self.ui.editButton.text = _("Done editing")

    def _stopEditing(self) -> None:
        if self._editor is None or not self._editor.active:
            return
        self._editor.close()
        self.ui.editorFrame.visible = False
        self.ui.editButton.text = _("Edit")
        blocked = self.ui.editButton.blockSignals(True)
        self.ui.editButton.checked = False
        self.ui.editButton.blockSignals(blocked)
        self._partsOf = None  # what was painted does not change the segmentation's own time
        self._showParts()

    def _slicesWithMetal(self) -> int | None:
        """How many slices hold metal, as far as it is known."""
        slices: set[int] = set()
        for part in self._parts:
            slices.update(range(part.slices[0], part.slices[1] + 1))
        return len(slices) or None

    def _showMethod(self, ready: bool) -> str:
        """Explanation, training slices, time; returns why the method cannot be used."""
        parameters = self._parameterNode
        method = parameters.method if parameters else Method.NMAR
        problem = self.logic.methodProblem(
            method.value, parameters.weightsFile if parameters else ""
        )
        text = method.explanation()
        if problem:
            text += "\n" + _("Not available: {problem}.").format(problem=problem.rstrip("."))
        self._say(self.ui.methodLabel, text)
        for names, shown in (
            ("weightsLineEditLabel weightsLineEdit weightsButton", method is Method.FILE),
            (
                "slicesAboveSpinBoxLabel slicesAboveSpinBox slicesBelowSpinBox",
                method is Method.PATIENT,
            ),
        ):
            for name in names.split():
                getattr(self.ui, name).visible = shown
        slices = ""
        if ready and method is Method.PATIENT:
            slices = self.logic.trainingSlices(
                parameters.metalSegmentation,
                parameters.inputVolume,
                parameters.slicesAbove,
                parameters.slicesBelow,
            )
        self._say(self.ui.slicesLabel, slices)
        self._say(self.ui.estimateLabel, self._estimate() if ready and not problem else "-")
        return problem

    def _estimate(self) -> str:
        parameters = self._parameterNode
        if parameters.method is Method.PATIENT:
            return _("depends on the training; shown once it runs")
        name = parameters.method.value
        slices = self._slicesWithMetal()
        seconds = self.logic.estimateSeconds(
            parameters.inputVolume,
            parameters.weightsFile if parameters.method is Method.FILE else name,
            parameters.device,
            slices,
        )
        if seconds is None:
            return _("measuring this machine...") if self.logic.estimating() else "-"
        known = {"time": _duration(seconds), "slices": slices}
        known["device"] = _device(self.logic.deviceFound(parameters.device))
        if slices is None:
            return _("at most about {time} on the {device}, if every slice holds metal").format(
                **known
            )
        return _("about {time} on the {device} for {slices} slices with metal").format(**known)

    def onWeightsButton(self) -> None:
        """Let the user choose a weights file."""
        import qt

        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(),
            _("Trained weights"),
            self._parameterNode.weightsFile,
            _("Weights") + " (*.safetensors)",
        )
        if path:
            self._parameterNode.weightsFile = path


def _counted(texts: list[str]) -> str:
    """Equal texts once, with their number: ``"2 speck, 1 bone"``."""
    return ", ".join(f"{texts.count(text)} {text}" for text in dict.fromkeys(texts))


def _device(name: str) -> str:
    """A device's name for people."""
    names = {"cpu": _("processor (CPU)"), "cuda": _("graphics card (CUDA)"), "mps": _("GPU (MPS)")}
    return names.get(name.split(":")[0], name)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return _("{seconds:.0f} s").format(seconds=max(1.0, seconds))
    return _("{minutes:.0f} min").format(minutes=seconds / 60)
