"""A patient's bones, labelled, clicked or above a threshold, measured for implants."""

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

from ..implants.entry import resolve
from ..implants.registry import finder_of
from .anatomy import union
from .geometry import Vector
from .hip.measure import HipModel, measure_hip
from .neck.locate import find_masses
from .neck.screw import LateralMass
from .sites import Spot, nearest_spots
from .spine.levels import hip_masks, vertebra_masks
from .spine.propose import (
    SpineProposal,
    VertebraModel,
    propose_screws,
    propose_screws_from_clicks,
)
from .spine.trajectory import SIDES

BONE_HU = 200.0
SMALLEST_BONE_MM3 = 2000.0
"""Smaller islands above the threshold are calcifications, contrast or table parts."""


@dataclass(frozen=True, eq=False)
class Bones:
    """What is known of a patient's bones.

    :param labels: masks on the CT's grid by name, see ``label_files.read_bones``.
    :param clicks: RAS points: in vertebral bodies by level ("L3"), or in femoral heads.
    :param threshold_hu: where nothing is labelled bone is what is brighter; when None it is found
        at each clicked vertebra, and 200 HU for hips.
    """

    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    clicks: Mapping[str, Vector] = field(default_factory=dict)
    threshold_hu: float | None = None

    def everything(self, volume: CTVolume) -> np.ndarray:
        """One mask of all bone: the labels together, or by threshold."""
        bone = union(self.labels)
        return bone_mask(volume, self.threshold_hu or BONE_HU) if bone is None else bone


@dataclass(frozen=True)
class Patient:
    """Measured bones that implants can be planned on.

    :param vertebrae: from the head down, with their largest-clearance screws.
    :param hips: by side.
    :param masses: lateral masses of cervical vertebrae with their screws, from the head down.
    :param warnings: what could not be measured.
    :param volume: the CT, but of a spine. :param spots: places in it, of a site found by itself.
    """

    spine: SpineProposal | None = None
    hips: tuple[HipModel, ...] = ()
    masses: tuple[LateralMass, ...] = ()
    warnings: tuple[str, ...] = ()
    volume: CTVolume | None = None
    spots: tuple[Spot, ...] = ()

    @property
    def vertebrae(self) -> dict[str, VertebraModel]:
        """By level."""
        return {v.level: v for v in self.spine.vertebrae} if self.spine else {}


def bone_mask(volume: CTVolume, threshold_hu: float = BONE_HU) -> np.ndarray:
    """Bone by threshold, in the patient's body, small islands left out.

    :raises InputError: no bone above the threshold.
    """
    bone: np.ndarray = (volume.hu > threshold_hu) & body_mask(volume.hu, volume.spacing_mm)
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
    site: str = "spine",
    *,
    levels: Sequence[str] | None = None,
    sides: Sequence[str] = SIDES,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Patient:
    """Measure the bones that implants need.

    :param site: "spine", "neck", "hip", or one that is found by itself, see
        ``implants.Procedure``; there clicks choose the nearest places.
    :param levels: of labelled vertebrae only these.
    :param sides: of pedicles, hips, and places that have one.
    :raises InputError: no label and no click, or nothing that could be measured.
    """
    finder = finder_of(site)
    if finder:
        report(progress, 0.0, "looking for a place")
        found = [one for one in resolve(finder)(volume) if one.side in ("", *sides)]
        if not found:
            raise InputError(f"no place on the {' or '.join(sides)}; ask for both sides")
        report(progress, 1.0, "place found")
        return Patient(volume=volume, spots=nearest_spots(found, bones.clicks))
    if not bones.labels and not bones.clicks:
        raise InputError(
            "nothing says where the bones are: give labels (--segmentation), or a click into each "
            "vertebra (--click L3=R,A,S) or femoral head (--click hip=R,A,S)"
        )
    if site == "spine":
        return Patient(spine=_spine(volume, bones, levels, sides, progress, cancel))
    if site == "neck":
        known = (bones.labels, bones.clicks)
        masses, warnings = find_masses(volume, *known, levels, sides, progress, cancel)
        return Patient(masses=masses, warnings=warnings)
    return _hips(volume, bones, sides, progress, cancel)


def _spine(
    volume: CTVolume,
    bones: Bones,
    levels: Sequence[str] | None,
    sides: Sequence[str],
    progress: Progress | None,
    cancel: Cancel | None,
) -> SpineProposal:
    labelled = vertebra_masks(bones.labels)
    if bones.clicks and not set(bones.clicks) <= set(labelled):
        return propose_screws_from_clicks(
            volume,
            bones.clicks,
            threshold_hu=bones.threshold_hu,
            sides=sides,
            progress=progress,
            cancel=cancel,
        )
    wanted = list(bones.clicks) or levels
    return propose_screws(
        bones.labels, volume, levels=wanted, sides=sides, progress=progress, cancel=cancel
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
    return Patient(hips=tuple(models), warnings=tuple(warnings), volume=volume)


def _side_in(name: str) -> str | None:
    """The side that a click's name says; None leaves it to the bone."""
    return next((side for side in SIDES if side in name.lower()), None)
