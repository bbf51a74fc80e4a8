"""The panel's section "Run": the queue of corrections."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import slicer
from slicer.i18n import tr as _

from . import tables
from .choices import Method


class PanelRuns:
    """Mixin of the widget: start, follow and cancel jobs."""

    logic: Any
    ui: Any
    _parameterNode: Any
    _stopEditing: Any
    _update: Any
    _onCorrected: Any

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
            self.ui.statusLabel.text = ""
        self._showJobs()

    def onCancelButton(self) -> None:
        """Stop the selected jobs, or all of them."""
        handles = self.logic.jobHandles()
        rows = tables.selected_rows(self.ui.jobsTable)
        chosen = [handles[row] for row in rows if row < len(handles)]
        for handle in chosen or handles:
            if not handle.ended:
                handle.cancel()
        self.ui.statusLabel.text = _("Cancelling...")
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
                self.ui.statusLabel.text = _("{title}: {message}, {state}").format(
                    title=running[0].title,
                    message=running[0].message,
                    state=tables.job_state(running[0]),
                )

    def _sayHowItEnded(self, handle: Any) -> None:
        """The last job's outcome in the status line."""
        if handle.done:
            text = _("{title}: done in {seconds:.0f} s.")
        elif handle.state.value == "cancelled":
            text = _("{title}: cancelled; nothing was added.")
        else:
            text = _("{title}: {error}")
        self.ui.statusLabel.text = text.format(
            title=handle.title, seconds=handle.seconds, error=handle.error
        )

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
        (label or self.ui.statusLabel).text = text
        if label is None:
            slicer.util.errorDisplay(text)
