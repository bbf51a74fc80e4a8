"""Pedicle screws proposed for a spine: from labelled vertebrae or from clicks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import BoneField, check_mask, mask_points
from ..geometry import Vector, unit
from ..plan import PlacementPlan, PlannedImplant
from .construct import bent_elsewhere, planned_screw, rod_construct
from .grading import ScrewGrade, grade_screw
from .levels import by_level, level_index, vertebra_bones
from .local_bone import located_field
from .locate import locate_bodies
from .pedicle import pedicle_trajectory, vertebra_field
from .sizes import ScrewSizes
from .trajectory import SIDES, PedicleTrajectory
from .vertebra import VertebraFrame, vertebra_frame

_LEAST_BONE_HU = 80.0
"""Mean of a vertebra, cortex included, that has lost nearly all of its cancellous bone."""


@dataclass(frozen=True)
class VertebraModel:
    """What is known of one vertebra: its frame, the depths in it and its proposed screws."""

    frame: VertebraFrame
    field: BoneField
    trajectories: Mapping[str, PedicleTrajectory]
    warnings: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """Name of the level."""
        return self.frame.level

    def grade(
        self,
        side: str,
        entry_ras: Vector,
        target_ras: Vector,
        diameter_mm: float,
        volume: CTVolume | None = None,
    ) -> ScrewGrade:
        """Measures of any screw in this vertebra."""
        return grade_screw(self.field, self.frame, side, entry_ras, target_ras, diameter_mm, volume)


@dataclass(frozen=True)
class SpineProposal:
    """Vertebrae from the head down with their screws, and what could not be done."""

    vertebrae: tuple[VertebraModel, ...]
    warnings: tuple[str, ...]

    def __getitem__(self, level: str) -> VertebraModel:
        for vertebra in self.vertebrae:
            if vertebra.level == level:
                return vertebra
        raise InputError(f"level {level} is not among {', '.join(v.level for v in self.vertebrae)}")

    def trajectories(self) -> list[PedicleTrajectory]:
        """All screws, from the head down."""
        return [t for v in self.vertebrae for t in v.trajectories.values()]


def spine_ups(centroids: Mapping[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """Upwards at each level from its neighbours; None where there is only one level."""
    levels = by_level(centroids)
    if len(levels) < 2 or not np.isfinite(level_index(levels[-1])):
        return dict.fromkeys(levels, None)
    out: dict[str, np.ndarray | None] = {}
    for i, level in enumerate(levels):
        above, below = levels[max(i - 1, 0)], levels[min(i + 1, len(levels) - 1)]
        out[level] = unit(np.asarray(centroids[above]) - np.asarray(centroids[below]))
    return out


def _model(
    mask: np.ndarray,
    ijk_to_ras: np.ndarray,
    level: str,
    up: np.ndarray | None,
    sizes: ScrewSizes,
    sides: Sequence[str],
) -> VertebraModel:
    frame = vertebra_frame(mask, ijk_to_ras, level, superior_hint=up, canal_direction=up)
    return _with_screws(frame, vertebra_field(mask, ijk_to_ras, frame), sizes, sides)


def _with_screws(
    frame: VertebraFrame, field: BoneField, sizes: ScrewSizes, sides: Sequence[str]
) -> VertebraModel:
    trajectories, warnings = {}, list(frame.warnings)
    for side in sides:
        try:
            found = pedicle_trajectory(field, frame, side, sizes)
        except InputError as error:
            warnings.append(str(error))
            continue
        trajectories[side] = found
        warnings.extend(found.warnings)
    return VertebraModel(frame, field, trajectories, tuple(warnings))


def _collect(models: list[VertebraModel], warnings: list[str]) -> SpineProposal:
    if not models:
        raise InputError("no vertebra could be used: " + "; ".join(warnings))
    everything = [*warnings, *(w for m in models for w in m.warnings)]
    return SpineProposal(tuple(models), tuple(everything))


def propose_screws(
    labels: Mapping[str, np.ndarray],
    volume: CTVolume,
    *,
    levels: Sequence[str] | None = None,
    sides: Sequence[str] = SIDES,
    sizes: ScrewSizes | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SpineProposal:
    """The screw of largest clearance for each pedicle of labelled vertebrae.

    :param labels: masks on the CT's grid; vertebrae are recognised by name (``vertebrae_L1``,
        ``L1``, ...). What is labelled ``spinal_cord``, ``spinal_canal`` or a rib (``rib_left_12``)
        is no bone of theirs; other names are left alone.
    :param levels: only these; all when None (T1-S1 as labelled).
    :raises InputError: no vertebra among the labels, a mask of another geometry, a mirrored
        volume (by other labels, of which one is left and one right), or none usable.
    """
    masks = vertebra_bones(labels)
    if not masks:
        raise InputError(
            f"no vertebra among the segments {sorted(labels)}; name them vertebrae_L1 and so on"
        )
    masks = {k: check_mask(m, volume.hu.shape, k) for k, m in masks.items()}
    wanted = by_level(levels) if levels is not None else list(masks)
    for level in wanted:
        if level not in masks:
            raise InputError(f"level {level} is not segmented; there are: {', '.join(masks)}")
    centroids = {k: mask_points(m, volume.ijk_to_ras).mean(axis=0) for k, m in masks.items()}
    ups = spine_ups(centroids)
    models, warnings = [], []
    for i, level in enumerate(wanted):
        check_cancelled(cancel)
        report(progress, i / len(wanted), f"pedicles of {level}")
        try:
            _check_on_bone(volume, masks[level], level)
            models.append(
                _model(
                    masks[level],
                    volume.ijk_to_ras,
                    level,
                    ups[level],
                    sizes or ScrewSizes(),
                    sides,
                )
            )
        except InputError as error:
            warnings.append(str(error))
    report(progress, 1.0, "pedicles found")
    _check_sides(labels, volume, models)
    return _collect(models, warnings)


def _check_on_bone(volume: CTVolume, mask: np.ndarray, level: str) -> None:
    """:raises InputError: a label that lies on soft tissue."""
    mean = float(volume.hu[mask].mean())
    if mean < _LEAST_BONE_HU:
        raise InputError(
            f"{level}: what is labelled has {mean:.0f} HU and is no bone; is the segmentation of "
            "this CT?"
        )


def _check_sides(
    labels: Mapping[str, np.ndarray], volume: CTVolume, models: Sequence[VertebraModel]
) -> None:
    """:raises InputError: what is labelled left lies on the vertebrae's right."""
    for name, mask in labels.items():
        other = name.replace("left", "right")
        if other == name or other not in labels or not (mask.any() and labels[other].any()):
            continue
        here, there = (
            mask_points(m, volume.ijk_to_ras).mean(axis=0) for m in (mask, labels[other])
        )
        wrong = [m.level for m in models if (here - there) @ m.frame.left < 0]
        if 2 * len(wrong) > len(models):
            raise InputError(
                f"{', '.join(wrong)}: {name} lies to the right of {other}, so the CT or its "
                "segmentation is mirrored; correct its orientation"
            )


