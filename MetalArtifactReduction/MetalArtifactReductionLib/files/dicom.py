"""CT series in DICOM: files in any order in, one volume out.

Geometry follows DICOM PS3.3 C.7.6.2 (Image Plane), values C.11.1 (Modality LUT). Slices are
ordered by position along their normal, never by file name or instance number.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..volume import CTVolume, DicomSource, VolumeSource, volume_from_storage
from .dicom_headers import number_of, text_of, value_of, whole_of
from .dicom_pixels import hounsfield_units
from .dicom_quiet import quiet_pydicom
from .dicom_series import (
    Slice,
    check_none_damaged,
    check_uniform,
    chosen_series,
    counted,
    ct_images,
    of_one_plane,
    series_description,
)
from .dicom_stack import (
    Stack,
    along_normal,
    chosen_acquisition,
    missing_at_an_end,
    stacked,
    strays_in_orientation,
    without_duplicates,
)
from .several import SeveralVolumes

_TOLD_TILT_DEG = 0.05


def read_dicom(
    path: Path,
    series: str | int | None = None,
    *,
    acquisition: str | int | None = None,
    assume_ct: bool = False,
) -> CTVolume:
    """Read a CT series from a folder (subfolders included), a DICOMDIR, or one slice from a file.

    :param path: the folder or the file; files that are not CT images are left aside.
    :param series: SeriesInstanceUID, series number or description, if the folder has several.
    :param acquisition: which of several in the same place, see :func:`chosen_acquisition`.
    :param assume_ct: take other modalities as CT.
    :raises InputError: no CT, several series (listed), missing or contradictory slices, values
        that are not HU, a truncated file.
    """
    files = dicom_files(path)
    return read_dicom_files(files, path, series, acquisition=acquisition, assume_ct=assume_ct)


def dicom_files(path: Path) -> list[Path]:
    """The files of a folder, its subfolders' too, of a DICOMDIR, or the file itself."""
    if path.is_file():
        return media_files(path) if path.name.upper().startswith("DICOMDIR") else [path]
    return sorted(one for one in path.rglob("*") if one.is_file())


def acquisitions_in(
    path: Path, series: str | int | None = None, *, assume_ct: bool = False
) -> tuple[str, ...]:
    """What chooses each of several acquisitions of a series; empty where there is one.

    :raises InputError: as :func:`read_dicom`.
    """
    with quiet_pydicom():
        found, aside = ct_images(dicom_files(path), path, assume_ct=assume_ct)
        slices = of_one_plane(chosen_series(path, found, series), aside)
        try:
            chosen_acquisition(path, slices, None)
        except SeveralVolumes as several:
            return several.names
    return ()


def media_files(path: Path) -> list[Path]:
    """The files that a media directory (PS3.10, DICOMDIR) lists, as far as they are beside it."""
    import pydicom

    try:
        with quiet_pydicom():
            records = pydicom.dcmread(path).DirectoryRecordSequence
            names = [record.get("ReferencedFileID") for record in records]
    except Exception:
        raise InputError(f"{path}: no readable DICOMDIR; give the folder of the series") from None
    listed = [[name] if isinstance(name, str) else list(name) for name in names if name]
    below = path.absolute().parent
    found = [below.joinpath(*map(str, parts)) for parts in listed if ".." not in parts]
    return sorted({one for one in found if one.is_file() and below in one.parents})


def read_dicom_files(
    files: Sequence[Path],
    path: Path,
    series: str | int | None = None,
    *,
    acquisition: str | int | None = None,
    assume_ct: bool = False,
) -> CTVolume:
    """As :func:`read_dicom` for a list of files in any order.

    :param files: those that are not CT images are left aside.
    :param path: what to call them together.
    """
    notes: list[str] = []
    try:
        with quiet_pydicom():
            found, aside = ct_images(files, path, assume_ct=assume_ct)
            slices = chosen_series(path, found, series)
            check_none_damaged(slices, found, aside)
            slices = of_one_plane(slices, aside)
            check_uniform(path, slices)
            notes += [f"{len(aside)} files left aside: {counted(aside)}"] if aside else []
            slices = chosen_acquisition(path, slices, acquisition)
            slices = without_duplicates(path, along_normal(slices), notes)
            stack = stacked(path, slices, notes)
            notes += missing_at_an_end(slices) + strays_in_orientation(slices)
            hu, dtype, rescale = hounsfield_units(slices)
            facts = _facts(slices, rescale, stack)
            notes += _told_of(slices, stack)
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError) as error:  # a value that its type forbids
        raise InputError(f"{path}: invalid DICOM header ({error}); export it again") from None
    source = VolumeSource(
        path.absolute(),
        "dicom",
        dtype,
        files=tuple(item.path.resolve() for item in slices),
        dicom=facts,
        warnings=tuple(notes),
        left_aside=tuple((one.path, one.why) for one in aside),
    )
    return volume_from_storage(hu, stack.ijk_to_ras, source)


def _told_of(slices: Sequence[Slice], stack: Stack) -> list[str]:
    notes = []
    if any(text_of(item.header, "LossyImageCompression") == "01" for item in slices):
        notes.append("lossy compression was applied: HU are not those of the scanner")
    if slices[0].classic:
        spacing = text_of(slices[0].header, "SpacingBetweenSlices")
        notes.append(
            f"{len(slices)} frames without positions of their own: stacked {spacing} mm apart along"
            " the normal"
        )
    if stack.tilt_deg > _TOLD_TILT_DEG:
        tilt = f"gantry tilt of {stack.tilt_deg:.2f} deg"
        notes.append(f"{tilt}: the volume is sheared, slices are kept")
    return notes


def _facts(
    slices: Sequence[Slice], rescale: tuple[tuple[float, float], ...], stack: Stack
) -> DicomSource:
    header = slices[0].header
    padding = value_of(header, "PixelPaddingValue")
    bits, signed = (whole_of(header, name) for name in ("BitsStored", "PixelRepresentation"))
    return DicomSource(
        series_uid=text_of(header, "SeriesInstanceUID"),
        study_uid=text_of(header, "StudyInstanceUID"),
        frame_of_reference_uid=text_of(header, "FrameOfReferenceUID"),
        sop_instance_uids=tuple(text_of(item.header, "SOPInstanceUID") for item in slices),
        rescale=rescale,
        bits_stored=16 if bits is None else bits,
        pixel_representation=signed or 0,
        frames=tuple(item.frame for item in slices if item.frame is not None),
        padding_value=padding if isinstance(padding, int) else None,
        series_number=whole_of(header, "SeriesNumber"),
        series_description=series_description(slices),
        manufacturer=text_of(header, "Manufacturer"),
        model=text_of(header, "ManufacturerModelName"),
        kvp=number_of(header, "KVP"),
        kernel=text_of(header, "ConvolutionKernel"),
        patient_position=text_of(header, "PatientPosition"),
        gantry_tilt_deg=round(stack.tilt_deg, 3),
        uneven_mm=stack.uneven_mm,
    )
