"""The panel's section "Run": the queue of corrections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from . import tables
from .background import BackgroundJobs
from .texts import Texts


class RunSection:
    """Starts, follows and cancels jobs.

    :param ui: the section's widgets. :param jobs: the list that is shown.
    :param correct: starts a correction of the parameter node's CT; takes what is to be called
        with the handle when it has ended.
    :param onCorrected: takes the nodes of a correction that ended well.
    """

    def __init__(
        self,
        ui: Any,
        texts: Texts,
        jobs: BackgroundJobs,
        correct: Callable[[Callable[[Any], None]], Any],
        onCorrected: Callable[[Any], None],
    ) -> None:
        self._ui, self._texts, self._jobs = ui, texts, jobs
        self._correct, self._onCorrected = correct, onCorrected
        self._chosen: Any = None
        self._going = ""  # what was said of jobs that went on
        tables.set_titles(ui.jobsTable, [_("Job"), _("State")])
        ui.applyButton.connect("clicked(bool)", lambda _on: self.onApplyButton())
        ui.cancelButton.connect("clicked(bool)", lambda _on: self.onCancelButton())

    def show(self, parameters: Any, problem: str) -> None:
        """Whether Apply can be pressed, and the jobs.

        :param problem: why CT or method cannot be used; "" if they can.
        """
        p = parameters
        chosen = p and (p.inputVolume, p.metalSegmentation, p.method)
        if chosen != self._chosen and self._jobs.idle:
            self._texts.say(self._ui.statusLabel, "")  # it was about another choice
        self._chosen = chosen
        self._ui.applyButton.enabled = bool(parameters) and not problem
        self._ui.applyButton.toolTip = problem or _(
            "Correct the CT in the background and add the results."
        )
        self.showJobs()

    def clear(self) -> None:
        """The scene is gone, and its jobs with it; files are still written."""
        self._texts.say(self._ui.statusLabel, "")
        self._jobs.forget(*(handle for handle in self._jobs.handles() if handle.ended))
        self.showJobs()

    def onApplyButton(self) -> None:
        """Add a correction to the queue; Slicer stays usable."""
        with self._texts.said():
            self._correct(self._onEnd)
            self._texts.say(self._ui.statusLabel, "")
        self.showJobs()

    def onCancelButton(self) -> None:
        """Stop the selected jobs, or all of them; a selected one may have ended long ago."""
        handles = self._jobs.handles()
        rows = tables.selected_rows(self._ui.jobsTable)
        going_on = [handle for handle in handles if not handle.ended]
        chosen = [handles[row] for row in rows if row < len(handles)]
        for handle in [one for one in chosen if one in going_on] or going_on:
            handle.cancel()
        self._sayGoing(_("Cancelling..."))
        self.showJobs()

    def showJobs(self) -> None:
        """Table, progress and what can be cancelled; called after every poll."""
        handles = self._jobs.handles()
        tables.fill(
            self._ui.jobsTable,
            [[handle.title, tables.job_state(handle)] for handle in handles],
            [_reason(handle) or handle.message for handle in handles],
        )
        self._ui.jobsTable.visible = bool(handles)
        running = [handle for handle in handles if handle.state.value == "running"]
        going_on = any(not handle.ended for handle in handles)
        self._ui.progressBar.visible = going_on
        self._ui.cancelButton.visible = going_on
        self._ui.progressBar.value = round(100 * running[0].fraction) if running else 0
        if running:
            if running[0].message:
                text = _("{title}: {message}, {state}").format(
                    title=running[0].title,
                    message=running[0].message,
                    state=tables.job_state(running[0]),
                )
                self._sayGoing(text)
        elif not going_on and self._ui.statusLabel.text == self._going:
            self._texts.say(self._ui.statusLabel, "")  # how it ended is said elsewhere

    def _sayGoing(self, text: str) -> None:
        self._going = text
        self._texts.say(self._ui.statusLabel, text)

    def _onEnd(self, handle: Any) -> None:
        """The last job's outcome in the status line; its result to who shows it."""
        if handle.done:
            text = _("{title}: done in {seconds:.0f} s.")
            if handle.message:  # how many slices needed it
                text = _("{title}: done in {seconds:.0f} s, {message}.")
        else:
            text = _("{title}: {error}")
        text = text.format(
            title=handle.title,
            seconds=handle.seconds,
            message=handle.message,
            error=_reason(handle),
        )
        self._texts.say(self._ui.statusLabel, text)
        if handle.done:
            with self._texts.said(self._ui.statusLabel):
                self._onCorrected(handle.nodes)


def _reason(handle: Any) -> str:
    """Why a job failed, without the options of a program."""
    return str(handle.error.removesuffix(handle.remedy))
