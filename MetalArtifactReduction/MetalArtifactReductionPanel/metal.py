"""Finds and lists the metal of a CT in Slicer's scene; nothing here needs the panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from MetalArtifactReductionLib.errors import MARError
from MetalArtifactReductionLib.metal.options import CleanUpParameters
from MetalArtifactReductionLib.mrml import results_of
from MetalArtifactReductionLib.mrml.belonging import metal_problem
from MetalArtifactReductionLib.mrml.parts import metal_parts
from MetalArtifactReductionLib.mrml.segmentations import outline_only
from MetalArtifactReductionLib.mrml.training_slices import describe_training_slices

from .background import BackgroundJobs


class Metal:
    """Proposals, parts, and what a network would be trained on.

    :param jobs: where proposals run. :param ensure: installs what is missing.
    """

    def __init__(self, jobs: BackgroundJobs, ensure: Callable[[], None]) -> None:
        self._jobs, self._ensure = jobs, ensure
        self.forget = jobs.forget
        self._trained: tuple[Any, str] = (None, "")

    def proposeAsync(
        self,
        volumeNode: Any,
        thresholdHu: float | None = None,
        into: Any = None,
        method: str = "threshold",
        *,
        includeSurface: bool = False,
        said: Mapping[int, bool] | None = None,
        onEnd: Callable[[Any], None] | None = None,
    ) -> Any:
        """Find the metal in a CT in a process of its own; returns a job handle at once.

        :param thresholdHu: where metal begins; from the CT by ``method`` if None.
        :param into: an earlier proposal to replace. :param method: "threshold" or "kmeans".
        :param includeSurface: small metal on the skin counts.
        :param said: label of a bright part -> whether the user says that it is metal.
        :returns: its ``nodes``: segmentation node, and what was found (``MetalSegmentation``).
        """
        self._ensure()
        said = said or {}
        clean_up = CleanUpParameters(
            include_surface=includeSurface,
            include=tuple(label for label, metal in said.items() if metal),
            exclude=tuple(label for label, metal in said.items() if not metal),
        )
        handle = self._jobs.queue.propose_metal(
            volumeNode,
            threshold_hu=thresholdHu,
            into=into,
            method=method,
            clean_up=clean_up,
            title=_("{name}: metal").format(name=volumeNode.GetName()),
            on_end=onEnd,
        )
        return self._jobs.started(handle)

    def isProposal(self, segmentationNode: Any, volumeNode: Any) -> bool:
        """Whether a segmentation was proposed for this volume."""
        if not segmentationNode or not volumeNode:
            return False
        return segmentationNode in results_of(slicer.mrmlScene, volumeNode, "metal")

    def parts(self, segmentationNode: Any, volumeNode: Any) -> tuple[Any, ...]:
        """The connected parts of a metal segmentation: ``MetalPart``."""
        return metal_parts(segmentationNode, volumeNode)

    def problem(self, segmentationNode: Any, volumeNode: Any) -> str:
        """Why a segmentation cannot be this CT's metal; "" if it can."""
        return metal_problem(segmentationNode, volumeNode)

    def copyOf(self, segmentationNode: Any) -> Any:
        """What is in a segmentation now; None without one."""
        if segmentationNode is None:
            return None
        content = slicer.vtkSegmentation()
        content.DeepCopy(segmentationNode.GetSegmentation())
        return content

    def restore(self, proposedNode: Any, segmentationNode: Any, content: Any) -> None:
        """Take a proposal back: what it replaced, or no node at all."""
        if content is not None:
            segmentationNode.GetSegmentation().DeepCopy(content)
        elif proposedNode is not None and proposedNode is not segmentationNode:
            slicer.mrmlScene.RemoveNode(proposedNode)

    def drawn(self, segmentationNode: Any) -> tuple[Any, ...]:
        """What tells whether a segmentation was drawn in: its voxels, and when they changed."""
        segmentation = segmentationNode.GetSegmentation()
        name = segmentation.GetSourceRepresentationName()
        voxels = [
            segmentation.GetNthSegment(index).GetRepresentation(name)
            for index in range(segmentation.GetNumberOfSegments())
        ]
        return tuple((one, one and one.GetMTime()) for one in voxels)

    def newSegmentation(self, volumeNode: Any) -> Any:
        """An empty segmentation of a CT's metal, to be drawn."""
        node = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(_("Metal"))
        )
        outline_only(node)
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.GetSegmentation().AddEmptySegment("", _("Metal"), [0.95, 0.75, 0.10])
        return node

    def trainingSlices(self, segmentationNode: Any, volumeNode: Any, above: int, below: int) -> str:
        """Which slices training on this patient uses, in a line; or why it cannot."""
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
