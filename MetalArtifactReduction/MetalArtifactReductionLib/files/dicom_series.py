"""Which files of a folder form the CT series that was meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage

from ..errors import InputError
from .dicom_enhanced import frame_count, single_frame

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ImageType",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagesInAcquisition",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "Manufacturer",
    "ManufacturerModelName",
    "KVP",
    "ConvolutionKernel",
    "GantryDetectorTilt",
    "PatientPosition",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "LossyImageCompression",
]
MOST_LISTED = 12


@dataclass(frozen=True)
class Slice:
    """One slice of a series: its file and its header without pixels.

    :param frame: which frame of a multi-frame file it is, from 0.
    """

    path: Path
    header: Any
    frame: int | None = None

    @property
    def position(self) -> np.ndarray:
        """Centre of the first pixel in LPS, mm."""
        return np.array([float(x) for x in self.header.ImagePositionPatient])


def ct_images(files: Sequence[Path], path: Path) -> tuple[list[Slice], list[str]]:
    """Every CT slice in some files, and notes about what was left aside.

    :param path: what to call the files together: their folder, or the only one itself.
    """
    images = []
    for file in files:
        header = _header(file, single=path.is_file())
        if header is not None and "Rows" in header and "SOPClassUID" in header:
            count = frame_count(header)
            frames = [Slice(file, single_frame(header, n), n) for n in range(count)]
            images += frames or [Slice(file, header)]
    if not images:
        raise InputError(
            f"{path}: no DICOM images among {len(files)} files; give the folder of the CT series"
        )
    ct = [item for item in images if item.header.get("Modality") == "CT"]
    if not ct:
        modalities = ", ".join(sorted({str(item.header.get("Modality")) for item in images}))
        raise InputError(f"{path}: modality {modalities}, not CT; give a CT series")
    scouts = [item for item in ct if "LOCALIZER" in (item.header.get("ImageType") or [])]
    slices = [item for item in ct if item not in scouts and _has_plane(item.header)]
    if not slices:
        if any(int(item.header.get("NumberOfFrames") or 1) > 1 for item in ct):
            raise InputError(
                f"{path}: multi-frame CT without positions of its frames (functional groups);"
                " convert it to NIfTI with dcm2niix"
            )
        raise InputError(
            f"{path}: {len(ct)} CT images, but only scouts, colour images or images without a"
            " position in the patient; give the axial series"
        )
    notes = []
    if len(ct) > len(slices):
        count = len(ct) - len(slices)
        notes.append(f"{count} CT images left aside: scouts, screen captures or multi-frame")
    return slices, notes


def _header(file: Path, *, single: bool) -> Any:
    """The header without pixels, or None for a file that is not DICOM."""
    bare = single or file.suffix.lower() in (".dcm", ".ima")  # old files lack the preamble
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=bare)
    except InvalidDicomError:
        return None
    except PermissionError:
        raise InputError(f"{file}: no permission to read it; change its permissions") from None
    except Exception as error:  # whatever a damaged header makes pydicom stumble over
        raise InputError(f"{file}: corrupted DICOM header ({error}); export it again") from None
    if "SOPClassUID" not in header and "Rows" not in header and file.name.upper() != "DICOMDIR":
        raise InputError(f"{file}: not DICOM, or its header is truncated; copy the series again")
    if header.get("SOPClassUID") == CTImageStorage and "PixelRepresentation" not in header:
        raise InputError(f"{file}: truncated DICOM header; copy the series again")
    return header


def _has_plane(header: Any) -> bool:
    """One grey value a pixel, and a place in the patient."""
    sizes = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    complete = all(np.size(header.get(name) or ()) == size for name, size in sizes.items())
    frames = int(header.get("NumberOfFrames") or 1)
    return complete and frames == 1 and int(header.get("SamplesPerPixel") or 1) == 1


def chosen_series(path: Path, slices: list[Slice], wanted: str | int | None) -> list[Slice]:
    """The slices of the one series there is, or of the one that was asked for."""
    groups: dict[str, list[Slice]] = {}
    for item in slices:
        groups.setdefault(str(item.header.get("SeriesInstanceUID", "")), []).append(item)
    chosen = list(groups)
    if wanted is not None:
        text = str(wanted).strip()
        numbered = [uid for uid, group in groups.items() if _number(group[0].header) == text]
        named = [uid for uid in groups if series_description(groups[uid]).lower() == text.lower()]
        chosen = [text] if text in groups else numbered or named
    if len(chosen) == 1:
        return groups[chosen[0]]
    numbers = [_number(group[0].header) for group in groups.values()]
    unique = len(set(numbers)) == len(numbers)
    lines = [
        f"{number if unique else uid} '{series_description(group)}' ({len(group)} slices)"
        for number, (uid, group) in zip(numbers, groups.items(), strict=True)
    ]
    if len(lines) > MOST_LISTED:
        lines = [*lines[:MOST_LISTED], f"and {len(lines) - MOST_LISTED} more"]
    key = "number" if unique else "SeriesInstanceUID"
    what = f"no single series '{wanted}' among" if wanted is not None else "holds"
    plural = "series" if wanted is not None or len(groups) == 1 else "CT series"
    raise InputError(
        f"{path}: {what} {len(groups)} {plural}: {', '.join(lines)};"
        f" choose one by its {key} (series=..., --series)"
    )


def _number(header: Any) -> str:
    value = header.get("SeriesNumber")
    return "" if value is None else str(value)


def series_description(group: Sequence[Slice]) -> str:
    """What the technician called the series; empty where nothing was entered."""
    return str(group[0].header.get("SeriesDescription") or "").strip()


def check_uniform(path: Path, slices: Sequence[Slice]) -> None:
    """One matrix, one orientation, one pixel size, one kind of value in the whole series."""
    first = slices[0].header
    size = (first.Rows, first.Columns)
    for item in slices:
        header = item.header
        if (header.Rows, header.Columns) != size:
            raise InputError(
                f"{path}: slices of {header.Columns} x {header.Rows} and {size[1]} x {size[0]}"
                " pixels in one series; keep only those of one size"
            )
        for name, tolerance in (("ImageOrientationPatient", 1e-4), ("PixelSpacing", 1e-5)):
            values, reference = header.get(name), first.get(name)
            if not np.allclose(
                np.array(values, float), np.array(reference, float), rtol=0, atol=tolerance
            ):
                raise InputError(
                    f"{path}: {name} {list(values)} and {list(reference)} in one series;"
                    " keep only the slices of one plane"
                )
        unit = str(header.get("RescaleType") or "HU").strip()
        if unit not in ("HU", "HU_MOD", "US"):
            raise InputError(
                f"{path}: the values are in {unit!r} (RescaleType), not Hounsfield units;"
                " give the CT series itself"
            )
