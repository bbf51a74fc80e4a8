"""The panel's sections "Implants", "Add" and "Selected"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import qt
from slicer.i18n import tr as _

from . import tables
from .choices import found_by_itself, heeds, kinds, place_known, proposals, site_of
from .sections import State
from .tools import Tools
from .work import Work


class ImplantsSection:
    """What is proposed, the list of implants, and what is done with the selected ones.

    :param ui: the section's widgets.
    :param onSelected: called when other implants are selected, or the selected ones changed.
    """

    def __init__(self, ui: Any, work: Work, tools: Tools, onSelected: Callable[[], None]) -> None:
        from MetalArtifactReductionPanel.parameters import RegistryChoice
        from MetalArtifactReductionPanel.texts import Texts

        self._ui, self._work, self._tools, self._onSelected = ui, work, tools, onSelected
        self._texts = Texts(ui.implantsMessageLabel)
        self._texts.manage(ui.implantNotesLabel)
        self._parameters: Any = None
        self._proposals = RegistryChoice(ui.proposalComboBox, "proposal")
        self._rodsText = ui.rodsCheckBox.text
        tables.set_up_implants_table(ui.implantsTable)
        # While a screw is dragged its row changes many times a second.
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(100)
        self._timer.connect("timeout()", self.fill)
        for button, job in (
            (ui.proposeButton, self.propose),
            (ui.duplicateButton, self.duplicate),
            (ui.removeButton, self.remove),
            (ui.rodButton, self.addRod),
            (ui.crossLinkButton, self.addCrossLink),
            (ui.measureButton, self.measure),
            (ui.undoButton, lambda: work.turns.begin(self._step(-1))),
            (ui.redoButton, lambda: work.turns.begin(self._step(1))),
        ):
            work.connect(button, job)
        ui.implantsTable.connect("itemSelectionChanged()", self.onSelectionChanged)

    def count(self) -> int:
        """How many implants there are."""
        return int(self._ui.implantsTable.rowCount)

    def chosen(self) -> list[str]:
        """Model node ids of the selected implants."""
        return tables.selected_ids(self._ui.implantsTable)

    def selected(self) -> list[Any]:
        """The selected implants, ``SceneImplant``."""
        chosen = self.chosen()
        return self._tools.editing.withIds(chosen) if chosen else []

    def select(self, *implants: Any) -> None:
        """Select these rows."""
        self.fill()
        tables.select_ids(self._ui.implantsTable, [one.model.GetID() for one in implants])

    def show(self, parameters: Any, state: State) -> None:
        """What can be done."""
        self._parameters, ui = parameters, self._ui
        if parameters:
            self._proposals.show(parameters, proposals())
        ui.proposeButton.enabled = state.bone or (state.ready and place_known(parameters))
        ui.measureButton.visible, ui.measureButton.enabled = state.implants > 0, state.ready
        for button in (ui.duplicateButton, ui.removeButton):
            button.visible, button.enabled = state.chosen > 0, state.free
        ui.rodButton.visible = state.free and state.chosen > 1
        ui.crossLinkButton.visible = state.free and state.chosen == 2
        asked = heeds(parameters.proposal) if parameters else ()
        for what, widgets in (
            ("sides", (ui.sidesComboBox, ui.sidesComboBoxLabel)),
            ("levels", (ui.levelsLineEdit, ui.levelsLineEditLabel)),
            ("rods", (ui.rodsCheckBox, ui.rodsCheckBoxLabel)),
        ):
            for widget in widgets:
                widget.visible = what in asked
        # Rods of a neck have a diameter of their own.
        own = "rods" in asked and site_of(parameters.proposal) == "neck"
        ui.rodDiameterComboBox.visible = "rods" in asked and not own
        ui.rodsCheckBox.text = _("through the screws") if own else self._rodsText
        ui.implantsTable.enabled = not self._work.running
        history = self._tools.history if self._tools.ready() else None
        ui.undoButton.visible = history is not None and history.can_undo
        ui.redoButton.visible = history is not None and history.can_redo
        ui.undoButton.enabled = ui.redoButton.enabled = state.free

    @property
    def quality(self) -> dict[str, Any]:
        """Model node id -> ``QualityRow``, of what was measured and not changed since."""
        measured = {
            one.model.GetID(): self._tools.editing.qualityOf(one)
            for one in self._tools.editing.every()
        }
        return {name: row for name, row in measured.items() if row is not None}

    def clear(self) -> None:
        """The scene is gone."""
        self.say("")
        self._tools.forgetHistory()

    def close(self) -> None:
        """The panel goes."""
        self._timer.stop()

    def say(self, text: str) -> None:
        """Show a text below the table."""
        self._texts.say(self._ui.implantsMessageLabel, text)

    def fill(self) -> None:
        """The table anew."""
        implants = self._tools.editing.every()
        self._tools.history.note()
        sizes = [self._tools.editing.sizeText(one) for one in implants]
        rows = self.quality
        tables.fill_implants_table(self._ui.implantsTable, implants, sizes, rows)
        self._showNotes(rows)
        self._onSelected()

    def changed(self, one: Any) -> None:
        """The scene's implants changed, perhaps many times a second."""
        if one is not None and self._tools.editing.forgetQuality(one):
            self.say(
                _("{name} was changed after it was measured: Measure again.").format(name=one.name)
            )
        if not self._work.background:  # a step of many; the table is filled at their end
            self._timer.start()

    def onSelectionChanged(self) -> None:
        """Show handles and parameters of what is selected."""
        with self._work.said(dialog=False):
            self._tools.editing.showHandlesOf(self.selected())
            self._showNotes(self.quality)
            self._onSelected()

    def _showNotes(self, rows: dict[str, Any]) -> None:
        """Below the table: measures of the selected implants, or what needs a look."""
        chosen = self.selected()
        told = [(one, rows.get(one.model.GetID())) for one in chosen or self._tools.editing.every()]
        notes = [tables.implant_note(*each) for each in told] if chosen else tables.warnings(told)
        self._texts.say(self._ui.implantNotesLabel, "\n".join(filter(None, notes)))

    def propose(self) -> Any:
        """Start to fit implants to the bone."""
        p = self._parameters
        bone, seen = p.boneSegmentation, 0.2 if found_by_itself(p.proposal) else 0.4

        def proposed(nodes: Any) -> None:
            self.say("\n".join(nodes.warnings))
            self._tools.seeThrough(bone, seen)
            self._work.turns.follow(self._tools.views.showPlaced(nodes.implants, p.inputVolume))

        return self._tools.editing.proposeAsync(
            self._tools.jobs,
            p.inputVolume,
            bone,
            p.proposal,
            points=p.points,
            sides=p.sides.names(),
            levels=p.levels,
            rods=p.rods,
            rodDiameterMm=float(p.rodDiameter) if site_of(p.proposal) == "spine" else None,
            variant=p.variant,
            **self._work.callbacks(proposed),
        )

    def duplicate(self) -> None:
        """Copies beside the originals."""
        self.select(*(self._tools.editing.duplicate(one) for one in self.selected()))

    def remove(self) -> None:
        """Take the selected implants out of the scene."""
        for one in self.selected():
            self._tools.editing.remove(one)

    def _step(self, by: int) -> Iterator[None]:
        """Undo or redo, an implant a step; what is made anew by that is selected as it was."""
        names = {one.name for one in self.selected()}
        yield from self._tools.history.in_steps(by)
        self.select(*(one for one in self._tools.editing.every() if one.name in names))

    def settle(self) -> None:
        """Do at once what is left of an undo, and take down how it is: something else begins."""
        self._tools.history.finish()
        self._tools.history.note()

    def addRod(self) -> None:
        """A rod through the selected screws."""
        p = self._parameters
        self.select(
            self._tools.editing.addRod(p.inputVolume, self.selected(), float(p.rodDiameter))
        )

    def addCrossLink(self) -> None:
        """A cross-link between the two selected rods."""
        link = self._tools.editing.addCrossLink(self._parameters.inputVolume, self.selected())
        self.select(link)

    def measure(self) -> Any:
        """Start to measure how well the implants lie."""
        p = self._parameters

        def measured(rows: Any) -> None:
            self.say("")
            self._tools.editing.showQuality(rows)

        return self._tools.editing.measureAsync(
            self._tools.jobs,
            p.inputVolume,
            p.boneSegmentation,
            **self._work.callbacks(measured),
        )


