"""The panel's section "Metal"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from . import tables
from .editing import MetalEditor
from .texts import Texts

LOWER_HU = 1000.0
"""Below what a proposal takes by itself; cortical bone is brighter."""


@dataclass
class _Undo:
    """A proposal that can be taken back, and what was there before it."""

    proposed: Any
    drawn: tuple[Any, ...]  # tells whether it is still as it was proposed
    earlier: Any
    content: Any
    earlier_as_proposed: bool


class MetalSection:
    """Proposal, parts and editing of the metal.

    :param ui: the section's widgets.
    :param metal: finds the metal and lists its parts: ``Metal``.
    :param views: show a place: ``Results``.
    :param current: gives the scene's parameter node, also while the panel is closed.
    :param onChange: called when a proposal begins.
    """

    def __init__(
        self,
        ui: Any,
        texts: Texts,
        *,
        metal: Any,
        views: Any,
        current: Callable[[], Any],
        onChange: Callable[[], None],
    ) -> None:
        self._ui, self._texts, self._metal, self._views = ui, texts, metal, views
        self._current, self._onChange = current, onChange
        self._parameters: Any = None
        self._ready, self._problem = False, ""
        self._partsOf: Any = ()
        self.parts: tuple[Any, ...] = ()
        self._found: tuple[Any, ...] = ()  # bright parts of the last proposal, metal or not
        self._foundIn: Any = None
        self._asked: dict[str, Any] = {}  # what it was asked for, with the user's word on parts
        self.proposal: Any = None
        self._undo: list[_Undo] = []
        self.editor = MetalEditor(ui.editorFrame.layout())
        texts.manage(ui.metalMessageLabel)
        part, volume, highest = _("Part"), _("Volume, cm³"), _("Highest HU")
        tables.set_titles(ui.partsTable, [part, volume, highest, _("Slices")])
        ui.proposeButton.connect("clicked(bool)", lambda _on: self.propose())
        ui.editButton.connect("toggled(bool)", self.onEditButton)
        ui.undoButton.connect("clicked(bool)", lambda _on: self.undo())
        ui.lowerButton.connect("clicked(bool)", lambda _on: self.proposeLower())
        ui.surfaceButton.connect("clicked(bool)", lambda _on: self.proposeWithSurface())
        ui.drawButton.connect("clicked(bool)", lambda _on: ui.editButton.click())
        self._offer(False)
        ui.partsTable.connect("itemSelectionChanged()", self.onPartSelected)
        ui.partsTable.connect("itemChanged(QTableWidgetItem*)", self.onPartTicked)

    def show(self, parameters: Any, ready: bool) -> str:
        """The parts of the chosen segmentation, and what can be done.

        :param ready: there is a CT that can be corrected.
        :returns: why the chosen segmentation cannot be used; "" if it can.
        """
        self._parameters, self._ready = parameters, ready
        self._showParts()
        if not ready:
            self._offer(False)
        ui = self._ui
        ui.proposeButton.enabled = ready and self.proposal is None
        ui.partsTable.enabled = self.proposal is None
        ui.editButton.enabled = ready
        automatic = parameters.automaticThreshold if parameters else True
        for widget in (ui.thresholdSlider, ui.thresholdSliderLabel):
            widget.visible = not automatic
        for widget in (ui.metalMethodComboBox, ui.metalMethodComboBoxLabel):
            widget.visible = automatic
        ui.undoButton.visible = self._asProposed() and self.proposal is None
        return self._problem

    def clear(self) -> None:
        """The scene is gone."""
        self.proposal = None
        self._found, self._undo = (), []
        self._offer(False)
        self._texts.say(self._ui.metalMessageLabel, "")

    def slicesWithMetal(self) -> int | None:
        """How many slices hold metal, as far as it is known."""
        slices: set[int] = set()
        for part in self.parts:
            slices.update(range(part.slices[0], part.slices[1] + 1))
        return len(slices) or None

    def onPartTicked(self, item: Any) -> None:
        """The user overrules the proposal: a part is metal, or is none."""
        rows = self._proposed()
        if rows:
            part = rows[item.row()]
            ticked = item.checkState() == qt.Qt.Checked
            said = {**self._asked["said"], part.label: ticked}
            self.propose({**self._asked, "said": said})

    def propose(self, asked: dict[str, Any] | None = None) -> None:
        """Find the metal and select it, so that Apply uses what the user sees.

        :param asked: as ``Metal.proposeAsync`` knows it; afresh, as the panel says, if None.
        """
        parameters = self._parameters
        asked = asked or {
            "thresholdHu": None if parameters.automaticThreshold else parameters.thresholdHu,
            "method": parameters.metalMethod.value,
            "includeSurface": parameters.includeSurface,
            "said": {},
        }
        self.stopEditing()
        earlier = parameters.metalSegmentation
        if not self._metal.isProposal(earlier, parameters.inputVolume):
            earlier = None  # never draw over a segmentation that the user brought
        self._offer(False)
        before = (parameters.metalSegmentation, self._metal.copyOf(earlier), self._asProposed())
        with self._texts.said():
            self.proposal = self._metal.proposeAsync(
                parameters.inputVolume,
                into=earlier,
                **asked,
                onEnd=lambda handle: self._onProposed(handle, asked, before),
            )
            self._onChange()
            self._texts.say(self._ui.metalMessageLabel, _("Looking for metal..."))

    def _onProposed(self, handle: Any, asked: dict[str, Any], before: tuple[Any, ...]) -> None:
        from MetalArtifactReductionLib.metal.components import NO_BRIGHTER

        self.proposal = None
        self._metal.forget(handle)  # the queue is the list of corrections
        self._texts.say(self._texts.status, "")
        if not handle.done:
            self._partsOf = ()
            self._showParts()  # ticked as before
            self._sayNone(handle)
            return
        node, found = handle.nodes
        parameters = self._current()  # the panel may be closed by now
        if not self._metal.isProposal(node, parameters.inputVolume):
            return  # the user has gone on to another CT
        self._undo.append(_Undo(node, self._metal.drawn(node), *before))
        self._found = tuple(part for part in found.components if not part.is_speck)
        self._foundIn, self._asked = (node, self._metal.drawn(node)), asked
        self._partsOf = ()
        parameters.metalSegmentation = node
        parameters.thresholdHu = min(max(found.threshold_hu, 500), 8000)
        self._showParts()
        left_out = [part.remark for part in found.components if not part.kept]
        message = self._ui.metalMessageLabel.text  # how many parts
        message += " " + _("Metal above {threshold:.0f} HU.").format(threshold=found.threshold_hu)
        if left_out:
            message += " " + _("Left out: {remarks}.").format(remarks=_counted(left_out))
        doubtful = [part for part in found.components if part.kept and part.remark == NO_BRIGHTER]
        if doubtful:
            text = _("No brighter than bone: {volume:.1f} cm³ of it; raise the threshold.")
            message += " " + text.format(volume=sum(part.volume_mm3 for part in doubtful) / 1000)
        self._texts.say(self._ui.metalMessageLabel, message)
        self._views.goToMetal(node, parameters.inputVolume)

    def begin(self, onEnd: Callable[[Any], None]) -> Callable[[Any], None]:
        """Before a correction: put the tools away, and see that the metal is still in its place.

        :param onEnd: takes the handle once the correction has ended.
        :returns: the same, which offers what helps if no metal was found.
        :raises InputError: the chosen metal cannot be that of the CT.
        """
        from MetalArtifactReductionLib.errors import InputError

        self.stopEditing()
        volume, metal = self._parameters.inputVolume, self._parameters.metalSegmentation
        problem = self._metal.problem(metal, volume) if metal else ""
        if problem:
            raise InputError(problem)

        def ended(handle: Any) -> None:
            if handle.remedy and self._parameters and self._parameters.inputVolume is volume:
                self._sayNone(handle)
            onEnd(handle)

        return ended

    def _sayNone(self, handle: Any) -> None:
        """Why a job found no metal, and what helps."""
        reason = handle.error.removesuffix(handle.remedy)
        self._texts.say(self._ui.metalMessageLabel, f"{reason.rstrip('.')}.")
        self._offer(self._ready, handle.remedy)

    def _offer(self, failed: bool, remedy: str = "") -> None:
        """What helps where no metal was found, as buttons."""
        automatic = self._parameters is None or not self._parameters.includeSurface
        self._ui.surfaceButton.visible = automatic and "include_surface" in remedy
        for button in (self._ui.lowerButton, self._ui.drawButton):
            button.visible = failed

    def proposeLower(self) -> None:
        """Look again, from fewer HU on."""
        p = self._parameters
        p.thresholdHu = LOWER_HU if p.automaticThreshold else max(0.8 * p.thresholdHu, 500)
        p.automaticThreshold = False
        self.propose()

    def proposeWithSurface(self) -> None:
        """Look again, on the skin too."""
        self._parameters.includeSurface = True
        self.propose()

    def undo(self) -> None:
        """The metal as it was before the last proposal."""
        self.stopEditing()
        if self._asProposed():
            last = self._undo.pop()
            self._metal.restore(last.proposed, last.earlier, last.content)
            if last.earlier_as_proposed and last.earlier is last.proposed and self._undo:
                self._undo[-1].drawn = self._metal.drawn(last.earlier)  # the same voxels, copied
            self._found, self._partsOf = (), ()
            self._parameters.metalSegmentation = last.earlier
        self._onChange()

    def _asProposed(self) -> bool:
        """Whether the chosen segmentation is the last proposal, and nobody has drawn in it.

        Undo would take away what the user has drawn, too.
        """
        chosen = self._parameters and self._parameters.metalSegmentation
        if not chosen or not self._undo or self.editor.active:
            return False
        last = self._undo[-1]
        return chosen is last.proposed and self._metal.drawn(chosen) == last.drawn

    def _showParts(self) -> None:
        """List the parts of the chosen segmentation, if it or the CT changed."""
        metal = self._parameters.metalSegmentation if self._parameters else None
        volume = self._parameters.inputVolume if self._parameters else None
        drawn = metal and metal.GetSegmentation().GetMTime()
        key = (metal, drawn, volume, volume and volume.GetMTime(), _moved(metal), _moved(volume))
        if key == self._partsOf:
            return
        self._partsOf, self.parts, self._problem = key, (), ""
        label = self._ui.metalMessageLabel
        self._texts.say(label, "")
        if metal and volume and self._ready:
            self._problem = self._metal.problem(metal, volume)
            self._texts.say(label, self._problem)
        if metal and volume and self._ready and not self._problem:
            with self._texts.said(label):
                self.parts = self._metal.parts(metal, volume)
                count = len(self.parts)
                text = _("{count} parts, {total:.1f} cm³.")
                if count == 1:
                    text = _("1 part, {total:.1f} cm³.")
                total = sum(part.volume_mm3 for part in self.parts) / 1000
                self._texts.say(label, text.format(count=count, total=total))
        rows = self._proposed()
        tables.fill(
            self._ui.partsTable,
            tables.part_rows(rows or self.parts),
            [part.remark for part in rows],
            [part.kept for part in rows],
        )
        self._ui.partsTable.visible = bool(self.parts)

    def _proposed(self) -> tuple[Any, ...]:
        """The bright parts of a proposal, while it is chosen and nobody has drawn in it."""
        metal = self._parameters.metalSegmentation if self._parameters else None
        if not metal or not self._found or self._foundIn != (metal, self._metal.drawn(metal)):
            return ()
        return self._found

    def onPartSelected(self) -> None:
        """Show the part in the slice views."""
        for row in tables.selected_rows(self._ui.partsTable)[:1]:
            centre = (self._proposed() or self.parts)[row].centre_ras
            if self._proposed():  # in the CT's own space
                world = [0.0, 0.0, 0.0]
                self._parameters.inputVolume.TransformPointToWorld(centre, world)
                centre = tuple(world)
            self._views.goTo(centre)

    def onEditButton(self, checked: bool) -> None:
        """Open or close the tools; without a segmentation begin an empty one."""
        if not checked:
            self.stopEditing()
            return
        parameters = self._parameters
        with self._texts.said():
            if not parameters.metalSegmentation:
                parameters.metalSegmentation = self._metal.newSegmentation(parameters.inputVolume)
            self.editor.open(parameters.metalSegmentation, parameters.inputVolume)
            self._ui.undoButton.visible = False  # the tools have their own
            self._ui.editorFrame.visible = True
            self._ui.editButton.text = _("Done editing")

    def stopEditing(self) -> None:
        """Put the tools away."""
        if not self.editor.active:
            return
        self.editor.close()
        self._ui.editorFrame.visible = False
        self._ui.editButton.text = _("Edit")
        blocked = self._ui.editButton.blockSignals(True)
        self._ui.editButton.checked = False
        self._ui.editButton.blockSignals(blocked)
        self._partsOf = ()  # what was painted does not change the segmentation's own time
        self._showParts()
        self._ui.undoButton.visible = self._asProposed() and self.proposal is None


def _moved(node: Any) -> Any:
    """What tells whether a node was moved."""
    transform = node and node.GetParentTransformNode()
    return transform and (transform, transform.GetTransformToWorldMTime())


def _counted(texts: list[str]) -> str:
    """Equal texts once, with their number: ``"2 speck, 1 bone"``."""
    return ", ".join(f"{texts.count(text)} {text}" for text in dict.fromkeys(texts))
