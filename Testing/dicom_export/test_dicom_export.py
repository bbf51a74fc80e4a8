"""Derived series: values, geometry, references and headers, read back by pydicom and by GDCM."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from dicom_support import PATIENT, PATIENT_ID, SHAPE, STEP_MM, scanner_header, values, write_series
from MetalArtifactReductionLib import __version__
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.dicom_export import (
    DicomOutputs,
    WrittenDicom,
    dicom_template,
    write_dicom_outputs,
)
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume

REGION = np.s_[2:6, 10:30, 10:40]


def corrected(volume: CTVolume, change: np.ndarray | None = None) -> CorrectionResult:
    """A result with broken values in a region and metal in it; no correction is needed for that."""
    if change is None:
        change = np.zeros_like(volume.hu)
        change[REGION] = np.random.default_rng(0).normal(0, 300, change[REGION].shape)
    fraction = np.zeros_like(volume.hu)
    fraction[2:6, 20:24, 20:26] = 1
    parameters = {"method": "nmar", "window": "ramp"}
    after = volume.with_hu(volume.hu + change)
    return CorrectionResult(after, fraction, after.hu - volume.hu, "nmar", parameters)


def exported(
    folder: Path, result: CorrectionResult, volume: CTVolume, **options: Any
) -> tuple[Path, Path, WrittenDicom]:
    outputs = DicomOutputs(folder / "corrected", folder / "change")
    written = write_dicom_outputs(result, dicom_template(volume), outputs, **options)
    return folder / "corrected", folder / "change", written


def datasets(folder: Path) -> list[Dataset]:
    """Every file of a series, by height."""
    found = [pydicom.dcmread(file) for file in folder.iterdir()]
    return sorted(found, key=lambda d: [float(x) for x in d.ImagePositionPatient][::-1])


def gdcm(folder: Path) -> sitk.Image:
    """The series as ITK's own reader sees it."""
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


Edit = Callable[[int, Dataset], Any]


def offset_12_bits(index: int, dataset: Dataset) -> None:
    hu = np.clip(values()[index], -1024, 3071)
    dataset.PixelData = (hu + 1024).astype(np.uint16).tobytes()
    dataset.PixelRepresentation, dataset.RescaleIntercept = 0, "-1024"
    dataset.BitsStored, dataset.HighBit = 12, 11


def half_steps(index: int, dataset: Dataset) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-1000.25"


def broken_slopes(index: int, dataset: Dataset) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = f"0.{488 + index}28125", "-1024"


