"""Volumes and maps: files in, files out.

Whatever the storage order of a file, its volume has the acquisition axis first; on writing the
storage order and orientation of the source come back, so that a round trip changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError, OutputError
from ..volume import (
    CTVolume,
    NiftiForms,
    VolumeSource,
    shear_deg,
    to_storage,
    volume_from_storage,
)
from .checks import air_note, check_is_ct
from .grids import check_geometry
from .inputs import check_readable
from .several import EACH, SeveralVolumes
from .whole import check_path_free, written_whole

FORMATS = {
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "metaimage",
    ".mhd": "metaimage",
}
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_DETACHED_DATA = {".nhdr": (".raw", ".raw.gz"), ".mhd": (".raw", ".zraw")}
_SHEAR_LIMIT_DEG = 0.01  # below that a NIfTI quaternion still puts every corner where it was


def suffix_of(path: Path) -> str:
    """The extension in lower case; ``.nii.gz`` counts as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def read_volume(
    path: str | PathLike[str],
    *,
    series: str | int | None = None,
    acquisition: str | int | None = None,
    hu_offset: float = 0.0,
    assume_ct: bool = False,
    check: bool = True,
) -> CTVolume:
    """Read a CT volume.

    :param path: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, one DICOM file, a DICOMDIR, a folder of
        DICOM files (in any order, also in subfolders), or a .zip of any of these.
    :param series: which series of a folder with several: its SeriesInstanceUID, number or
        description.
    :param acquisition: which of several acquisitions or phases in one series (``"all"`` stacks
        them), or which volume of a 4-D file or sequence, from 1.
    :param hu_offset: added to the values of a file that holds HU plus a constant.
    :param assume_ct: take other modalities (C-arm) as CT.
    :param check: refuse what is not CT in Hounsfield units (see ``check_is_ct``).
    :returns: float32 HU, acquisition axis first; 64-bit values lose what float32 cannot hold.
    :raises InputError: in one line, what is wrong with which value and what to do.
    """
    path = Path(path)
    check_readable(path, folder=True)
    try:
        if suffix_of(path) == ".zip":
            volume = _read_zip(path, series, acquisition, assume_ct)
        elif is_dicom(path):
            from .dicom import read_dicom

            volume = read_dicom(path, series, acquisition=acquisition, assume_ct=assume_ct)
        else:
            volume = _read_file(path, acquisition)
        check_geometry(path, volume.ijk_to_ras)
        if hu_offset:
            volume = _with_offset(volume, hu_offset)
    except MemoryError:
        raise InputError(
            f"{path}: does not fit into memory; close other programs or crop the volume"
        ) from None
    if check:
        check_is_ct(volume)
        note = air_note(volume.hu)
        if note and volume.source is not None:
            source = replace(volume.source, warnings=(*volume.source.warnings, note))
            volume = replace(volume, source=source)
    return volume


def _read_file(path: Path, phase: str | int | None = None) -> CTVolume:
    """A file in one of :data:`FORMATS`; one phase of it."""
    stored = read_array(path, phase=phase)
    tilt = shear_deg(stored.ijk_to_ras)
    sheared = (f"axes {tilt:.2f} deg from orthogonal (gantry tilt)",)
    source = VolumeSource(
        path.absolute(),
        stored.format,
        stored.array.dtype.name,
        files=tuple(file.resolve() for file in stored.files),
        warnings=(*stored.notes, *(sheared if tilt > _SHEAR_LIMIT_DEG else ())),
        forms=stored.forms,
    )
    return volume_from_storage(stored.array, stored.ijk_to_ras, source)


def acquisitions_in(
    path: Path, series: str | int | None = None, *, assume_ct: bool = False
) -> tuple[str, ...]:
    """What chooses each of several acquisitions or phases; empty where there is one volume.

    :raises InputError: as :func:`read_volume`.
    """
    check_readable(path, folder=True)
    if suffix_of(path) == ".zip":
        return ()
    if is_dicom(path):
        from .dicom import acquisitions_in as dicom_acquisitions

        return dicom_acquisitions(path, series, assume_ct=assume_ct)
    try:
        read_array(path, phase=EACH)  # no phase is called so: told before any voxel is read
    except SeveralVolumes as several:
        return several.names if len(several.names) > 1 else ()
    return ()


