"""The quality of a placement as rows and as a table node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.correct import ct_from_node
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report
from MetalArtifactReductionLib.volume import CTVolume

from ..implants import PedicleScrew, UserMesh
from ..placement.bone_field import BoneField, mask_points
from ..placement.collision import collisions
from ..placement.geometry import across
from ..placement.grading import ScrewGrade, grade_screw, sample_hu
from ..placement.levels import vertebra_masks
from ..placement.pedicle import vertebra_field
from ..placement.propose import spine_ups
from ..placement.vertebra import VertebraFrame, vertebra_frame
from .plans import planned
from .rods import joined
from .scene_implant import LEVEL, PREFIX, SIDE, SceneImplant, implants_of

TABLE_ATTRIBUTE = PREFIX + "quality"
"""Node attribute of the table node."""
_TEXT, _NUMBER = "text", "number"

VERTICES_APART_MM = 0.5
"""Two surfaces with vertices this close touch: the vertices of each are about 1 mm apart."""
_CAPSULES = ("pedicle-screw", "rod")


@dataclass(frozen=True)
class QualityRow:
    """One implant's row; NaN and "" where a measure does not apply.

    :param grade: Gertzbein-Robbins, A to E; "" where no vertebra is known.
    :param share_in_bone: of the shaft, 0..1.
    :param touches: names of the implants that it runs into.
    :param note: what the user should know.
    """

    implant: SceneImplant
    size: str
    grade: str = ""
    breach_mm: float = float("nan")
    breach_direction: str = ""
    share_in_bone: float = float("nan")
    mean_hu: float = float("nan")
    min_hu: float = float("nan")
    convergence_deg: float = float("nan")
    inclination_deg: float = float("nan")
    touches: tuple[str, ...] = ()
    note: str = ""


_COLUMNS: tuple[tuple[str, str, Callable[[QualityRow], Any]], ...] = (
    ("Implant", _TEXT, lambda row: row.implant.name),
    ("Level", _TEXT, lambda row: row.implant.level),
    ("Side", _TEXT, lambda row: row.implant.side),
    ("Size", _TEXT, lambda row: row.size),
    ("Grade", _TEXT, lambda row: row.grade),
    ("Breach (mm)", _NUMBER, lambda row: row.breach_mm),
    ("Direction", _TEXT, lambda row: row.breach_direction),
    ("In bone (%)", _NUMBER, lambda row: 100 * row.share_in_bone),
    ("Mean HU", _NUMBER, lambda row: row.mean_hu),
    ("Min HU", _NUMBER, lambda row: row.min_hu),
    ("Convergence (deg)", _NUMBER, lambda row: row.convergence_deg),
    ("Inclination (deg)", _NUMBER, lambda row: row.inclination_deg),
    ("Touches", _TEXT, lambda row: ", ".join(row.touches)),
    ("Note", _TEXT, lambda row: row.note),
)


def placement_quality(
    scene: Any,
    ct_node: Any,
    labels: Mapping[str, np.ndarray] | None = None,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[QualityRow]:
    """Measure every implant of the scene against the bone.

    Pedicle screws are graded in the vertebra that holds most of their shaft, which also gives
    them their level and side if they have none.

    :param ct_node: the CT without implants.
    :param labels: masks on the CT's grid by name, see ``bone_labels``; without vertebrae among
        them there is no grade, without any there is no share in bone.
    :raises InputError: no implant, no CT, a mask of another geometry.
    """
    volume = ct_from_node(scene, ct_node)
    chosen = implants_of(scene)
    if not chosen:
        raise InputError("there is no implant in the scene: add or propose one first")
    labels = dict(labels or {})
    for name, mask in labels.items():
        if mask.shape != volume.hu.shape:
            raise InputError(
                f"segmentation {name} has the shape {mask.shape} and the CT {volume.hu.shape}; "
                "resample it to the CT's geometry"
            )
    vertebrae = _Vertebrae(labels, volume)
    touching = _touching(chosen, ct_node)
    rows = []
    for index, one in enumerate(chosen):
        check_cancelled(cancel)
        report(progress, index / len(chosen), f"measuring {one.name}")
        rows.append(_row(one, ct_node, volume, vertebrae, touching.get(one.model.GetID(), ())))
    report(progress, 1.0, "placement measured")
    return rows


def quality_table(scene: Any, rows: list[QualityRow], *, into: Any = None) -> Any:
    """The rows as a table node.

    :param into: an earlier table to replace.
    :returns: ``vtkMRMLTableNode``; each row refers to its implant by node reference.
    """
    import vtk

    table = vtk.vtkTable()
    for title, kind, value in _COLUMNS:
        column = vtk.vtkStringArray() if kind == _TEXT else vtk.vtkDoubleArray()
        column.SetName(title)
        for row in rows:
            column.InsertNextValue(value(row) if kind == _TEXT else float(value(row)))
        table.AddColumn(column)
    node = into
    if node is None:
        node = scene.AddNewNodeByClass(
            "vtkMRMLTableNode", scene.GenerateUniqueName("Placement quality")
        )
        node.SetAttribute(TABLE_ATTRIBUTE, "1")
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.RemoveNodeReferenceIDs(PREFIX + "row")
    for index, row in enumerate(rows):
        node.SetNthNodeReferenceID(PREFIX + "row", index, row.implant.model.GetID())
    return node


def size_text(one: SceneImplant) -> str:
    """The size as people say it: "6.5 x 45 mm"."""
    implant = one.implant
    diameter = getattr(implant, "diameter_mm", None)
    length = None if getattr(implant, "path_mm", None) else getattr(implant, "length_mm", None)
    if isinstance(implant, UserMesh) or (diameter is None and length is None):
        return ""
    numbers = [f"{value:g}" for value in (diameter, length) if value is not None]
    return " x ".join(numbers) + " mm"


class _Vertebrae:
    """Frames and depth fields of the labelled vertebrae, made when a screw needs them."""

    def __init__(self, labels: Mapping[str, np.ndarray], volume: CTVolume) -> None:
        self.masks = vertebra_masks(labels)
        self.bone = None
        for mask in labels.values():
            self.bone = mask.copy() if self.bone is None else self.bone | mask
        self._volume = volume
        self._models: dict[str, tuple[VertebraFrame, BoneField]] = {}
        self._ups: dict[str, np.ndarray | None] | None = None

    def level_at(self, points: np.ndarray) -> str:
        """The vertebra that holds most of the points, "" for none."""
        shares = {
            level: float(inside(mask, self._volume, points).mean())
            for level, mask in self.masks.items()
        }
        best = max(shares, key=lambda level: shares[level], default="")
        return best if best and shares[best] > 0.1 else ""

    def model(self, level: str) -> tuple[VertebraFrame, BoneField]:
        """Frame and field of a level."""
        if level not in self._models:
            mask, matrix = self.masks[level], self._volume.ijk_to_ras
            if self._ups is None:
                centres = {k: mask_points(m, matrix).mean(axis=0) for k, m in self.masks.items()}
                self._ups = spine_ups(centres)
            up = self._ups[level]
            frame = vertebra_frame(mask, matrix, level, superior_hint=up, canal_direction=up)
            self._models[level] = frame, vertebra_field(mask, matrix, frame)
        return self._models[level]


def _row(
    one: SceneImplant,
    ct_node: Any,
    volume: CTVolume,
    vertebrae: _Vertebrae,
    touches: tuple[str, ...],
) -> QualityRow:
    size, implant = size_text(one), one.implant
    if not isinstance(implant, PedicleScrew):
        return QualityRow(one, size, touches=touches, note=one.problem)
    matrix = one.matrix(ct_node)
    entry = matrix[:3, 3]
    target = entry + implant.length_mm * matrix[:3, 2]
    points = shaft_points(entry, target, implant.diameter_mm)
    hu = sample_hu(volume, points).mean(axis=1)
    share = float("nan")
    if vertebrae.bone is not None:
        share = float(inside(vertebrae.bone, volume, points).mean())
    plain = QualityRow(
        one,
        size,
        share_in_bone=share,
        mean_hu=float(np.nanmean(hu)) if np.isfinite(hu).any() else float("nan"),
        min_hu=float(np.nanmin(hu)) if np.isfinite(hu).any() else float("nan"),
        touches=touches,
    )
    if not np.isfinite(hu).all():
        return _noted(plain, "partly outside the CT: not graded")
    level = one.level if one.level in vertebrae.masks else vertebrae.level_at(points)
    if not level:
        return _noted(plain, "in no labelled vertebra: not graded" if vertebrae.masks else "")
    try:
        frame, field = vertebrae.model(level)
    except InputError as error:
        return _noted(plain, str(error))
    side = one.side or ("left" if frame.local(entry)[0] < 0 else "right")
    for attribute, value in ((LEVEL, level), (SIDE, side)):
        if not one.model.GetAttribute(attribute):
            one.model.SetAttribute(attribute, value)
    grade = grade_screw(field, frame, side, entry, target, implant.diameter_mm, volume)
    return _graded(one, size, grade, touches, "; ".join(frame.warnings))


def _graded(
    one: SceneImplant, size: str, grade: ScrewGrade, touches: tuple[str, ...], note: str
) -> QualityRow:
    return QualityRow(
        one,
        size,
        grade.grade,
        grade.breach_mm,
        grade.breach_direction,
        grade.share_in_bone,
        grade.mean_hu,
        grade.min_hu,
        grade.convergence_deg,
        grade.inclination_deg,
        touches,
        note,
    )


def _noted(row: QualityRow, note: str) -> QualityRow:
    return replace(row, note=note)


def _touching(chosen: list[SceneImplant], ct_node: Any) -> dict[str, tuple[str, ...]]:
    """Model id -> names of what it runs into; surfaces of the user's own are left out."""
    checked = [one for one in chosen if one.kind != UserMesh.kind]
    names: dict[str, tuple[str, ...]] = {}
    for pair in collisions([planned(one, ct_node) for one in checked], VERTICES_APART_MM):
        both = checked[pair.first], checked[pair.second]
        # Only the gap between two surfaces, measured at their vertices, never gets negative.
        if joined(*both) or (pair.gap_mm > 0 and any(one.kind in _CAPSULES for one in both)):
            continue
        for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
            key = checked[one].model.GetID()
            names[key] = (*names.get(key, ()), checked[other].name)
    return names


