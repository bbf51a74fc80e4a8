"""Enhanced (multi-frame) CT: every frame seen as a slice of its own (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

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
_RENAMED = {
    "FrameType": "ImageType",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "FrameComments": "ImageComments",
    "FrameLaterality": "Laterality",
}


def frame_count(header: Any) -> int:
    """How many frames an enhanced image has; 0 for a classic one."""
    return len(header.get(_GROUPS[1]) or [])


def single_frame(header: Any, frame: int) -> Any:
    """The header of one frame as if it were a classic image.

    :param header: of the multi-frame image, without pixels; not modified.
    :param frame: from 0.
    :returns: a new dataset: the image's own attributes, then those of the functional groups that
        all frames share, then the frame's own, each at the top level.
    """
    from pydicom.dataset import Dataset

    single = Dataset()
    single.update({e.tag: e for e in header if e.keyword not in _OF_MULTI_FRAME})
    single = deepcopy(single)
    for element in _hoisted(header, frame):
        single[element.tag] = deepcopy(element)
        renamed = _RENAMED.get(element.keyword)
        if renamed:
            del single[element.tag]
            setattr(single, renamed, element.value)
    single.InstanceNumber = frame + 1
    return single


def _hoisted(header: Any, frame: int) -> Iterator[Any]:
    """Elements of every macro's only item, shared ones first."""
    shared = header.get(_GROUPS[0]) or []
    for group in (*shared[:1], header[_GROUPS[1]].value[frame]):
        for macro in group:
            if macro.VR == "SQ" and len(macro.value) == 1 and macro.keyword not in _NOT_HOISTED:
                yield from macro.value[0]
