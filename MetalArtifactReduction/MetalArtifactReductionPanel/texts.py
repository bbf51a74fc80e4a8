"""The panel's texts; what went wrong is said in words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _


class _Resized(qt.QObject):  # type: ignore[misc]
    """Calls a function each time that a watched widget has another size."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call

    def eventFilter(self, _widget: Any, event: Any) -> bool:
        """Qt's."""
        if event.type() == qt.QEvent.Resize:
            self._call()
        return False


class Texts:
    """Shows texts that may take several lines; without one its place is given to the rest.

    :param status: label for what has no place of its own.
    """

    def __init__(self, status: Any) -> None:
        self.status = status
        self._labels: list[Any] = []
        self._again = False
        self._timer = qt.QTimer(status)  # ends with what it lays out
        self._timer.setSingleShot(True)
        self._timer.setInterval(20)  # after Qt's own work on the layout
        self._timer.connect("timeout()", self.fit)
        self._resized = _Resized(self._timer.start)
        self.manage(status)

    def manage(self, *labels: Any) -> None:
        """Give these labels their height from now on."""
        self._labels += labels
        for label in labels:  # what is around one gives it another width or place
            label.parentWidget().installEventFilter(self._resized)
            policy = label.sizePolicy
            policy.setHorizontalPolicy(qt.QSizePolicy.Ignored)  # else the views shrink for a text
            label.setSizePolicy(policy)

    def changed(self) -> None:
        """Texts may have been changed by others."""
        self._timer.start()

    def say(self, label: Any, text: str) -> None:
        """Show a text."""
        label.visible = bool(text)
        if label.text != text:
            label.text = text
            self._timer.start()

    def fit(self) -> None:
        """Give every text the height that it needs at its width.

        Qt makes a scroll area's contents as low as they say they can be, and a text of several
        lines says one or two.
        """
        for label in self._labels:
            label.setMinimumHeight(0)  # Qt takes it into account
            label.setMinimumHeight(label.heightForWidth(label.width) if label.text else 0)
        # A text that was hidden has its width only now.
        self._again = not self._again
        if self._again:
            self._timer.start()

    @contextmanager
    def said(self, label: Any = None) -> Iterator[None]:
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
        self.say(label or self.status, text)
        if label is None:
            slicer.util.errorDisplay(text)
