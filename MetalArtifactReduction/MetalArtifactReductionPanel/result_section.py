"""The panel's section "Result": which result, and how the views show it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

from .choices import Views, WindowPreset
from .texts import Texts

FLICKER_MS = 500


class ResultSection:
    """Shows a result beside its original.

    :param ui: the section's widgets. :param results: what is known of results: ``Results``.
    :param views: shows them: ``SceneViews``.
    :param current: gives the scene's parameter node, also while the panel is closed.
    :param endPreview: called before it shows something: the views are of one image at a time.
    """

    def __init__(
        self,
        ui: Any,
        texts: Texts,
        results: Any,
        views: Any,
        current: Callable[[], Any],
        endPreview: Callable[[], None],
    ) -> None:
        self._ui, self._texts, self._results, self._current = ui, texts, results, current
        self._views, self._endPreview = views, endPreview
        self._parameters: Any = None
        self._shown: Any = None
        self._flicker: Any = None
        self._timer = qt.QTimer()
        self._timer.setInterval(FLICKER_MS)
        self._timer.connect("timeout()", self._onFlicker)
        texts.manage(ui.overlayLabel, ui.resultLabel)
        ui.resultSelector.addAttribute(
            "vtkMRMLScalarVolumeNode", "MetalArtifactReduction.role", "corrected"
        )
        ui.viewsComboBox.connect("activated(int)", lambda _index: self.showResult())
        ui.overlayComboBox.connect("activated(int)", lambda _index: self.showResult())
        for button, window in (
            (ui.softTissueButton, WindowPreset.SOFT_TISSUE),
            (ui.boneButton, WindowPreset.BONE),
            (ui.metalWindowButton, WindowPreset.METAL),
        ):
            button.connect("clicked(bool)", lambda _on, window=window: self.setWindow(window))
        ui.swipeSlider.connect("valueChanged(double)", self.onSwipe)
        ui.overlaySlider.connect("valueChanged(double)", self.onDisplayChanged)
        ui.showButton.connect("clicked(bool)", lambda _on: self.showResult())
        ui.flickerButton.connect("toggled(bool)", self.onFlickerButton)

    def show(self, parameters: Any) -> Any:
        """What can be done with the chosen result; returns it, None where it cannot be used.

        Another one than before is shown at once, without any the CT: views, figures and texts are
        of the same image.
        """
        self._parameters = parameters
        result = parameters.result if parameters else None
        problem = self._results.problem(result) if result else ""
        usable = result if result and not problem else None
        for widget in (self._ui.showButton, self._ui.flickerButton):
            widget.visible = usable is not None
        single = usable is not None and parameters.views is Views.SINGLE
        for widget in (self._ui.swipeSlider, self._ui.swipeSliderLabel):
            widget.visible = single
        for widget in (self._ui.overlaySlider, self._ui.overlaySliderLabel):
            widget.visible = usable is not None and not single
        if result is not self._shown:
            self._shown = result
            self._ui.flickerButton.checked = False
            if usable is not None:
                self.showResult()
            elif parameters and parameters.inputVolume and not result:
                self._endPreview()
                self._views.showInput(parameters.inputVolume, parameters.window.value)
        self._texts.say(
            self._ui.resultLabel, problem or (self._results.summary(usable) if usable else "")
        )
        self._showOverlay(usable)
        return usable

    def clear(self) -> None:
        """The scene is gone."""
        for label in (self._ui.overlayLabel, self._ui.resultLabel):
            self._texts.say(label, "")

    def take(self, nodes: Any) -> Any:
        """Select and show a new result, unless the user has gone on.

        :returns: the corrected volume; None where another CT is chosen by now.
        """
        parameters = self._current()
        if self._results.originalOf(nodes.corrected) is not parameters.inputVolume:
            return None
        if not parameters.metalSegmentation:
            parameters.metalSegmentation = nodes.metal
        if self._parameters:  # the panel is open
            self._shown = nodes.corrected  # by the last of these pieces, with its plot
        parameters.result = nodes.corrected
        for piece in (self._addLine, self._updateLine, self.showResult):
            self._views.turns.add(partial(self._unlessGone, nodes.corrected, piece))
        return nodes.corrected

    def _unlessGone(self, corrected: Any, piece: Callable[[], None]) -> None:
        if self._current().result is corrected:
            piece()

    def _addLine(self) -> None:
        p = self._current()
        p.profileLine = self._results.proposeLine(p.result, p.profileLine)

    def _updateLine(self) -> None:
        p = self._current()
        self._results.updateProfile(p.result, p.profileLine)

    def showResult(self) -> None:
        """Lay out the views and show the result."""
        p = self._parameters
        if not p or not p.result:
            return
        self._endPreview()
        self._ui.flickerButton.checked = False
        with self._texts.said(self._ui.exportLabel):
            self._views.show(
                p.result, p.views.value, p.window.value, p.overlayOpacity, p.overlay.value
            )
        self._showOverlay(p.result)

    def setWindow(self, window: WindowPreset) -> None:
        """One click for a window."""
        if self._parameters:
            self._parameters.window = window
            self.onDisplayChanged()

    def onSwipe(self, percent: float) -> None:
        """Original on the left, result on the right of the line."""
        if self._parameters and self._parameters.result:
            self._views.swipe(percent / 100)

    def onDisplayChanged(self, _value: Any = None) -> None:
        """Window preset or overlay opacity were changed."""
        p = self._parameters
        if p and p.inputVolume:
            with self._texts.said(self._ui.exportLabel):
                self._views.choose(p.inputVolume, p.window.value, p.overlayOpacity)

    def _showOverlay(self, result: Any) -> None:
        """Which maps there are of a result (or None), and what the chosen one's colours mean."""
        known = result is not None and self._results.knowsExpectedError(result)
        for widget in (self._ui.overlayComboBox, self._ui.overlayComboBoxLabel):
            widget.visible = known  # of other methods there is one map only
        shown = self._parameters and self._parameters.views is not Views.SINGLE
        text = ""
        if result is not None and shown:
            text = self._results.overlayText(
                self._views.overlayScale(result, self._parameters.overlay.value)
            )
        self._texts.say(self._ui.overlayLabel, text)

    def onFlickerButton(self, checked: bool) -> None:
        """Begin or end to show original and corrected volume in turn."""
        self.stopFlicker()
        if checked and self._parameters and self._parameters.result:
            with self._texts.said(self._ui.exportLabel):
                self._views.stopSwipe()
                self._flicker = self._views.flicker(self._parameters.result)
                self._timer.start()

    def _onFlicker(self) -> None:
        if self._flicker is not None:
            self._flicker.turn()
            which = _("Original") if self._flicker.shows_original else _("Corrected")
            self._ui.flickerButton.text = which

    def stopFlicker(self) -> None:
        """Show the result as it was."""
        self._timer.stop()
        if self._flicker is not None:
            self._flicker.stop()
            self._flicker = None
        self._ui.flickerButton.text = _("Flicker")
