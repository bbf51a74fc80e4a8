"""DICOM headers as they are: what cannot be read never stops what can.

An informative value (tube voltage, series number, a date) that its type forbids is as good as
absent; a file that is no DICOM image is told apart from one that is damaged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, MediaStorageDirectoryStorage

from ..errors import InputError
from .dicom_deflated import check_deflated
from .inputs import looks_like_dicom

TAGS = [
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
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "InstanceNumber",
    "ImagesInAcquisition",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "FrameIncrementPointer",
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
_DAMAGED = "damaged"


@dataclass(frozen=True)
class LeftAside:
    """A file of a folder that is no slice of a CT, and what it is instead.

    :param why: a noun for one of its kind, for example ``"media directory"``.
    """

    path: Path
    why: str

    @property
    def damaged(self) -> bool:
        """A DICOM file cut short or overwritten: it may have been a slice."""
        return self.why == _DAMAGED


def _forget_unknown_kinds(header: pydicom.Dataset) -> None:
    """A value of a kind (VR) that DICOM does not have is as good as not there."""
    for tag in list(header.keys()):
        try:
            header[tag]
        except NotImplementedError:
            del header[tag]


def read_header(file: Path) -> Any:
    """The header of an image without its pixels, or a :class:`LeftAside`.

    :raises InputError: no permission.
    """
    try:
        if not looks_like_dicom(file):
            if not os.access(file, os.R_OK):
                raise PermissionError
            return LeftAside(file, "not DICOM")
        check_deflated(file)
        # Old files lack the preamble; those that begin like one are read like the others.
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS, force=True)
        _forget_unknown_kinds(header)
        if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return LeftAside(file, "media directory")
        image = "Rows" in header and "SOPClassUID" in header
        if not image and ("SOPClassUID" not in header or _truncated(header)):
            return LeftAside(file, _DAMAGED)
        if header.SOPClassUID == CTImageStorage and "PixelRepresentation" not in header:
            return LeftAside(file, _DAMAGED)
        return header if image else LeftAside(file, "object without an image")
    except PermissionError:
        raise InputError(f"{file}: no permission to read it; change its permissions") from None
    except InputError:
        raise
    except InvalidDicomError:
        return LeftAside(file, "not DICOM")
    except Exception:  # whatever a damaged header makes pydicom stumble over
        return LeftAside(file, _DAMAGED)


def _truncated(header: Any) -> bool:
    """An image by its class whose description of the pixels is not there."""
    return header.SOPClassUID == CTImageStorage or "BitsAllocated" in header


def value_of(header: Any, keyword: str) -> Any:
    """A value, or None where it is absent or cannot be read."""
    try:
        return header.get(keyword)
    except Exception:  # pydicom raises many kinds for what a type forbids
        return None


def number_of(header: Any, keyword: str) -> float | None:
    """A value as one number, else None."""
    try:
        return float(value_of(header, keyword))
    except (TypeError, ValueError):
        return None


def whole_of(header: Any, keyword: str) -> int | None:
    """A value as one whole number, else None."""
    number = number_of(header, keyword)
    return int(number) if number is not None and number.is_integer() else None


def text_of(header: Any, keyword: str) -> str:
    """A value as text, several values with a slash between; empty where there is none."""
    value = value_of(header, keyword)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    try:
        return "/".join(str(one).strip() for one in value)
    except TypeError:
        return str(value).strip()
