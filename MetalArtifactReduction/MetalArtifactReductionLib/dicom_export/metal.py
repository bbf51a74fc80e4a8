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
    sources, mask = _source_images(template, mask, series)
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
    result: Dataset = segmentation
    return result


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

        whole = pydicom.dcmread(template.files[0], stop_before_pixels=True)
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
