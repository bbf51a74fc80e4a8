"""Implants proposed for a patient: from named bones or clicks to a plan with its quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report
from MetalArtifactReductionLib.volume import CTVolume

from ..placement.anatomy import union
from ..placement.geometry import Vector
from ..placement.hip.hip import HipModel, measure_hip
from ..placement.hip.hip_plan import nail_plan, prosthesis_plan
from ..placement.plan import PlacementPlan, join_plans
from ..placement.samplers import HipSampling, sample_hip_plan, sample_spine_plan
from ..placement.spine.levels import hip_masks
from ..placement.spine.propose import (
    SpineProposal,
    VertebraModel,
    propose_screws,
    propose_screws_from_clicks,
    spine_plan,
)
from ..placement.spine.trajectory import SIDES

KINDS = ("spine", "total-hip", "short-nail", "long-nail")
BONE_HU = 200.0
SMALLEST_BONE_MM3 = 2000.0
"""Smaller islands above the threshold are calcifications, contrast or table parts."""


@dataclass(frozen=True, eq=False)
class Bones:
    """What is known of a patient's bones.

    :param labels: masks on the CT's grid by name, see ``label_files.read_bones``.
    :param clicks: RAS points: in vertebral bodies by level ("L3"), or in femoral heads.
    :param threshold_hu: where nothing is labelled bone is what is brighter.
    """

    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    clicks: Mapping[str, Vector] = field(default_factory=dict)
    threshold_hu: float = BONE_HU

    def everything(self, volume: CTVolume) -> np.ndarray:
        """One mask of all bone: the labels together, or by threshold."""
        bone = union(self.labels)
        return bone_mask(volume, self.threshold_hu) if bone is None else bone


@dataclass(frozen=True)
class Patient:
    """Measured bones that implants can be planned on.

    :param vertebrae: from the head down, with their largest-clearance screws.
    :param hips: by side.
    :param warnings: what could not be measured.
    """

    spine: SpineProposal | None = None
    hips: tuple[HipModel, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def vertebrae(self) -> dict[str, VertebraModel]:
        """By level."""
        return {v.level: v for v in self.spine.vertebrae} if self.spine else {}


def bone_mask(volume: CTVolume, threshold_hu: float = BONE_HU) -> np.ndarray:
    """Bone by threshold, in the patient's body, small islands left out.

    :raises InputError: no bone above the threshold.
    """
    bone = (volume.hu > threshold_hu) & body_mask(volume.hu, volume.spacing_mm)
    labels, count = ndimage.label(bone)
    if count:
        sizes = np.bincount(labels.ravel()) * float(np.prod(volume.spacing_mm))
        sizes[0] = 0.0
        bone = (sizes >= SMALLEST_BONE_MM3)[labels]
    if not bone.any():
        raise InputError(
            f"no bone of {SMALLEST_BONE_MM3 / 1000:g} cm3 above {threshold_hu:g} HU: lower the "
            "bone threshold, or choose a CT in Hounsfield units"
        )
    return bone


def measure_patient(
    volume: CTVolume,
    bones: Bones,
    kind: str = "spine",
    *,
    levels: Sequence[str] | None = None,
    sides: Sequence[str] = SIDES,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Patient:
    """Measure the bones that implants of a kind need.

    :param kind: one of :data:`KINDS`.
    :param levels: of labelled vertebrae only these.
    :raises InputError: no label and no click, or nothing that could be measured.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of implants {kind!r}; use one of {', '.join(KINDS)}")
    if not bones.labels and not bones.clicks:
        raise InputError(
            "nothing says where the bones are: give --segmentation, or --click L3=R,A,S for each "
            "vertebra (hip=R,A,S for each femoral head)"
        )
    if kind == "spine":
        return Patient(spine=_spine(volume, bones, levels, sides, progress, cancel))
    return _hips(volume, bones, sides, progress, cancel)


