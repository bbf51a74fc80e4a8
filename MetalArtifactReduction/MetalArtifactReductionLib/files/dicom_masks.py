"""Masks in DICOM: segmentations (PS3.3 A.51), and the contours of structure sets (A.19)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..volume import CTVolume, to_storage
from .dicom_headers import text_of
from .dicom_pixels import opened
from .dicom_quiet import quiet_pydicom
from .grids import on_grid

_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
_METAL_WORDS = ("metal", "implant", "screw", "prosthes", "artifact", "artefact", "hardware", "clip")
_BETWEEN_SLICES = 0.5  # of the distance of slices: a contour belongs to the nearest one


def read_dicom_mask(path: Path, like: CTVolume) -> np.ndarray:
    """The segments or structures of a file on the grid of a CT.

    :returns: bool ``(slices, rows, cols)``.
    :raises InputError: another kind of object, another geometry, several structures of which none
        is named after metal.
    """
    try:
        with quiet_pydicom():
            dataset = opened(path, pixels=True)
            kind = text_of(dataset, "SOPClassUID")
            if kind == _SEGMENTATION:
                return _segmentation(path, dataset, like)
            if kind == _STRUCTURES:
                return _structures(path, dataset, like)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file makes the libraries stumble over
        text = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: truncated or corrupted ({text}); export it again") from None
    raise InputError(
        f"{path}: a DICOM image, no mask; give a DICOM segmentation, a structure set, or the mask"
        " as .nii.gz or .nrrd"
    )


def _segmentation(path: Path, dataset: Any, like: CTVolume) -> np.ndarray:
    """All segments together; by reference to the CT's own slices where it has them."""
    by_reference = _by_reference(dataset, like)
    if by_reference is not None:
        return by_reference
    try:
        from highdicom.seg import segread
    except ImportError as error:
        raise InputError(
            f"{path}: DICOM segmentations need the package highdicom ({error}): pip install"
            " highdicom, or give the mask as .nii.gz or .nrrd"
        ) from None
    volume = segread(path).get_volume()
    array = volume.array.reshape(*volume.array.shape[:3], -1).max(axis=-1) > 0
    # Indexed (slice, row, column) to LPS; ours is (column, row, slice) to RAS.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine @ np.eye(4)[:, [2, 1, 0, 3]]
    return on_grid(path, array, affine, like, part=True)


def _by_reference(dataset: Any, like: CTVolume) -> np.ndarray | None:
    """What it says of each of the CT's own images, or None where it refers to others."""
    source = like.source
    if source is None or source.dicom is None:
        return None
    frames = [frame + 1 for frame in source.dicom.frames] or [1] * len(source.files)
    images = zip(source.dicom.sop_instance_uids, frames, strict=True)
    slices = {image: index for index, image in enumerate(images)}
    referred = []
    for group in dataset.PerFrameFunctionalGroupsSequence:
        derivations = group.get("DerivationImageSequence") or []
        images_of = derivations[0].get("SourceImageSequence") if derivations else None
        if not images_of:
            return None
        image = images_of[0]
        frame = int(image.get("ReferencedFrameNumber") or 1)
        referred.append(slices.get((str(image.ReferencedSOPInstanceUID), frame)))
    if all(index is None for index in referred):
        return None
    pixels = dataset.pixel_array.reshape(-1, int(dataset.Rows), int(dataset.Columns))
    stored = np.zeros((len(slices), *pixels.shape[1:]), bool)
    for index, plane in zip(referred, pixels, strict=True):
        if index is not None:
            stored[index] |= plane > 0
    return _placed(stored, like)


def _placed(stored: np.ndarray, like: CTVolume) -> np.ndarray:
    """Stored slices in the order of the volume's axes."""
    axes = like.source.axes if like.source is not None else (0, 1, 2)
    placed: np.ndarray = stored.transpose(axes)
    if placed.shape != like.hu.shape:
        raise ValueError(f"frames of {placed.shape[1:]}, slices of {like.hu.shape[1:]}")
    return placed


def _structures(path: Path, dataset: Any, like: CTVolume) -> np.ndarray:
    """The contours of the structures that are metal by name, or of the only one."""
    from skimage.draw import polygon

    names = {int(r.ROINumber): text_of(r, "ROIName") for r in dataset.StructureSetROISequence}
    contours = {
        int(roi.ReferencedROINumber): roi.get("ContourSequence") or []
        for roi in dataset.ROIContourSequence
    }
    drawn = [number for number, found in contours.items() if found]
    metal = [n for n in drawn if any(w in names.get(n, "").lower() for w in _METAL_WORDS)]
    if not metal and len(drawn) != 1:
        listed = ", ".join(repr(names.get(number, "?")) for number in drawn[:12]) or "none"
        raise InputError(
            f"{path}: {len(drawn)} structures ({listed}), none named after metal; name it 'metal',"
            " or export it alone"
        )
    stored, ijk_to_ras = to_storage(np.zeros(like.hu.shape, bool), like)
    mask = stored.copy()
    to_index = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras)
    places = _slice_places(like, len(mask))
    for contour in (one for number in metal or drawn for one in contours[number]):
        if text_of(contour, "ContourGeometricType") != "CLOSED_PLANAR":
            continue
        points = np.array([float(x) for x in contour.ContourData]).reshape(-1, 3)
        index = points @ to_index[:3, :3].T + to_index[:3, 3]
        if np.ptp(index[:, 2]) > _BETWEEN_SLICES:
            raise InputError(f"{path}: contours across the CT's slices; give the mask as .nii.gz")
        nearest = int(np.argmin(np.abs(places - float(index[:, 2].mean()))))
        if abs(places[nearest] - float(index[:, 2].mean())) > _BETWEEN_SLICES:
            continue  # beyond the ends of the CT
        rows, cols = polygon(index[:, 1], index[:, 0], mask.shape[1:])
        mask[nearest, rows, cols] ^= True  # a contour within another is a hole
    return _placed(mask, like)


def _slice_places(like: CTVolume, count: int) -> np.ndarray:
    """Where each stored slice lies, in units of the mean distance."""
    dicom = like.source.dicom if like.source is not None else None
    if dicom is None or not dicom.uneven_mm:
        return np.arange(count, dtype=float)
    along = np.array(dicom.uneven_mm)
    result: np.ndarray = along / along[-1] * (count - 1)
    return result
