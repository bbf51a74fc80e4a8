"""The logic of the module: supplies Slicer's scene and views to the library."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from .results_logic import ResultsLogic

POLL_MS = 150


class MetalArtifactReductionLogicBase(ResultsLogic, ScriptedLoadableModuleLogic):
    """Everything but the parameter node, which Slicer wants in the module file."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._jobs: Any = None
        self._estimator: Any = None
        self._estimates: list[Any] = []
        self._trained: tuple[Any, str] = (None, "")
        self._checked: tuple[Any, Any] = (None, None)
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self.onPoll: Callable[[], None] | None = None

    #
    # Inputs
    #

    def checkInput(self, volumeNode: Any) -> Any:
        """What is to be said about an input: ``InputCheck``; remembered while it stays the same."""
        from MetalArtifactReductionLib.mrml.inputs import check_input

        image = volumeNode.GetImageData() if volumeNode else None
        key = (volumeNode, volumeNode and volumeNode.GetMTime(), image and image.GetMTime())
        if self._checked[0] != key:
            self._checked = (key, check_input(slicer.mrmlScene, volumeNode))
        return self._checked[1]

    def inputProblem(self, volumeNode: Any) -> str:
        """Why a volume cannot be corrected, in one line; "" if nothing is known against it."""
        return str(self.checkInput(volumeNode).problem)

    def firstUsableVolume(self) -> Any:
        """The first volume of the scene that can be corrected, or None."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((volume for volume in volumes if not self.inputProblem(volume)), None)

    def methodProblem(self, method: str, weightsFile: str = "") -> str:
        """Why a method cannot be used, in one line; "" if it can."""
        from MetalArtifactReductionLib.errors import MARError
        from MetalArtifactReductionLib.methods.availability import require_method

        try:
            require_method(weightsFile if method == "file" else method)
        except MARError as error:
            return str(error)
        return ""

    #
    # Metal
    #

    def isProposal(self, segmentationNode: Any, volumeNode: Any) -> bool:
        """Whether a segmentation was proposed for this volume."""
        from MetalArtifactReductionLib.mrml import results_of

        if not segmentationNode or not volumeNode:
            return False
        return segmentationNode in results_of(slicer.mrmlScene, volumeNode, "metal")

    def proposeMetal(
        self,
        volumeNode: Any,
        thresholdHu: float | None = None,
        into: Any = None,
        method: str = "threshold",
    ) -> tuple[Any, Any]:
        """Find the metal in a CT; waits until it is done.

        :param thresholdHu: where metal begins; from the CT by ``method`` if None.
        :param into: an earlier proposal to replace.
        :param method: "threshold" or "kmeans".
        :returns: segmentation node, and what was found (``MetalSegmentation``).
        """
        self.ensureDependencies()
        from MetalArtifactReductionLib.mrml import propose_metal

        return propose_metal(
            slicer.mrmlScene, volumeNode, threshold_hu=thresholdHu, into=into, method=method
        )

    def proposeMetalAsync(
        self,
        volumeNode: Any,
        thresholdHu: float | None = None,
        into: Any = None,
        method: str = "threshold",
        *,
        onEnd: Callable[[Any], None] | None = None,
    ) -> Any:
        """As :meth:`proposeMetal`, in a process of its own; returns a job handle at once."""
        self.ensureDependencies()
        handle = self.jobs.propose_metal(
            volumeNode, threshold_hu=thresholdHu, into=into, method=method, on_end=onEnd
        )
        return self._started(handle)

    def metalParts(self, segmentationNode: Any, volumeNode: Any) -> Any:
        """The connected parts of a metal segmentation: ``MetalPart``."""
        from MetalArtifactReductionLib.mrml.parts import metal_parts

        return metal_parts(segmentationNode, volumeNode)

    def newSegmentation(self, volumeNode: Any) -> Any:
        """An empty segmentation of a CT's metal, to be drawn."""
        node = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode",
            slicer.mrmlScene.GenerateUniqueName(_("Metal")),
        )
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.GetSegmentation().AddEmptySegment("", _("Metal"), [0.95, 0.75, 0.10])
        return node

    def trainingSlices(self, segmentationNode: Any, volumeNode: Any, above: int, below: int) -> str:
        """Which slices training on this patient uses, in a line; or why it cannot."""
        from MetalArtifactReductionLib.errors import MARError
        from MetalArtifactReductionLib.mrml.training_slices import describe_training_slices

        if not segmentationNode:
            return _("Propose the metal to see on which slices the network is trained.")
        times = segmentationNode.GetSegmentation().GetMTime(), volumeNode.GetMTime()
        key = (segmentationNode, volumeNode, *times, above, below)
        if self._trained[0] != key:
            try:
                text = describe_training_slices(segmentationNode, volumeNode, above, below)
            except MARError as error:
                text = str(error)
            self._trained = (key, text)
        return self._trained[1]

    #
    # Correction
    #

    def correct(
        self,
        volumeNode: Any,
        metalSegmentation: Any = None,
        method: str = "nmar",
        *,
        device: str = "auto",
        progress: Callable[[float, str], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        **options: Any,
    ) -> Any:
        """Reduce the metal artifacts of a CT; waits until it is done.

        :param metalSegmentation: the metal; found from the CT if None.
        :param method: a name of the library's methods, or the path of a weights file.
        :param device: "auto", "cpu", "cuda" or "mps".
        :param progress: called with the fraction done and a message.
        :param cancel: asked between batches of slices; True stops, and nothing is added.
        :param options: see ``MetalArtifactReductionLib.mrml.correct_node``.
        :returns: ``CorrectedNodes``: corrected, change_map, metal, ...
        """
        self.ensureDependencies()
        from MetalArtifactReductionLib.mrml import correct_node

        return correct_node(
            slicer.mrmlScene,
            volumeNode,
            metalSegmentation,
            method,
            device=device,
            progress=progress,
            cancel=cancel,
            **options,
        )

    def correctAsync(
        self,
        volumeNode: Any,
        metalSegmentation: Any = None,
        method: str = "nmar",
        *,
        onProgress: Callable[[Any], None] | None = None,
        onEnd: Callable[[Any], None] | None = None,
        **options: Any,
    ) -> Any:
        """As :meth:`correct`, in a process of its own; returns at once.

        :param onProgress, onEnd: called with the handle, in Slicer's own thread.
        :param options: see ``MetalArtifactReductionLib.mrml.jobs.SceneJobs.correct``.
        :returns: job handle: ``done``, ``nodes``, ``error``, ``cancel()``, ``wait()``,
            ``result()``.
        """
        self.ensureDependencies()
        self.cancelEstimates()
        handle = self.jobs.correct(
            volumeNode,
            metalSegmentation,
            method,
            on_progress=onProgress,
            on_end=onEnd,
            **options,
        )
        return self._started(handle)

    @property
    def jobs(self) -> Any:
        """The queue of this scene's jobs: ``SceneJobs``."""
        if self._jobs is None:
            from MetalArtifactReductionLib.mrml.jobs import SceneJobs

            self._jobs = SceneJobs(slicer.mrmlScene)
        return self._jobs

    def jobHandles(self) -> list[Any]:
        """Jobs that wait, run, or ended and were not forgotten."""
        return list(self._jobs.handles) if self._jobs is not None else []

    def poll(self) -> None:
        """See what the jobs did; the timer calls it while there are any."""
        if self._jobs is None:
            self._timer.stop()
            return
        for handle in self._jobs.poll():
            if handle.log and not handle.done:
                logging.error("%s: %s\n%s", handle.title, handle.error, handle.log)
        if self._jobs.idle:
            self._timer.stop()
        if self.onPoll is not None:
            self.onPoll()

    def close(self) -> None:
        """End every process, remove every temporary file."""
        self._timer.stop()
        self.onPoll = None
        if self._jobs is not None:
            self._jobs.close()
            self._jobs = None
            self._estimator, self._estimates = None, []

    def _started(self, handle: Any = None) -> Any:
        self._timer.start()
        return handle

    #
    # How long it will take
    #

    def estimateSeconds(
        self, volumeNode: Any, method: str, device: str, slices: int | None
    ) -> float | None:
        """Seconds that a correction will take; None while it is not known.

        Measures this machine in the background, once for a method, a device and a matrix.

        :param slices: how many hold metal; all of them if None.
        """
        if not self.installed() or not self.jobs.idle:
            return None
        from MetalArtifactReductionLib.correction_options import CorrectionOptions
        from MetalArtifactReductionLib.jobs.estimate import Estimator

        options = CorrectionOptions(method, device=device)
        queue = self.jobs.queue
        if self._estimator is None:
            self._estimator = Estimator(queue)
        before = list(queue.jobs)
        columns, rows, every = volumeNode.GetImageData().GetDimensions()
        seconds = self._estimator.seconds(options, (rows, columns), slices or every)
        self._estimates += [job for job in queue.jobs if job not in before]
        if seconds is None:
            self._started()
        return None if seconds is None else float(seconds)

    def deviceFound(self, device: str) -> str:
        """What "auto" comes to on this machine: "cpu", "cuda", "mps"; "" while that is unknown."""
        return str(self._estimator.device(device)) if self._estimator is not None else ""

    def estimating(self) -> bool:
        """Whether this machine is being measured."""
        return any(not job.ended for job in self._estimates)

    def cancelEstimates(self) -> None:
        """A measurement that still runs gives way to the work itself."""
        if self.estimating():
            for job in self._estimates:
                job.cancel()
            self._estimator = None  # it would wait for the answer for ever
        self._estimates = []

    #
    # Packages
    #

    def installed(self) -> bool:
        """Whether nothing has to be installed before work can start."""
        from .installation import nothing_missing

        return nothing_missing(self._resources())

    def ensureDependencies(self) -> None:
        """Install the Python packages that are missing, after asking; when work starts only."""
        from .installation import ensure_dependencies

        ensure_dependencies(self._resources())

    @staticmethod
    def _resources() -> Path:
        return Path(__file__).parent.parent / "Resources"
