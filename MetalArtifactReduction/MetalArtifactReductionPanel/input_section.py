"""The panel's section "CT"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .texts import Texts


class InputSection:
    """Which CT, why it cannot be corrected, and what to know about it.

    :param ui: the section's widgets.
    :param check: from a volume node to what is to be said about it, ``InputCheck``.
    :param onChosen: called with the parameter node when another CT is chosen that can be used.
    """

    def __init__(
        self,
        ui: Any,
        texts: Texts,
        check: Callable[[Any], Any],
        onChosen: Callable[[Any], None],
    ) -> None:
        self._ui, self._texts, self._check, self._onChosen = ui, texts, check, onChosen
        self._chosen: Any = None
        texts.manage(ui.inputMessageLabel, ui.inputNoteLabel)

    def show(self, parameters: Any) -> str:
        """Problem and notes beside the selector; returns the problem, "" if there is none."""
        volume = parameters.inputVolume if parameters else None
        check = self._check(volume)
        self._texts.say(self._ui.inputMessageLabel, check.problem if volume else "")
        self._texts.say(self._ui.inputNoteLabel, "\n".join(check.notes))
        if parameters and volume is not self._chosen:
            self._chosen = volume
            if not check.problem:
                self._onChosen(parameters)
        return str(check.problem)
