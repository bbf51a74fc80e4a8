"""The panel's section "Result": views, figures, report, DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from . import tables

FLICKER_MS = 500
FOLLOW_MS = 200
"""While the user drags a line or a box, figures follow at this pace."""

_NEED_RESULT = (
    "showButton flickerButton measureButton lineButton regionButton reportButton lineSelector"
)


class PanelResults:
    """Mixin of the widget: show, compare, measure and export results."""

    logic: Any
    ui: Any
    _parameterNode: Any
    _said: Any
    _say: Any
    _sayHowItEnded: Any
    _flicker: Any
    _flickerTimer: Any
    _followTimer: Any
    _measuring: Any
    _shownResult: Any
    _followed: list[Any]
    addObserver: Any
    removeObserver: Any

    def _setUpResults(self) -> None:
        """Timers, and the selector that offers nothing but results."""
        self._flickerTimer = qt.QTimer()
        self._flickerTimer.setInterval(FLICKER_MS)
        self._flickerTimer.connect("timeout()", self._onFlicker)
        self._followTimer = qt.QTimer()
        self._followTimer.setSingleShot(True)
        self._followTimer.setInterval(FOLLOW_MS)
        self._followTimer.connect("timeout()", self._updateFollowed)
        self._showFigures()
        self.ui.resultSelector.addAttribute(
            "vtkMRMLScalarVolumeNode", "MetalArtifactReduction.role", "corrected"
        )

    def _onCorrected(self, handle: Any) -> None:
        """A correction ended: select and show its result, unless the user has gone on."""
        self._sayHowItEnded(handle)
        if not handle.done:
            return
        nodes = handle.nodes
        parameters = self.logic.getParameterNode()
        with self._said(self.ui.statusLabel):
            self.logic.keepFacts(nodes)
            if self.logic.originalOf(nodes.corrected) is not parameters.inputVolume:
                return
            if not parameters.metalSegmentation:
                parameters.metalSegmentation = nodes.metal
            parameters.result = nodes.corrected
            parameters.profileLine = self.logic.proposeLine(nodes.corrected, parameters.profileLine)
            self.logic.updateProfile(nodes.corrected, parameters.profileLine)
            if self._parameterNode:
                self.onShowButton()
            self._measure(nodes.corrected)

    def _showResultSection(self) -> None:
        """What can be done with the chosen result, and its figures."""
        result = self._parameterNode.result if self._parameterNode else None
        problem = self.logic.resultProblem(result) if result else ""
        usable = bool(result) and not problem
        for name in _NEED_RESULT.split():
            getattr(self.ui, name).enabled = usable
        reason = self.logic.exportProblem(result) if usable else _("No result yet.")
        self.ui.exportButton.enabled = usable and not reason
        self.ui.exportButton.toolTip = reason or _(
            "Write the result as new DICOM series beside the original series."
        )
        if result is not self._shownResult:
            self._shownResult = result
            self.ui.flickerButton.checked = False
            self._say(self.ui.exportLabel, "")
            self._showFigures()
        if problem:
            self._say(self.ui.resultLabel, problem)
        self._showOverlay(result if usable else None)
        self._followNodes()

    def _showOverlay(self, result: Any) -> None:
        """Which maps there are of a result (or None), and what the chosen one's colours mean."""
        known = result is not None and self.logic.knowsExpectedError(result)
        self.ui.overlayComboBox.enabled = known
        self.ui.overlayComboBox.toolTip = (
            _("Map over the result: what was changed, or how far values may be off.")
            if known or result is None
            else _("This result's method does not know its expected error.")
        )
        parameters = self._parameterNode
        text = ""
        if result is not None and parameters:
            text = self.logic.overlayScale(result, parameters.overlay.value)
        self._say(self.ui.overlayLabel, text)

    def _showFigures(self) -> None:
        result = self._shownResult
        usable = bool(result) and not self.logic.resultProblem(result)
        rows = self.logic.measureRows(result) if usable else []
        self._say(self.ui.resultLabel, self.logic.resultSummary(result) if usable else "")
        tables.fill(self.ui.measuresTable, rows)
        self.ui.measuresTable.visible = bool(rows)

    def onShowButton(self) -> None:
        """Lay out the views and show the result."""
        parameters = self._parameterNode
        if not parameters or not parameters.result:
            return
        self.ui.flickerButton.checked = False
        with self._said(self.ui.exportLabel):
            self.logic.showResult(
                parameters.result,
                parameters.views.value,
                parameters.window.value,
                parameters.overlayOpacity,
                parameters.overlay.value,
            )
        self._showOverlay(parameters.result)

    def onDisplayChanged(self, _value: Any = None) -> None:
        """Window preset or overlay opacity were changed."""
        parameters = self._parameterNode
        if parameters and parameters.inputVolume:
            with self._said(self.ui.exportLabel):
                self.logic.setDisplay(
                    parameters.inputVolume, parameters.window.value, parameters.overlayOpacity
                )

    def onFlickerButton(self, checked: bool) -> None:
        """Begin or end to show original and corrected volume in turn."""
        self._stopFlicker()
        if checked and self._parameterNode and self._parameterNode.result:
            with self._said(self.ui.exportLabel):
                self._flicker = self.logic.flicker(self._parameterNode.result)
                self._flickerTimer.start()

    def _onFlicker(self) -> None:
        if self._flicker is not None:
            self._flicker.turn()
            which = _("Original") if self._flicker.shows_original else _("Corrected")
            self.ui.flickerButton.text = which

    def _stopFlicker(self) -> None:
        if self._flickerTimer is not None:
            self._flickerTimer.stop()
        if self._flicker is not None:
            self._flicker.stop()
            self._flicker = None
        self.ui.flickerButton.text = _("Flicker")

    #
    # Figures
    #

    def onMeasureButton(self) -> None:
        """Measure the chosen result."""
        with self._said():
            self._measure(self._parameterNode.result)

    def _measure(self, corrected: Any) -> None:
        self._say(self.ui.exportLabel, _("Measuring..."))

        def ended(problem: str) -> None:
            self._say(self.ui.exportLabel, problem)
            self._showFigures()
            parameters = self._parameterNode
            if parameters and parameters.result is corrected:
                self.logic.showFigures(corrected)

        self.logic.measureAsync(corrected, ended)

    def onLineButton(self) -> None:
        """Place the line of the plot across the metal."""
        parameters = self._parameterNode
        with self._said():
            parameters.profileLine = self.logic.proposeLine(
                parameters.result, parameters.profileLine
            )
            self.logic.updateProfile(parameters.result, parameters.profileLine)
            self.logic.showFigures(parameters.result)

    def onRegionButton(self) -> None:
        """Add a box to measure in."""
        with self._said():
            self.logic.addRegion(self._parameterNode.result)
            self._followNodes()
            self._updateFollowed()

    def _followNodes(self) -> None:
        """Observe line and boxes of the chosen result, so that figures follow their handles."""
        parameters = self._parameterNode
        wanted = []
        if parameters and parameters.result and not self.logic.resultProblem(parameters.result):
            wanted = self.logic.regions(parameters.result)
            if parameters.profileLine:
                wanted.append(parameters.profileLine)
        if wanted == self._followed:
            return
        event = slicer.vtkMRMLMarkupsNode.PointModifiedEvent
        for node in self._followed:
            self.removeObserver(node, event, self._onMarkupsMoved)
            if node.IsA("vtkMRMLMarkupsROINode"):
                self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self._onMarkupsMoved)
        for node in wanted:
            self.addObserver(node, event, self._onMarkupsMoved)
            if node.IsA("vtkMRMLMarkupsROINode"):
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onMarkupsMoved)
        self._followed = wanted

    def _onMarkupsMoved(self, caller: Any = None, event: Any = None) -> None:
        self._followTimer.start()

    def _updateFollowed(self) -> None:
        parameters = self._parameterNode
        if not parameters or not parameters.result:
            return
        with self._said(self.ui.exportLabel):
            self._say(self.ui.exportLabel, "")
            if parameters.profileLine:
                self.logic.updateProfile(parameters.result, parameters.profileLine)
            if self.logic.regions(parameters.result):
                self.logic.updateRegions(parameters.result)
                self._showFigures()

    #
    # Files
    #

    def onReportButton(self) -> None:
        """Ask for a file and write the report."""
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(),
            _("Save report"),
            str(Path(slicer.app.defaultScenePath) / "report.html"),
            "HTML (*.html)",
        )
        if path:
            self.saveReport(path)

    def saveReport(self, path: str) -> None:
        """Write the report of the chosen result."""
        parameters = self._parameterNode
        with self._said():
            written = self.logic.writeReport(parameters.result, path, parameters.profileLine)
            self._say(self.ui.exportLabel, _("Written: {path}").format(path=written))

    def onExportButton(self) -> None:
        """Ask for a folder and write DICOM series."""
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder for the new DICOM series")
        )
        if folder:
            self.exportDicom(folder)

    def exportDicom(self, folder: str) -> None:
        """Write the chosen result as DICOM series."""
        with self._said(), slicer.util.tryWithErrorDisplay(waitCursor=True):
            written = self.logic.exportDicom(self._parameterNode.result, folder)
            paths = ", ".join(str(path) for path in written)
            self._say(self.ui.exportLabel, _("Written: {path}").format(path=paths))
