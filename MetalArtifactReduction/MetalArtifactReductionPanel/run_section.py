"""The panel's section "Run": the queue of corrections."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import tables
from .choices import Method

_TEXTS = (
    "inputMessageLabel inputNoteLabel metalMessageLabel methodLabel slicesLabel estimateLabel "
    "statusLabel overlayLabel resultLabel exportLabel"
)


class PanelRuns:
    """Mixin of the widget: start, follow and cancel jobs."""

    logic: Any
    ui: Any
    _parameterNode: Any
    _stopEditing: Any
    _update: Any
    _onCorrected: Any
    _fitTimer: Any
    _fitAgain: bool

    def _setUpTexts(self) -> None:
        """Texts get their height once the panel has laid them out."""
        self._fitTimer = qt.QTimer(self.ui.scrollArea)  # ends with what it lays out
        self._fitTimer.setSingleShot(True)
        self._fitTimer.setInterval(20)  # after Qt's own work on the layout
        self._fitTimer.connect("timeout()", self.fitTexts)

    def onApplyButton(self) -> None:
        """Add a correction to the queue; Slicer stays usable."""
        parameters = self._parameterNode
        self._stopEditing()
        options: dict[str, Any] = {"device": parameters.device, "show": False}
        method = parameters.method.value
        if parameters.method is Method.FILE:
            method = parameters.weightsFile
        elif parameters.method is Method.PATIENT:
            options["method_options"] = {
                "above": parameters.slicesAbove,
                "below": parameters.slicesBelow,
            }
        with self._said():
            self.logic.correctAsync(
                parameters.inputVolume,
                parameters.metalSegmentation,
                method,
                onEnd=self._onCorrected,
                **options,
            )
            self._say(self.ui.statusLabel, "")
        self._showJobs()

    def onCancelButton(self) -> None:
        """Stop the selected jobs, or all of them."""
        handles = self.logic.jobHandles()
        rows = tables.selected_rows(self.ui.jobsTable)
        chosen = [handles[row] for row in rows if row < len(handles)]
        for handle in chosen or handles:
            if not handle.ended:
                handle.cancel()
        self._say(self.ui.statusLabel, _("Cancelling..."))
        self._showJobs()

    def _showJobs(self) -> None:
        """Table, progress and what can be cancelled; called after every poll."""
        handles = self.logic.jobHandles()
        tables.fill(
            self.ui.jobsTable,
            [[handle.title, tables.job_state(handle)] for handle in handles],
            [handle.error or handle.message for handle in handles],
        )
        self.ui.jobsTable.visible = bool(handles)
        running = [handle for handle in handles if handle.state.value == "running"]
        going_on = any(not handle.ended for handle in handles)
        self.ui.progressBar.visible = going_on
        self.ui.cancelButton.enabled = going_on
        if running:
            self.ui.progressBar.value = round(100 * running[0].fraction)
            if running[0].message:
                text = _("{title}: {message}, {state}").format(
                    title=running[0].title,
                    message=running[0].message,
                    state=tables.job_state(running[0]),
                )
                self._say(self.ui.statusLabel, text)

    def _sayHowItEnded(self, handle: Any) -> None:
        """The last job's outcome in the status line."""
        if handle.done:
            text = _("{title}: done in {seconds:.0f} s.")
        elif handle.state.value == "cancelled":
            text = _("{title}: cancelled; nothing was added.")
        else:
            text = _("{title}: {error}")
        text = text.format(title=handle.title, seconds=handle.seconds, error=handle.error)
        self._say(self.ui.statusLabel, text)

    def _say(self, label: Any, text: str) -> None:
        """Show a text that may take several lines; without one its place is given to the rest."""
        label.visible = bool(text)
        if label.text != text:
            label.text = text
            self._fitTimer.start()

    def fitTexts(self) -> None:
        """Give every text the height that it needs at its width.

        Qt makes a scroll area's contents as low as they say they can be, and a text of several
        lines says one or two.
        """
        for name in _TEXTS.split():
            label = getattr(self.ui, name)
            label.setMinimumHeight(0)  # Qt takes it into account
            label.setFixedHeight(label.heightForWidth(label.width) if label.text else 0)
        # A text that was hidden has its width only now.
        self._fitAgain = not self._fitAgain
        if self._fitAgain:
            self._fitTimer.start()

    @contextmanager
    def _said(self, label: Any = None) -> Iterator[None]:
        """What goes wrong in the block is said in words.

        :param label: where; in the status line and a dialog if None. No dialog from a timer: it
            would fire again behind it.
        """
        from MetalArtifactReductionLib.errors import MARError

        try:
            yield
        except MARError as error:
            text = str(error)
        except Exception as error:
            logging.exception("Metal artifact reduction failed")
            text = _("Failed: {error}. See the error log.").format(error=error)
        else:
            return
        self._say(label or self.ui.statusLabel, text)
        if label is None:
            slicer.util.errorDisplay(text)
