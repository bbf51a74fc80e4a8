"""What a user who sees the panel for the first time does next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from .choices import found_by_itself, on_vertebrae, site_of
from .sections import State

_VERTEBRAE = ("vertebra", "c3", "c4", "c5", "c6", "t1", "l1", "l2", "l3", "l4", "l5", "s1")


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
    bone = parameters.boneSegmentation
    segments = bone.GetSegmentation() if bone else None
    every = range(segments.GetNumberOfSegments()) if segments else ()
    return next_step(
        parameters.proposal,
        ct=state.ready,
        bone=[segments.GetNthSegment(index).GetName() for index in every],
        points=points_of(parameters),
        implants=state.implants,
        measured=bool(quality),
        simulated=hasResults(parameters.inputVolume),
        segmentator=segmentator,
    )


def points_of(parameters: Any) -> int:
    """How many points are clicked."""
    return parameters.points.GetNumberOfControlPoints() if parameters.points else 0


def where_to_click(proposal: str) -> str:
    """Where points belong, in a sentence."""
    if found_by_itself(proposal):
        return _("Points are not needed; near one of several places they choose it.")
    if site_of(proposal) == "neck":
        return _("Place one point in the body of each vertebra from C3 to C6 (then Escape).")
    if on_vertebrae(proposal):
        return _("Place one point in the body of each vertebra (Place points, then Escape).")
    return _("Place one point in each femoral head (Place points, then Escape).")


def next_step(
    proposal: str,
    *,
    ct: bool,
    bone: Sequence[str],
    points: int,
    implants: int,
    measured: bool,
    simulated: bool,
    segmentator: str = "",
) -> str:
    """One sentence for the state of the scene.

    :param proposal: what is to be proposed. :param ct: a usable CT is chosen.
    :param bone: names of the bone's segments. :param points: how many are clicked.
    :param implants: how many there are. :param measured: their placement was measured.
    :param simulated: there are results.
    :param segmentator: an extension that is installed and segments bones.
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
    if found_by_itself(proposal):
        return _("Propose implants under 3: their place is found in the CT.")
    neck, spine = site_of(proposal) == "neck", on_vertebrae(proposal)
    words = _VERTEBRAE if spine else ("femur",)
    named = any(word in name.lower() for name in bone for word in words)
    if named or (points and (neck or (bone and not spine))):
        return _("Propose implants under 3, or add single ones.")
    if neck:
        return where_to_click(proposal)
    if not bone:
        name = segmentator or _("the extension TotalSegmentator")
        return _(
            "Let {name} segment the bones, find them by threshold, or add implants by hand under 3."
        ).format(name=name)
    if not points:
        return where_to_click(proposal)
    return _("Part the vertebrae at the points, then propose implants under 3.")
