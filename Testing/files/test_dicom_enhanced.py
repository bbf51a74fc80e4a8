"""Enhanced (multi-frame) CT, made from classic slices by highdicom: in, and corrected out again."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless
from scipy.spatial.transform import Rotation

from dicom_support import multi_frame, scanner_header, values, write_series
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.dicom_export import (
    DicomOutputs,
    dicom_template,
    write_dicom_outputs,
)
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume


@pytest.mark.parametrize("syntax", ["", JPEGLSLossless], ids=["plain", "JPEG-LS"])
def test_frames_in_any_order_give_the_volume(tmp_path: Path, syntax: str) -> None:
    rotation = Rotation.from_euler("zyx", (0.2, -0.3, 0.25)).as_matrix()
    hu = np.clip(values(), -1024, 3071)

    def unsigned(index: int, dataset: Dataset) -> None:
        scanner_header(index, dataset)
        dataset.PixelData = (hu[index] + 1024).astype(np.uint16).tobytes()
        dataset.PixelRepresentation, dataset.RescaleIntercept = 0, "-1024"
        for name in ("SmallestImagePixelValue", "LargestImagePixelValue", "PixelPaddingValue"):
            delattr(dataset, name)

    matrix = write_series(tmp_path / "classic", hu, rotation=rotation, edit=unsigned)
    (tmp_path / "in").mkdir()
    order = (3, 1, 8, 0, 2, 7, 6, 4, 5)
    multi_frame(tmp_path / "classic", tmp_path / "in" / "image.dcm", order, syntax)
    volume = read_volume(tmp_path / "in")
    assert np.array_equal(volume.hu, hu)
    assert np.abs(volume.ijk_to_ras - matrix).max() < 1e-6
    assert volume.source is not None and volume.source.dicom is not None
    assert volume.source.dicom.frames == tuple(order.index(k) for k in range(9))

    change = np.zeros_like(volume.hu)
    change[3:5, 20:30, 20:30] = 100.4
    fraction = (change > 0).astype(np.float32)
    result = CorrectionResult(volume.with_hu(volume.hu + change), fraction, change, "li", {})
    outputs = DicomOutputs(tmp_path / "out", None, tmp_path / "metal.dcm")
    write_dicom_outputs(result, dicom_template(volume), outputs)
    again = read_volume(tmp_path / "out")
    assert np.array_equal(again.hu, np.rint(result.corrected.hu))
    assert np.abs(again.ijk_to_ras - matrix).max() < 1e-6
    enhanced = pydicom.dcmread(tmp_path / "in" / "image.dcm")
    for file in (tmp_path / "out").iterdir():
        mine = pydicom.dcmread(file)
        reference = mine.SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == enhanced.SOPInstanceUID
        frame = enhanced.PerFrameFunctionalGroupsSequence[reference.ReferencedFrameNumber - 1]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert mine.ImagePositionPatient == position
        assert mine.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
        assert mine.PatientName == enhanced.PatientName
        assert "SharedFunctionalGroupsSequence" not in mine
    segmentation = highdicom.seg.segread(str(tmp_path / "metal.dcm"))
    # highdicom counts the frames of the source from 1, in the file's order.
    numbers = [frame + 1 for frame in volume.source.dicom.frames]
    mask = segmentation.get_pixels_by_source_frame(
        enhanced.SOPInstanceUID, numbers, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(mask[..., 0], fraction > 0)


def test_two_volumes_in_one_file_are_not_mixed(tmp_path: Path) -> None:
    """Frames of two acquisitions at the same places, as in perfusion."""
    write_series(tmp_path / "classic", edit=scanner_header)
    (tmp_path / "in").mkdir()
    multi_frame(tmp_path / "classic", tmp_path / "in" / "image.dcm", range(9))
    image = pydicom.dcmread(tmp_path / "in" / "image.dcm")
    groups = list(image.PerFrameFunctionalGroupsSequence)
    groups[5].PlanePositionSequence = groups[4].PlanePositionSequence
    image.PerFrameFunctionalGroupsSequence = groups
    image.save_as(tmp_path / "in" / "image.dcm")
    with pytest.raises(InputError, match="two different slices at position"):
        read_volume(tmp_path / "in")
