"""What the panel's buttons start: one thing at a time, and how it ended in words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer
from slicer.i18n import tr as _


def duration(seconds: float) -> str:
    """As people say it: 8 s, 3 min."""
    if seconds < 100:
        return _("{seconds:.0f} s").format(seconds=seconds)
    return _("{minutes:.0f} min").format(minutes=seconds / 60)


class Work:
    """The panel is busy while something runs, here or in a process of its own.

    :param ui: progress bar, status line and button to cancel.
    :param prepare: called before anything starts. :param onChange: when it begins and has ended.
    """

    def __init__(self, ui: Any, prepare: Callable[[], None], onChange: Callable[[], None]) -> None:
        from MetalArtifactReductionPanel.turns import Turns

        self._ui, self._prepare, self._onChange = ui, prepare, onChange
        self.running = False
        self._cancelled = False
        self._began = 0.0
        self._handle: Any = None
        self.turns = Turns()
        self.turns.said = self.said
        ui.cancelButton.connect("clicked(bool)", lambda _on: self.cancel())

    @property
    def background(self) -> bool:
        """Whether a job runs in a process of its own, or its results are being added."""
        return self._handle is not None

    def show(self) -> None:
        """Whether something runs."""
        for widget in (self._ui.cancelButton, self._ui.progressBar):
            widget.visible = self.running

    def changed(self) -> None:
        """Something that decides about what can be done next is another one."""
        self._onChange()

    def say(self, text: str) -> None:
        """Show a text in the status line."""
        self._ui.statusLabel.text = text

    def connect(self, button: Any, work: Callable[[], Any]) -> None:
        """Let a button start something.

        :param work: returns the handle of a job that goes on in the background, or None.
        """
        button.connect("clicked(bool)", lambda _on: self._run(work))

    def _run(self, work: Callable[[], Any]) -> None:
        self.running = True
        self._cancelled = False
        self._began = time.monotonic()
        self._ui.progressBar.value = 0
        self.say("")
        self._onChange()
        slicer.app.processEvents()  # what is off by now is drawn
        slicer.app.processEvents()  # and who watches is served before the work begins
        try:
            with self.said():
                self._prepare()
                handle = work()
                if hasattr(handle, "cancel"):
                    self._handle = handle
                    self.say(_("Starting..."))
                else:
                    self._sayDone()
        finally:
            if self._handle is None:
                self._end()

    def callbacks(self, then: Callable[[Any], None]) -> dict[str, Any]:
        """``onProgress`` and ``onEnd`` for a job in the background.

        :param then: called with what it gave, if it ended well.
        """

        def ended(handle: Any) -> None:
            self._handle = None
            try:
                with self.said():
                    then(handle.result())
                    self._sayDone()
            finally:
                self._end()

        def moved(handle: Any) -> None:
            self._onProgress(handle.fraction, handle.message, handle.remaining_s)

        return {"onProgress": moved, "onEnd": ended}

    def cancel(self) -> None:
        """The job stops at its next step."""
        self._cancelled = True
        if self._handle is not None:
            self._handle.cancel()
            self.say(_("Cancelling..."))

    def _onProgress(self, fraction: float, message: str, left: float | None = None) -> None:
        self._ui.progressBar.value = round(100 * fraction)
        elapsed = time.monotonic() - self._began
        if not self._cancelled:
            if left is None and fraction > 0.05 and elapsed > 3:
                left = elapsed / fraction * (1 - fraction)
            if left is not None:
                message = _("{message} (about {left} left)").format(
                    message=message, left=duration(left)
                )
            self.say(message)

    def _sayDone(self) -> None:
        seconds = time.monotonic() - self._began
        text = _("Done in {time}.").format(time=duration(seconds)) if seconds > 2 else ""
        self.say(text)

    def _end(self) -> None:
        self.running = False
        self._onChange()

    @contextmanager
    def said(self, dialog: bool = True) -> Iterator[None]:
        """What goes wrong in the block is said in words.

        :param dialog: also in a dialog, not only in the status line.
        """
        from MetalArtifactReductionLib.errors import Cancelled, MARError

        try:
            yield
        except Cancelled:
            self.say(_("Cancelled; nothing was added."))
        except MARError as error:
            self.say(str(error))
            if dialog:
                slicer.util.errorDisplay(str(error))
        except Exception as error:
            logging.exception("Simulate Implants failed")
            self.say(str(error))
            slicer.util.errorDisplay(_("Failed: {error}\nSee the error log.").format(error=error))
