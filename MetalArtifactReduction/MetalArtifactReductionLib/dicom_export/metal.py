"""The metal as a DICOM segmentation that refers to the source images (PS3.3 A.51)."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, OutputError
from ..files.dicom_enhanced import frame_count
from .derived import Series, described, in_zone, strip
from .provenance import MANUFACTURER, MODEL, Derivation
from .template import DicomTemplate

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# PS3.16 CID 7150 and CID 7151: what the metal is, as far as HU can tell.
CATEGORY = ("260787004", "SCT", "Physical object")
TYPE = ("40388003", "SCT", "Implant")
# CID 7162. The metal is everything above a threshold from the data's own histogram.
ALGORITHM_FAMILY = ("123105", "DCM", "Histogram Analysis")
SHOWN_CIELAB = (53, -20, -30)
"""Recommended colour, CIELab: a blue that neither bone nor the change map has."""

_HALF = 0.5
_STUDY_TAGS = (0x00080005, 0x00080020, 0x00080030, 0x00080050, 0x00080090, 0x00081030, 0x00200010)
"""Character set, and date, time, accession number, referrer, description, number of the study."""
_SERIAL_NUMBER = "0"  # must not be empty, and software has none


def metal_segmentation(fraction: np.ndarray, template: DicomTemplate, series: Series) -> Dataset:
    """A binary segmentation of one segment, on the source's own slices.

    :param fraction: share of each voxel that is metal, 0..1, ``(slices, rows, cols)`` in the
        source's slice order; a voxel is metal if half of it is. Binary, since fractional
        segmentations are what viewers do not read.
    :raises InputError: no voxel is half metal.
    :raises OutputError: the package highdicom is missing.
    """
    mask = np.asarray(fraction >= _HALF)
    if not mask.any():
        raise InputError(
            f"no voxel is half metal (most: {float(fraction.max()):.2f}), so a binary segmentation"
            " would be empty; write the fraction as .nii.gz or .nrrd"
        )
    try:
        import highdicom
    except ImportError as error:
        raise OutputError(
            f"DICOM segmentations need the package highdicom ({error}): pip install highdicom,"
            " or write the metal as .nii.gz or .nrrd"
        ) from None
    from pydicom.charset import convert_encodings
    from pydicom.filewriter import correct_ambiguous_vr

    sources, mask = _source_images(template, mask, series)
    identity = _identity(sources)
    derivation = series.derivation
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=mask.astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(derivation)],
        series_instance_uid=series.uid,
        series_number=series.number,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=derivation.version,
        device_serial_number=_SERIAL_NUMBER,
        content_label="METAL",
        content_description="Metal that was corrected for",
        series_description=described(sources[0].get("SeriesDescription"), series.label),
    )
    made = in_zone(series.made, sources[0].get("TimezoneOffsetFromUTC"))
    for name in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
        setattr(segmentation, name, made.strftime("%Y%m%d"))
    for name in ("SeriesTime", "ContentTime", "InstanceCreationTime"):
        setattr(segmentation, name, made.strftime("%H%M%S.%f"))
    correct_ambiguous_vr(segmentation, True)
    for tag, element in identity.items():
        segmentation[tag] = element
    declared = convert_encodings(segmentation.get("SpecificCharacterSet") or "ISO_IR 6")
    segmentation.set_original_encoding(False, True, declared)  # what is raw is written as it is
    result: Dataset = segmentation
    return result


def _identity(sources: list[Dataset]) -> dict[Any, Any]:
    """Who and which study, byte for byte as the first source says it.

    What its type forbids is emptied in the sources, where highdicom would stumble over it.
    """
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.tag import Tag
    from pydicom.valuerep import DA, TM

    kept: dict[Any, Any] = {}
    for header in reversed(sources):  # the first one last, since it counts
        tags = [Tag(tag) for tag in list(header.keys())]
        for tag in [one for one in tags if one.group == 0x0010 or int(one) in _STUDY_TAGS]:
            element = header.get_item(tag)
            if not isinstance(element, RawDataElement):
                continue
            kept[tag] = element
            try:
                convert = {"DA": DA, "TM": TM}.get(header[tag].VR)
                if convert is not None and header[tag].value:
                    convert(header[tag].value)
            except Exception:  # pydicom raises many kinds for what a type forbids
                header[tag] = DataElement(tag, dictionary_VR(tag), "")
    return kept


def _segment(derivation: Derivation) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.coding import Code

    segment = SegmentDescription(
        segment_number=1,
        segment_label="Metal",
        segmented_property_category=Code(*CATEGORY),
        segmented_property_type=Code(*TYPE),
        # A person may have edited the mask before it was used, and nothing here can know.
        algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MODEL, family=Code(*ALGORITHM_FAMILY), version=derivation.version
        ),
    )
    segment.SegmentDescription = "Metal in the CT, half of a voxel or more"
    segment.RecommendedDisplayCIELabValue = list(CIELabColor(*SHOWN_CIELAB).value)
    return segment


def _source_images(
    template: DicomTemplate, mask: np.ndarray, series: Series
) -> tuple[list[Dataset], np.ndarray]:
    """Complete headers of the source, and the mask in their order of frames."""
    frames = template.facts.frames
    if frames and len(set(template.files)) > 1:
        raise OutputError(
            f"{template.path}: a DICOM segmentation cannot refer to several multi-frame files;"
            " write the metal as .nii.gz or .nrrd"
        )
    headers: list[Dataset]
    if frames:
        import pydicom

        whole = pydicom.dcmread(template.files[0], stop_before_pixels=True, force=True)
        if not frame_count(whole):
            raise OutputError(
                f"{template.path}: its frames have no positions of their own, so a DICOM"
                " segmentation cannot refer to them; write the metal as .nii.gz or .nrrd"
            )
        ordered = np.zeros((frame_count(whole), *mask.shape[1:]), dtype=mask.dtype)
        ordered[list(frames)] = mask
        headers, mask = [whole], ordered
    else:
        headers = [deepcopy(header) for header in template.headers()]
    for header in headers:
        kept = header.get("DerivationDescription")
        strip(header)
        if kept is not None:
            header.DerivationDescription = kept
        if not header.get("FrameOfReferenceUID"):
            header.FrameOfReferenceUID = series.frame_of_reference_uid
    return headers, mask
