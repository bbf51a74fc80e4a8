"""The lower part of the section "Result": figures, report, DICOM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from . import tables
from .texts import Texts

FOLLOW_MS = 200
"""While the user drags a line or a box, figures follow at this pace."""


class FiguresSection:
    """Measures a result, follows the user's line and boxes, writes files.

    :param ui: the section's widgets. :param results: measures and writes: ``Results``.
    :param views: where table and plot are: ``SceneViews``.
    :param observer: the panel, a ``VTKObservationMixin``.
    """

    def __init__(self, ui: Any, texts: Texts, results: Any, views: Any, observer: Any) -> None:
        self._ui, self._texts, self._results, self._observer = ui, texts, results, observer
        self._views = views
        self._parameters: Any = None
        self._result: Any = None
        self._unexportable = ""
        self._followed: list[Any] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.connect("timeout()", self._updateFollowed)
        texts.manage(ui.exportLabel)
        titles = [_("Measure"), _("Before"), _("After"), _("Unit")]
        tables.set_titles(ui.measuresTable, titles)
        self._fill()
        for button, work in (
            (ui.measureButton, self.onMeasureButton),
            (ui.lineButton, self.onLineButton),
            (ui.regionButton, self.onRegionButton),
            (ui.reportButton, self.onReportButton),
            (ui.exportButton, self.onExportButton),
        ):
            button.connect("clicked(bool)", lambda _on, work=work: work())

    def show(self, parameters: Any, result: Any) -> None:
        """What can be done, and the figures.

        :param result: the chosen result, None where it cannot be used.
        """
        self._parameters = parameters
        ui = self._ui
        for one in (
            ui.measureButton, ui.lineButton, ui.regionButton, ui.reportButton,
            ui.lineSelector, ui.lineSelectorLabel,
        ):  # fmt: skip
            one.visible = result is not None
        self._unexportable = self._results.exportProblem(result) if result is not None else ""
        ui.exportButton.visible = result is not None and not self._unexportable
        if result is not self._result:
            self._result = result
            self._sayMeasured()
            self._fill()
        self._follow()

    def clear(self) -> None:
        """The scene is gone."""
        self._texts.say(self._ui.exportLabel, "")

    def _sayMeasured(self, problem: str = "") -> None:
        """Why figures could not be measured; without that why there is no DICOM."""
        self._texts.say(self._ui.exportLabel, problem or self._unexportable)

    def _fill(self) -> None:
        rows = self._results.measureRows(self._result) if self._result is not None else []
        tables.fill(self._ui.measuresTable, rows)
        self._ui.measuresTable.visible = bool(rows)

    def onMeasureButton(self) -> None:
        """Measure the chosen result."""
        with self._texts.said():
            self.measure(self._result)

    def measure(self, corrected: Any) -> None:
        """Measure a result in the background, if it is still there."""
        if corrected.GetScene() is not slicer.mrmlScene:
            return
        self._texts.say(self._ui.exportLabel, _("Measuring..."))

        def ended(problem: str) -> None:
            self._sayMeasured(problem)
            self._fill()
            if self._result is corrected:
                self._views.showFigures(corrected)

        self._results.measureAsync(corrected, ended)

    def onLineButton(self) -> None:
        """Place the line of the plot across the metal."""
        p = self._parameters
        with self._texts.said():
            p.profileLine = self._results.proposeLine(p.result, p.profileLine)
            self._results.updateProfile(p.result, p.profileLine)
            self._views.showFigures(p.result)

    def onRegionButton(self) -> None:
        """Add a box to measure in."""
        with self._texts.said():
            self._results.addRegion(self._result, self._views.inSlice)
            self._follow()
            self._updateFollowed()

    def _follow(self) -> None:
        """Observe line and boxes of the chosen result, so that figures follow their handles."""
        wanted = []
        if self._parameters and self._result is not None:
            wanted = self._results.regions(self._result)
            if self._parameters.profileLine:
                wanted.append(self._parameters.profileLine)
        if wanted == self._followed:
            return
        for observe, nodes in (
            (self._observer.removeObserver, self._followed),
            (self._observer.addObserver, wanted),
        ):
            for node in nodes:
                observe(node, slicer.vtkMRMLMarkupsNode.PointModifiedEvent, self._onMoved)
                if node.IsA("vtkMRMLMarkupsROINode"):
                    observe(node, vtk.vtkCommand.ModifiedEvent, self._onMoved)
        self._followed = wanted

    def _onMoved(self, caller: Any = None, event: Any = None) -> None:
        self._timer.start()

    def _updateFollowed(self) -> None:
        if not self._parameters or self._result is None:
            return
        with self._texts.said(self._ui.exportLabel):
            self._sayMeasured()
            if self._parameters.profileLine:
                self._results.updateProfile(self._result, self._parameters.profileLine)
            self._results.updateRegions(self._result)
            self._fill()

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
        line = self._parameters.profileLine
        self._write(partial(self._results.reportAsync, self._result, path, line), self._told)

    def onExportButton(self) -> None:
        """Ask for a folder and write DICOM series."""
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder for the new DICOM series")
        )
        if folder:
            self.exportDicom(folder)

    def exportDicom(self, folder: str) -> None:
        """Write the chosen result as DICOM series in the background."""
        self._write(partial(self._results.exportAsync, self._result, folder), self._toldIndexed)

    def _told(self, written: Any) -> str:
        return _("Written: {path}").format(path=written)

    def _toldIndexed(self, written: Any) -> str:
        told = self._told(", ".join(str(path) for path in written))
        if self._results.indexed(written):
            told += _("; in Slicer's DICOM database, too")
        return told

    def _write(
        self, start: Callable[[Callable[[Any], None]], Any], told: Callable[[Any], str]
    ) -> None:
        label = self._ui.exportLabel

        def ended(handle: Any) -> None:
            self._texts.say(label, handle.error or told(handle.nodes))

        with self._texts.said():
            start(ended)
            self._texts.say(label, _("Writing..."))
