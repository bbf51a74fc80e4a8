"""Results in the scene -> derived DICOM series beside the series that the input was loaded from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..correction.result import CorrectionResult
from ..errors import InputError, OutputError
from ..progress import Cancel, Progress
from .hierarchy import PREFIX
from .kept import original_of, parameters_of
from .results import corrected_volumes

INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"
"""Slicer's own: the SOPInstanceUIDs that a volume was loaded from, separated by spaces."""

CORRECTED, CHANGE, METAL = "corrected", "change", "metal.dcm"
"""What an export is called in its folder."""


def can_export(corrected_node: Any) -> str:
    """Why a result cannot become DICOM, in words for the user; empty if it can.

    Looks at the scene only: that the source's files are still there shows when they are read.
    """
    try:
        _instance_uids(original_of(corrected_node))
    except InputError as error:
        return str(error)
    return ""


def export_corrected_node(
    scene: Any,
    corrected_node: Any,
    folder: str | Path,
    *,
    file_of_instance: Callable[[str], str],
    change_map: bool = True,
    metal: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[Path, ...]:
    """Write a corrected volume (and its change map and metal) as DICOM.

    :param scene: of ``corrected_node``.
    :param corrected_node: as :func:`.correct.correct_node` made it.
    :param folder: where ``corrected/``, ``change/`` and ``metal.dcm`` are made; must exist.
    :param file_of_instance: from a SOPInstanceUID to its file, empty where unknown: in Slicer
        ``slicer.dicomDatabase.fileForInstance``.
    :param overwrite: replace an earlier export there.
    :returns: what was written.
    :raises InputError: not a result, or its input was not loaded from DICOM or has gone since.
    :raises OutputError: see :func:`..dicom_export.write_dicom_outputs`.
    """
    from ..dicom_export import (
        DicomOutputs,
        check_dicom_outputs,
        placement_by_values,
        template_from_files,
        write_dicom_outputs,
    )

    if corrected_node is None or corrected_node.GetScene() is not scene:
        raise InputError("no corrected volume of this scene given: choose a result")
    original = original_of(corrected_node)
    files = _files(original, file_of_instance)
    folder = Path(folder)
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; create it first")
    template = template_from_files(files, Path(original.GetName()))
    outputs = DicomOutputs(
        folder / CORRECTED,
        folder / CHANGE if change_map else None,
        folder / METAL if metal else None,
    )
    check_dicom_outputs(outputs, template, overwrite=overwrite)
    before, after, fraction = corrected_volumes(corrected_node)
    placed = placement_by_values(before, template)
    hu = placed(after.hu)
    result = CorrectionResult(
        corrected=template.volume.with_hu(hu),
        metal_fraction=placed(fraction),
        change_hu=hu - placed(before.hu),
        method=corrected_node.GetAttribute(PREFIX + "method") or "unknown",
        parameters=parameters_of(corrected_node),
    )
    written = write_dicom_outputs(
        result, template, outputs, overwrite=overwrite, progress=progress, cancel=cancel
    )
    return written.paths


def _instance_uids(original: Any) -> list[str]:
    uids = (original.GetAttribute(INSTANCES_ATTRIBUTE) or "").split()
    if not uids:
        raise InputError(
            f"'{original.GetName()}' was not loaded from DICOM, so nothing says whose it is:"
            " load the series from Slicer's DICOM module and correct that"
        )
    return uids


def _files(original: Any, file_of_instance: Callable[[str], str]) -> list[Path]:
    """The files that a volume was loaded from; a multi-frame file once."""
    uids = _instance_uids(original)
    found = [str(file_of_instance(uid) or "") for uid in uids]
    missing = [file for file in found if not file or not Path(file).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(uids)} files of '{original.GetName()}' are not in the DICOM"
            " database any more: import the series again, load it and correct it"
        )
    return [Path(file) for file in dict.fromkeys(found)]
