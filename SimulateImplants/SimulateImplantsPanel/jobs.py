"""What the panel's buttons do."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import slicer
from slicer.i18n import tr as _

from . import tables
from .choices import Proposal, Shown


def duration(seconds: float) -> str:
    """As people say it: 8 s, 3 min."""
    if seconds < 100:
        return _("{seconds:.0f} s").format(seconds=seconds)
    return _("{minutes:.0f} min").format(minutes=seconds / 60)


class PanelJobs:
    """Mixin of the widget: one method a button, and how they are run.

    Reads the parameter node, asks the logic, shows what came of it; nothing else.
    """

    logic: Any
    ui: Any
    _parameterNode: Any
    _handle: Any

    def _addSample(self, which: str) -> None:
        nodes = self.logic.addSample(which, progress=self._onProgress)
        self._parameterNode.inputVolume = nodes.ct
        self._parameterNode.boneSegmentation = nodes.bone
        self.logic.showBone(nodes.bone)
        spine = which == "spine"
        self._parameterNode.proposal = Proposal.SPINE if spine else Proposal.TOTAL_HIP

    def _segmentBone(self) -> None:
        p = self._parameterNode
        p.boneSegmentation = self.logic.segmentBone(
            p.inputVolume, p.boneThresholdHu, p.boneSegmentation
        )
        self.logic.showBone(p.boneSegmentation)
        self.ui.boneMessageLabel.text = _(
            "Now place one point in the body of each vertebra, or in each femoral head."
        )

    def _chooseFolder(self) -> None:
        import qt

        p = self._parameterNode
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder for the variants"), p.samplesFolder
        )
        if folder:
            p.samplesFolder = folder

    def _placePoints(self) -> None:
        p = self._parameterNode
        p.points = self.logic.placePoints(p.points)

    def _splitVertebrae(self) -> None:
        p = self._parameterNode
        node, warnings = self.logic.splitVertebrae(
            p.inputVolume, p.boneSegmentation, p.points, p.lowestLevel, **self._progress()
        )
        p.boneSegmentation.GetDisplayNode().SetVisibility(False)  # the parts lie in it
        p.boneSegmentation = node
        self.logic.showBone(node)
        self.ui.boneMessageLabel.text = "\n".join(warnings)

    def _propose(self) -> None:
        p = self._parameterNode
        proposed = self.logic.propose(
            p.inputVolume,
            p.boneSegmentation,
            p.proposal.value,
            points=p.points,
            sides=p.sides.names(),
            levels=p.levels,
            rods=p.rods,
            rodDiameterMm=float(p.rodDiameter),
            variant=p.variant,
            **self._progress(),
        )
        self.ui.implantsMessageLabel.text = "\n".join(proposed.warnings)
        self.logic.showPlaced(p.boneSegmentation, fromBehind=p.proposal is Proposal.SPINE)

    def _add(self) -> None:
        p = self._parameterNode
        self._select(self.logic.addImplant(p.inputVolume, p.kind.value, p.preset))

    def _draw(self) -> None:
        p = self._parameterNode
        self.logic.drawLine(p.inputVolume, p.kind.value, p.preset)
        self._drawing = True
        self.ui.implantsMessageLabel.text = _("Click the entry point, then the target.")

    def _addSurface(self) -> None:
        p = self._parameterNode
        self._select(self.logic.addSurface(p.inputVolume, p.surface, p.surfaceMaterial))

    def _duplicate(self) -> None:
        self._select(*(self.logic.duplicate(one) for one in self._selected()))

    def _remove(self) -> None:
        self.logic.remove(self._selected())

    def _addRod(self) -> None:
        p = self._parameterNode
        self._select(self.logic.addRod(p.inputVolume, self._selected(), float(p.rodDiameter)))

    def _addCrossLink(self) -> None:
        self._select(self.logic.addCrossLink(self._parameterNode.inputVolume, self._selected()))

    def _measure(self) -> None:
        p = self._parameterNode
        rows = self.logic.measure(p.inputVolume, p.boneSegmentation, **self._progress())
        self._quality = {row.implant.model.GetID(): row for row in rows}
        self.ui.implantsMessageLabel.text = ""
        self.logic.showQuality()

    def _fit(self) -> None:
        p = self._parameterNode
        warnings = self.logic.fitToBone(p.inputVolume, p.boneSegmentation, self._selected()[0])
        self.ui.implantsMessageLabel.text = "\n".join(warnings)

    def _align(self) -> None:
        p = self._parameterNode
        self.logic.align(self._selected()[0], p.alignedView, p.alignedPlane.value)

    def _voxelize(self) -> None:
        p = self._parameterNode
        millilitres, warnings = self.logic.voxelize(p.inputVolume, **self._progress())
        text = _("Metal fraction laid over the CT: {volume:.2f} cm³.").format(volume=millilitres)
        self.ui.resultLabel.text = "<br>".join([text, *warnings])

    def _simulate(self) -> Any:
        self.ui.resultLabel.text = ""
        p = self._parameterNode
        return self.logic.simulateAsync(
            p.inputVolume,
            p.model.value,
            p.acquisition,
            kvp=p.kvp,
            photonsPerRay=10**p.photons if p.noise else None,
            seed=p.seed,
            device=p.device,
            onProgress=self._onJobProgress,
            onEnd=lambda handle: self._onJobEnd(handle, self._simulated),
        )

    def _simulated(self, nodes: Any) -> None:
        self.ui.resultLabel.text = self.logic.resultSummary(nodes)
        if self._parameterNode:
            self.logic.hideQuality()
            self.logic.outlineOnly(self._parameterNode.boneSegmentation)
            self._parameterNode.shown = Shown.CORRUPTED
            self.onDisplayChanged()

    def _sample(self) -> Any:
        self.ui.resultLabel.text = ""
        p = self._parameterNode
        return self.logic.sampleAsync(
            p.inputVolume,
            p.boneSegmentation,
            p.points,
            p.proposal.value,
            p.samplesFolder,
            count=p.samples,
            samplingSeed=p.samplesSeed,
            randomShare=p.randomShare / 100,
            sides=p.sides.names(),
            lowest=p.lowestLevel,
            model=p.model.value,
            acquisition=p.acquisition,
            kvp=p.kvp,
            photonsPerRay=10**p.photons if p.noise else None,
            seed=p.seed,
            device=p.device,
            onProgress=self._onJobProgress,
            onEnd=lambda handle: self._onJobEnd(handle, self._sampled),
        )

    def _sampled(self, told: Any) -> None:
        text = _("{made} cases are in the folder.").format(made=told["made"])
        self.ui.resultLabel.text = "<br>".join([text, *told["reasons"]])

    def _onJobProgress(self, handle: Any) -> None:
        self._onProgress(handle.fraction, handle.message, handle.remaining_s)

    def _onJobEnd(self, handle: Any, then: Any) -> None:
        """A job in the background ended: take over what came of it, or say why not."""
        self._handle = None
        try:
            with self._said():
                then(handle.result())
                self._sayDone()
        finally:
            self._end()

    def _select(self, *implants: Any) -> None:
        self._fillTables()
        tables.select_ids(self.ui.implantsTable, [one.model.GetID() for one in implants])

    def _progress(self) -> dict[str, Any]:
        return {"progress": self._onProgress, "cancel": lambda: self._cancelRequested}

    def _onProgress(self, fraction: float, message: str, left: float | None = None) -> None:
        self.ui.progressBar.value = round(100 * fraction)
        elapsed = time.monotonic() - self._startTime
        if not self._cancelRequested:
            if left is None and fraction > 0.05 and elapsed > 3:
                left = elapsed / fraction * (1 - fraction)
            if left is not None:
                message = _("{message} (about {left} left)").format(
                    message=message, left=duration(left)
                )
            self.ui.statusLabel.text = message
        if self._handle is None:  # work in Slicer's own process
            slicer.app.processEvents()

    def _job(self, work: Any) -> Any:
        """What a button does: the panel is busy meanwhile, and says how it ended.

        :param work: returns the handle of a job that goes on in the background, or None.
        """

        def run(_checked: bool = False) -> None:
            self._running = True
            self._cancelRequested = False
            self._startTime = time.monotonic()
            self.ui.progressBar.value = 0
            self.ui.statusLabel.text = ""
            self._update()
            slicer.app.processEvents()
            try:
                with self._said():
                    self.logic.ensureDependencies()
                    self.logic.follow(self._implantsChanged)
                    handle = work()
                    if hasattr(handle, "cancel"):
                        self._handle = handle
                        self.ui.statusLabel.text = _("Starting...")
                    else:
                        self._sayDone()
            finally:
                if self._handle is None:
                    self._end()

        return run

    def _sayDone(self) -> None:
        seconds = time.monotonic() - self._startTime
        self.ui.statusLabel.text = (
            _("Done in {time}.").format(time=duration(seconds)) if seconds > 2 else ""
        )

    def _end(self) -> None:
        self._running = False
        if self._parameterNode and self.logic.canWork():
            self._fillTables()
        self._update()

    @contextmanager
    def _said(self, dialog: bool = True) -> Iterator[None]:
        """What goes wrong in the block is said in words.

        :param dialog: also in a dialog, not only in the status line.
        """
        from MetalArtifactReductionLib.errors import Cancelled, MARError

        try:
            yield
        except Cancelled:
            self.ui.statusLabel.text = _("Cancelled; nothing was added.")
        except MARError as error:
            self.ui.statusLabel.text = str(error)
            if dialog:
                slicer.util.errorDisplay(str(error))
        except Exception as error:
            logging.exception("Simulate Implants failed")
            self.ui.statusLabel.text = str(error)
            slicer.util.errorDisplay(_("Failed: {error}\nSee the error log.").format(error=error))
