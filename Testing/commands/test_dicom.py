"""``mar correct`` from a DICOM series to a derived one, its change map and its metal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from cli_support import assert_refused, ct_hu, metal_truth, run, snapshot, write_dicom, write_image

Capture = pytest.CaptureFixture[str]
METHOD = ("--method", "li", "--quiet", "--device", "cpu")


def series(folder: Path) -> list[pydicom.Dataset]:
    found = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted(found, key=lambda one: float(one.ImagePositionPatient[2]))


def hu_by_gdcm(folder: Path) -> np.ndarray:
    """Slices as another reader sees them."""
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return sitk.GetArrayFromImage(sitk.ReadImage(names))


def test_a_series_in_a_series_out(tmp_path: Path, capfd: Capture) -> None:
    scan = write_dicom(tmp_path / "scan", ct_hu())
    before = snapshot(scan)
    nifti = tmp_path / "corrected.nii.gz"
    assert run(capfd, "correct", scan, nifti, *METHOD).code == 0
    outcome = run(
        capfd,
        *("correct", scan, f"{tmp_path}/out/", *METHOD),
        *("--change-map", f"{tmp_path}/change/", "--metal", tmp_path / "metal.dcm"),
    )
    assert outcome.code == 0, outcome
    for identity in ("DOE", "MRN4711", "19501231", "HOUSE"):
        assert identity not in outcome.out + outcome.err

    original, corrected = series(scan), series(tmp_path / "out")
    assert len(corrected) == len(original)
    for old, new in zip(original, corrected, strict=True):
        assert new.SeriesInstanceUID != old.SeriesInstanceUID
        assert new.SOPInstanceUID != old.SOPInstanceUID
        for same in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID"):
            assert new[same].value == old[same].value
        assert list(new.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert "method li" in new.DerivationDescription
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID

    # The same HU as in NIfTI, to the whole numbers that the scan stores, for another reader too.
    values = hu_by_gdcm(tmp_path / "out")
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(nifti)))
    assert np.abs(values - stored).max() <= 0.5
    np.testing.assert_array_equal(hu_by_gdcm(tmp_path / "change"), values - hu_by_gdcm(scan))
    metal = pydicom.dcmread(tmp_path / "metal.dcm")
    assert metal.Modality == "SEG"
    assert metal.FrameOfReferenceUID == original[0].FrameOfReferenceUID
    share = metal.pixel_array.sum() / metal_truth().sum()
    assert 0.8 < share < 1.3
    assert snapshot(scan) == before


def test_a_converted_volume_and_its_series(tmp_path: Path, capfd: Capture) -> None:
    """NIfTI knows no patient: DICOM needs the series that the volume came from."""
    scan = write_dicom(tmp_path / "scan", ct_hu())
    nifti = tmp_path / "scan.nii.gz"
    sitk.WriteImage(
        sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(scan))), str(nifti)
    )
    out = f"{tmp_path}/out/"
    refused = run(capfd, "correct", nifti, out, *METHOD)
    assert_refused(refused, "--dicom-template")
    done = run(capfd, "correct", nifti, out, *METHOD, "--dicom-template", scan)
    assert done.code == 0, done
    assert series(tmp_path / "out")[0].StudyInstanceUID == series(scan)[0].StudyInstanceUID


def test_what_cannot_be(tmp_path: Path, capfd: Capture) -> None:
    scan = write_dicom(tmp_path / "scan", ct_hu())
    assert_refused(run(capfd, "correct", scan, f"{scan}/out/", *METHOD), "source")
    other = write_image(tmp_path / "other.nii.gz", ct_hu()[:, :90])
    out = f"{tmp_path}/out/"
    assert_refused(run(capfd, "correct", other, out, *METHOD, "--dicom-template", scan), "scan")
    unused = run(capfd, "correct", scan, tmp_path / "a.nrrd", *METHOD, "--dicom-template", scan)
    assert_refused(unused, "--dicom-template", "--dicom")
    assert not (tmp_path / "out").exists()
