"""Proposed hip prostheses and femoral nails as editable nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.correct import ct_from_node
from MetalArtifactReductionLib.progress import Cancel, Progress

from ..dataset.patient import KINDS, Bones, measure_patient, proposed_plan, sampled_plan
from ..placement.spine.levels import hip_masks
from .plans import add_plan
from .propose import ProposedNodes

HIP_IMPLANTS = tuple(kind for kind in KINDS if kind != "spine")
"""What a hip can get: stem, head and cup; or a cephalomedullary nail."""


def propose_hip(
    scene: Any,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    kind: str = "total-hip",
    *,
    sides: Sequence[str] = ("left", "right"),
    clicks: Mapping[str, np.ndarray] | None = None,
    variant: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ProposedNodes:
    """A hip prosthesis or a nail, fitted to each hip, as editable nodes.

    :param labels: masks on the CT's grid, see ``bone_labels``: ``femur_left``, ``hip_left``, ...,
        or plain bone.
    :param kind: one of :data:`HIP_IMPLANTS`.
    :param sides: "left", "right" or both; of clicked hips, those on these sides.
    :param clicks: for plain bone, one RAS point in each femoral head, see ``clicks_of``.
    :param variant: 0 for the best fit; otherwise the seed of a plausible variant.
    :raises InputError: no hip that could be measured; nothing is added then.
    """
    if kind not in HIP_IMPLANTS:
        raise InputError(f"no hip implant '{kind}': choose one of {', '.join(HIP_IMPLANTS)}")
    if not sides:
        raise InputError("no side chosen: choose left, right or both")
    if not labels:
        raise InputError("no bone: segment it, or find it by threshold, first")
    volume = ct_from_node(scene, ct_node)
    named = any(f"femur_{side}" in hip_masks(labels) for side in sides)
    if not named and not clicks:
        raise InputError(
            f"no femur_{sides[0]} among the segments {sorted(labels)}: name the femur so, or "
            "click once into each femoral head"
        )
    bones = Bones(labels, {} if named else dict(clicks or {}))
    patient = measure_patient(volume, bones, kind, sides=sides, progress=progress, cancel=cancel)
    plan = sampled_plan(patient, kind, variant) if variant else proposed_plan(patient, kind)
    return ProposedNodes(tuple(add_plan(scene, plan, like=ct_node)), plan, plan.warnings)
