"""Exports as hospitals and converters make them: read, or refused for what is wrong."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pydicom.fileset
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from dicom_support import ORIGIN, STEP_MM, Edit, body, values, write_series
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.itk import image_from_array
from MetalArtifactReductionLib.files.volumes import read_volume, write_volume
from MetalArtifactReductionLib.volume import CTVolume


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as raised:
        read_volume(path, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def warnings_of(volume: CTVolume) -> str:
    assert volume.source is not None
    return "; ".join(volume.source.warnings)


def as_of(**tags: object) -> Edit:
    def edit(index: int, dataset: Dataset) -> None:
        for name, value in tags.items():
            setattr(dataset, name, value)

    return edit


# -- files that are no slices ------------------------------------------------------------------


def test_companions_media_directories_and_documents_are_left_aside(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "._000.dcm").write_bytes(b"\0\x05\x16\x07" + bytes(200))  # AppleDouble
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4" + bytes(200))
    directory = pydicom.Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.FileSetID = "X"
    directory.save_as(tmp_path / "DIRFILE", enforce_file_format=True)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, values())
    assert "3 files left aside" in warnings_of(volume)
    assert volume.source is not None
    assert dict(volume.source.left_aside)[tmp_path / "DIRFILE"] == "media directory"


@pytest.mark.parametrize("suffix", [".dcm", ""])
def test_files_without_preamble(tmp_path: Path, suffix: str) -> None:
    write_series(tmp_path / "in")
    (tmp_path / "bare").mkdir()
    for number, file in enumerate(sorted((tmp_path / "in").iterdir())):
        dataset = pydicom.dcmread(file)
        bare = Dataset()
        bare.update(dataset)
        name = tmp_path / "bare" / f"IM{number}{suffix}"
        bare.save_as(name, implicit_vr=number % 2 == 0, little_endian=True)
        assert name.read_bytes()[:2] == b"\x08\0"
    assert np.array_equal(read_volume(tmp_path / "bare").hu, values())


def test_a_truncated_file_of_another_series_does_not_matter(tmp_path: Path) -> None:
    write_series(tmp_path / "good", edit=as_of(SeriesNumber=2))
    write_series(tmp_path / "other", values((2, 48, 64)), edit=as_of(SeriesNumber=3))
    broken = next((tmp_path / "other").iterdir())
    broken.write_bytes(broken.read_bytes()[:300])
    assert np.array_equal(read_volume(tmp_path, series=2).hu, values())
    assert broken.name in refused(tmp_path, series=3)


def test_a_derived_image_of_another_plane_is_left_aside(tmp_path: Path) -> None:
    uid = generate_uid()
    write_series(tmp_path, uid=uid)
    coronal = as_of(
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImageType=["DERIVED", "SECONDARY", "MPR"]
    )
    write_series(tmp_path, values((1, 48, 64)), uid=uid, prefix="mpr", edit=coronal)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, values())
    assert "1 derived image of another plane" in warnings_of(volume)


# -- which acquisition --------------------------------------------------------------------------


@pytest.mark.parametrize("shift_mm", [0.0, STEP_MM / 2], ids=["same places", "interleaved"])
def test_two_acquisitions_are_never_stacked(tmp_path: Path, shift_mm: float) -> None:
    uid, second = generate_uid(), values()[::-1]

    def later(index: int, dataset: Dataset) -> None:
        dataset.AcquisitionNumber = 2
        dataset.ImagePositionPatient[2] = ORIGIN[2] + index * STEP_MM + shift_mm

    write_series(tmp_path, uid=uid, edit=as_of(AcquisitionNumber=1))
    write_series(tmp_path, second, uid=uid, edit=later, prefix="b")
    assert "2 acquisitions in one place: 1 (9 slices), 2 (9 slices)" in refused(tmp_path)
    assert np.array_equal(read_volume(tmp_path, acquisition=2).hu, second)
    assert "no acquisition 7" in refused(tmp_path, acquisition=7)


def test_all_slices_in_one_place(tmp_path: Path) -> None:
    write_series(tmp_path, edit=as_of(ImagePositionPatient=[0, 0, 0]))
    assert "all 9 slices have the same position" in refused(tmp_path)


def test_a_gap_that_the_numbers_deny_is_no_missing_slice(tmp_path: Path) -> None:
    def gap(index: int, dataset: Dataset) -> None:
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient[2] = ORIGIN[2] + (index + (index > 4)) * STEP_MM

    write_series(tmp_path, edit=gap)
    volume = read_volume(tmp_path)
    assert "uneven slice spacing, 2.5 to 5 mm" in warnings_of(volume)
    assert "missing" not in warnings_of(volume) and np.array_equal(volume.hu, values())


def test_orientation_that_differs_in_the_fourth_decimal(tmp_path: Path) -> None:
    def turned(index: int, dataset: Dataset) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0.0004 * (index % 2), 0, 1, 0]

    write_series(tmp_path, edit=turned)
    assert "orientation differs by 0.023 deg" in warnings_of(read_volume(tmp_path))


# -- values and headers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "old", "new"),
    [
        ("two voltages", b"\x18\0\x60\0DS\x04\x00120 ", b"\x18\0\x60\0DS\x06\x0080\\140"),
        ("a voltage in words", b"\x18\0\x60\0DS\x04\x00120 ", b"\x18\0\x60\0DS\x04\x00high"),
        ("a lettered number", b"\x20\0\x11\0IS\x02\x004 ", b"\x20\0\x11\0IS\x02\x002A"),
    ],
)
def test_informative_values_that_cannot_be_read(
    tmp_path: Path, tag: str, old: bytes, new: bytes
) -> None:
    write_series(tmp_path)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert old in content, tag
        file.write_bytes(content.replace(old, new))
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, values())
    assert volume.source is not None and volume.source.dicom is not None
    assert None in (volume.source.dicom.kvp, volume.source.dicom.series_number)


def test_a_cone_beam_volume_without_functional_groups(tmp_path: Path) -> None:
    hu = body((8, 40, 40))

    def frames(index: int, dataset: Dataset) -> bool:
        dataset.NumberOfFrames, dataset.SpacingBetweenSlices = 8, "1.5"
        dataset.PixelData = hu.tobytes()
        return index == 0

    write_series(tmp_path, hu, edit=frames)
    volume = read_volume(next(tmp_path.iterdir()))
    assert np.array_equal(volume.hu, hu)
    assert volume.spacing_mm[0] == pytest.approx(1.5)
    assert volume.ijk_to_ras[:3, 3] == pytest.approx(ORIGIN * (-1, -1, 1))
    assert "8 frames without positions of their own" in warnings_of(volume)


def test_another_modality_on_request(tmp_path: Path) -> None:
    write_series(tmp_path, edit=as_of(Modality="XA"))
    assert "--assume-ct" in refused(tmp_path)
    assert np.array_equal(read_volume(tmp_path, assume_ct=True).hu, values())


@pytest.mark.parametrize("offset", [1000, 1024, 32768])
def test_an_offset_is_named_and_taken_off(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "ct.nii.gz"
    hu = np.maximum(body(), -offset)
    stored = hu.astype(np.int32) + offset
    nibabel.save(nibabel.Nifti1Image(stored.T.astype(np.uint16), np.diag([2, 2, 3, 1.0])), path)
    assert f"--hu-offset -{offset}" in refused(path)
    volume = read_volume(path, hu_offset=-offset)
    assert np.array_equal(volume.hu, hu)
    written = write_volume(volume, tmp_path / "out.nrrd")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(written)), hu)


def test_air_that_is_not_at_1000_is_told(tmp_path: Path) -> None:
    for air, told in ((-300, True), (-1000, False), (-950, False)):
        path = tmp_path / f"{-air}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(body(air=air).T, np.diag([2, 2, 3, 1.0])), path)
        assert ("air lies at about -300" in warnings_of(read_volume(path))) == told


def test_both_orientations_of_a_nifti_come_back(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(body().T, np.eye(4))
    qform, sform = np.diag([2, 2, 3, 1.0]), np.diag([-2.0, 2, 3, 1])
    sform[:3, 3] = 50, -20, 7
    image.set_qform(qform, 1)
    image.set_sform(sform, 2)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    volume = read_volume(tmp_path / "ct.nii.gz")
    assert "the qform (code 1) counts, not the sform (code 2)" in warnings_of(volume)
    assert np.abs(volume.ijk_to_ras - qform).max() < 1e-6
    again = nibabel.load(write_volume(volume, tmp_path / "out.nii.gz"))
    for name, (matrix, code) in {"qform": (qform, 1), "sform": (sform, 2)}.items():
        found, kept = getattr(again, f"get_{name}")(coded=True)
        assert np.array_equal(found, matrix) and kept == code


# -- containers and names -----------------------------------------------------------------------


def test_a_zip_and_a_dicomdir(tmp_path: Path) -> None:
    write_series(tmp_path / "study")
    archive = Path(shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "study"))
    volume = read_volume(archive)
    assert np.array_equal(volume.hu, values())
    assert volume.source is not None and volume.source.path == archive
    files = pydicom.fileset.FileSet()
    for file in (tmp_path / "study").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240101", "101010", "1"
        dataset.AccessionNumber, dataset.InstanceNumber = "", dataset.InstanceNumber or 0
        files.add(dataset)
    files.write(tmp_path / "media")
    assert np.array_equal(read_volume(tmp_path / "media" / "DICOMDIR").hu, values())


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.dcm", "w", force_zip64=True) as file,
    ):
        for _ in range(260):
            file.write(bytes(1 << 20))
    assert "no CT compresses so" in refused(tmp_path / "bomb.zip")


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii.gz"])
def test_names_of_any_bytes(tmp_path: Path, suffix: str) -> None:
    plain, odd = tmp_path / f"a{suffix}", Path(os.fsdecode(os.fsencode(tmp_path) + b"/B\xe4nder"))
    sitk.WriteImage(image_from_array(body(), np.diag([2, 2, 3, 1.0])), str(plain), True)
    odd = odd.with_name(odd.name + suffix)
    plain.rename(odd)
    volume = read_volume(odd)
    assert np.array_equal(volume.hu, body())
    written = write_volume(volume, odd.with_name("out-" + odd.name))
    assert np.array_equal(read_volume(written).hu, body())


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_pipes_devices_and_dangling_links_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    assert "is a pipe" in refused(tmp_path / "pipe.nii.gz")
    (tmp_path / "link.nrrd").symlink_to("nowhere.nrrd")
    assert "the link leads nowhere" in refused(tmp_path / "link.nrrd")
    assert "is a device" in refused(Path("/dev/zero"))
    assert "no usable name" in refused(tmp_path / ("x" * 300 + ".nii"))


# -- what must never be read in silence ---------------------------------------------------------


def test_a_damaged_stream_never_gives_other_values(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    nibabel.save(nibabel.Nifti1Image(body().T, np.diag([2, 2, 3, 1.0])), path)
    content, random = path.read_bytes(), np.random.default_rng(3)
    for bit in random.integers(80, len(content) * 8, 60):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert np.array_equal(read_volume(path).hu, body())
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"3", b"0", "third spacing is 0"),
        (b"3", b"1e30", "voxel sides"),
        (b"LOCAL", b"%n%n.raw", "no name of a file"),
        (b"40 40 6", b"40 40 7", "truncated"),
        (b"40 40 6", b"40 40 5", "holds more than"),
    ],
)
def test_headers_that_no_reader_should_be_given(
    tmp_path: Path, old: bytes, new: bytes, told: str
) -> None:
    head = b"ObjectType = Image\nNDims = 3\nElementSpacing = 2 2 3\nDimSize = 40 40 6\n"
    head += b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    line = b"ElementSpacing = 2 2 "
    changed = head.replace(line + old, line + new) if old == b"3" else head.replace(old, new)
    (tmp_path / "ct.mha").write_bytes(changed + body().astype("<i2").tobytes())
    assert told in refused(tmp_path / "ct.mha")