def extended_scale(index: int, dataset: Dataset) -> None:
    dataset.PixelData = (values()[index] // 10 * 10 // 10 + 1024).astype(np.uint16).tobytes()
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = "10", "-10240"


def bare(index: int, dataset: Dataset) -> None:
    del dataset.RescaleSlope, dataset.RescaleIntercept


@pytest.mark.parametrize(
    ("edit", "resolution_hu"),
    [
        (None, 1.0),
        (offset_12_bits, 1.0),
        (half_steps, 0.5),
        (broken_slopes, 0.497),
        (extended_scale, 1.0),
        (bare, 1.0),
    ],
    ids=["signed", "12 bits", "half steps", "another slope a slice", "extended", "no rescale"],
)
def test_values_come_back(tmp_path: Path, edit: Edit | None, resolution_hu: float) -> None:
    write_series(tmp_path / "source", edit=edit)
    volume = read_volume(tmp_path / "source", check=False)
    result = corrected(volume)
    series, change, written = exported(tmp_path, result, volume)
    again = read_volume(series, check=False)
    untouched = result.change_hu == 0
    assert np.array_equal(again.hu[untouched], volume.hu[untouched])
    error = np.abs(again.hu - result.corrected.hu)
    assert error.max() <= resolution_hu / 2 + 1e-3
    # The map is the difference of the two series as they are stored, not of what was computed.
    difference = read_volume(change, check=False).hu
    assert np.abs(difference - (again.hu - volume.hu)).max() < 1e-3
    assert written.notes == ()
    for folder, mine in ((series, again.hu), (change, difference)):
        assert np.abs(sitk.GetArrayFromImage(gdcm(folder)) - mine).max() < 1e-3


@pytest.mark.parametrize(("low", "high"), [(-1024, 60000), (-20000, 40000), (-32768, 32767)])
def test_whole_hu_are_exact_over_all_of_16_bits(tmp_path: Path, low: int, high: int) -> None:
    write_series(tmp_path / "source")
    volume = read_volume(tmp_path / "source")
    target = np.clip(volume.hu, -1024, None)
    target[3, 20, 20:22] = low, high
    _, _, written = exported(tmp_path, corrected(volume, target - volume.hu), volume)
    assert np.array_equal(read_volume(tmp_path / "corrected", check=False).hu, target)
    assert written.notes == ()


def test_more_than_16_bits_are_stored_coarser_and_say_so(tmp_path: Path) -> None:
    write_series(tmp_path / "source")
    volume = read_volume(tmp_path / "source")
    target = volume.hu.copy()
    target[3, 20, 20:22] = -3000, 70000
    _, _, written = exported(tmp_path, corrected(volume, target - volume.hu), volume)
    error = np.abs(read_volume(tmp_path / "corrected", check=False).hu - target)
    assert error.max() == 1  # steps of 2 HU
    assert "in steps of 2 HU" in written.notes[0]


@pytest.mark.parametrize("name", ["axial", "oblique", "tilted", "sagittal", "feet first"])
def test_slices_lie_where_the_source_s_lie(tmp_path: Path, name: str) -> None:
    tilt = Rotation.from_euler("x", np.radians(12)).as_matrix()
    rotation = {
        "axial": np.eye(3),
        "oblique": Rotation.from_euler("zyx", (0.2, -0.3, 0.25)).as_matrix(),
        "tilted": tilt,
        "sagittal": np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]),
        "feet first": np.diag([-1.0, 1, -1]),
    }[name]
    step = np.array([0, 0, STEP_MM]) if name == "tilted" else None
    write_series(tmp_path / "source", values((20, 48, 64)), rotation=rotation, step=step)
    volume = read_volume(tmp_path / "source")
    change = np.zeros_like(volume.hu)
    change[3:6, 5:9, 5:9] = 100
    series, _, _ = exported(tmp_path, corrected(volume, change), volume)
    again = read_volume(series)
    assert np.array_equal(again.ijk_to_ras, volume.ijk_to_ras)
    assert np.array_equal(again.hu, volume.hu + change)
    source = {d.SOPInstanceUID: d for d in datasets(tmp_path / "source")}
    for derived in datasets(series):
        (reference,) = derived.SourceImageSequence
        original = source.pop(reference.ReferencedSOPInstanceUID)
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            assert str(derived[tag].value) == str(original[tag].value)
        assert derived.InstanceNumber == original.InstanceNumber
    assert source == {}