def _read_zip(
    path: Path, series: str | int | None, acquisition: str | int | None, assume_ct: bool
) -> CTVolume:
    """The one volume file of an archive, or its DICOM series."""
    from .archives import unpacked
    from .dicom import read_dicom

    folder = unpacked(path)
    volumes = [one for one in folder.rglob("*") if suffix_of(one) in FORMATS]
    if len(volumes) > 1:
        names = ", ".join(one.name for one in sorted(volumes)[:6])
        raise InputError(f"{path}: holds {len(volumes)} volumes ({names}); unpack it and give one")
    try:
        if volumes:
            volume = _read_file(volumes[0], acquisition)
        else:
            volume = read_dicom(folder, series, acquisition=acquisition, assume_ct=assume_ct)
    except InputError as error:
        error.args = (str(error).replace(str(folder), str(path)),)
        raise
    assert volume.source is not None
    return replace(volume, source=replace(volume.source, path=path.absolute()))


def _with_offset(volume: CTVolume, hu_offset: float) -> CTVolume:
    """Values moved to Hounsfield units, and a voxel type that holds them."""
    hu, source = volume.hu + np.float32(hu_offset), volume.source or VolumeSource()
    kind = np.dtype(source.dtype).kind
    dtype = (
        source.dtype
        if kind == "f"
        else "int16"
        if hu.min() >= -32768 and hu.max() <= 32767
        else "int32"
    )
    dicom = source.dicom
    if dicom is not None:
        rescale = tuple((slope, intercept + hu_offset) for slope, intercept in dicom.rescale)
        dicom = replace(dicom, rescale=rescale)
    told = f"{hu_offset:g} was added to the values of the file"
    source = replace(source, dtype=dtype, dicom=dicom, warnings=(*source.warnings, told))
    return replace(volume, hu=hu, source=source)


def write_volume(
    volume: CTVolume,
    path: str | PathLike[str],
    *,
    overwrite: bool = False,
    dtype: str | None = None,
) -> Path:
    """Write a volume in the storage order, orientation and voxel type of its source.

    Values are rounded and limited to an integer type; float32 where the source is unknown.

    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> hu = np.where(np.hypot(*np.mgrid[-16:16, -16:16]) < 12, 40.0, -1000.0)
    >>> volume = CTVolume(np.stack([hu] * 4).astype(np.float32), np.diag([0.5, 0.5, 2.0, 1.0]))
    >>> path = write_volume(volume, Path(mkdtemp()) / "ct.nii.gz", dtype="int16")
    >>> read_volume(path).spacing_mm
    (2.0, 0.5, 0.5)

    :param path: .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd in a folder that exists.
    :param overwrite: replace a file that exists; never the volume's own source.
    :param dtype: numpy name of another voxel type.
    :returns: the path written. The file is there complete, or not at all.
    :raises OutputError: exists, is the source, no permission, no such folder, disk full, NaN.
    """
    source = volume.source or VolumeSource()
    target = dtype or source.dtype
    return write_array_like(volume.hu, volume, path, dtype=target, overwrite=overwrite)


