"""Results in the scene -> derived DICOM series beside the series that the input was loaded from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..correction.result import CorrectionResult
from ..errors import InputError, OutputError
from ..jobs.call import call_job
from ..jobs.job import Job
from ..progress import Cancel, Progress
from ..volume import CTVolume
from .hierarchy import PREFIX
from .kept import original_of, parameters_of
from .results import corrected_volumes
from .volumes import view_of, volume_from_node

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
    export = _export(scene, corrected_node, folder, file_of_instance, change_map, metal, overwrite)
    return _written(export, progress, cancel)


def export_job(
    scene: Any,
    corrected_node: Any,
    folder: str | Path,
    *,
    file_of_instance: Callable[[str], str],
) -> Job:
    """:func:`export_corrected_node` of all there is, as a job; the paths by ``result_of`` it."""
    export = _export(scene, corrected_node, folder, file_of_instance, True, True, False, view_of)
    return call_job(_written, export, title=f"{corrected_node.GetName()}: DICOM")


@dataclass(frozen=True)
class _Export:
    """What an export takes from the scene."""

    files: list[Path]
    name: str
    folder: Path
    change_map: bool
    metal: bool
    overwrite: bool
    before: CTVolume
    after: CTVolume
    fraction: np.ndarray
    method: str
    parameters: Mapping[str, Any]


def _export(
    scene: Any,
    corrected_node: Any,
    folder: str | Path,
    file_of_instance: Callable[[str], str],
    change_map: bool,
    metal: bool,
    overwrite: bool,
    read: Callable[[Any], CTVolume] = volume_from_node,
) -> _Export:
    if corrected_node is None or corrected_node.GetScene() is not scene:
        raise InputError("no corrected volume of this scene given: choose a result")
    original = original_of(corrected_node)
    files = _files(original, file_of_instance)
    folder = Path(folder)
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; create it first")
    before, after, fraction = corrected_volumes(corrected_node, read)
    return _Export(
        files,
        original.GetName(),
        folder.absolute(),
        change_map,
        metal,
        overwrite,
        before,
        after,
        fraction,
        corrected_node.GetAttribute(PREFIX + "method") or "unknown",
        parameters_of(corrected_node),
    )


def _written(
    export: _Export, progress: Progress | None = None, cancel: Cancel | None = None
) -> tuple[Path, ...]:
    from ..dicom_export import (
        DicomOutputs,
        check_dicom_outputs,
        placement_by_values,
        template_from_files,
        write_dicom_outputs,
    )

    template = template_from_files(export.files, Path(export.name))
    outputs = DicomOutputs(
        export.folder / CORRECTED,
        export.folder / CHANGE if export.change_map else None,
        export.folder / METAL if export.metal else None,
    )
    check_dicom_outputs(outputs, template, overwrite=export.overwrite)
    placed = placement_by_values(export.before, template)
    hu = placed(export.after.hu)
    result = CorrectionResult(
        corrected=template.volume.with_hu(hu),
        metal_fraction=placed(export.fraction),
        change_hu=hu - placed(export.before.hu),
        method=export.method,
        parameters=export.parameters,
    )
    written = write_dicom_outputs(
        result, template, outputs, overwrite=export.overwrite, progress=progress, cancel=cancel
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
