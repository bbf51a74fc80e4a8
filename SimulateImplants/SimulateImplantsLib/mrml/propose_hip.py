"""Proposed hip prostheses and femoral nails as editable nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.correct import ct_from_node
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report
from MetalArtifactReductionLib.volume import CTVolume

from ..placement.hip import HipModel, measure_hip
from ..placement.hip_plan import nail_plan, prosthesis_plan
from ..placement.levels import hip_masks
from ..placement.plan import join_plans
from .bone import union_of
from .plans import add_plan
from .propose import ProposedNodes

HIP_IMPLANTS = ("total-hip", "short-nail", "long-nail")
"""What a hip can get: stem, head and cup; or a cephalomedullary nail."""


def propose_hip(
    scene: Any,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    kind: str = "total-hip",
    *,
    sides: Sequence[str] = ("left", "right"),
    clicks: Mapping[str, np.ndarray] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ProposedNodes:
    """A hip prosthesis or a nail, fitted to each hip, as editable nodes.

    :param labels: masks on the CT's grid, see ``bone_labels``: ``femur_left``, ``hip_left``, ...,
        or plain bone.
    :param kind: one of :data:`HIP_IMPLANTS`.
    :param sides: "left", "right" or both; of clicked hips, those on these sides.
    :param clicks: for plain bone, one RAS point in each femoral head, see ``clicks_of``.
    :raises InputError: no hip that could be measured; nothing is added then.
    """
    if kind not in HIP_IMPLANTS:
        raise InputError(f"no hip implant '{kind}': choose one of {', '.join(HIP_IMPLANTS)}")
    if not sides:
        raise InputError("no side chosen: choose left, right or both")
    if not labels:
        raise InputError("no bone: segment it, or find it by threshold, first")
    volume = ct_from_node(scene, ct_node)
    models, warnings = _hips(volume, labels, sides, clicks or {}, progress, cancel)
    plans = []
    for model in models:
        try:
            if kind == "total-hip":
                plans.append(prosthesis_plan(model))
            else:
                plans.append(nail_plan(model, long=kind == "long-nail"))
        except InputError as error:
            warnings.append(f"{model.side} hip: {error}")
    if not plans:
        raise InputError("no hip could be used: " + "; ".join(warnings))
    plan = join_plans(plans)
    implants = add_plan(scene, plan, like=ct_node)
    report(progress, 1.0, "hips proposed")
    return ProposedNodes(tuple(implants), plan, (*warnings, *plan.warnings))


def _hips(
    volume: CTVolume,
    labels: Mapping[str, np.ndarray],
    sides: Sequence[str],
    clicks: Mapping[str, np.ndarray],
    progress: Progress | None,
    cancel: Cancel | None,
) -> tuple[list[HipModel], list[str]]:
    """The hips that could be measured, and why others could not."""
    masks = hip_masks(labels)
    models: list[HipModel] = []
    warnings: list[str] = []
    labelled = [side for side in sides if f"femur_{side}" in masks]
    jobs: list[tuple[str, dict[str, Any]]] = [
        (
            f"{side} hip",
            {"femur": masks[f"femur_{side}"], "hip": masks.get(f"hip_{side}"), "side": side},
        )
        for side in labelled
    ]
    if not jobs:
        if not clicks:
            raise InputError(
                f"no femur_{sides[0]} among the segments {sorted(labels)}: name the femur so, or "
                "click once into each femoral head"
            )
        bone = union_of(dict(labels))
        jobs = [(name, {"bone": bone, "click": point}) for name, point in clicks.items()]
    for index, (name, arguments) in enumerate(jobs):
        check_cancelled(cancel)
        report(progress, index / len(jobs), f"measuring {name}")
        try:
            model = measure_hip(volume, **arguments)
        except InputError as error:
            warnings.append(str(error))
            continue
        if model.side in sides:
            models.append(model)
    if not models:
        raise InputError("no hip could be measured: " + ("; ".join(warnings) or "on these sides"))
    return models, warnings
