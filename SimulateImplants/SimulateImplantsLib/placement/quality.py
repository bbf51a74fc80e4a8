"""How well each implant of a placement lies: the measures behind every table of quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.base import Implant
from ..implants.entry import resolve
from ..implants.lateral_mass_screw import LateralMassScrew
from ..implants.pedicle_screw import PedicleScrew
from ..implants.registry import entry_of
from ..implants.rod import Rod
from .anatomy import Anatomy, inside
from .bone_field import sample_hu
from .collision import Body, box_gap_mm, gap_mm
from .hip.grade import joint_changes_mm
from .hip.seat import seat_of
from .spine.alar_grade import grade_alar_iliac
from .spine.grading import ScrewGrade, grade_screw, shaft_samples
from .spine.image_grade import (
    grade_in_ilium,
    grade_in_image,
    grade_in_lateral_mass,
    runs_forward,
)
from .spine.pedicle import least_convergence_deg
from .tissue import tissue_grade

_NEAR_MM = 0.5
"""Surfaces with points this near touch: the points of each are about 1 mm apart."""
_TURNED_DEG = 10.0
_IN_IMAGE = {
    "iliac": grade_in_ilium,
    "S2AI": grade_alar_iliac,
    LateralMassScrew.kind: grade_in_lateral_mass,
}
"""What grades a screw that is in no pedicle, by its level or its kind."""


@dataclass(frozen=True)
class PlacedItem:
    """An implant to be measured.

    :param matrix: implant frame to the CT's RAS.
    :param level, side: where they are known, else "".
    """

    implant: Implant
    matrix: np.ndarray
    name: str
    level: str = ""
    side: str = ""


@dataclass(frozen=True)
class Quality:
    """One implant's measures; NaN and "" where one does not apply.

    :param level, side: as given, or where the screw was found to lie.
    :param size: as people say it: "6.5 x 45 mm".
    :param grade: Gertzbein-Robbins, A to E, of a screw in a pedicle, an ilium or a lateral mass;
        "good" or "poor" of a family that belongs in certain tissues, "acceptable" between them of a
        hip's.
    :param breach_mm, breach_direction: out of the vertebra, or of the femur.
    :param share_in_bone: of a screw's shaft; of others see :class:`seat.Seat`.
    :param contact: see :class:`seat.Seat`.
    :param mean_hu, min_hu: of the CT without implants, along a screw or about a stem or nail.
    :param leg_mm, offset_mm: what a hip's implant adds, see :func:`grade.joint_changes_mm`; what
        stem and cup add is summed up.
    :param touches: names of the implants that it runs into.
    :param outside: share of its surface outside the CT.
    :param note: what the user should know.
    """

    name: str
    level: str
    side: str
    size: str
    material: str
    grade: str = ""
    breach_mm: float = float("nan")
    breach_direction: str = ""
    share_in_bone: float = float("nan")
    contact: float = float("nan")
    mean_hu: float = float("nan")
    min_hu: float = float("nan")
    convergence_deg: float = float("nan")
    inclination_deg: float = float("nan")
    leg_mm: float = float("nan")
    offset_mm: float = float("nan")
    touches: tuple[str, ...] = ()
    outside: float = 0.0
    note: str = ""


def measure_placement(
    items: Sequence[PlacedItem],
    anatomy: Anatomy,
    meant: Callable[[int, int], bool],
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Quality]:
    """Measure every implant against the bone and against the others.

    :param meant: whether two items (indices) touch because they belong together.
    :raises InputError: an implant that cannot be made.
    """
    touching = _touching(items, meant)
    rows = []
    for index, item in enumerate(items):
        check_cancelled(cancel)
        report(progress, index / len(items), f"measuring {item.name}")
        rows.append(replace(_measured(item, anatomy), touches=touching.get(index, ())))
    report(progress, 1.0, "placement measured")
    return rows


def size_text(implant: Implant) -> str:
    """Diameter and length, where the implant has them."""
    diameter = getattr(implant, "diameter_mm", None)
    length = None if getattr(implant, "path_mm", None) else getattr(implant, "length_mm", None)
    numbers = [f"{value:g}" for value in (diameter, length) if value is not None]
    return " x ".join(numbers) + " mm" if numbers else ""


def _measured(item: PlacedItem, anatomy: Anatomy) -> Quality:
    implant = item.implant
    row = Quality(
        item.name,
        item.level,
        item.side,
        size_text(implant),
        implant.material,
        outside=_outside(item, anatomy.volume),
    )
    if isinstance(implant, PedicleScrew):
        return _screw(row, item, implant, anatomy)
    entry = entry_of(implant.kind)
    if entry.sits:
        grade, note = tissue_grade(implant, item.matrix, entry.sits, anatomy.volume)
        row = replace(row, grade=grade, note=note)
    if entry.graded:
        grade, note = resolve(entry.graded)(implant, item.matrix, anatomy)
        row = replace(row, grade=grade, note=note)
    leg, offset = joint_changes_mm(implant, item.matrix, anatomy)
    row = replace(row, leg_mm=leg, offset_mm=offset)
    seat = seat_of(implant, item.matrix, item.side, anatomy)
    if seat is None:
        return row
    return replace(
        row,
        share_in_bone=seat.share_in_bone,
        contact=seat.contact,
        breach_mm=seat.breach_mm,
        breach_direction=seat.breach_direction,
        mean_hu=seat.mean_hu,
        min_hu=seat.min_hu,
    )


def _screw(row: Quality, item: PlacedItem, screw: PedicleScrew, anatomy: Anatomy) -> Quality:
    entry = item.matrix[:3, 3]
    target = entry + screw.length_mm * item.matrix[:3, 2]
    points = shaft_samples(entry, target, screw.diameter_mm)
    hu = sample_hu(anatomy.volume, points).mean(axis=1)
    if np.isfinite(hu).any():
        row = replace(row, mean_hu=float(np.nanmean(hu)), min_hu=float(np.nanmin(hu)))
    if anatomy.bone is not None:
        share = float(inside(anatomy.bone, anatomy.volume, points).mean())
        row = replace(row, share_in_bone=share)
    if not np.isfinite(hu).all():
        return replace(row, note="partly outside the CT: not graded")
    level = item.level if anatomy.knows(item.level) else anatomy.level_at(points)
    side = item.side or ("left" if item.matrix[0, 2] > 0 else "right")
    frame = None
    in_image = _IN_IMAGE.get(item.level, _IN_IMAGE.get(screw.kind))
    if level and in_image is None:
        try:
            frame, field = anatomy.vertebra(level)
        except InputError as error:
            return replace(row, note=str(error))
        side = item.side or ("left" if frame.local(entry)[0] < 0 else "right")
    in_image = in_image or grade_in_image
    grade = in_image(anatomy.volume, side, entry, target, screw.diameter_mm)
    if frame is not None and runs_forward(entry, target):
        seen = grade
        grade = grade_screw(field, frame, side, entry, target, screw.diameter_mm, anatomy.volume)
        if not anatomy.labelled(level) or seen.grade > grade.grade:
            grade = replace(
                seen,
                convergence_deg=grade.convergence_deg,
                inclination_deg=grade.inclination_deg,
            )
        grade = _if_convergent(grade, level, seen.convergence_deg)
    return replace(
        row,
        level=item.level or level,
        side=side,
        grade=grade.grade,
        breach_mm=grade.breach_mm,
        breach_direction=grade.breach_direction,
        share_in_bone=grade.share_in_bone,
        mean_hu=grade.mean_hu,
        min_hu=grade.min_hu,
        convergence_deg=grade.convergence_deg,
        inclination_deg=grade.inclination_deg,
        note="; ".join(filter(None, (*(frame.warnings if frame else ()), grade.note))),
    )


def _if_convergent(grade: ScrewGrade, level: str, seen_deg: float) -> ScrewGrade:
    """The grade, which is no A for a screw that diverges.

    :param seen_deg: convergence by the patient's axes; a vertebra turned by less than 10 degrees
        may be one whose own axes are wrong, and the less favourable of both counts.
    """
    own = grade.convergence_deg
    convergence = min(own, seen_deg) if abs(own - seen_deg) < _TURNED_DEG else own
    if grade.grade != "A" or convergence >= least_convergence_deg(level):
        return grade
    return grade.without(f"converges by {convergence:.0f} degrees, less than sound at {level}")


def _outside(item: PlacedItem, volume: CTVolume) -> float:
    matrix = np.linalg.inv(volume.ijk_to_ras) @ item.matrix
    ijk = item.implant.mesh().points @ matrix[:3, :3].T + matrix[:3, 3]
    upper = np.array(volume.hu.shape[::-1]) - 0.5
    return float(1.0 - ((ijk >= -0.5) & (ijk <= upper)).all(axis=1).mean())


def _touching(
    items: Sequence[PlacedItem], meant: Callable[[int, int], bool]
) -> dict[int, tuple[str, ...]]:
    bodies = [Body.of(item.implant, item.matrix) for item in items]
    names: dict[int, tuple[str, ...]] = {}
    for i in range(len(items)):
        for j in range(i + 1, len(items)):
            # Capsules are exact; only a gap measured at points of two surfaces never gets negative.
            exact = any(isinstance(items[k].implant, (PedicleScrew, Rod)) for k in (i, j))
            near = 0.0 if exact else _NEAR_MM
            if meant(i, j) or box_gap_mm(bodies[i], bodies[j]) > near:
                continue
            if gap_mm(bodies[i], bodies[j]) > near:
                continue
            for one, other in ((i, j), (j, i)):
                names[one] = (*names.get(one, ()), items[other].name)
    return names
