"""Segmented bones from files: one label volume with names, or a folder of masks."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.itk_headers import header_payload
from MetalArtifactReductionLib.files.masks import read_labels
from MetalArtifactReductionLib.files.schema import text_of_file
from MetalArtifactReductionLib.files.volumes import FORMATS, suffix_of
from MetalArtifactReductionLib.volume import CTVolume

from ..placement.spine.levels import hip_masks, is_canal, level_of, rib_masks
from .records import read_json

_TOTAL = (
    {25: "sacrum", 26: "vertebrae_S1"}
    | {27 + i: f"vertebrae_L{5 - i}" for i in range(5)}
    | {32 + i: f"vertebrae_T{12 - i}" for i in range(12)}
    | {44 + i: f"vertebrae_C{7 - i}" for i in range(7)}
    | {75: "femur_left", 76: "femur_right", 77: "hip_left", 78: "hip_right", 79: "spinal_cord"}
    | {92 + i: f"rib_left_{i + 1}" for i in range(12)}
    | {104 + i: f"rib_right_{i + 1}" for i in range(12)}
)
"""Bones and spinal cord among the 117 classes of TotalSegmentator 2, task "total" (Wasserthal et
al. 2023, Radiol Artif Intell 5:e230024), as its multi-label output numbers them."""
_VERSE = (
    {1 + i: f"vertebrae_C{i + 1}" for i in range(7)}
    | {8 + i: f"vertebrae_T{i + 1}" for i in range(12)}
    | {20 + i: f"vertebrae_L{i + 1}" for i in range(6)}
    | {26: "sacrum"}
)
"""The vertebrae of VerSe (Sekuboyina et al. 2021, Med Image Anal 73:102166), without the coccyx and
a thirteenth thoracic one."""
_KNOWN = {"totalsegmentator": _TOTAL, "verse": _VERSE}


def read_bones(
    path: Path, volume: CTVolume, names: str | Path | None = None
) -> dict[str, np.ndarray]:
    """Vertebrae and hips, or whatever is named, as masks on the CT's grid.

    :param path: a label volume, or a folder with a mask a file, named as TotalSegmentator names
        them (``vertebrae_L1.nii.gz``); of a folder only vertebrae, canal, ribs, femora, hips and
        sacrum count.
    :param names: what the labels mean: a CSV of ``label,name``, a JSON object,
        ``"totalsegmentator"`` or ``"verse"``. Not needed for a folder, a ``.seg.nrrd``, or a plain
        mask, which becomes ``bone``.
    :returns: name -> bool ``(slices, rows, cols)``; what is empty is left out.
    :raises InputError: another geometry, no name, or nothing in it.
    """
    if path.is_dir():
        return _folder(path, volume)
    labels = read_labels(path, volume)
    present = [int(value) for value in np.unique(labels) if value != 0]
    if not present:
        raise InputError(f"{path}: the segmentation is empty; segment the bone first")
    meaning = read_names(names) if names is not None else _names_in(path)
    if not meaning:
        if len(present) > 1:
            raise InputError(
                f"{path}: holds labels {_some(present)} and nothing says what they are; give "
                "their names: --labels names.csv (label,name), names.json, totalsegmentator, verse"
            )
        return {"bone": labels != 0}
    found = {name: labels == value for value, name in meaning.items() if value in present}
    if not found:
        raise InputError(
            f"{path}: holds labels {_some(present)}, but names are given for {_some(meaning)}; "
            "give the names of this segmentation"
        )
    return found


def read_names(names: str | Path) -> dict[int, str]:
    """Label values and their names.

    :raises InputError: no such file, or a line that is not a label and a name.
    """
    if str(names).lower() in _KNOWN:
        return dict(_KNOWN[str(names).lower()])
    path = Path(names)
    if path.suffix.lower() == ".json":
        return _names_from_json(path)
    wanted = f"a CSV or JSON of label names, or {' or '.join(_KNOWN)}"
    text = text_of_file(path, "a table of names", wanted)
    rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    found: dict[int, str] = {}
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        value = cells[0]
        if number == 1 and not _whole(value):
            continue  # the heading
        if len(cells) < 2 or not _whole(value) or not cells[1]:
            raise InputError(f"{path}: line {number} is not a label and a name: {','.join(cells)}")
        _add(found, int(value), cells[1], path)
    if not found:
        raise InputError(f"{path}: names no label; write lines such as 31,vertebrae_L1")
    return found


def _names_from_json(path: Path) -> dict[int, str]:
    data = read_json(path, 'names of labels such as {"31": "vertebrae_L1"}')
    found: dict[int, str] = {}
    if isinstance(data, Mapping):
        for key, value in data.items():
            label, name = (key, value) if _whole(str(key)) else (value, key)
            if not _whole(str(label)) or not isinstance(name, str):
                raise InputError(f"{path}: {key!r}: {value!r} is not a label and a name")
            _add(found, int(label), name, path)
    if not found:
        raise InputError(f'{path}: names no label; write {{"31": "vertebrae_L1", ...}}')
    return found


def _names_in(path: Path) -> dict[int, str]:
    """The segments' names in the header of a segmentation that 3D Slicer saved."""
    if not path.name.lower().endswith(".seg.nrrd"):
        return {}
    import SimpleITK as sitk

    header_payload(path)  # refuses what ITK should not be given
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    header = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    found: dict[int, str] = {}
    for key, name in header.items():
        match = re.match(r"^Segment(\d+)_Name$", key)
        if match:
            value = header.get(f"Segment{match.group(1)}_LabelValue", "")
            if _whole(value):
                _add(found, int(value), name, path)
    return found


def _folder(path: Path, volume: CTVolume) -> dict[str, np.ndarray]:
    """The bones among the masks of a folder."""
    found: dict[str, np.ndarray] = {}
    files = sorted(file for file in path.iterdir() if suffix_of(file) in FORMATS)
    for file in files:
        name = file.name[: -len(suffix_of(file))]
        alone = {name: np.empty(0)}
        if not (level_of(name) or is_canal(name) or hip_masks(alone) or rib_masks(alone)):
            continue
        mask = read_labels(file, volume) != 0
        if mask.any():
            found[name] = mask
    if not found:
        raise InputError(
            f"{path}: none of its {len(files)} volumes is a vertebra, femur or hip with anything "
            "in it; name the masks vertebrae_L1.nii.gz, femur_left.nii.gz and so on"
        )
    return found


def _add(found: dict[int, str], value: int, name: str, path: Path) -> None:
    if value in found or name in found.values():
        raise InputError(f"{path}: label {value} or name {name!r} is there twice; keep one")
    found[value] = name


def _whole(text: str) -> bool:
    return text.strip().lstrip("-").isdecimal()


def _some(values: object) -> str:
    listed = [str(value) for value in values]  # type: ignore[attr-defined]
    return ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "")
