"""Sampled variants of the patient in a scene, written to a folder in the background."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MetalArtifactReductionLib.jobs.call import result_of
from MetalArtifactReductionLib.mrml.correct import ct_view

from ..cases.options import SimulationOptions
from ..dataset.variants import Variants, variants_job
from ..implants.registry import procedure_of
from ..placement.patient import Bones
from ..placement.spine.levels import hip_masks, vertebra_masks
from .propose import named_levels

if TYPE_CHECKING:
    from MetalArtifactReductionLib.mrml.jobs import HandleCallback, SceneJob, SceneJobs


def variants_in_background(
    jobs: SceneJobs,
    ct_node: Any,
    labels: Mapping[str, np.ndarray],
    clicks: Mapping[str, np.ndarray],
    wanted: Variants,
    options: SimulationOptions,
    folder: Path,
    *,
    lowest: str = "L5",
    on_progress: HandleCallback | None = None,
    on_end: HandleCallback | None = None,
) -> SceneJob:
    """Place, simulate and write variants in a process of their own; returns at once.

    :param labels: masks on the CT's grid, see ``bone_labels``; named vertebrae and femora are used
        as they are, plain bone with the clicks.
    :param clicks: one RAS point in each vertebral body or femoral head, see ``clicks_of``.
    :param lowest: see :func:`.propose.named_levels`.
    :returns: its ``nodes`` will be ``{"made": cases, "reasons": [why others failed]}``.
    :raises InputError: no CT, clicks that name no levels.
    :raises OutputError: the folder cannot be made, or no room for temporary files.
    """
    volume = ct_view(jobs.scene, ct_node)
    on_vertebrae = procedure_of(wanted.kind).site in ("spine", "neck")
    named = vertebra_masks(labels) if on_vertebrae else hip_masks(labels)
    used: Mapping[str, np.ndarray] = {}
    if wanted.random_share >= 1:
        labels = {}
    elif not named:
        used = named_levels(clicks, lowest) if on_vertebrae else clicks
    job = variants_job(
        volume,
        Bones(labels, used),
        wanted,
        options,
        folder,
        title=f"{ct_node.GetName()}: {wanted.count} variants",
    )
    return jobs.add(
        job,
        (ct_node,),
        lambda job: dict(zip(("made", "reasons"), result_of(job), strict=True)),
        on_progress,
        on_end,
    )
