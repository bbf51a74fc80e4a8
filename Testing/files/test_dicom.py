"""CT series written here with pydicom, read back: order, geometry, values, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, MRImageStorage, RLELossless, generate_uid
from scipy.spatial.transform import Rotation

from dicom_support import ORIGIN, PATIENT, PATIENT_ID, SHAPE, STEP_MM, refused, values, write_series
from MetalArtifactReductionLib.files.checks import describe
from MetalArtifactReductionLib.files.volumes import read_volume, write_volume
from MetalArtifactReductionLib.volume import CTVolume


@pytest.mark.parametrize("name", ["axial", "oblique", "prone", "head first down"])
def test_any_file_order_gives_the_volume(tmp_path: Path, name: str) -> None:
    rotation = {
        "axial": np.eye(3),
        "oblique": Rotation.from_euler("zyx", (0.2, -0.3, 0.25)).as_matrix(),
        "prone": np.diag([-1.0, -1, 1]),
        "head first down": np.diag([1.0, -1, -1]),
    }[name]
    matrix = write_series(tmp_path, rotation=rotation)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, values())
    assert np.abs(volume.ijk_to_ras - matrix).max() < 1e-6
    source = volume.source
    assert source is not None and source.dtype == "int16" and source.dicom is not None
    heights = [pydicom.dcmread(file).ImagePositionPatient for file in source.files]
    assert np.allclose(
        np.diff(np.array(heights, float), axis=0), rotation[:, 2] * STEP_MM, atol=1e-6
    )


def test_gdcm_agrees(tmp_path: Path) -> None:
    rotation = Rotation.from_euler("zyx", (0.2, -0.3, 0.25)).as_matrix()
    write_series(tmp_path, rotation=rotation)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    itk = sitk.ReadImage(names)
    volume = read_volume(tmp_path)
    assert np.array_equal(sitk.GetArrayFromImage(itk), volume.hu)
    for index in ((0, 0, 0), (63, 47, 8), (10, 40, 3)):
        place = np.array(itk.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert np.abs((volume.ijk_to_ras @ (*index, 1))[:3] - place).max() < 1e-4


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_sagittal_series_is_read_axially_and_written_as_it_was(
    tmp_path: Path, suffix: str
) -> None:
    sagittal = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])  # right-handed
    hu = values((20, 48, 64))
    matrix = write_series(tmp_path / "dicom", hu, rotation=sagittal)
    volume = read_volume(tmp_path / "dicom")
    assert volume.hu.shape == (48, 64, 20)
    assert describe(volume)["stored_as"] == "sagittal"
    image = sitk.ReadImage(str(write_volume(volume, tmp_path / f"out{suffix}")))
    assert np.array_equal(sitk.GetArrayFromImage(image), hu)
    place = np.array(image.TransformIndexToPhysicalPoint((63, 47, 8))) * (-1, -1, 1)
    assert np.abs(place - (matrix @ (63, 47, 8, 1))[:3]).max() < 1e-4


def test_rescaling_signs_and_unused_bits(tmp_path: Path) -> None:
    hu = np.clip(values(), -1024, 3071)

    def stored_as(index: int, dataset: Dataset) -> None:
        if index % 3 == 0:  # unsigned with an offset, 12 bits, an overlay in the upper bits
            stored = (hu[index] + 1024).astype(np.uint16) | np.uint16(0x5000)
            dataset.PixelRepresentation, dataset.RescaleIntercept = 0, "-1024"
            dataset.BitsStored, dataset.HighBit = 12, 11
        elif index % 3 == 1:  # signed 13 bits, upper bits not extended
            stored = hu[index].astype(np.int16).view(np.uint16) & np.uint16(0x1FFF)
            dataset.BitsStored, dataset.HighBit = 13, 12
        else:
            stored = (hu[index] - 8).astype(np.int16)
            dataset.RescaleIntercept = "8"
        dataset.PixelData = stored.tobytes()

    write_series(tmp_path, hu, edit=stored_as)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, hu)
    assert volume.source is not None and volume.source.dtype == "int16"
    assert volume.source.dicom is not None
    assert volume.source.dicom.rescale[:3] == ((1, -1024), (1, 0), (1, 8))


def test_a_broken_slope_gives_float(tmp_path: Path) -> None:
    def halved(index: int, dataset: Dataset) -> None:
        dataset.RescaleSlope = "0.5"

    write_series(tmp_path, edit=halved)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, values() / 2)
    assert volume.source is not None and volume.source.dtype == "float32"


@pytest.mark.parametrize("scheme", ["RLE", "JPEG-LS", "JPEG2000", "JPEG"])
def test_lossless_compression(tmp_path: Path, scheme: str) -> None:
    hu = np.repeat(np.repeat(values((9, 24, 32)), 2, axis=1), 2, axis=2)

    def offset(index: int, dataset: Dataset) -> None:
        dataset.PixelRepresentation, dataset.RescaleIntercept = 0, "-3000"
        dataset.PixelData = (hu[index] + 3000).astype(np.uint16).tobytes()
        if scheme == "RLE":
            dataset.compress(RLELossless, generate_instance_uid=False)
        elif scheme == "JPEG-LS":
            dataset.compress(JPEGLSLossless, generate_instance_uid=False)

    write_series(tmp_path / "in", hu, edit=offset)
    folder = tmp_path / "in"
    if scheme.startswith("JPEG") and scheme != "JPEG-LS":
        folder = tmp_path / "out"
        folder.mkdir()
        for file in (tmp_path / "in").iterdir():
            image = sitk.ReadImage(str(file), sitk.sitkInt16)
            writer = sitk.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetUseCompression(True)
            writer.SetCompressor(scheme)
            writer.SetFileName(str(folder / file.name))
            writer.Execute(image)
            assert pydicom.dcmread(folder / file.name).file_meta.TransferSyntaxUID.is_encapsulated
    assert np.array_equal(read_volume(folder).hu, hu)


def test_gantry_tilt_shears_and_says_so(tmp_path: Path) -> None:
    tilt = np.radians(12.0)
    rotation = Rotation.from_euler("x", tilt).as_matrix()
    matrix = write_series(tmp_path, rotation=rotation, step=np.array([0, 0, STEP_MM]))
    volume = read_volume(tmp_path)
    assert np.abs(volume.ijk_to_ras - matrix).max() < 1e-6
    assert volume.source is not None and volume.source.dicom is not None
    assert volume.source.dicom.gantry_tilt_deg == pytest.approx(12.0, abs=1e-3)
    assert any("gantry tilt of 12.00 deg" in warning for warning in volume.source.warnings)
    again = read_volume(write_volume(volume, tmp_path / "out.nrrd"))
    assert np.abs(again.ijk_to_ras - matrix).max() < 1e-6


def test_one_file_is_a_single_slice(tmp_path: Path) -> None:
    write_series(tmp_path)
    file = sorted(tmp_path.iterdir())[0]
    volume = read_volume(file)
    position = float(pydicom.dcmread(file).ImagePositionPatient[2])
    index = round((position - ORIGIN[2]) / STEP_MM)
    assert np.array_equal(volume.hu, values()[index : index + 1])
    assert volume.spacing_mm == pytest.approx((5.0, 0.7, 0.9))  # the slice's thickness
    plain = tmp_path / "IM0001"
    file.rename(plain)
    assert np.array_equal(read_volume(plain).hu, volume.hu)


def test_other_files_scouts_and_reports_are_left_aside(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "b")
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 200)

    def scout(index: int, dataset: Dataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        dataset.SeriesDescription = "Scout"

    write_series(tmp_path / "scout", values((2, 48, 64)), edit=scout)

    def report(index: int, dataset: Dataset) -> None:
        dataset.Modality = "SR"
        for name in ("Rows", "Columns", "PixelData", "BitsAllocated"):
            delattr(dataset, name)
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"

    write_series(tmp_path / "sr", values((1, 48, 64)), edit=report)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, values())
    assert volume.source is not None
    assert volume.source.warnings == (
        "5 files left aside: 2 not DICOM, 1 object without an image,"
        " 2 scout, screen capture or multi-frame",
    )
    assert {path.name for path, why in volume.source.left_aside if why == "not DICOM"} == {
        "readme.txt",
        "DICOMDIR",
    }


def test_several_series_are_listed_and_chosen(tmp_path: Path) -> None:
    other = values((5, 48, 64)) // 2

    def second(index: int, dataset: Dataset) -> None:
        dataset.SeriesNumber = 7
        dataset.SeriesDescription = "Bone B60"

    uids = generate_uid(), generate_uid()
    write_series(tmp_path, uid=uids[0])
    write_series(tmp_path, other, edit=second, prefix="b", uid=uids[1])
    text = refused(tmp_path)
    assert (
        "2 CT series: 4 'Hip 2.5' (9 slices every 2.5 mm, B30f, 120 kVp), 7 'Bone B60' (5"
        " slices every 2.5 mm, B30f, 120 kVp)" in text
    )
    assert "--series" in text
    for choice in (7, "7", "bone b60", uids[1]):
        assert np.array_equal(read_volume(tmp_path, series=choice).hu, other)
    assert np.array_equal(read_volume(tmp_path, series=uids[0]).hu, values())
    assert "no single series '99' among 2 series" in refused(tmp_path, series=99)


def test_series_of_the_same_number_are_told_apart_by_uid(tmp_path: Path) -> None:
    uids = generate_uid(), generate_uid()
    write_series(tmp_path, uid=uids[0])
    write_series(tmp_path, values((5, 48, 64)), prefix="b", uid=uids[1])
    text = refused(tmp_path, series=4)
    assert uids[0] in text and uids[1] in text and "SeriesInstanceUID" in text
    assert read_volume(tmp_path, series=uids[1]).hu.shape[0] == 5


def test_mixed_sizes_planes_and_units(tmp_path: Path) -> None:
    def size(index: int, dataset: Dataset) -> None:
        if index == 3:
            dataset.Rows, dataset.Columns = 64, 48

    write_series(tmp_path / "size", edit=size)
    text = refused(tmp_path / "size")
    assert "48 x 64" in text and "64 x 48" in text

    def plane(index: int, dataset: Dataset) -> None:
        if index == 3:
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    write_series(tmp_path / "plane", edit=plane)
    assert "ImageOrientationPatient" in refused(tmp_path / "plane")

    def unit(index: int, dataset: Dataset) -> None:
        dataset.RescaleType = "MGML"

    write_series(tmp_path / "unit", edit=unit)
    assert "'MGML'" in refused(tmp_path / "unit")


def test_no_ct(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no DICOM images among 0 files" in refused(tmp_path / "empty")

    def magnetic(index: int, dataset: Dataset) -> None:
        dataset.Modality, dataset.SOPClassUID = "MR", MRImageStorage

    write_series(tmp_path / "mr", edit=magnetic)
    assert "modality MR, not CT" in refused(tmp_path / "mr")

    def frames(index: int, dataset: Dataset) -> bool:
        dataset.NumberOfFrames = 9
        dataset.PixelData = values().astype(np.int16).tobytes()
        return index == 0

    write_series(tmp_path / "frames", edit=frames)
    assert "multi-frame CT without positions" in refused(tmp_path / "frames")

    def colour(index: int, dataset: Dataset) -> bool:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        return index == 0

    write_series(tmp_path / "colour", edit=colour)
    assert "only scouts, colour images" in refused(tmp_path / "colour")

    def no_offset(index: int, dataset: Dataset) -> None:
        hu = np.full(SHAPE[1:], -1000.0)
        hu[10:40, 10:50] = 40
        hu += np.random.default_rng(index).normal(0, 10, hu.shape)
        dataset.PixelData = (hu + 1024).astype(np.int16).tobytes()
        del dataset.RescaleIntercept

    write_series(tmp_path / "offset", edit=no_offset)
    assert "subtract 1024" in refused(tmp_path / "offset")


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.99])
def test_truncated_files(tmp_path: Path, share: float) -> None:
    write_series(tmp_path)
    file = tmp_path / "002.dcm"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    text = refused(tmp_path)
    assert "002.dcm" in text and ("truncated" in text or "corrupted" in text)
    assert "002.dcm" in refused(file)


def test_an_impossible_value_in_the_header(tmp_path: Path) -> None:
    write_series(tmp_path)
    file = tmp_path / "002.dcm"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"0.7\\0.9", b"abc\\0.9"))
    assert "invalid DICOM header" in refused(tmp_path)


def test_no_identity_in_what_is_told(tmp_path: Path) -> None:
    write_series(tmp_path)
    volume = read_volume(tmp_path)
    facts = describe(volume)
    assert facts["kvp"] == 120 and facts["kernel"] == "B30f" and facts["manufacturer"] == "ACME"
    assert facts["series_description"] == "Hip 2.5" and facts["padding_hu"] == -2000
    assert PATIENT not in repr(volume.source) + repr(facts)
    assert PATIENT_ID not in repr(facts)


def test_the_source_files_stay_and_are_never_the_output(tmp_path: Path) -> None:
    write_series(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    volume: CTVolume = read_volume(tmp_path)
    write_volume(volume, tmp_path / "corrected.nii.gz")
    assert all(file.read_bytes() == content for file, content in before.items())
