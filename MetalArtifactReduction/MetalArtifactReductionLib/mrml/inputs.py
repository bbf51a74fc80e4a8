"""What can be said about a volume node before anything runs: why not, and what to know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files.checks import check_is_ct, clipped_at
from ..volume import CTVolume, VolumeSource, shear_deg
from .hierarchy import ROLE_ATTRIBUTE
from .namespace import slicer_classes
from .volumes import moves_slices_whole, require_scalar_volume, view_of

TILT_TOLERANCE_DEG = 2.0
"""Rounding of headers, and a patient axis that a scanner's software straightened a little."""


@dataclass(frozen=True)
class InputCheck:
    """What was found about an input.

    :param problem: why it cannot be corrected, in one line; "" if it can.
    :param notes: what is unusual but usable, one line each.
    """

    problem: str = ""
    notes: tuple[str, ...] = ()


def check_input(scene: Any, node: Any) -> InputCheck:
    """Look at a volume node as the correction will: kind, values, geometry.

    :param node: any node, or None.
    """
    try:
        require_scalar_volume(node)
        _require_own_kind(scene, node)
        volume = view_of(node)
        check_is_ct(replace(volume, source=VolumeSource(path=Path(node.GetName()))))
    except InputError as error:
        return InputCheck(problem=str(error))
    return InputCheck(notes=(*_notes_on_node(scene, node), *notes_on_volume(volume)))


def notes_on_volume(volume: CTVolume) -> tuple[str, ...]:
    """What the user should know about values and geometry; one line each."""
    notes = []
    clipped = clipped_at(volume.hu)
    if clipped is not None:
        notes.append(
            f"Values are clipped at {clipped:.0f} HU: metal is brighter than the volume can say. "
            "The correction works, but cannot tell metals apart."
        )
    tilt, shear = tilt_deg(volume), shear_deg(volume.ijk_to_ras)
    if shear > 0.1:
        notes.append(
            f"Tilted gantry ({shear:.1f}°): the slices are corrected as they were acquired."
        )
    elif tilt > TILT_TOLERANCE_DEG:
        notes.append(
            f"The slices are tilted by {tilt:.0f}° against the patient's axis, as after an oblique "
            "resampling: streaks do not lie in them. Use the original axial series if you have it."
        )
    if volume.source is not None and volume.source.axes[0] != 0:
        notes.append(
            "Stored in sagittal or coronal slices: the correction works along the axial ones."
        )
    if len(volume.hu) == 1:
        notes.append("A single slice: metal is found without a look at its neighbours.")
    return tuple(notes)


def tilt_deg(volume: CTVolume) -> float:
    """Angle between the normal of the slices and the patient's long axis, in degrees."""
    rows, cols = volume.ijk_to_ras[:3, 1], volume.ijk_to_ras[:3, 0]
    normal = np.cross(cols, rows)
    cosine = abs(float(normal[2])) / float(np.linalg.norm(normal))
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def _require_own_kind(scene: Any, node: Any) -> None:
    """Refuse what is known not to be CT by its header or by who made it.

    :raises InputError: another modality; a change map, a metal fraction or a preview.
    """
    name, role = node.GetName(), node.GetAttribute(ROLE_ATTRIBUTE)
    what = {
        "change": "map of changes",
        "expected-error": "map of the expected error",
        "fraction": "metal fraction",
        "preview": "preview",
    }.get(role or "")
    if what is not None:
        raise InputError(f"'{name}' is the {what} of a correction: choose the CT itself")
    modality = _modality(scene, node)
    if modality not in ("", "CT"):
        raise InputError(f"'{name}' is {modality} by its DICOM header, not CT: choose a CT volume")


def _modality(scene: Any, node: Any) -> str:
    slicer = slicer_classes()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    return (hierarchy.GetItemAttribute(item, "DICOM.Modality") or "") if item else ""


def _notes_on_node(scene: Any, node: Any) -> tuple[str, ...]:
    notes = []
    if moves_slices_whole(node):
        notes.append(
            f"'{node.GetParentTransformNode().GetName()}' puts every slice in its place (uneven "
            "distances or a tilted gantry): they are corrected one by one, as they were acquired, "
            "and the results go under it, too. Volumes of metal are those of the mean distance."
        )
    if node.GetAttribute(ROLE_ATTRIBUTE) == "corrected":
        notes.append("This volume is itself the result of a correction.")
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(index, "vtkMRMLSequenceBrowserNode")
        if browser.IsProxyNode(node.GetID()):
            notes.append(
                f"One time point of the sequence '{browser.GetName()}' (4D): only the time point "
                "that is shown now is corrected."
            )
    return tuple(notes)
