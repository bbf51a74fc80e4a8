"""Masks as other programs export them, on a grid of their own."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pydicom.fileset
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_support import ORIGIN, STEP_MM, body, values, write_series
from MetalArtifactReductionLib.files.itk import image_from_array
from MetalArtifactReductionLib.files.masks import read_mask
from MetalArtifactReductionLib.files.volumes import read_volume


def test_a_cropped_segmentation_with_layers(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(body().T, np.diag([2, 2, 3, 1.0])), tmp_path / "ct.nii.gz")
    ct = read_volume(tmp_path / "ct.nii.gz")
    box = np.zeros((2, 5, 6, 3), np.uint8)
    box[0, 1, 2, 0] = box[1, 4, 5, 2] = 1
    image = sitk.GetImageFromArray(box, isVector=True)
    reference = image_from_array(box[..., 0], ct.ijk_to_ras)
    image.CopyInformation(reference)
    image.SetOrigin([-2 * 10, -2 * 12, 3 * 3])  # LPS of column 10, row 12, slice 3
    sitk.WriteImage(image, str(tmp_path / "Segmentation.seg.nrrd"))
    mask = read_mask(tmp_path / "Segmentation.seg.nrrd", ct)
    assert sorted(map(tuple, np.argwhere(mask))) == [(3, 13, 12), (4, 16, 15)]


def test_the_surface_of_an_implant(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    nibabel.save(
        nibabel.Nifti1Image(body((20, 40, 40)).T, np.diag([2, 2, 1.5, 1.0])), tmp_path / "ct.nii.gz"
    )
    ct = read_volume(tmp_path / "ct.nii.gz")
    rod = trimesh.creation.cylinder(radius=6.0, height=15.0, sections=96)
    rod.apply_translation([30, 44, 15])
    for name, sign in (("ras", (1, 1, 1)), ("lps", (-1, -1, 1))):
        moved = rod.copy()
        moved.vertices = rod.vertices * sign
        moved.export(tmp_path / f"{name}.stl")
        fraction = read_mask(tmp_path / f"{name}.stl", ct)
        assert float(fraction.sum()) * 6 == pytest.approx(np.pi * 36 * 15, rel=0.02)
        place = np.argwhere(fraction > 0.5).mean(axis=0) * (1.5, 2, 2)
        assert place == pytest.approx([15, 44, 30], abs=0.8)


def test_contours_of_a_structure_set(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    ct = read_volume(tmp_path / "ct")
    structures = Dataset()
    structures.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    structures.SOPInstanceUID = generate_uid()
    structures.Modality = "RTSTRUCT"
    names = ("Body", "Metal hip")
    structures.StructureSetROISequence = [Dataset() for _ in names]
    structures.ROIContourSequence = [Dataset() for _ in names]
    for number, name in enumerate(names):
        roi, drawn = structures.StructureSetROISequence[number], structures.ROIContourSequence
        roi.ROINumber = drawn[number].ReferencedROINumber = number + 1
        roi.ROIName = name
        low, high = (4.5, 11.5) if number else (0.5, 40.5)
        corners = ((low, low), (high, low), (high, high), (low, high))
        contour = Dataset()
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.ContourData = [
            f"{x:.6f}"
            for col, row in corners
            for x in np.add(ORIGIN, [col * 0.9, row * 0.7, 3 * STEP_MM])
        ]
        drawn[number].ContourSequence = [contour]
    structures.file_meta = pydicom.dataset.FileMetaDataset()
    structures.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    structures.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    expected = np.zeros(ct.hu.shape)
    expected[3, 5:12, 5:12] = 1
    assert np.array_equal(read_mask(tmp_path / "rt.dcm", ct), expected)


def test_a_mask_of_a_reader_that_knows_no_tilt(tmp_path: Path) -> None:
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("x", 0.2).as_matrix()
    write_series(tmp_path / "ct", rotation=rotation, step=np.array([0, 0, STEP_MM]))
    ct = read_volume(tmp_path / "ct")
    image = sitk.ReadImage(
        sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "ct")), sitk.sitkInt16
    )
    array = np.zeros(values().shape, np.uint8)
    array[2, 10:14, 20:22] = 1
    mask = sitk.GetImageFromArray(array)
    mask.CopyInformation(image)
    sitk.WriteImage(mask, str(tmp_path / "mask.nii.gz"))
    assert np.array_equal(read_mask(tmp_path / "mask.nii.gz", ct), array)