def test_what_a_derived_slice_says_of_itself(tmp_path: Path) -> None:
    write_series(tmp_path / "source", edit=scanner_header)
    volume = read_volume(tmp_path / "source")
    series, change, _ = exported(tmp_path, corrected(volume), volume)
    originals, derived = datasets(tmp_path / "source"), datasets(series)
    changes = datasets(change)
    assert len(derived) == len(changes) == len(originals)
    uids = {d.SOPInstanceUID for d in (*originals, *derived, *changes)}
    assert len(uids) == 3 * len(originals)
    assert len({d.SeriesInstanceUID for d in (*originals, *derived, *changes)}) == 3
    for original, mine, difference in zip(originals, derived, changes, strict=True):
        for dataset in (mine, difference):
            assert dataset.StudyInstanceUID == original.StudyInstanceUID
            assert dataset.FrameOfReferenceUID == original.FrameOfReferenceUID
            assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
            assert list(dataset.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
            text = dataset.DerivationDescription
            assert "nmar" in text and __version__ in text and '"window":"ramp"' in text
            assert dataset.DerivationCodeSequence[0].CodeMeaning == "Metal artifact reduction"
            reference = dataset.SourceImageSequence[0]
            assert reference.ReferencedSOPInstanceUID == original.SOPInstanceUID
            assert reference.ReferencedSOPClassUID == original.SOPClassUID
            purpose = reference.PurposeOfReferenceCodeSequence[0]
            assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("121322", "DCM")
            assert dataset.ContentDate > original.ContentDate
        assert mine.SeriesDescription == "Hip 2.5 MAR nmar corrected"
        assert (mine.SeriesNumber, difference.SeriesNumber) == (401, 402)
        assert difference.SourceImageSequence[1].ReferencedSOPInstanceUID == mine.SOPInstanceUID
        assert difference.DerivationCodeSequence[1].CodeValue == "113062"  # subtraction
        assert "PixelPaddingValue" not in difference
        scanner, own = mine.ContributingEquipmentSequence
        assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"  # acquisition
        assert (scanner.Manufacturer, scanner.ManufacturerModelName) == ("ACME", "Scan 3000")
        assert (scanner.InstitutionName, scanner.DeviceSerialNumber) == ("General Hospital", "SN42")
        assert own.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"  # processing
        assert mine.ManufacturerModelName == "MetalArtifactReduction"
        assert mine.SoftwareVersions == __version__


CHANGED = {
    "ImageType", "InstanceCreationDate", "InstanceCreationTime", "SOPInstanceUID", "SeriesDate",
    "ContentDate", "SeriesTime", "ContentTime", "Manufacturer", "InstitutionName", "StationName",
    "SeriesDescription", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
    "SeriesInstanceUID", "SeriesNumber", "SmallestImagePixelValue", "LargestImagePixelValue",
    "PixelData",
}  # fmt: skip


def test_everything_else_is_carried_over_and_nothing_private(tmp_path: Path) -> None:
    write_series(tmp_path / "source", edit=scanner_header)
    volume = read_volume(tmp_path / "source")
    series, _, _ = exported(tmp_path, corrected(volume), volume)
    for original, mine in zip(datasets(tmp_path / "source"), datasets(series), strict=True):
        assert original.PatientName == "M\u00fcller^J\u00fcrgen" == mine.PatientName
        for element in original:
            overlay = element.tag.group == 0x6000
            if element.tag.is_private or overlay or element.keyword in CHANGED:
                continue
            if element.VR != "SQ":
                assert mine[element.tag].value == element.value, element.keyword
        private = [e for e in mine.iterall() if e.tag.is_private]
        assert private == [] and 0x60003000 not in mine
        kept, lost = mine.ReferencedImageSequence[0], original.ReferencedImageSequence[0]
        assert kept.ReferencedSOPInstanceUID == lost.ReferencedSOPInstanceUID
        assert "SmallestImagePixelValue" not in mine and "LargestImagePixelValue" not in mine


def test_padding_stays_padding(tmp_path: Path) -> None:
    """Also where the source stores it in another representation than its derived series."""

    def extended(index: int, dataset: Dataset) -> None:
        stored = (values()[index] + 2000) // 10
        dataset.PixelData = stored.astype(np.uint16).tobytes()
        dataset.PixelRepresentation = 0
        dataset.RescaleSlope, dataset.RescaleIntercept = "10", "-2000"
        dataset.add_new(0x00280120, "US", 0)
        dataset.add_new(0x00280121, "US", 3)

    write_series(tmp_path / "source", edit=extended)
    volume = read_volume(tmp_path / "source", check=False)
    series, _, _ = exported(tmp_path, corrected(volume), volume)
    for mine in datasets(series):
        padding = mine.PixelPaddingValue * float(mine.RescaleSlope) + float(mine.RescaleIntercept)
        assert padding == -2000
        assert mine.PixelPaddingRangeLimit - mine.PixelPaddingValue == 30  # HU
        assert (mine.pixel_array[:4] == mine.PixelPaddingValue).all()


def test_lossy_compression_and_earlier_derivations_are_not_forgotten(tmp_path: Path) -> None:
    def lossy(index: int, dataset: Dataset) -> None:
        scanner_header(index, dataset)
        dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = "12.5"
        dataset.LossyImageCompressionMethod = "ISO_15444_1"
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = "113040", "DCM"
        code.CodeMeaning = "Lossy Compression"
        dataset.DerivationCodeSequence = [code]
        dataset.DerivationDescription = "lossy"

    write_series(tmp_path / "source", edit=lossy)
    volume = read_volume(tmp_path / "source")
    series, _, _ = exported(tmp_path, corrected(volume), volume)
    for mine in datasets(series):
        assert mine.LossyImageCompression == "01" and mine.LossyImageCompressionRatio == 12.5
        assert [c.CodeValue for c in mine.DerivationCodeSequence] == ["113040", "MAR"]
        # The maker of a derived image did not acquire it.
        scanner = mine.ContributingEquipmentSequence[0]
        assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def test_a_correction_of_a_correction(tmp_path: Path) -> None:
    write_series(tmp_path / "source", edit=scanner_header)
    volume = read_volume(tmp_path / "source")
    first, _, _ = exported(tmp_path, corrected(volume), volume)
    (tmp_path / "again").mkdir()
    volume = read_volume(first)
    second, _, _ = exported(tmp_path / "again", corrected(volume), volume)
    for source, mine in zip(datasets(first), datasets(second), strict=True):
        assert mine.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        names = [item.Manufacturer for item in mine.ContributingEquipmentSequence]
        assert names[0] == "ACME" and len(names) == 4
        assert len(mine.CodingSchemeIdentificationSequence) == 1


def test_an_implicit_little_endian_source_without_optional_tags(tmp_path: Path) -> None:
    def sparse(index: int, dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        dataset.add_new(0x00280120, "SS", -2000)
        dataset.add_new(0x00280106, "SS", -2000)
        for name in ("SeriesNumber", "SeriesDescription", "KVP", "Manufacturer", "InstanceNumber"):
            delattr(dataset, name)
        del dataset.FrameOfReferenceUID

    write_series(tmp_path / "source", edit=sparse)
    volume = read_volume(tmp_path / "source")
    series, change, written = exported(tmp_path, corrected(volume), volume)
    assert "no FrameOfReferenceUID" in written.notes[0]
    both = [*datasets(series), *datasets(change)]
    assert len({d.FrameOfReferenceUID for d in both}) == 1
    assert both[0].ContributingEquipmentSequence[0].Manufacturer == "unknown"
    assert both[0].SeriesNumber == 1 and both[0].SeriesDescription == "MAR nmar corrected"
    assert [d.InstanceNumber for d in datasets(series)] == list(range(1, SHAPE[0] + 1))
    assert all(d.PixelPaddingValue == -2000 for d in datasets(series))


def test_a_compressed_source(tmp_path: Path) -> None:
    def compressed(index: int, dataset: Dataset) -> None:
        dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)

    write_series(tmp_path / "source", edit=compressed)
    volume = read_volume(tmp_path / "source")
    series, _, _ = exported(tmp_path, corrected(volume), volume)
    assert np.array_equal(read_volume(series).hu, np.rint(corrected(volume).corrected.hu))
    assert not datasets(series)[0].file_meta.TransferSyntaxUID.is_encapsulated


def test_no_identity_in_what_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where a name breaks the standard, which pydicom likes to quote."""
    told = []

    def odd(index: int, dataset: Dataset) -> None:
        scanner_header(index, dataset)
        dataset.PatientName = PATIENT + "^" * 6 + "X" * 80
        dataset.PatientID = PATIENT_ID + "7" * 80
        dataset.PatientBirthDate = "4711-13-45"

    with pydicom.config.disable_value_validation():
        write_series(tmp_path / "source", edit=odd)
    caplog.set_level("DEBUG")
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        volume = read_volume(tmp_path / "source")
        exported(tmp_path, corrected(volume), volume, progress=lambda f, m: told.append(m))
    told += [*capfd.readouterr(), *caplog.messages, *(str(w.message) for w in warned)]
    assert len(told) > 2 * SHAPE[0]
    assert not any(
        secret in text for text in told for secret in ("DOE", "JANE", PATIENT_ID, "4711-13")
    )
    with pydicom.config.disable_value_validation():
        names = {str(d.PatientName) for d in datasets(tmp_path / "corrected")}
    assert names == {PATIENT + "^" * 6 + "X" * 80}