def shaft_points(entry: np.ndarray, target: np.ndarray, diameter_mm: float) -> np.ndarray:
    """RAS points that fill a shaft evenly, ``(stations, points, 3)``: equal areas a ring."""
    length = float(np.linalg.norm(target - entry))
    axis = (target - entry) / length
    u = across((0.0, 0.0, 1.0), axis)
    v = np.cross(axis, u)
    stations = np.linspace(0.0, length, max(int(2 * length) + 1, 2))
    angles = np.linspace(0.0, 2 * np.pi, 16, endpoint=False)
    circle = np.cos(angles)[:, None] * u + np.sin(angles)[:, None] * v
    radii = 0.5 * diameter_mm * np.sqrt((np.arange(3) + 0.5) / 3)
    disc = (radii[:, None, None] * circle[None]).reshape(-1, 3)
    return entry + stations[:, None, None] * axis + disc[None]


def inside(mask: np.ndarray, volume: CTVolume, ras: np.ndarray) -> np.ndarray:
    """Whether RAS points ``(..., 3)`` lie in a mask on the volume's grid; outside it: no."""
    inverse = np.linalg.inv(volume.ijk_to_ras)
    ijk = np.rint(ras.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    shape = np.array(mask.shape[::-1])
    valid = ((ijk >= 0) & (ijk < shape)).all(axis=1)
    found = np.zeros(len(ijk), dtype=bool)
    i, j, k = ijk[valid].T
    found[valid] = mask[k, j, i]
    return found.reshape(ras.shape[:-1])