def propose_screws_from_clicks(
    volume: CTVolume,
    clicks: Mapping[str, Vector],
    *,
    threshold_hu: float | None = None,
    sides: Sequence[str] = SIDES,
    sizes: ScrewSizes | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SpineProposal:
    """The same from the CT alone and one click in each vertebral body.

    :param clicks: RAS points by the user's names of the levels, anywhere in the bodies.
    :param threshold_hu: bone is brighter; found from the bone at each click when None.
    :raises InputError: no click, one outside the volume or in no bone, or none usable.
    """
    if not clicks:
        raise InputError("no vertebra is clicked; click once into the body of each vertebra")
    report(progress, 0.0, "finding the clicked vertebrae")
    bodies, warnings = locate_bodies(volume, clicks, threshold_hu)
    models = []
    for i, (level, body) in enumerate(bodies.items()):
        check_cancelled(cancel)
        report(progress, (i + 1) / (len(bodies) + 1), f"pedicles of {level}")
        field = located_field(volume, body)
        models.append(_with_screws(body.frame, field, sizes or ScrewSizes(), sides))
    report(progress, 1.0, "pedicles found")
    return _collect(models, warnings)


def spine_plan(
    proposal: SpineProposal,
    *,
    sides: Sequence[str] = SIDES,
    rods: bool = True,
    rod_diameter_mm: float = 5.5,
    material: str = "Ti6Al4V",
    rod_material: str = "Ti6Al4V",
) -> PlacementPlan:
    """Screws and rods of a proposal as a plan; screws that fit no size are left out, and told."""
    implants, warnings = [], list(proposal.warnings)
    for side in sides:
        found = [v.trajectories[side] for v in proposal.vertebrae if side in v.trajectories]
        screws = [
            planned_screw(t, material=material, rod_diameter_mm=rod_diameter_mm)
            for t in found
            if t.fits
        ]
        if rods and len(screws) >= 2:
            screws = rod_construct(screws, rod_diameter_mm=rod_diameter_mm, material=rod_material)
            warnings += bent_elsewhere(screws)
        implants += screws
    levels = ", ".join(v.level for v in proposal.vertebrae)
    return PlacementPlan(
        tuple(implants), description=f"pedicle screws {levels}", warnings=tuple(warnings)
    )


def missing_screws(
    implants: Sequence[PlannedImplant], levels: Iterable[str], sides: Sequence[str] = SIDES
) -> list[str]:
    """The screws of those levels and sides that a plan lacks, as "L4 left"."""
    there = {(i.attributes.get("level"), i.attributes.get("side")) for i in implants}
    return [f"{level} {side}" for level in levels for side in sides if (level, side) not in there]
