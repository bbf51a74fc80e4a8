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


class PanelJobs:
    """Mixin of the widget: one method a button, and how they are run.

    Reads the parameter node, asks the logic, shows what came of it; nothing else.
    """

    logic: Any
    ui: Any
    _parameterNode: Any

    def _addSample(self, which: str) -> None:
        nodes = self.logic.addSample(which, progress=self._onProgress)
        self._parameterNode.inputVolume = nodes.ct
        self._parameterNode.boneSegmentation = nodes.bone
        spine = which == "spine"
        self._parameterNode.proposal = Proposal.SPINE if spine else Proposal.TOTAL_HIP

    def _segmentBone(self) -> None:
        p = self._parameterNode
        p.boneSegmentation = self.logic.segmentBone(
            p.inputVolume, p.boneThresholdHu, p.boneSegmentation
        )
        self.ui.boneMessageLabel.text = _(
            "Now place one point in the body of each vertebra, or in each femoral head."
        )

    def _placePoints(self) -> None:
        p = self._parameterNode
        p.points = self.logic.placePoints(p.points)

    def _splitVertebrae(self) -> None:
        p = self._parameterNode
        node, warnings = self.logic.splitVertebrae(
            p.inputVolume, p.boneSegmentation, p.points, p.lowestLevel, **self._progress()
        )
        p.boneSegmentation = node
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
        self.logic.showQuality()

    def _fit(self) -> None:
        p = self._parameterNode
        warnings = self.logic.fitToBone(p.inputVolume, p.boneSegmentation, self._selected()[0])
        self.ui.implantsMessageLabel.text = "\n".join(warnings)

    def _align(self) -> None:
        p = self._parameterNode
        self.logic.align(self._selected()[0], p.alignedView, p.alignedPlane.value)

    def _voxelize(self) -> None:
        warnings = self.logic.voxelize(self._parameterNode.inputVolume, **self._progress())
        self.ui.resultLabel.text = "\n".join(warnings)

    def _simulate(self) -> None:
        p = self._parameterNode
        nodes = self.logic.simulate(
            p.inputVolume,
            p.model.value,
            p.acquisition,
            kvp=p.kvp,
            photonsPerRay=10**p.photons if p.noise else None,
            seed=p.seed,
            device=p.device,
            **self._progress(),
        )
        self.ui.resultLabel.text = self.logic.resultSummary(nodes)
        p.shown = Shown.CORRUPTED
        self.onDisplayChanged()

    def _select(self, *implants: Any) -> None:
        self._fillTables()
        tables.select_ids(self.ui.implantsTable, [one.model.GetID() for one in implants])

    def _progress(self) -> dict[str, Any]:
        return {"progress": self._onProgress, "cancel": lambda: self._cancelRequested}

    def _onProgress(self, fraction: float, message: str) -> None:
        self.ui.progressBar.value = round(100 * fraction)
        elapsed = time.monotonic() - self._startTime
        if not self._cancelRequested:
            if fraction > 0.05 and elapsed > 3:
                left = elapsed / fraction * (1 - fraction)
                message = _("{message} (about {left:.0f} s left)").format(
                    message=message, left=left
                )
            self.ui.statusLabel.text = message
        slicer.app.processEvents()

    def _job(self, work: Any) -> Any:
        """What a button does: the panel is busy meanwhile, and says how it ended."""

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
                    work()
                    seconds = time.monotonic() - self._startTime
                    self.ui.statusLabel.text = (
                        _("Done in {seconds:.0f} s.").format(seconds=seconds) if seconds > 2 else ""
                    )
            finally:
                self._running = False
                if self._parameterNode and self.logic.canWork():
                    self._fillTables()
                self._update()

        return run

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