class AddSection:
    """Single implants by hand.

    :param ui: the section's widgets. :param implants: where what is added appears.
    """

    def __init__(self, ui: Any, work: Work, tools: Tools, implants: ImplantsSection) -> None:
        from MetalArtifactReductionPanel.parameters import RegistryChoice

        self._ui, self._tools, self._implants = ui, tools, implants
        self._parameters: Any = None
        self._drawing = False
        self._kinds = RegistryChoice(ui.kindComboBox, "kind")
        self._presets = RegistryChoice(ui.presetComboBox, "preset")
        work.connect(ui.addButton, self.add)
        work.connect(ui.drawButton, self.draw)
        work.connect(ui.addSurfaceButton, self.addSurface)

    def show(self, parameters: Any, state: State) -> None:
        """Families and sizes, and what can be done."""
        self._parameters, ui = parameters, self._ui
        ui.addButton.enabled = ui.drawButton.enabled = state.ready
        ui.addSurfaceButton.enabled = state.ready and bool(parameters.surface)
        if not parameters:
            return
        families = kinds()
        self._kinds.show(parameters, {kind: one.label for kind, one in families.items()})
        sizes = families[parameters.kind].sizes if parameters.kind in families else ()
        if sizes and parameters.preset not in sizes:
            parameters.preset = sizes[0]
        self._presets.show(parameters, {name: name for name in sizes})

    def changed(self, one: Any) -> None:
        """What was being drawn is there."""
        if self._drawing and one is not None and one.line is not None:
            self._drawing = False
            self._implants.say("")

    def add(self) -> None:
        """One implant in the middle of the slice views."""
        p = self._parameters
        self._implants.select(self._tools.editing.add(p.inputVolume, p.kind, p.preset))

    def draw(self) -> None:
        """One implant by two clicks."""
        p = self._parameters
        self._tools.editing.drawLine(p.inputVolume, p.kind, p.preset)
        self._drawing = True
        self._implants.say(_("Click the entry point, then the target."))

    def addSurface(self) -> None:
        """A surface of the user's."""
        p = self._parameters
        self._implants.select(
            self._tools.editing.addSurface(p.inputVolume, p.surface, p.surfaceMaterial)
        )


