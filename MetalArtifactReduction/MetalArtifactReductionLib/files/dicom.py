"""CT series in DICOM: files in any order in, one volume out.

Geometry follows DICOM PS3.3 C.7.6.2 (Image Plane), values C.11.1 (Modality LUT). Slices are
ordered by position along their normal, never by file name or instance number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..volume import CTVolume, VolumeSource, volume_from_storage
from .dicom_pixels import PixelReader, hounsfield_units
from .dicom_quiet import quiet_pydicom
from .dicom_series import (
    MOST_LISTED,
    Slice,
    check_uniform,
    chosen_series,
    ct_images,
    series_description,
)

_SAME_POSITION_MM = 1e-3
_EVEN = 0.05  # share of the spacing by which a position may stray from even spacing
_ROUNDED_MM = 0.06  # more than the error of positions that were rounded to 0.1 mm
_WHOLE = 0.15  # how far a gap may be from a whole number of spacings to count missing slices
_TOLD_MM = 0.01  # straying beyond this is told to the user
_TOLD_TILT_DEG = 0.05


@dataclass(frozen=True)
class DicomSource:
    """Facts of a CT series: for people, and for a derived series written later.

    The headers themselves stay in ``VolumeSource.files``, which are in the order of the slices;
    no patient identity is kept here.

    :param rescale: (slope, intercept) of each slice, in slice order.
    :param frames: which frame each slice is, from 0, in multi-frame files; else empty.
    :param padding_value: stored value (before rescaling) that the scanner declares as padding.
    :param gantry_tilt_deg: angle between the slices' normal and the direction they are stacked in.
    """

    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    rescale: tuple[tuple[float, float], ...]
    bits_stored: int
    pixel_representation: int
    frames: tuple[int, ...] = ()
    padding_value: int | None = None
    series_number: int | None = None
    series_description: str = ""
    manufacturer: str = ""
    model: str = ""
    kvp: float | None = None
    kernel: str = ""
    patient_position: str = ""
    gantry_tilt_deg: float = 0.0


def read_dicom(path: Path, series: str | int | None = None) -> CTVolume:
    """Read a CT series from a folder (subfolders included) or one slice from a file.

    :param path: the folder or the file; files that are not CT images are left aside.
    :param series: SeriesInstanceUID, series number or description, if the folder has several.
    :raises InputError: no CT, several series (listed), missing or contradictory slices, uneven
        spacing, values that are not HU, a truncated file.
    """
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return read_dicom_files(files, path, series)


def read_dicom_files(
    files: Sequence[Path], path: Path, series: str | int | None = None
) -> CTVolume:
    """As :func:`read_dicom` for a list of files in any order.

    :param files: those that are not CT images are left aside.
    :param path: what to call them together.
    """
    try:
        with quiet_pydicom():
            found, notes = ct_images(files, path)
            slices = chosen_series(path, found, series)
            check_uniform(path, slices)
            slices = _without_duplicates(path, _along_normal(slices), notes)
            ijk_to_ras, tilt_deg = _affine(path, slices, notes)
            notes += _missing_at_an_end(slices)
            hu, dtype, rescale = hounsfield_units(slices)
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError) as error:  # a value that its type forbids
        raise InputError(f"{path}: invalid DICOM header ({error}); export it again") from None
    if any(str(item.header.get("LossyImageCompression", "")) == "01" for item in slices):
        notes.append("lossy compression was applied: HU are not those of the scanner")
    if tilt_deg > _TOLD_TILT_DEG:
        notes.append(f"gantry tilt of {tilt_deg:.2f} deg: the volume is sheared, slices are kept")
    source = VolumeSource(
        path.absolute(),
        "dicom",
        dtype,
        files=tuple(item.path.resolve() for item in slices),
        dicom=_facts(slices, rescale, tilt_deg),
        warnings=tuple(notes),
    )
    return volume_from_storage(hu, ijk_to_ras, source)


def _axes(header: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row (column index), along a column (row index), and the normal."""
    cosines = np.array([float(x) for x in header.ImageOrientationPatient])
    along_row, along_column = cosines[:3], cosines[3:]
    along_row = along_row / np.linalg.norm(along_row)
    along_column = along_column / np.linalg.norm(along_column)
    return along_row, along_column, np.cross(along_row, along_column)


def _along_normal(slices: Sequence[Slice]) -> list[Slice]:
    normal = _axes(slices[0].header)[2]
    return sorted(slices, key=lambda item: (float(item.position @ normal), str(item.path)))


def _without_duplicates(path: Path, slices: list[Slice], notes: list[str]) -> list[Slice]:
    """Drop copies of a slice; two different slices in one place are an error."""
    normal = _axes(slices[0].header)[2]
    kept: list[Slice] = []
    pixels = PixelReader()
    for item in slices:
        if not kept or (item.position - kept[-1].position) @ normal > _SAME_POSITION_MM:
            kept.append(item)
            continue
        uids = [(one.header.get("SOPInstanceUID"), one.frame) for one in (item, kept[-1])]
        if uids[0] != uids[1] and not np.array_equal(
            pixels.stored(item)[0], pixels.stored(kept[-1])[0]
        ):
            acquisitions = sorted({str(s.header.get("AcquisitionNumber", "?")) for s in slices})
            raise InputError(
                f"{path}: two different slices at {_place(item)} (acquisitions"
                f" {', '.join(acquisitions)}); keep the files of one acquisition only"
            )
    if len(kept) < len(slices):
        notes.append(f"{len(slices) - len(kept)} duplicate slices: left aside")
    return kept


def _place(item: Slice) -> str:
    return "position ({})".format(", ".join(f"{x:g}" for x in item.position))


