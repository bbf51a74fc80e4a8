"""The files of a case: its record, the kind of its volumes, fractions and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.files.schema import check_values, json_of, text_of_file
from MetalArtifactReductionLib.files.volumes import FORMATS, write_array_like
from MetalArtifactReductionLib.volume import CTVolume, shear_deg

from ..placement.plan_schema import Matrix, Shape

RECORD = "simulation.json"
FORMAT = 1
_SUFFIX_OF = {"nifti": ".nii.gz", "nifti2": ".nii.gz", "nrrd": ".nrrd", "metaimage": ".mha"}
_TILT_LIMIT_DEG = 0.01


@dataclass(frozen=True)
class _CT:
    """The CT that a simulation was made from."""

    hu_sha256: str
    ijk_to_ras: Matrix
    name: str = ""


@dataclass(frozen=True)
class _PlacedImplant:
    """An implant; its own parameters are checked by its family."""

    implant: dict[str, Any]
    placement: Matrix
    name: str


@dataclass(frozen=True)
class _Cut:
    """Which slices of the CT were taken."""

    first_slice: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class _Files:
    """The fractions of the materials, in the record's own folder."""

    fractions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseRecord:
    """What of a :data:`RECORD` a simulation is repeated from."""

    ct: _CT
    model: str
    acquisition: dict[str, Any]
    seed: int
    every_slice: bool
    with_reference: bool
    shape: tuple[int, int, int] | None = None
    case_format: int = 0
    cut: _Cut | None = None
    placed_implants: list[_PlacedImplant] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    files: _Files = field(default_factory=_Files)


def read_record(path: Path) -> dict[str, Any]:
    """A ``simulation.json``.

    :raises InputError: no such file, not JSON, or not of a simulation.
    """
    record = read_json(path, f"the {RECORD} that a simulation wrote")
    if not isinstance(record, dict) or not {"acquisition", "model", "ct"} <= record.keys():
        raise InputError(f"{path}: is no record of a simulation; give its {RECORD}")
    version = record.get("case_format", 0)
    if isinstance(version, int) and version > FORMAT:
        raise InputError(f"{path}: written by a later version; update this software")
    check_values(CaseRecord, record, str(path))
    return record


def read_json(path: Path, wanted: str) -> Any:
    """The content of a JSON file.

    :param wanted: what should be given, for the message.
    :raises InputError: no such file, no permission, or not JSON.
    """
    text = text_of_file(path, "JSON", wanted)
    try:
        return json_of(text)
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); give {wanted}") from None


def suffix_for(volume: CTVolume, suffix: str | None = None) -> str:
    """File name ending of the outputs: the CT's own kind of file; .nrrd for DICOM.

    :raises InputError: unknown, or one that cannot keep a tilted gantry.
    """
    source = volume.source.format if volume.source else ""
    chosen = suffix or _SUFFIX_OF.get(source, ".nrrd")
    chosen = chosen if chosen.startswith(".") else f".{chosen}"
    single = [ending for ending in FORMATS if ending not in (".nhdr", ".mhd")]
    if chosen not in single:
        raise InputError(f"format {chosen!r} is unknown; use one of {', '.join(single)}")
    tilt = shear_deg(volume.ijk_to_ras)
    if FORMATS[chosen] == "nifti" and tilt > _TILT_LIMIT_DEG:
        if suffix is None:
            return ".nrrd"
        raise OutputError(
            f"axes {tilt:.2f} deg from orthogonal (gantry tilt) cannot be kept in NIfTI; use "
            "another format (--format .nrrd)"
        )
    return chosen


def write_fractions(
    fractions: Mapping[str, np.ndarray], grid: CTVolume, folder: Path, suffix: str
) -> dict[str, str]:
    """One file a material; returns their names."""
    files = {}
    for name, fraction in fractions.items():
        files[name] = f"fraction-{name}{suffix}"
        write_array_like(fraction.astype(np.float32, copy=False), grid, folder / files[name])
    return files


def write_labels(labels: np.ndarray, grid: CTVolume, path: Path) -> None:
    """Labels in the narrowest type that holds them."""
    write_array_like(_narrow(labels), grid, path)


def _narrow(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.uint8 if int(labels.max()) < 256 else np.uint16)