def proposed_plan(
    patient: Patient,
    kind: str = "spine",
    *,
    sides: Sequence[str] = SIDES,
    rods: bool = True,
    rod_diameter_mm: float = 5.5,
    material: str = "Ti6Al4V",
) -> PlacementPlan:
    """The implants that fit best, as a plan.

    :param material: of screws and rods, of the stem, or of the nail.
    :raises InputError: nothing fits.
    """
    if kind == "spine":
        if patient.spine is None:
            raise InputError("no vertebra was measured")
        plan = spine_plan(
            patient.spine,
            sides=sides,
            rods=rods,
            rod_diameter_mm=rod_diameter_mm,
            material=material,
            rod_material=material,
        )
        if not plan.implants:
            raise InputError("no pedicle takes a screw: " + "; ".join(plan.warnings))
        return plan
    plans, warnings = [], list(patient.warnings)
    for model in patient.hips:
        try:
            if kind == "total-hip":
                plans.append(prosthesis_plan(model, stem_material=material))
            else:
                plans.append(nail_plan(model, long=kind == "long-nail", material=material))
        except InputError as error:
            warnings.append(f"{model.side} hip: {error}")
    if not plans:
        raise InputError("no hip could be used: " + "; ".join(warnings))
    joined = join_plans(plans)
    return PlacementPlan(
        joined.implants,
        description=joined.description,
        parameters=joined.parameters,
        warnings=(*warnings, *joined.warnings),
    )


def sampled_plan(patient: Patient, kind: str, seed: int, index: int = 0) -> PlacementPlan:
    """A surgically plausible variant: levels, sides, sizes and angles drawn, slightly off the best.

    :param kind: of the hip kinds the one that is drawn; a nail's length is drawn too.
    :param seed, index: the same ones give the same variant.
    :raises InputError: nothing measured to sample from.
    """
    if kind == "spine":
        if patient.spine is None:
            raise InputError("no vertebra was measured")
        plan = sample_spine_plan(patient.spine, seed, index)
    else:
        options = HipSampling(nail_chance=0.0 if kind == "total-hip" else 1.0)
        plan = sample_hip_plan({h.side: h for h in patient.hips}, seed, index, options)
    if not plan.implants:
        raise InputError(
            "the sample holds no implant: " + ("; ".join(plan.warnings) or "try again")
        )
    return plan


def _spine(
    volume: CTVolume,
    bones: Bones,
    levels: Sequence[str] | None,
    sides: Sequence[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> SpineProposal:
    if bones.clicks:
        bone = bones.everything(volume)
        return propose_screws_from_clicks(
            bone, volume, bones.clicks, sides=sides, progress=progress, cancel=cancel
        )
    return propose_screws(
        bones.labels, volume, levels=levels, sides=sides, progress=progress, cancel=cancel
    )


def _hips(
    volume: CTVolume,
    bones: Bones,
    sides: Sequence[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> Patient:
    """The hips that could be measured, and why others could not."""
    jobs: list[dict[str, Any]] = []
    if bones.clicks:
        bone = bones.everything(volume)
        jobs = [
            {"bone": bone, "click": point, "side": _side_in(name)}
            for name, point in bones.clicks.items()
        ]
    else:
        masks = hip_masks(bones.labels)
        jobs = [
            {"femur": masks[f"femur_{side}"], "hip": masks.get(f"hip_{side}"), "side": side}
            for side in sides
            if f"femur_{side}" in masks
        ]
        if not jobs:
            raise InputError(
                f"no femur_{' or femur_'.join(sides)} among {', '.join(sorted(bones.labels))}; "
                "name the femora so, or click into the femoral heads (--click hip=R,A,S)"
            )
    models: list[HipModel] = []
    warnings: list[str] = []
    for index, arguments in enumerate(jobs):
        check_cancelled(cancel)
        report(progress, index / len(jobs), "measuring hips")
        try:
            model = measure_hip(volume, **arguments)
        except InputError as error:
            warnings.append(str(error))
            continue
        if model.side in sides:
            models.append(model)
    if not models:
        reason = "; ".join(warnings) or f"none on the {' or '.join(sides)} side"
        raise InputError(f"no hip could be measured: {reason}")
    report(progress, 1.0, "hips measured")
    return Patient(hips=tuple(models), warnings=tuple(warnings))


def _side_in(name: str) -> str | None:
    """The side that a click's name says; None leaves it to the bone."""
    return next((side for side in SIDES if side in name.lower()), None)
