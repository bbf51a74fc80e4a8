"""Enhanced (multi-frame) CT: every frame seen as a slice of its own (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_OF_MULTI_FRAME = (
    *_GROUPS,
    "NumberOfFrames",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
    "DimensionOrganizationType",
    "ConcatenationUID",
    "SOPInstanceUIDOfConcatenationSource",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ConcatenationFrameOffsetNumber",
    "FrameIncrementPointer",
)
# Described anew for a derived image, or names of something else at the top level.
_NOT_HOISTED = (
    "DerivationImageSequence",
    "ReferencedImageSequence",
    "PurposeOfReferenceCodeSequence",
)
_TIME_TAGS = (0x00181063, 0x00181065)  # FrameTime, FrameTimeVector: a film, no volume
_RENAMED = {
    "FrameType": "ImageType",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "FrameComments": "ImageComments",
    "FrameLaterality": "Laterality",
}


def frame_count(header: Any) -> int:
    """How many frames an enhanced image has; 0 for a classic one."""
    return len(header.get(_GROUPS[1]) or [])


def classic_frame_count(header: Any) -> int:
    """How many frames a volume without functional groups has (cone-beam CT); 0 if it is none.

    One position and one orientation stand for all, as dcm2niix and 3D Slicer take it too: the
    frames follow each other along the normal, ``SpacingBetweenSlices`` apart.
    """
    count = int(header.get("NumberOfFrames") or 1)
    names = ("ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices")
    if count < 2 or frame_count(header) or not all(header.get(name) for name in names):
        return 0
    in_time = header.get("FrameIncrementPointer") in _TIME_TAGS
    return 0 if in_time else count


def single_frame(header: Any, frame: int) -> Any:
    """The header of one frame as if it were a classic image.

    :param header: of the multi-frame image, without pixels; not modified.
    :param frame: from 0.
    :returns: a new dataset: the image's own attributes, then those of the functional groups that
        all frames share, then the frame's own, each at the top level.
    """
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataset import Dataset

    single = Dataset()
    left_out = {tag_for_keyword(keyword) for keyword in _OF_MULTI_FRAME}
    # As they are, unread: some are values that their type forbids.
    single.update({t: header.get_item(t) for t in list(header.keys()) if t not in left_out})
    single = deepcopy(single)
    implicit, little = header.original_encoding
    single.set_original_encoding(implicit, little, header.original_character_set)
    if _GROUPS[1] not in header:
        return _moved(single, frame)
    for element in _hoisted(header, frame):
        single[element.tag] = deepcopy(element)
        renamed = _RENAMED.get(element.keyword)
        if renamed:
            del single[element.tag]
            setattr(single, renamed, element.value)
    single.InstanceNumber = frame + 1
    return single


def _moved(single: Any, frame: int) -> Any:
    """A frame without functional groups, in its place along the normal."""
    cosines = np.array([float(x) for x in single.ImageOrientationPatient])
    step = np.cross(cosines[:3], cosines[3:]) * abs(float(single.SpacingBetweenSlices))
    place = np.array([float(x) for x in single.ImagePositionPatient]) + frame * step
    single.ImagePositionPatient = [f"{x:.10g}" for x in place]
    single.InstanceNumber = frame + 1
    return single


def _hoisted(header: Any, frame: int) -> Iterator[Any]:
    """Elements of every macro's only item, shared ones first."""
    shared = header.get(_GROUPS[0]) or []
    for group in (*shared[:1], header[_GROUPS[1]].value[frame]):
        for macro in group:
            if macro.VR == "SQ" and len(macro.value) == 1 and macro.keyword not in _NOT_HOISTED:
                yield from macro.value[0]
