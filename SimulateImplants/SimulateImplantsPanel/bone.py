"""Bone in Slicer's scene: found by threshold, parted at the user's points."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from MetalArtifactReductionLib.mrml import results_of
from SimulateImplantsLib.mrml import (
    bone_labels,
    clicks_of,
    name_points,
    segment_bone,
    split_vertebrae,
)

from .views import startPlacing


def segment(ct: Any, thresholdHu: float, earlier: Any = None) -> Any:
    """Bone by threshold as a segmentation node.

    :param earlier: replaced if it came from a threshold too; anything else is left alone.
    """
    into = earlier if earlier in results_of(slicer.mrmlScene, ct, "bone") else None
    return segment_bone(slicer.mrmlScene, ct, threshold_hu=thresholdHu, into=into)


def placePoints(points: Any, ct: Any, site: str, lowest: str) -> Any:
    """Let the user click points until Escape; each is labelled with what it marks.

    :param site: "spine" or "hip". :param lowest: level of the lowest point of a spine.
    :returns: the list of points.
    """
    if points is None:
        points = slicer.mrmlScene.AddNewNodeByClass(
            "vtkMRMLMarkupsFiducialNode", _("Vertebrae or hips")
        )
        points.CreateDefaultDisplayNodes()
    points.RemoveObservers(points.PointPositionDefinedEvent)
    points.AddObserver(
        points.PointPositionDefinedEvent, lambda *_: name_points(points, ct, site, lowest)
    )
    startPlacing(points, persistent=True)
    return points


def split(ct: Any, bone: Any, points: Any, lowest: str, **progress: Any) -> tuple[Any, Any]:
    """Plain bone into vertebrae at clicked points: segmentation node and warnings."""
    return split_vertebrae(
        slicer.mrmlScene,
        ct,
        bone_labels(bone, ct),
        clicks_of(points, ct),
        lowest=lowest,
        **progress,
    )


def clicks(points: Any, ct: Any) -> Any:
    """The user's points as the library wants them; empty without any."""
    clicked = points is not None and points.GetNumberOfDefinedControlPoints() > 0
    return clicks_of(points, ct) if clicked else {}
