"""Implants in Slicer's scene: proposed, added by hand, changed, measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from MetalArtifactReductionLib.errors import InputError
from SimulateImplantsLib import mrml
from SimulateImplantsLib.implants import implant_from_dict, parameter_ranges
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.implants.user_mesh import UserMesh
from SimulateImplantsLib.mrml.lines import can_have_line
from SimulateImplantsLib.mrml.quality import TABLE_ATTRIBUTE
from SimulateImplantsLib.placement.procedures import ProposalOptions
from SimulateImplantsLib.placement.spine.levels import parse_levels

from . import views
from .bone import clicks

duplicate, edit, remove = mrml.duplicate, mrml.edit_implant, mrml.remove
qualityOf, forgetQuality = mrml.quality_of, mrml.forget_quality


def every() -> list[Any]:
    """The implants in the scene, ``SceneImplant``."""
    return mrml.implants_of(slicer.mrmlScene)


def withIds(nodeIds: Sequence[str]) -> list[Any]:
    """Those with these model nodes, in this order."""
    byId = {one.model.GetID(): one for one in every()} if nodeIds else {}
    return [byId[nodeId] for nodeId in nodeIds if nodeId in byId]


def described(one: Any) -> Any:
    """What an implant is, or None where the scene's description is damaged."""
    try:
        return one.implant
    except InputError as error:
        logging.warning(str(error))
        return None


def ranges(implant: Any) -> dict[str, Any]:
    """Limits of an implant's parameters."""
    return parameter_ranges(implant.kind) if implant is not None else {}


def sizeText(one: Any) -> str:
    """Its size in words; "" where it cannot be told."""
    return mrml.size_text(one) if described(one) is not None else ""


def propose(ct: Any, bone: Any, what: str = "spine", **choices: Any) -> Any:
    """Fit implants to the bone and add them, ``ProposedNodes``; waits until they are there.

    :param bone: segmentation; segments named as TotalSegmentator names them are recognised. None
        where the place is found in the CT, or clicked in a neck.
    :param what: a procedure of the library.
    :param choices: ``points``: for hips in plain bone, one point in each femoral head; ``sides``;
        ``levels``: such as "L3 L4 L5", empty for all; ``rods``; ``rodDiameterMm``; ``variant``: 0
        for what fits best, or the number of a plausible variant; ``progress``, ``cancel``.
    """
    more = {name: choices.pop(name) for name in ("progress", "cancel") if name in choices}
    labels = _labels(bone, ct)
    return mrml.propose(slicer.mrmlScene, ct, labels, what, **_wanted(ct, **choices), **more)


def proposeAsync(
    jobs: Any, ct: Any, bone: Any, what: str, *, onProgress: Any, onEnd: Any, **choices: Any
) -> Any:
    """As :func:`propose`, in a process of its own; returns a job handle at once.

    :param jobs: ``BackgroundJobs``.
    :param onProgress, onEnd: called with the handle, in Slicer's own thread.
    """
    handle = mrml.propose_in_background(
        jobs.queue,
        ct,
        _labels(bone, ct),
        what,
        **_wanted(ct, **choices),
        on_progress=onProgress,
        on_end=onEnd,
    )
    return jobs.started(handle)


def _wanted(
    ct: Any,
    *,
    points: Any = None,
    sides: Sequence[str] = ("left", "right"),
    levels: str = "",
    rods: bool = True,
    rodDiameterMm: float | None = None,
    variant: int = 0,
) -> dict[str, Any]:
    return {
        "levels": parse_levels(levels),
        "clicks": clicks(points, ct) or None,
        "options": ProposalOptions(sides, rods, rodDiameterMm),
        "variant": variant,
    }


def add(ct: Any, kind: str, preset: str = "") -> Any:
    """One implant in the middle of the slice views; screws get their line."""
    implant = _fromPreset(kind, preset)
    one = mrml.add_implant(slicer.mrmlScene, implant, like=ct)
    mrml.set_matrix(one, mrml.placement_at(implant, views.centre()))
    if can_have_line(implant):
        mrml.add_line(one)
    return one


def drawLine(ct: Any, kind: str, preset: str = "") -> Any:
    """Let the user click entry and target of a screw; it appears with the second click."""
    line = mrml.begin_line(slicer.mrmlScene, _fromPreset(kind, preset), like=ct)
    views.startPlacing(line, persistent=False)
    return line


def addSurface(ct: Any, modelNode: Any, material: str) -> Any:
    """A model node of the user's as an implant; the node itself is left alone.

    :raises InputError: the surface is open, intersects itself, or is evidently not in mm.
    """
    implant = UserMesh.from_polydata(modelNode.GetPolyData(), material)
    one = mrml.add_implant(slicer.mrmlScene, implant, name=modelNode.GetName(), like=ct)
    toWorld = vtk.vtkMatrix4x4()
    if modelNode.GetParentTransformNode() is not None:
        modelNode.GetParentTransformNode().GetMatrixTransformToWorld(toWorld)
    mrml.set_matrix(one, slicer.util.arrayFromVTKMatrix(toWorld))
    return one


def addRod(ct: Any, screws: Sequence[Any], diameterMm: float = 5.5) -> Any:
    """A rod through the heads of screws; it follows them."""
    return mrml.add_rod(slicer.mrmlScene, screws, diameter_mm=diameterMm, like=ct)


def addCrossLink(ct: Any, rods: Sequence[Any]) -> Any:
    """A cross-link between two rods; it follows them."""
    return mrml.add_cross_link(slicer.mrmlScene, *rods, like=ct)


def fits(implants: Sequence[Any]) -> bool:
    """Whether :func:`fitToBone` can be asked of what is selected: one pedicle screw."""
    return len(implants) == 1 and implants[0].kind == PedicleScrew.kind


def fitToBone(ct: Any, bone: Any, one: Any) -> tuple[str, ...]:
    """Largest diameter and length along a screw's own axis; returns warnings."""
    return tuple(mrml.fit_screw(one, ct, mrml.bone_labels(bone, ct)).warnings)


def showHandlesOf(implants: Sequence[Any]) -> None:
    """Handles and lines of these implants only."""
    mrml.show_handles_of(slicer.mrmlScene, implants)


def measure(ct: Any, bone: Any = None, **progress: Any) -> list[Any]:
    """Quality of the placement, one ``QualityRow`` an implant; also as a table node."""
    labels = _labels(bone, ct) or None
    rows = mrml.placement_quality(slicer.mrmlScene, ct, labels, **progress)
    showQuality(rows)
    return rows


def measureAsync(jobs: Any, ct: Any, bone: Any, *, onProgress: Any, onEnd: Any) -> Any:
    """As :func:`measure` without the table, in a process of its own; see :func:`proposeAsync`."""
    labels = _labels(bone, ct) or None
    handle = mrml.quality_in_background(
        jobs.queue, ct, labels, on_progress=onProgress, on_end=onEnd
    )
    return jobs.started(handle)


def showQuality(rows: list[Any]) -> Any:
    """The rows of a measurement as the one table node, which is returned."""
    return mrml.quality_table(slicer.mrmlScene, rows, into=qualityTable())


def qualityTable() -> Any:
    """The table node of the last measurement, or None."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    return next((node for node in tables if node.GetAttribute(TABLE_ATTRIBUTE)), None)


def _labels(bone: Any, ct: Any) -> dict[str, Any]:
    return mrml.bone_labels(bone, ct) if bone is not None else {}


def _fromPreset(kind: str, preset: str) -> Any:
    return implant_from_dict({"kind": kind} | ({"preset": preset} if preset else {}))
