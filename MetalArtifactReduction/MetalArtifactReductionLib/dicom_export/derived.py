"""One slice of a derived CT series from the header of its source slice.

What the source says of patient, study, acquisition, geometry and frame of reference is carried
over. Left out is what was true of the source's pixels only, and every private element: private
elements describe the vendor's own pixels to the vendor's own software, which would read them as if
they held for ours, and may name people where nobody can see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

from .provenance import (
    METAL_ARTIFACT_REDUCTION,
    SOURCE_IMAGE,
    SUBTRACTION,
    Derivation,
    code_item,
    derivation_codes,
    describe_private_scheme,
    set_equipment,
)
from .values import Encoding

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
"""SOP class CT Image Storage: what every derived slice is, whatever the source was."""

_OF_THE_PIXELS = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "RealWorldValueMappingSequence",
    "IconImageSequence",
    "PixelDataProviderURL",
    "OverlaySequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "EncryptedAttributesSequence",
    "HL7StructuredDocumentReferenceSequence",
)
_OF_THE_OBJECT = (
    "InstanceCreatorUID",
    "InstanceCoercionDateTime",
    "SOPInstanceStatus",
    "SOPAuthorizationDateTime",
    "SOPAuthorizationComment",
    "AuthorizationEquipmentCertificationNumber",
    "SourceImageSequence",
    "DerivationCodeSequence",
    "DerivationDescription",
    "SeriesDescriptionCodeSequence",
    "ReferencedSeriesSequence",
    "StudiesContainingOtherReferencedInstancesSequence",
    "StorageMediaFileSetID",
    "StorageMediaFileSetUID",
    "RetrieveAETitle",
    "InstanceAvailability",
)
# Overlays were drawn on the source's pixels; curves, trailing padding and signatures likewise.
_GROUPS_LEFT_OUT = (0x0002, 0x0004, 0x5400, 0x7FE0, 0xFFFA, 0xFFFC)
_REPEATING_LEFT_OUT = (0x5000, 0x6000)
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "PositionReferenceIndicator",
    "PatientPosition",
    "KVP",
    "AcquisitionNumber",
    "SliceThickness",
)
_PIXEL_MEANING = ("VMI", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "MAT_MODIFIED", "MAT_REMOVED")
_PADDING = (0x00280120, 0x00280121)  # PixelPaddingValue, PixelPaddingRangeLimit
_DESCRIPTION_LENGTH = 64  # characters that VR LO holds


@dataclass(frozen=True)
class Series:
    """What all slices of one derived series have in common.

    :param uid: the new SeriesInstanceUID.
    :param number: the new SeriesNumber.
    :param label: what it shows, for the description; ASCII.
    :param frame_of_reference_uid: where the source has none.
    :param made: when.
    :param change: a map of changes instead of a CT's values.
    """

    uid: str
    number: int
    label: str
    frame_of_reference_uid: str
    made: datetime
    derivation: Derivation
    change: bool = False


@dataclass(frozen=True)
class Reference:
    """One image that a derived image refers to."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    frame: int | None = None


def derived_slice(
    header: Dataset,
    stored: np.ndarray,
    encoding: Encoding,
    index: int,
    series: Series,
    references: tuple[Reference, ...],
    uid: str,
    instance_number: int,
) -> Dataset:
    """A complete CT Image, ready to be written.

    :param header: complete header of the source slice; becomes the result.
    :param stored: ``(rows, cols)`` as ``encoding`` says.
    :param index: of the slice in ``encoding``.
    :param references: the source image first.
    :param uid: the new SOPInstanceUID.
    """
    padding_hu = {} if series.change else source_padding_hu(header)
    strip(header)
    _describe_pixels(header, stored, encoding, index, padding_hu)
    set_equipment(header, series.derivation)
    _describe_series(header, series)
    _describe_derivation(header, series, references)
    header.SOPClassUID = CT_IMAGE
    header.SOPInstanceUID = uid
    header.InstanceNumber = instance_number
    return header


def strip(header: Dataset) -> None:
    """Take out what does not hold for a derived image, and complete what must be there.

    Codes of earlier derivations stay in ``header.DerivationCodeSequence``.
    """
    keep_as_written(header)
    earlier = header.get("DerivationCodeSequence")
    for keyword in (*_OF_THE_PIXELS, *_OF_THE_OBJECT):
        if keyword in header:
            delattr(header, keyword)
    if earlier:
        header.DerivationCodeSequence = earlier
    for tag in list(header.keys()):
        repeating = tag.group & 0xFF00 in _REPEATING_LEFT_OUT
        if tag.group in _GROUPS_LEFT_OUT or repeating or tag.element == 0:
            del header[tag]
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, None if keyword in ("KVP", "SliceThickness") else "")


def keep_as_written(dataset: Dataset) -> None:
    """Take private elements out; leave every other one the bytes it had, until it is set anew.

    Values that their type forbids, and text in another character set than is declared, are common.
    Read and written again they would become something else, or nothing.
    """
    from pydicom.datadict import dictionary_has_tag, dictionary_VR
    from pydicom.dataelem import RawDataElement

    _, little = dataset.original_encoding
    for tag in list(dataset.keys()):
        if tag.is_private:
            del dataset[tag]
            continue
        element = dataset.get_item(tag)
        known = dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"
        if (element.VR or known) == "SQ":
            for item in dataset[tag].value or ():
                keep_as_written(item)
        elif isinstance(element, RawDataElement) and little and len(element.VR or known) == 2:
            dataset[tag] = element._replace(VR=element.VR or known, value=element.value or b"")
    if little:  # what is still raw is written as explicit VR little endian needs it
        for tag in list(dataset.keys()):
            if len(dataset.get_item(tag).VR or "") != 2:
                dataset[tag]  # "US or SS": told by other elements
        dataset.set_original_encoding(False, True, dataset.original_character_set)


