"""Where the slices of a DICOM series lie: missing, uneven, drifting, twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_support import ORIGIN, STEP_MM, Edit, refused, values, write_series
from MetalArtifactReductionLib.errors import OutputError
from MetalArtifactReductionLib.files.volumes import read_volume, write_volume


@pytest.mark.parametrize(("gone", "places"), [((4,), "1 after"), ((2, 3, 6), "2 after")])
def test_missing_slices_are_counted_and_placed(
    tmp_path: Path, gone: tuple[int, ...], places: str
) -> None:
    write_series(tmp_path, edit=lambda index, dataset: index not in gone)
    text = refused(tmp_path)
    assert f"{len(gone)} of 9 slices are missing ({places}" in text
    before = ORIGIN[2] + (gone[0] - 1) * STEP_MM
    assert f"{before:g})" in text


def numbered(first: int, told: int | None = None) -> Edit:
    """Instance numbers in the order of the slices; how many images the scanner says it made."""

    def edit(index: int, dataset: Dataset) -> None:
        dataset.InstanceNumber = first + index
        if told is not None:
            dataset.AcquisitionNumber, dataset.ImagesInAcquisition = 3, told

    return edit


def test_slices_missing_at_an_end_are_told(tmp_path: Path) -> None:
    """Nothing is wrong with a part of a series, as long as the user knows that it is one."""
    for name, edit, expected in (
        ("whole", numbered(1, 9), ()),
        ("from zero", numbered(0), ()),
        ("begins later", numbered(4), ("numbers are 4 to 12: 3 slices may be missing",)),
        ("ends early", numbered(1, 12), ("made 12 images in this acquisition, 9 are here",)),
    ):
        write_series(tmp_path / name, edit=edit)
        volume = read_volume(tmp_path / name)
        assert volume.source is not None
        assert len(volume.source.warnings) == len(expected), name
        for warning, text in zip(volume.source.warnings, expected, strict=True):
            assert text in warning


def test_uneven_spacing(tmp_path: Path) -> None:
    def shifted(index: int, dataset: Dataset) -> None:
        if index > 5:
            dataset.ImagePositionPatient[2] = float(dataset.ImagePositionPatient[2]) + 0.8

    write_series(tmp_path / "scan", edit=shifted)
    volume = read_volume(tmp_path / "scan")
    assert volume.source is not None and volume.source.dicom is not None
    assert "uneven slice spacing, 2.5 to 3.3 mm" in volume.source.warnings[0]
    expected = [k * STEP_MM + 0.8 * (k > 5) for k in range(9)]
    assert volume.source.dicom.uneven_mm == pytest.approx(expected)
    assert np.array_equal(volume.hu, values())
    with pytest.raises(OutputError, match="uneven"):  # no grid holds their places
        write_volume(volume, tmp_path / "out.nrrd")


def test_positions_rounded_by_the_scanner_are_even(tmp_path: Path) -> None:
    def rounded(index: int, dataset: Dataset) -> None:
        dataset.ImagePositionPatient[2] = round(ORIGIN[2] + index * 1.25, 1)

    write_series(tmp_path, edit=rounded)
    volume = read_volume(tmp_path)
    assert volume.spacing_mm[0] == pytest.approx(1.25, abs=0.01)
    assert volume.source is not None and "stray" in volume.source.warnings[0]


def test_a_drift_within_the_plane_is_refused(tmp_path: Path) -> None:
    def drift(index: int, dataset: Dataset) -> None:
        if index > 4:
            dataset.ImagePositionPatient[0] = float(dataset.ImagePositionPatient[0]) + 10

    write_series(tmp_path, edit=drift)
    assert "straight line" in refused(tmp_path)


def test_duplicates(tmp_path: Path) -> None:
    write_series(tmp_path)
    copy = tmp_path / "copy.dcm"
    copy.write_bytes((tmp_path / "003.dcm").read_bytes())
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, values())
    assert volume.source is not None and volume.source.warnings == (
        "1 duplicate slices: left aside",
    )
    dataset = pydicom.dcmread(copy)
    dataset.SOPInstanceUID = generate_uid()
    dataset.save_as(copy)
    assert np.array_equal(read_volume(tmp_path).hu, values())  # the same pixels
    dataset.PixelData = (values()[0] + 1).astype(np.int16).tobytes()
    dataset.save_as(copy)
    assert "two different slices at position (-20.5, 30.25, " in refused(tmp_path)
