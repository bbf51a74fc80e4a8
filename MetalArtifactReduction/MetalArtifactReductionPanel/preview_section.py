"""The panel's preview: the slice in view, corrected, before the whole volume is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from .choices import correction_options, methods
from .texts import Texts

SETTLE_MS, LOOK_MS = 200, 50


class PreviewSection:
    """Corrects the slice in view again whenever something changes that it depends on.

    :param ui: the section's widgets.
    :param logic: its ``views`` show the slice, its ``metal`` tells whether metal was drawn in, its
        ``estimates`` wait for a slice that is asked for.
    :param onChange: called when a slice has come, and when the views are to show again what they
        did before.
    """

    def __init__(self, ui: Any, texts: Texts, logic: Any, onChange: Callable[[], None]) -> None:
        self._ui, self._texts, self._views, self._metal = ui, texts, logic.views, logic.metal
        self._onChange, self._hold = onChange, logic.estimates.hold
        self._parameters: Any = None
        self._process: Any = None
        self._warm: Any = None  # the CT for which it was started before it was asked
        self._asked: Any = None
        self._node: Any = None
        self._settle, self._look, self._end = qt.QTimer(), qt.QTimer(), qt.QTimer()
        self._settle.setSingleShot(True)  # a slider that is dragged
        self._end.setSingleShot(True)
        for timer, wait_ms, slot in (
            (self._settle, SETTLE_MS, self._ask),
            (self._look, LOOK_MS, self._poll),
            (self._end, 0, self.stop),
        ):
            timer.setInterval(wait_ms)
            timer.connect("timeout()", slot)
        texts.manage(ui.previewLabel)
        texts.say(ui.previewLabel, "")
        ui.previewButton.connect("toggled(bool)", self._onButton)

    def show(self, parameters: Any, problem: str) -> None:
        """Offer it, and follow what was changed.

        :param problem: why CT, metal or method cannot be used; "" if they can.
        """
        self._parameters = parameters
        entry = methods().get(parameters.method) if parameters else None
        slow = entry is not None and entry.trains_first
        self._ui.previewButton.visible = bool(parameters) and not problem and not slow
        of_another = self._asked and self._asked[0] is not (parameters and parameters.inputVolume)
        if self._ui.previewButton.checked and (of_another or not self._ui.previewButton.visible):
            self.end()
        elif self._ui.previewButton.checked:
            self._settle.start()
        elif not self._ui.previewButton.visible:
            self.stop()
        elif parameters.inputVolume is not self._warm:
            self._warm = parameters.inputVolume
            self._warmUp(parameters)

    def _warmUp(self, parameters: Any) -> None:
        """Let the process load what it needs while the user looks at the CT."""
        from MetalArtifactReductionLib.mrml.preview import slab_of, slice_at

        volume = parameters.inputVolume
        with self._texts.said(self._ui.previewLabel):
            slab, middle = slab_of(volume, slice_at(volume, self._views.centre()))
            self._process = self._process or self._preview()
            self._process.warm(slab, middle, correction_options(parameters))

    def _preview(self) -> Any:
        from MetalArtifactReductionLib.jobs.preview import Preview

        return Preview()

    def end(self) -> None:
        """End it as soon as Slicer is idle, if it is on: something else is to be shown."""
        if self._ui.previewButton.checked:
            for timer in (self._settle, self._look):
                timer.stop()
            self._end.start()  # no node may be removed while Slicer removes the CT

    def stop(self) -> None:
        """End it; the process too."""
        self._end.stop()
        self._ui.previewButton.checked = False
        if self._process is not None:
            self._process.close()
            self._process = None

    def leave(self) -> None:
        """End it, and begin anew with the CT when the panel is opened again."""
        self.stop()
        self._warm = None

    def _onButton(self, on: bool) -> None:
        if on:
            self._views.follow(self._settle.start)
            self._ask()
            return
        self._settle.stop()
        self._look.stop()
        self._hold(False)
        self._asked = None
        self._views.follow(None)
        if self._node is not None:
            self._node = self._views.removePreview(self._node)
            self._onChange()
        self._texts.say(self._ui.previewLabel, "")

    def _ask(self) -> None:
        """Ask for the slice, if another one or another correction is wanted."""
        from MetalArtifactReductionLib.mrml.preview import slab_of, slice_at
        from MetalArtifactReductionLib.mrml.segmentations import mask_from_segmentation

        p = self._parameters
        volume, options = p.inputVolume, correction_options(p)
        index = slice_at(volume, self._views.centre())
        metal = p.metalSegmentation  # as Apply: a threshold counts where there is none
        drawn = metal and self._metal.drawn(metal)
        asked = (volume, volume.GetMTime(), index, metal, drawn, str(options))
        if asked == self._asked:
            return
        self._asked = asked
        with self._texts.said(self._ui.previewLabel):
            slab, middle = slab_of(volume, index)
            fraction = None
            if metal is not None:
                first = index - middle
                fraction = mask_from_segmentation(metal, volume)[first : first + len(slab.hu)]
            self._process = self._process or self._preview()
            self._hold(True)
            self._process.ask(slab, middle, fraction, options)
            self._texts.say(self._ui.previewLabel, _("Correcting this slice..."))
            self._look.start()

    def _poll(self) -> None:
        answer = self._process.poll()
        if answer is None:
            return
        self._look.stop()
        self._hold(False)
        volume, index = self._asked[0], self._asked[2]
        text = _("This slice, corrected in {seconds:.1f} s.")
        if answer.hu is None:
            text = _("No preview: {problem}.")
        elif answer.strength == 0:
            text = _("This slice needs no correction: no streaks beyond noise.")
        self._texts.say(
            self._ui.previewLabel,
            text.format(seconds=answer.seconds, problem=answer.problem.rstrip(".")),
        )
        if answer.hu is not None:
            window = self._parameters.window.value
            self._node = self._views.showPreview(volume, index, answer.hu, self._node, window)
        self._onChange()