def source_padding_hu(header: Any) -> dict[int, float]:
    """What the source's padding (tag: value, and the other end of a range) is in HU."""
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    slope = 1.0 if slope is None else float(slope)
    intercept = 0.0 if intercept is None else float(intercept)
    found = {}
    for tag in _PADDING:
        value = header[tag].value if tag in header else None
        if isinstance(value, int):
            if header.get("PixelRepresentation") == 1 and value > 0x7FFF:
                value -= 0x10000  # written as if it were unsigned
            found[tag] = value * slope + intercept
    return found


def _describe_pixels(
    header: Dataset,
    stored: np.ndarray,
    encoding: Encoding,
    index: int,
    padding_hu: Mapping[int, float],
) -> None:
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows, header.Columns = stored.shape
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = int(encoding.signed)
    header.add_new(0x7FE00010, "OW", np.ascontiguousarray(stored, encoding.dtype).tobytes())
    slope, intercept = encoding.rescale[index]
    # The source's own decimal strings stay where they say the same.
    if header.get("RescaleSlope") is None or float(header.RescaleSlope) != slope:
        header.RescaleSlope = _decimal(slope)
    if header.get("RescaleIntercept") is None or float(header.RescaleIntercept) != intercept:
        header.RescaleIntercept = _decimal(intercept)
    if not header.get("RescaleType"):
        header.RescaleType = "HU"
    for tag, hu in padding_hu.items():
        value = encoding.stored_value(hu, index)
        if value is not None:
            header.add_new(tag, "SS" if encoding.signed else "US", value)


def _decimal(value: float) -> str:
    """At most 16 characters, as VR DS holds; whole numbers without a point."""
    if float(value).is_integer():
        return str(int(value))
    return next(text for text in (f"{value:.{d}g}" for d in range(16, 0, -1)) if len(text) <= 16)


def _describe_series(header: Dataset, series: Series) -> None:
    made = in_zone(series.made, header.get("TimezoneOffsetFromUTC"))
    header.Modality = "CT"
    header.SeriesInstanceUID = series.uid
    header.SeriesNumber = series.number
    header.SeriesDescription = described(header.get("SeriesDescription"), series.label)
    for name in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
        setattr(header, name, made.strftime("%Y%m%d"))
    for name in ("SeriesTime", "ContentTime", "InstanceCreationTime"):
        setattr(header, name, made.strftime("%H%M%S.%f"))
    if not header.get("FrameOfReferenceUID"):
        header.FrameOfReferenceUID = series.frame_of_reference_uid
    if series.change:
        header.WindowCenter, header.WindowWidth = "0", "1000"
        header.WindowCenterWidthExplanation = "change"
        if "VOILUTFunction" in header:
            del header.VOILUTFunction


def in_zone(made: datetime, offset: object) -> datetime:
    """The local time of the image: its own declared offset from UTC, or this machine's."""
    text = str(offset or "").strip()
    if len(text) == 5 and text[0] in "+-" and text[1:].isdecimal():
        minutes = int(text[1:3]) * 60 + int(text[3:])
        return made.astimezone(timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes)))
    return made.astimezone()


def described(source: object, label: str) -> str:
    """The source's description, cut so that the label always fits behind it.

    One in another character set than is declared is left out: it could not come back as it was.
    """
    before = str(source or "").strip()
    before = "" if "\ufffd" in before else before
    room = _DESCRIPTION_LENGTH - len(label) - 1
    return f"{before[:room].rstrip()} {label}".strip()


def _describe_derivation(
    header: Dataset, series: Series, references: tuple[Reference, ...]
) -> None:
    from pydicom.dataset import Dataset

    image_type = [str(value) for value in header.get("ImageType") or []]
    plane = "LOCALIZER" if "LOCALIZER" in image_type[2:3] else "AXIAL"
    # A vendor's further values describe the vendor's image; those of multi-energy CT say what the
    # values are.
    meaning = [value for value in image_type[3:4] if value in _PIXEL_MEANING]
    header.ImageType = ["DERIVED", "SECONDARY", plane, *meaning]
    header.DerivationDescription = series.derivation.description()
    codes = (
        (METAL_ARTIFACT_REDUCTION, SUBTRACTION) if series.change else (METAL_ARTIFACT_REDUCTION,)
    )
    earlier = header.get("DerivationCodeSequence") or []
    header.DerivationCodeSequence = derivation_codes(earlier, *codes)
    describe_private_scheme(header, METAL_ARTIFACT_REDUCTION)
    items = []
    for reference in references:
        item = _reference_item(reference)
        item.SpatialLocationsPreserved = "YES"
        item.PurposeOfReferenceCodeSequence = [code_item(SOURCE_IMAGE)]
        items.append(item)
    header.SourceImageSequence = items
    listed = []
    for uid in dict.fromkeys(reference.series_uid for reference in references):
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = [
            _reference_item(r, frames=False) for r in references if r.series_uid == uid
        ]
        listed.append(item)
    header.ReferencedSeriesSequence = listed


def _reference_item(reference: Reference, *, frames: bool = True) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if frames and reference.frame is not None:
        item.ReferencedFrameNumber = reference.frame
    return item


def instance_numbers(numbers: Iterable[object]) -> list[int]:
    """The source's instance numbers, so that slices pair up; 1, 2, ... where not unique."""
    found = [int(str(n)) if str(n).strip().lstrip("-").isdecimal() else None for n in numbers]
    if None in found or len(set(found)) < len(found):
        return list(range(1, len(found) + 1))
    return [number for number in found if number is not None]