def _affine(path: Path, slices: Sequence[Slice], notes: list[str]) -> tuple[np.ndarray, float]:
    """``(4, 4)`` from ``(col, row, slice, 1)`` to RAS, and the gantry tilt in degrees."""
    header = slices[0].header
    along_row, along_column, normal = _axes(header)
    row_mm, col_mm = (float(x) for x in header.PixelSpacing)
    positions = np.array([item.position for item in slices])
    if len(slices) > 1:
        _check_gaps(path, slices, positions @ normal)
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        even = positions[0] + np.arange(len(slices))[:, None] * step
        stray = float(np.linalg.norm(positions - even, axis=1).max())
        if stray > max(_EVEN * float(np.linalg.norm(step)), 2 * _ROUNDED_MM):
            raise InputError(
                f"{path}: slices stray by up to {stray:.3g} mm from a straight line (several"
                " acquisitions in one series?); keep the files of one acquisition only"
            )
        if stray > _TOLD_MM:
            notes.append(f"slice positions stray by up to {stray:.3g} mm from even spacing")
    else:
        thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0
        step = normal * abs(float(thickness))
    lps = np.eye(4)
    lps[:3, 0] = along_row * col_mm
    lps[:3, 1] = along_column * row_mm
    lps[:3, 2] = step
    lps[:3, 3] = positions[0]
    sine = float(np.linalg.norm(np.cross(normal, step / np.linalg.norm(step))))
    if not np.isfinite(lps).all() or min(row_mm, col_mm) <= 0:
        raise InputError(f"{path}: pixel spacing {row_mm:g} x {col_mm:g} mm; export it again")
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, float(np.degrees(np.arcsin(min(sine, 1.0))))


def _check_gaps(path: Path, slices: Sequence[Slice], along_mm: np.ndarray) -> None:
    """Raise where slices are missing or the spacing changes; told apart by whole gaps."""
    gaps = np.diff(along_mm)
    usual = float(np.median(gaps))
    whole = np.rint(gaps / usual)
    if whole.max() > 1 and np.abs(gaps / usual - whole).max() < _WHOLE and whole.min() == 1:
        holes = np.nonzero(whole > 1)[0]
        places = ", ".join(
            f"{int(whole[k]) - 1} after {_place(slices[k])}" for k in holes[:MOST_LISTED]
        )
        raise InputError(
            f"{path}: {int((whole - 1).sum())} of {int(whole.sum()) + 1} slices are missing"
            f" ({places}); export the complete series"
        )
    even = np.linspace(along_mm[0], along_mm[-1], len(along_mm))
    if np.abs(along_mm - even).max() > max(_EVEN * usual, _ROUNDED_MM):
        raise InputError(
            f"{path}: uneven slice spacing, {gaps.min():.4g} to {gaps.max():.4g} mm;"
            " resample the series to even spacing first, or export the complete series"
        )


def _missing_at_an_end(slices: Sequence[Slice]) -> list[str]:
    """What numbers in the headers say of slices beyond the first and the last one.

    A hole in the middle shows in the positions and is refused; at an end only numbers show it, and
    a part of a series can be corrected, so that it is told and no more.
    """
    numbers = [_whole_number(item.header.get("InstanceNumber")) for item in slices]
    found = [number for number in numbers if number is not None]
    notes = []
    in_order = len(found) == len(slices) and set(np.diff(found)) in ({1}, {-1})
    if in_order and min(found) > 1:
        notes.append(
            f"the instance numbers are {min(found)} to {max(found)}: {min(found) - 1} slices may"
            " be missing at one end; export the complete series if they are"
        )
    acquisitions: dict[str, tuple[int, int]] = {}
    for item in slices:
        told = _whole_number(item.header.get("ImagesInAcquisition"))
        name = str(item.header.get("AcquisitionNumber", ""))
        count = acquisitions.get(name, (0, 0))[0] + 1
        acquisitions[name] = count, told or 0
    for count, told in acquisitions.values():
        if count < told and not notes:
            notes.append(
                f"the scanner made {told} images in this acquisition, {count} are here: slices may"
                " be missing at an end; export the complete series if they are"
            )
    return notes


def _whole_number(value: Any) -> int | None:
    text = str(value if value is not None else "").strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def _facts(
    slices: Sequence[Slice], rescale: tuple[tuple[float, float], ...], tilt_deg: float
) -> DicomSource:
    header = slices[0].header
    kernel = header.get("ConvolutionKernel")
    padding = header.get("PixelPaddingValue")
    return DicomSource(
        series_uid=str(header.get("SeriesInstanceUID", "")),
        study_uid=str(header.get("StudyInstanceUID", "")),
        frame_of_reference_uid=str(header.get("FrameOfReferenceUID", "")),
        sop_instance_uids=tuple(str(item.header.get("SOPInstanceUID", "")) for item in slices),
        rescale=rescale,
        bits_stored=int(header.get("BitsStored", 16)),
        pixel_representation=int(header.get("PixelRepresentation", 0)),
        frames=tuple(item.frame for item in slices if item.frame is not None),
        padding_value=padding if isinstance(padding, int) else None,
        series_number=None if header.get("SeriesNumber") is None else int(header.SeriesNumber),
        series_description=series_description(slices),
        manufacturer=str(header.get("Manufacturer") or ""),
        model=str(header.get("ManufacturerModelName") or ""),
        kvp=None if header.get("KVP") is None else float(header.KVP),
        kernel=kernel if isinstance(kernel, str) else "/".join(map(str, kernel or ())),
        patient_position=str(header.get("PatientPosition") or ""),
        gantry_tilt_deg=round(tilt_deg, 3),
    )
