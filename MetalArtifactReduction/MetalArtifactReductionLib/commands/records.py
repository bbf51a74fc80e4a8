"""What ``--json`` prints: one JSON object a command, alone on the standard output.

The annotations of these classes are the schema. Lengths are in mm, volumes in ml, values in HU;
slices count from 0; null is what is not known or not there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..batch.record import CaseRecord

if TYPE_CHECKING:
    from ..metal import MetalSegmentation
    from ..volume import CTVolume


@dataclass(frozen=True)
class Finding:
    """:param what: is unusual about a volume. :param remedy: what can be done about it."""

    what: str
    remedy: str


@dataclass(frozen=True)
class InfoRecord:
    """Of ``mar info --json``.

    :param path: of the input. :param format: of the file, "dicom" of a series.
    :param matrix: columns, rows, slices. :param spacing_mm: the same order.
    :param orientation: where column, row and slice index run to, "LPS".
    :param stored_as: "axial", "coronal" or "sagittal".
    :param shear_deg: of a tilted gantry. :param voxel_type: in the file. :param size_mb: in memory.
    :param hu_percentiles: "1", "50", "99" -> HU, without padding.
    :param padding_hu, padding_fraction: what is filled in outside the scan.
    :param clipped_at_hu: where the scanner cut off metal.
    :param findings: what is unusual, and what can be done about it.
    :param left_aside: files of a folder that were not read, with the reason.
    :param series_description, series_number, manufacturer, model, kvp, kernel, gantry_tilt_deg:
        of DICOM.
    """

    path: str | None
    format: str | None
    matrix: list[int]
    spacing_mm: list[float]
    orientation: str
    stored_as: str
    shear_deg: float
    voxel_type: str
    size_mb: float
    hu_min: float
    hu_max: float
    hu_percentiles: dict[str, float]
    padding_hu: float | None
    padding_fraction: float
    clipped_at_hu: float | None
    findings: list[Finding]
    left_aside: list[str]
    series_description: str | None = None
    series_number: int | None = None
    manufacturer: str | None = None
    model: str | None = None
    kvp: float | None = None
    kernel: str | None = None
    gantry_tilt_deg: float | None = None


@dataclass(frozen=True)
class MetalPart:
    """One bright part.

    :param number: as of ``--include`` and ``--exclude``. :param centre_ras_mm: in the patient.
    :param slices: first and last. :param is_metal: whether it counts. :param reason: why.
    """

    number: int
    is_metal: bool
    reason: str
    volume_ml: float
    highest_hu: float
    centre_ras_mm: list[float]
    slices: list[int]


@dataclass(frozen=True)
class MetalRecord:
    """The metal that was found or given.

    :param threshold_hu: null where a mask was given. :param parts: the metal first, no specks.
    """

    threshold_hu: float | None
    volume_ml: float
    slices_with_metal: int
    parts: list[MetalPart]

    @classmethod
    def of(
        cls, volume: CTVolume, fraction: np.ndarray, found: MetalSegmentation | None
    ) -> MetalRecord:
        """Metal as it was found, or given: a fraction on the volume's grid."""
        from ..metal.segmentation import metal_volume_mm3

        parts = [
            MetalPart(
                one.label,
                one.kept,
                one.remark,
                one.volume_mm3 / 1000,
                one.highest_hu,
                list(one.centre_ras),
                list(one.slices),
            )
            for one in (found.components if found is not None else ())
            if not one.is_speck
        ]
        return cls(
            None if found is None else found.threshold_hu,
            metal_volume_mm3(fraction, volume.voxel_mm3) / 1000,
            int(fraction.any(axis=(1, 2)).sum()),
            parts,
        )


@dataclass(frozen=True)
class SegmentRecord:
    """Of ``mar segment --json``."""

    input: str
    output: str
    metal: MetalRecord


@dataclass(frozen=True)
class CorrectRecord:
    """Of ``mar correct --json`` of one volume.

    :param outputs: "corrected", "change_map", "expected_error", "metal" -> path, of those asked.
    :param slices_left_alone: slices with metal that needed no correction.
    :param outside_trace: what the method did to rays that meet no metal, by name; no unit.
    :param seconds: by step.
    """

    input: str
    outputs: dict[str, str]
    method: str
    device: str
    slices: int
    slices_left_alone: list[int]
    metal: MetalRecord
    outside_trace: dict[str, float]
    seconds: dict[str, float]


@dataclass(frozen=True)
class BatchRecord:
    """Of ``mar correct --json`` of many volumes. :param cases: in the order of the list."""

    folder: str
    cases: list[CaseRecord]


@dataclass(frozen=True)
class EvaluateRecord:
    """Of ``mar evaluate --json``.

    :param reference: null where the truth is not known.
    :param figures: a volume each: name of the measure, with its unit -> value.
    """

    volumes: list[str]
    reference: str | None
    figures: list[dict[str, float | None]]


RECORDS = {
    "info": (InfoRecord,),
    "segment": (SegmentRecord,),
    "correct": (CorrectRecord, BatchRecord),
    "evaluate": (EvaluateRecord,),
}
"""What each command may print."""


def printed(record: Any) -> str:
    """A record as JSON, checked against its own class, with the version that made it."""
    from ..files.schema import check_values

    values = _plain(asdict(record))
    check_values(type(record), values, type(record).__name__)
    return json.dumps({"mar": __version__, **values}, indent=2, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """As JSON has it: no numpy, no NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
