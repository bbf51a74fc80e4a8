"""The quality of a placement as rows and as a table node."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.jobs.call import call_job, result_of
from MetalArtifactReductionLib.mrml.correct import ct_from_node, ct_view
from MetalArtifactReductionLib.progress import Cancel, Progress
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.pedicle_screw import PedicleScrew
from ..placement.anatomy import Anatomy
from ..placement.collision import same_construct_joint
from ..placement.quality import PlacedItem, Quality, measure_placement
from ..placement.quality import size_text as size_of
from .folders import place_beside_construct
from .rods import joined
from .scene_implant import LEVEL, PREFIX, QUALITY, SIDE, SceneImplant, implants_of

if TYPE_CHECKING:
    from MetalArtifactReductionLib.mrml.jobs import HandleCallback, SceneJob, SceneJobs

TABLE_ATTRIBUTE = PREFIX + "quality"
"""Node attribute of the table node."""
_TEXT, _NUMBER = "text", "number"


@dataclass(frozen=True)
class QualityRow(Quality):
    """The measures of one implant of the scene.

    :param implant: ``SceneImplant``.
    """

    implant: Any = None


_COLUMNS: tuple[tuple[str, str, Callable[[QualityRow], Any]], ...] = (
    ("Implant", _TEXT, lambda row: row.implant.name),
    ("Level", _TEXT, lambda row: row.level),
    ("Side", _TEXT, lambda row: row.side),
    ("Size", _TEXT, lambda row: row.size),
    ("Grade", _TEXT, lambda row: row.grade),
    ("Breach (mm)", _NUMBER, lambda row: row.breach_mm),
    ("Direction", _TEXT, lambda row: row.breach_direction),
    ("In bone (%)", _NUMBER, lambda row: 100 * row.share_in_bone),
    ("Contact (%)", _NUMBER, lambda row: 100 * row.contact),
    ("Mean HU", _NUMBER, lambda row: row.mean_hu),
    ("Min HU", _NUMBER, lambda row: row.min_hu),
    ("Convergence (deg)", _NUMBER, lambda row: row.convergence_deg),
    ("Inclination (deg)", _NUMBER, lambda row: row.inclination_deg),
    ("Leg length (mm)", _NUMBER, lambda row: row.leg_mm),
    ("Offset (mm)", _NUMBER, lambda row: row.offset_mm),
    ("Touches", _TEXT, lambda row: ", ".join(row.touches)),
    ("Outside the CT (%)", _NUMBER, lambda row: 100 * row.outside),
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
    chosen, given = _to_measure(scene, ct_node, labels)
    return _noted(chosen, measured(*given, progress=progress, cancel=cancel))


def quality_in_background(
    jobs: SceneJobs,
    ct_node: Any,
    labels: Mapping[str, np.ndarray] | None = None,
    *,
    on_progress: HandleCallback | None = None,
    on_end: HandleCallback | None = None,
) -> SceneJob:
    """:func:`placement_quality` in a process of its own; its ``nodes`` will be the rows.

    :raises InputError: as there. :raises OutputError: no room for temporary files.
    """
    chosen, given = _to_measure(jobs.scene, ct_node, labels, ct_view)
    return jobs.add(
        call_job(measured, *given, title=f"{ct_node.GetName()}: placement"),
        (ct_node, *(one.model for one in chosen)),
        lambda job: _noted(chosen, result_of(job)),
        on_progress,
        on_end,
    )


def measured(
    items: list[PlacedItem],
    volume: CTVolume,
    labels: Mapping[str, np.ndarray] | None,
    together: frozenset[tuple[int, int]],
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Quality]:
    """:func:`measure_placement` without a scene.

    :param together: pairs of items that touch because they belong together.
    """
    return measure_placement(
        items,
        Anatomy(volume, labels),
        lambda i, j: (i, j) in together,
        progress=progress,
        cancel=cancel,
    )


def _to_measure(
    scene: Any,
    ct_node: Any,
    labels: Mapping[str, np.ndarray] | None,
    read: Callable[[Any, Any], CTVolume] = ct_from_node,
) -> tuple[list[SceneImplant], tuple[Any, ...]]:
    """The scene's implants, and what :func:`measured` takes."""
    volume = read(scene, ct_node)
    chosen = implants_of(scene)
    if not chosen:
        raise InputError("there is no implant in the scene: add or propose one first")
    items = [
        PlacedItem(one.implant, one.matrix(ct_node), one.name, one.level, one.side)
        for one in chosen
    ]
    together = frozenset(
        (i, j)
        for i, one in enumerate(chosen)
        for j, other in enumerate(chosen)
        if joined(one, other)
        or (
            bool(one.construct)
            and one.construct == other.construct
            and same_construct_joint(one.kind, other.kind)
        )
    )
    return chosen, (items, volume, labels, together)


def _noted(chosen: list[SceneImplant], qualities: list[Quality]) -> list[QualityRow]:
    """What was measured, kept with the implants."""
    rows = []
    for one, quality in zip(chosen, qualities, strict=True):
        if isinstance(one.implant, PedicleScrew) and quality.grade:
            for attribute, value in ((LEVEL, quality.level), (SIDE, quality.side)):
                if not one.model.GetAttribute(attribute):
                    one.model.SetAttribute(attribute, value)
        note = quality.note or one.problem
        one.model.SetAttribute(QUALITY, json.dumps(vars(quality) | {"note": note}))
        rows.append(QualityRow(**(vars(quality) | {"note": note}), implant=one))
    return rows


def quality_of(one: SceneImplant) -> QualityRow | None:
    """How well an implant lay when it was measured; None if it was not, or was changed since."""
    try:
        kept = json.loads(one.model.GetAttribute(QUALITY) or "null")
        return None if kept is None else QualityRow(**kept, implant=one)
    except (ValueError, TypeError):  # an attribute that somebody edited
        return None


def forget_quality(one: SceneImplant) -> bool:
    """It was changed: what was measured holds no more; whether there was something."""
    known = one.model.GetAttribute(QUALITY) is not None
    one.model.RemoveAttribute(QUALITY)
    return known


def quality_table(scene: Any, rows: list[QualityRow], *, into: Any = None) -> Any:
    """The rows as a table node.

    :param into: an earlier table to replace.
    :returns: ``vtkMRMLTableNode``; each row refers to its implant by node reference.
    """
    import vtk

    table = vtk.vtkTable()
    for title, kind, value in _COLUMNS:
        # Numbers as text, too: what was not measured is blank then, and not "nan".
        column = vtk.vtkStringArray()
        column.SetName(title)
        for row in rows:
            column.InsertNextValue(value(row) if kind == _TEXT else _number(float(value(row))))
        table.AddColumn(column)
    node = into
    if node is None:
        node = scene.AddNewNodeByClass(
            "vtkMRMLTableNode", scene.GenerateUniqueName("Placement quality")
        )
        node.SetAttribute(TABLE_ATTRIBUTE, "1")
        if rows:
            place_beside_construct(scene, rows[0].implant.model, node)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.RemoveNodeReferenceIDs(PREFIX + "row")
    for index, row in enumerate(rows):
        node.SetNthNodeReferenceID(PREFIX + "row", index, row.implant.model.GetID())
    return node


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.1f}"


def size_text(one: SceneImplant) -> str:
    """The size as people say it: "6.5 x 45 mm"."""
    return size_of(one.implant)
