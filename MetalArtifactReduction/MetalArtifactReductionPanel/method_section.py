"""The panel's section "Method"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .choices import FILE, correction_options
from .parameters import RegistryChoice
from .texts import Texts


class MethodSection:
    """Which method, what it is for, why it cannot be used, how long it will take.

    :param ui: the section's widgets.
    :param methods: gives what can be chosen: name -> ``MethodEntry``.
    :param problem: from a method's name or weights file to why it cannot be used, or "".
    :param estimate: from a CT, options and a number of slices to an estimate in words.
    :param trainingSlices: from metal, CT, slices above and below to what a network is trained on.
    """

    def __init__(
        self,
        ui: Any,
        texts: Texts,
        *,
        methods: Callable[[], dict[str, Any]],
        problem: Callable[[str], str],
        estimate: Callable[[Any, Any, int | None], str],
        trainingSlices: Callable[[Any, Any, int, int], str],
    ) -> None:
        self._ui, self._texts = ui, texts
        self._methods, self._problem = methods, problem
        self._estimate, self._trainingSlices = estimate, trainingSlices
        self._parameters: Any = None
        self._choice = RegistryChoice(ui.methodComboBox, "method")
        texts.manage(ui.methodLabel, ui.slicesLabel, ui.estimateLabel)
        ui.weightsButton.connect("clicked(bool)", lambda _on: self.onWeightsButton())

    def show(self, parameters: Any, ready: bool, slices: int | None) -> str:
        """Explanation, training slices, time; returns why the method cannot be used.

        :param ready: there is a CT that can be corrected.
        :param slices: how many hold metal, None while unknown.
        """
        self._parameters, ui = parameters, self._ui
        methods = self._methods()
        self._choice.show(parameters, {name: _(one.label) for name, one in methods.items()})
        if not parameters:
            return ""
        method = methods.get(parameters.method)  # None: of a scene from another computer
        trains = method is not None and method.trains_first
        options = correction_options(parameters)
        problem = self._problem(options.method)
        text = _(method.explanation) if method else ""
        if problem:
            text += "\n" + _("Not available: {problem}.").format(problem=problem.rstrip("."))
        self._texts.say(ui.methodLabel, text.strip())
        for widget in (ui.weightsLineEditLabel, ui.weightsLineEdit, ui.weightsButton):
            widget.visible = parameters.method == FILE
        for widget in (ui.slicesAboveSpinBoxLabel, ui.slicesAboveSpinBox, ui.slicesBelowSpinBox):
            widget.visible = trains
        p, training, estimate = parameters, "", "-"
        if ready and trains:
            training = self._trainingSlices(
                p.metalSegmentation, p.inputVolume, p.slicesAbove, p.slicesBelow
            )
        if ready and not problem:
            estimate = (
                _("depends on the training; shown once it runs")
                if trains
                else self._estimate(p.inputVolume, options, slices)
            )
        self._texts.say(ui.slicesLabel, training)
        self._texts.say(ui.estimateLabel, estimate)
        return problem

    def onWeightsButton(self) -> None:
        """Let the user choose a weights file."""
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(),
            _("Trained weights"),
            self._parameters.weightsFile,
            _("Weights") + " (*.safetensors)",
        )
        if path:
            self._parameters.weightsFile = path
