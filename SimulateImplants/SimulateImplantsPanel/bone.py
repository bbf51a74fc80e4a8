"""Bone in Slicer's scene: found by threshold, parted at the user's points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from MetalArtifactReductionLib.mrml import results_of
from SimulateImplantsLib.mrml import (
    bone_in_background,
    bone_labels,
    clicks_of,
    name_points,
    split_in_background,
)

from .views import startPlacing


def segmentAsync(
    jobs: Any, ct: Any, thresholdHu: float, earlier: Any, *, onProgress: Any, onEnd: Any
) -> Any:
    """Find bone by threshold in a process of its own; returns a job handle at once.

    :param jobs: ``BackgroundJobs``.
    :param earlier: replaced if it came from a threshold too; anything else is left alone.
    :param onProgress, onEnd: called with the handle, in Slicer's own thread.
    """
    into = earlier if earlier in results_of(slicer.mrmlScene, ct, "bone") else None
    handle = bone_in_background(
        jobs.queue, ct, threshold_hu=thresholdHu, into=into, on_progress=onProgress, on_end=onEnd
    )
    return jobs.started(handle)


def placePoints(
    points: Any, ct: Any, site: str, lowest: str, onPoint: Callable[[], None] = lambda: None
) -> Any:
    """Let the user click points until Escape; each is labelled with what it marks.

    :param site: see ``name_points``. :param lowest: level of the lowest point of a spine.
    :param onPoint: called with each of them.
    :returns: the list of points.
    """
    if points is None:
        points = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLMarkupsFiducialNode", _("Vertebrae or hips")
        )
        points.CreateDefaultDisplayNodes()
    points.RemoveObservers(points.PointPositionDefinedEvent)

    def placed(*_given: Any) -> None:
        name_points(points, ct, site, lowest)
        onPoint()

    points.AddObserver(points.PointPositionDefinedEvent, placed)
    startPlacing(points, persistent=True)
    return points


def splitAsync(
    jobs: Any, ct: Any, bone: Any, points: Any, lowest: str, *, onProgress: Any, onEnd: Any
) -> Any:
    """Plain bone into vertebrae at clicked points, in a process of its own.

    :returns: as :func:`segmentAsync`; ``nodes`` are the segmentation node and warnings.
    """
    handle = split_in_background(
        jobs.queue,
        ct,
        bone_labels(bone, ct),
        clicks_of(points, ct),
        lowest=lowest,
        on_progress=onProgress,
        on_end=onEnd,
    )
    return jobs.started(handle)


def clicks(points: Any, ct: Any) -> Any:
    """The user's points as the library wants them; empty without any."""
    clicked = points is not None and points.GetNumberOfDefinedControlPoints() > 0
    return clicks_of(points, ct) if clicked else {}