def write_array_like(
    array: np.ndarray,
    volume: CTVolume,
    path: str | PathLike[str],
    *,
    dtype: str | np.dtype | type | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a mask, fraction or map that lies on a volume's grid, stored as the volume is.

    :param array: ``(slices, rows, cols)``, the shape of ``volume.hu``.
    :param dtype: voxel type on disk; the array's own where None (bool becomes uint8).
    :returns: the path written.
    :raises OutputError: as :func:`write_volume`.
    """
    path = Path(path)
    check_output(volume, path, overwrite=overwrite)
    target = np.dtype(dtype if dtype is not None else array.dtype)
    target = np.dtype({"bool": "uint8", "float16": "float32"}.get(target.name, target))
    stored, ijk_to_ras = to_storage(array, volume)
    data = _converted(stored, target, path)
    version = 2 if volume.source is not None and volume.source.format == "nifti2" else 1
    with written_whole(path, overwrite=overwrite) as temporary:
        if FORMATS[suffix_of(path)] == "nifti":
            from .nifti import write_nifti

            forms = volume.source.forms if volume.source is not None else None
            write_nifti(temporary, data, ijk_to_ras, version, forms)
        else:
            from .itk import write_itk_file

            write_itk_file(temporary, data, ijk_to_ras)
    return path


def check_output(volume: CTVolume, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Raise now what :func:`write_volume` would raise later; to be called before long work.

    :raises OutputError: see :func:`write_volume`.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix not in FORMATS:
        raise OutputError(
            f"{path}: cannot write {suffix!r}; end the name in {', '.join(FORMATS)}"
            if suffix
            else f"{path}: the name has no ending; give one of {', '.join(FORMATS)} (mar writes "
            "DICOM into a name that ends in /, Python with dicom_export)"
        )
    source = volume.source or VolumeSource()
    check_path_free(
        path,
        inputs=(*source.files, *((source.path,) if source.path else ())),
        companions=[path.with_suffix(data) for data in _DETACHED_DATA.get(suffix, ())],
        overwrite=overwrite,
    )
    if source.dicom is not None and source.dicom.uneven_mm:
        raise OutputError(
            f"{path}: the slices are unevenly spaced, which no grid holds; write DICOM (mar correct"
            ": a name that ends in /, --dicom for many, --metal NAME.dcm), or resample the series"
        )
    tilt = shear_deg(volume.ijk_to_ras)
    if FORMATS[suffix] == "nifti" and tilt > _SHEAR_LIMIT_DEG:
        raise OutputError(
            f"{path}: axes {tilt:.2f} deg from orthogonal (gantry tilt) cannot be kept in NIfTI;"
            " write .nrrd or .mha"
        )


def is_dicom(path: Path) -> bool:
    """A folder, or a file that says so by its name or its first bytes."""
    if path.is_dir() or suffix_of(path) in _DICOM_SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@dataclass(frozen=True)
class StoredArray:
    """What a file holds.

    :param array: ``(k, j, i)`` in the type of the file. :param ijk_to_ras: ``(4, 4)``.
    :param format: see ``VolumeSource``. :param files: that were read.
    :param forms: both orientations of a NIfTI file. :param notes: sentences for the user.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    format: str
    files: tuple[Path, ...]
    forms: NiftiForms | None = None
    notes: tuple[str, ...] = ()


def read_array(path: Path, *, layers: bool = False, phase: str | int | None = None) -> StoredArray:
    """A file in one of :data:`FORMATS`.

    :param layers: take several components a voxel (segments of 3D Slicer) as one label each.
    :param phase: which volume of a file with several, from 1.
    :raises InputError: not such a file, damaged, or a geometry that cannot be.
    :raises SeveralVolumes: several, and none was chosen.
    """
    name = FORMATS.get(suffix_of(path))
    if name is None:
        raise InputError(
            f"{path}: unknown format {suffix_of(path)!r}; give {', '.join(FORMATS)},"
            " a DICOM file or a folder of DICOM files"
        )
    if name == "nifti":
        from .nifti import read_nifti

        image = read_nifti(path, phase)
        check_geometry(path, image.ijk_to_ras)
        version = "nifti2" if image.version == 2 else "nifti"
        return StoredArray(
            image.array, image.ijk_to_ras, version, (path,), image.forms, image.notes
        )
    from .itk import read_itk_file

    array, ijk_to_ras, files = read_itk_file(path, layers=layers, phase=phase)
    check_geometry(path, ijk_to_ras)
    return StoredArray(array, ijk_to_ras, name, files)


def _converted(array: np.ndarray, dtype: np.dtype, path: Path) -> np.ndarray:
    """The values as they are stored, rounded and limited where the type is an integer."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise OutputError(f"{path}: the result holds NaN or infinite values; nothing was written")
    if dtype.kind not in "iu" or array.dtype == dtype or array.dtype.kind == "b":
        return array.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    data = np.empty(array.shape, dtype)
    for target, slab in zip(data, array, strict=True):  # slab by slab: the wide copy stays small
        # In float64 the limits of every type up to 32 bits are exact.
        wide = np.rint(slab.astype(np.float64))
        target[...] = np.clip(wide, limits.min, limits.max).astype(dtype)
    return data
