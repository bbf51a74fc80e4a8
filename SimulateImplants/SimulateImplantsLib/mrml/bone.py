"""Bone in a scene: segments by name, bone by threshold, and what the user clicked."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.jobs.call import call_job, result_of
from MetalArtifactReductionLib.jobs.job import Job
from MetalArtifactReductionLib.mrml import segment_masks, volume_from_node
from MetalArtifactReductionLib.mrml.hierarchy import mark_result, place_results
from MetalArtifactReductionLib.mrml.segmentations import (
    add_surface,
    cropped_labelmap,
    outline_only,
    segmentation_from_fraction,
)
from MetalArtifactReductionLib.mrml.transaction import all_of, all_or_none
from MetalArtifactReductionLib.mrml.volumes import ijk_to_ras, storage_axes, view_of
from MetalArtifactReductionLib.volume import CTVolume

from ..placement.patient import BONE_HU, bone_mask
from ..placement.spine.levels import LEVELS, level_of
from .scene_implant import matrix_between

_OURS = "named by the panel"
if TYPE_CHECKING:
    from MetalArtifactReductionLib.mrml.jobs import HandleCallback, SceneJob, SceneJobs

BONE_SURFACE_STEP = 2
"""Bone has millions of triangles otherwise; slices show every voxel."""
BONE_COLOR = (0.94, 0.87, 0.72)


def bone_labels(segmentation: Any, ct_node: Any) -> dict[str, np.ndarray]:
    """The segments of a segmentation node by name, on the CT's grid.

    :param segmentation: of any geometry; it is resampled to the CT's.
    :param ct_node: the CT's volume node.
    :returns: segment name -> bool mask ``(slices, rows, cols)``; empty segments are left out.
    :raises InputError: no segmentation, empty, two segments of one name, or not over this CT.
    """
    labels: dict[str, np.ndarray] = {}
    outside = []
    for segment_id, mask in segment_masks(segmentation, ct_node):
        name = segmentation.GetSegmentation().GetSegment(segment_id).GetName()
        if name in labels:
            raise InputError(
                f"segmentation '{segmentation.GetName()}' has two segments '{name}': rename one"
            )
        if mask.any():
            labels[name] = mask
        else:
            outside.append(name)
    if not labels and outside:
        raise InputError(
            f"segmentation '{segmentation.GetName()}' has no bone inside volume "
            f"'{ct_node.GetName()}': choose the segmentation of this volume"
        )
    if not labels:
        raise InputError(
            f"segmentation '{segmentation.GetName()}' is empty: no bone; segment it first"
        )
    return labels


def segment_bone(
    scene: Any, ct_node: Any, *, threshold_hu: float = BONE_HU, into: Any = None
) -> Any:
    """Bone by threshold as a segmentation node with one segment ``bone``.

    :param threshold_hu: bone is brighter; in the patient's body only, small islands left out.
    :param into: an earlier result to replace.
    :returns: ``vtkMRMLSegmentationNode`` beside the CT.
    :raises InputError: no CT, or no bone above the threshold.
    """
    volume = volume_from_node(ct_node)
    try:
        bone = bone_mask(volume, threshold_hu)
    except InputError as error:
        raise InputError(f"'{ct_node.GetName()}': {error}") from None
    return all_of(_bone_in_steps(scene, ct_node, volume, bone, threshold_hu, into))


def bone_in_background(
    jobs: SceneJobs,
    ct_node: Any,
    *,
    threshold_hu: float = BONE_HU,
    into: Any = None,
    on_progress: HandleCallback | None = None,
    on_end: HandleCallback | None = None,
) -> SceneJob:
    """:func:`segment_bone` in a process of its own; its ``nodes`` will be the segmentation node.

    :raises InputError: no CT. :raises OutputError: no room for temporary files.
    """
    volume = view_of(ct_node)
    job = call_job(bone_mask, volume, threshold_hu, title=f"{ct_node.GetName()}: bone")

    def add_nodes(job: Job) -> Generator[None, None, Any]:
        bone, grid = result_of(job), view_of(ct_node)
        yield
        steps = _bone_in_steps(jobs.scene, ct_node, grid, bone, threshold_hu, into)
        return (yield from steps)

    return jobs.add(job, (ct_node, into), add_nodes, on_progress, on_end)


def _bone_in_steps(
    scene: Any, ct_node: Any, volume: CTVolume, bone: np.ndarray, threshold_hu: float, into: Any
) -> Generator[None, None, Any]:
    with all_or_none(scene) as added:
        node = segmentation_from_fraction(
            scene,
            bone,
            volume,
            ct_node,
            f"Bone {ct_node.GetName()}",
            into=into,
            surface_step=0,
        )
        if into is None:
            added(node)
        yield
        add_surface(node, BONE_SURFACE_STEP)
        yield
        segment = node.GetSegmentation().GetNthSegment(0)
        segment.SetName("bone")
        segment.SetColor(*BONE_COLOR)
        mark_result(node, "bone", ct_node, attributes={"threshold_hu": threshold_hu})
        place_results(scene, ct_node, [node], f"Implants {ct_node.GetName()}")
    return node


def segmentation_from_labels(
    scene: Any, labels: dict[str, np.ndarray], ct_node: Any, name: str
) -> Any:
    """Named masks as a segmentation node with one segment each.

    :param labels: bool masks ``(slices, rows, cols)`` on the CT's grid.
    """
    return all_of(labels_in_steps(scene, labels, ct_node, name))


def labels_in_steps(
    scene: Any, labels: dict[str, np.ndarray], ct_node: Any, name: str
) -> Generator[None, None, Any]:
    """:func:`segmentation_from_labels` with pauses, in which a user interface answers."""
    matrix, as_stored = ijk_to_ras(ct_node), np.argsort(storage_axes(ct_node))
    with all_or_none(scene) as added:
        node = added(
            scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
        )
        outline_only(node)
        node.SetReferenceImageGeometryParameterFromVolumeNode(ct_node)
        node.SetAndObserveTransformNodeID(ct_node.GetTransformNodeID())
        for segment_name, mask in labels.items():
            node.AddSegmentFromBinaryLabelmapRepresentation(
                cropped_labelmap(mask.transpose(as_stored), matrix),
                segment_name,
                list(BONE_COLOR),
                segment_name,
            )
            node.CreateClosedSurfaceRepresentation()  # of the next ones by itself
            yield
    return node


def name_points(points: Any, ct_node: Any, site: str, lowest: str = "L5") -> None:
    """Label clicked points with what they mark; a label of the user's own stays as it is.

    :param points: ``vtkMRMLMarkupsFiducialNode``, while it is clicked.
    :param site: "spine": levels up from ``lowest``; "hip": the patient's left and right; numbers
        for any other.
    """
    count = points.GetNumberOfDefinedControlPoints()
    given = [points.GetNthControlPointLabel(index) for index in range(count)]
    ours = [points.GetNthControlPointDescription(index) == _OURS for index in range(count)]
    new = [not our and not level_of(label) for our, label in zip(ours, given, strict=True)]
    if not all(our or fresh for our, fresh in zip(ours, new, strict=True)):
        return
    places = np.array([points.GetNthControlPointPositionWorld(index) for index in range(count)])
    if site == "spine":
        bottom = LEVELS.index(lowest)
        ranks = np.argsort(np.argsort(places.reshape(-1, 3)[:, 2]))
        names = [LEVELS[max(bottom - int(rank), 0)] for rank in ranks]
    elif site == "hip":
        bounds = [0.0] * 6
        ct_node.GetRASBounds(bounds)
        names = ["hip right" if place[0] > sum(bounds[:2]) / 2 else "hip left" for place in places]
    else:
        names = [f"point {index + 1}" for index in range(count)]
    for index, name in enumerate(names):
        points.SetNthControlPointDescription(index, _OURS)
        points.SetNthControlPointLabel(index, name)


def clicks_of(points: Any, ct_node: Any) -> dict[str, np.ndarray]:
    """Clicked points by label, in the CT's own RAS.

    :param points: ``vtkMRMLMarkupsFiducialNode``; each label names the vertebra ("L4") or the hip
        ("hip_left").
    :raises InputError: no points, one label twice.
    """
    if points is None or points.GetNumberOfDefinedControlPoints() == 0:
        raise InputError(
            "nothing is clicked: place one point in the body of each vertebra (label it L4, ...)"
        )
    to_ct = matrix_between(points.GetParentTransformNode(), ct_node.GetParentTransformNode())
    clicks: dict[str, np.ndarray] = {}
    for index in range(points.GetNumberOfControlPoints()):
        if points.GetNthControlPointPositionStatus(index) != points.PositionDefined:
            continue
        label = points.GetNthControlPointLabel(index)
        if label in clicks:
            raise InputError(f"two clicked points are labelled '{label}': rename one of them")
        position = np.array([*points.GetNthControlPointPosition(index), 1.0])
        clicks[label] = (to_ct @ position)[:3]
    return clicks