class SelectedSection:
    """The parameters of the one selected implant.

    :param ui: the section's widgets. :param implants: where they are selected.
    :param onChanged: called with the implant that was changed.
    """

    def __init__(
        self,
        ui: Any,
        work: Work,
        tools: Tools,
        implants: ImplantsSection,
        onChanged: Callable[[Any], None],
    ) -> None:
        self._ui, self._work, self._tools, self._implants = ui, work, tools, implants
        self._onChanged = onChanged
        self._parameters: Any = None
        ui.parametersTable.setHorizontalHeaderLabels([_("Parameter"), _("Value")])
        ui.parametersTable.verticalHeader().setDefaultSectionSize(22)
        ui.parametersTable.connect("cellChanged(int,int)", self.onParameterEdited)
        self._sliders = {
            "diameter_mm": ui.diameterSlider,
            "length_mm": ui.lengthSlider,
            "head_angle_deg": ui.headAngleSlider,
        }
        self._labels = {
            "diameter_mm": ui.diameterSliderLabel,
            "length_mm": ui.lengthSliderLabel,
            "head_angle_deg": ui.headAngleSliderLabel,
        }
        for name, slider in self._sliders.items():
            slider.connect(
                "valueChanged(double)", lambda value, name=name: self._edit({name: value})
            )
        work.connect(ui.alignButton, self.align)
        work.connect(ui.straightenButton, self.straighten)
        work.connect(ui.fitButton, self.fit)

    def show(self, parameters: Any, state: State) -> None:
        """What can be done."""
        self._parameters, ui = parameters, self._ui
        ui.alignButton.enabled = ui.parametersTable.enabled = state.free and state.chosen == 1
        ui.fitButton.enabled = state.bone and state.chosen == 1
        ui.fitButton.visible = self._tools.ready() and self._tools.editing.fits(
            self._implants.selected()
        )
        ui.straightenButton.enabled = state.free

    def fill(self) -> None:
        """Sliders and table of the one selected implant."""
        chosen = self._implants.selected()
        implant = self._tools.editing.described(chosen[0]) if len(chosen) == 1 else None
        ranges = self._tools.editing.ranges(implant)
        for name, slider in self._sliders.items():
            fixed = name == "length_mm" and getattr(implant, "path_mm", None)
            known = name in ranges and not fixed
            for widget in (slider, self._labels[name]):
                widget.visible = known
            if known:
                blocked = slider.blockSignals(True)
                slider.minimum, slider.maximum = ranges[name].minimum, ranges[name].maximum
                slider.singleStep = ranges[name].step
                slider.value = getattr(implant, name)
                slider.blockSignals(blocked)
        tables.fill_parameters_table(self._ui.parametersTable, implant, ranges)

    def onParameterEdited(self, row: int, column: int) -> None:
        """A value was typed into the table of parameters."""
        name = self._ui.parametersTable.item(row, 0).data(qt.Qt.UserRole)
        text = self._ui.parametersTable.item(row, 1).text()
        chosen = self._implants.selected()
        if column == 1 and len(chosen) == 1:
            now = getattr(self._tools.editing.described(chosen[0]), name)
            self._edit({name: tables.edited_value(text, now)})

    def _edit(self, changes: dict[str, Any]) -> None:
        chosen = self._implants.selected()
        if len(chosen) == 1 and not self._work.running:
            with self._work.said(dialog=False):
                self._tools.editing.edit(chosen[0], **changes)
            self._onChanged(chosen[0])

    def align(self) -> None:
        """Turn the slice views to the selected implant: along it, twice, and across."""
        self._work.turns.follow(self._tools.views.align(self._implants.selected()[0]))

    def straighten(self) -> None:
        """Slice views axial, coronal and sagittal, through the selected implant."""
        self._work.turns.follow(self._tools.views.straighten(self._implants.selected()))

    def fit(self) -> None:
        """Largest size in the bone."""
        p = self._parameters
        one = self._implants.selected()[0]
        warnings = self._tools.editing.fitToBone(p.inputVolume, p.boneSegmentation, one)
        self._implants.say("\n".join(warnings))
