"""Metal as a DICOM segmentation, read back by highdicom and compared with the arrays."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from dicom_support import SHAPE, scanner_header, write_series
from MetalArtifactReductionLib import __version__
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.dicom_export import (
    DicomOutputs,
    dicom_template,
    write_dicom_outputs,
)
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume


def fraction_for(volume: CTVolume) -> np.ndarray:
    """Metal of every share in some slices, the same in no two of them."""
    fraction = np.zeros_like(volume.hu)
    rng = np.random.default_rng(4)
    fraction[2:6, 15:30, 20:45] = rng.random((4, 15, 25)).round(2)
    return fraction


def with_metal(volume: CTVolume, fraction: np.ndarray) -> CorrectionResult:
    return CorrectionResult(volume, fraction, np.zeros_like(volume.hu), "li", {})


def written(volume: CTVolume, fraction: np.ndarray, file: Path) -> highdicom.seg.Segmentation:
    outputs = DicomOutputs(metal=file)
    write_dicom_outputs(with_metal(volume, fraction), dicom_template(volume), outputs)
    return highdicom.seg.segread(str(file))


@pytest.mark.parametrize("name", ["axial", "oblique", "upside down"])
def test_the_mask_lies_where_the_metal_lies(tmp_path: Path, name: str) -> None:
    rotation = {
        "axial": np.eye(3),
        "oblique": Rotation.from_euler("zyx", (0.2, -0.3, 0.25)).as_matrix(),
        "upside down": np.diag([1.0, -1, -1]),
    }[name]
    write_series(tmp_path / "source", rotation=rotation, edit=scanner_header)
    volume = read_volume(tmp_path / "source")
    fraction = fraction_for(volume)
    segmentation = written(volume, fraction, tmp_path / "metal.dcm")
    # Slice by slice, as a viewer lays it over the source images.
    assert volume.source is not None and volume.source.dicom is not None
    frames = segmentation.get_pixels_by_source_instance(
        list(volume.source.dicom.sop_instance_uids), assert_missing_frames_are_empty=True
    )
    assert np.array_equal(frames[..., 0], fraction >= 0.5)
    # In space: the affine of highdicom's volume is from (slice, row, column) to LPS.
    block = segmentation.get_volume(combine_segments=True)
    index = np.argwhere(np.asarray(block.array) == 1)
    lps = index @ block.affine[:3, :3].T + block.affine[:3, 3]
    expected = np.argwhere(fraction >= 0.5)[:, ::-1]
    ras = expected @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
    found = sorted(map(tuple, np.round(lps * (-1, -1, 1), 2).tolist()))
    assert np.allclose(found, sorted(map(tuple, np.round(ras, 2).tolist())), atol=0.011)


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    write_series(tmp_path / "source", edit=scanner_header)
    volume = read_volume(tmp_path / "source")
    segmentation = written(volume, fraction_for(volume), tmp_path / "metal.dcm")
    original = pydicom.dcmread(next((tmp_path / "source").iterdir()))
    assert segmentation.SegmentationType == "BINARY"
    assert segmentation.StudyInstanceUID == original.StudyInstanceUID
    assert segmentation.FrameOfReferenceUID == original.FrameOfReferenceUID
    assert segmentation.PatientName == original.PatientName
    assert segmentation.SeriesNumber == 403
    assert segmentation.SeriesDescription == "Hip 2.5 MAR li metal"
    assert segmentation.SoftwareVersions == __version__
    (segment,) = segmentation.SegmentSequence
    # PS3.16 CID 7150 and CID 7151
    category, kind = segment.segmented_property_category, segment.segmented_property_type
    assert (category.value, category.scheme_designator) == ("260787004", "SCT")
    assert (kind.value, kind.scheme_designator) == ("40388003", "SCT")
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "MetalArtifactReduction"
    assert algorithm.AlgorithmVersion == __version__
    assert not [e for e in segmentation.iterall() if e.tag.is_private]


def test_sparse_headers_suffice(tmp_path: Path) -> None:
    def sparse(index: int, dataset: Dataset) -> None:
        for name in ("Manufacturer", "SeriesNumber", "FrameOfReferenceUID", "PatientName"):
            delattr(dataset, name)

    write_series(tmp_path / "source", edit=sparse)
    volume = read_volume(tmp_path / "source")
    segmentation = written(volume, fraction_for(volume), tmp_path / "metal.dcm")
    assert segmentation.FrameOfReferenceUID
    assert segmentation.number_of_segments == 1


def test_no_voxel_half_metal(tmp_path: Path) -> None:
    write_series(tmp_path / "source")
    volume = read_volume(tmp_path / "source")
    fraction = np.zeros(SHAPE, np.float32)
    fraction[3, 20, 20] = 0.4
    with pytest.raises(InputError, match=r"no voxel is half metal \(most: 0.40\)"):
        written(volume, fraction, tmp_path / "metal.dcm")
    assert not (tmp_path / "metal.dcm").exists()
