"""What a user who sees the panel for the first time does next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from .choices import on_vertebrae
from .sections import State


def hint_for(
    parameters: Any,
    state: State,
    quality: Mapping[str, Any],
    hasResults: Callable[[Any], bool],
    segmentator: str = "",
) -> str:
    """One sentence for the panel as it is; "" while something runs.

    :param quality: what was measured. :param hasResults: whether a CT was simulated.
    :param segmentator: see :func:`next_step`.
    """
    if not state.free:
        return ""
    bone, points = parameters.boneSegmentation, parameters.points
    segments = bone.GetSegmentation() if bone else None
    every = range(segments.GetNumberOfSegments()) if segments else ()
    return next_step(
        ct=state.ready,
        bone=[segments.GetNthSegment(index).GetName() for index in every],
        spine=on_vertebrae(parameters.proposal),
        points=points.GetNumberOfControlPoints() if points else 0,
        implants=state.implants,
        measured=bool(quality),
        simulated=hasResults(parameters.inputVolume),
        segmentator=segmentator,
    )


def next_step(
    *,
    ct: bool,
    bone: Sequence[str],
    spine: bool,
    points: int,
    implants: int,
    measured: bool,
    simulated: bool,
    segmentator: str = "",
) -> str:
    """One sentence for the state of the scene.

    :param ct: a usable CT is chosen. :param bone: names of the bone's segments.
    :param spine: something on vertebrae is to be proposed, not on hips.
    :param points: how many are clicked. :param implants: how many there are.
    :param segmentator: an extension that is installed and segments bones.
    :param measured: their placement was measured. :param simulated: there are results.
    """
    if not ct:
        return _(
            "Load a CT without metal, for instance by dragging its files here, or take a phantom."
        )
    if implants:
        if simulated:
            return _(
                "Compare the volumes under 5; the Metal Artifact Reduction module corrects them."
            )
        if not measured:
            return _("Select implants in the table to edit them; Measure grades their placement.")
        return _("Voxelise and simulate under 4.")
    if not bone:
        name = segmentator or _("the extension TotalSegmentator")
        return _(
            "Let {name} segment the bones, find them by threshold, or add implants by hand under 3."
        ).format(name=name)
    named = [name.lower() for name in bone]
    words = (
        ("vertebra", "c3", "c4", "c5", "c6", "t1", "l1", "l2", "l3", "l4", "l5", "s1")
        if spine
        else ("femur",)
    )
    if any(word in name for name in named for word in words):
        return _("Propose implants under 3, or add single ones.")
    if not points:
        if spine:
            return _("Place one point in the body of each vertebra (Place points, then Escape).")
        return _("Place one point in each femoral head (Place points, then Escape).")
    if spine:
        return _("Part the vertebrae at the points, then propose implants under 3.")
    return _("Propose implants under 3, or add single ones.")
