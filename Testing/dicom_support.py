"""CT series written with pydicom, without the code under test, and what is said of broken ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume

SHAPE = (9, 48, 64)
SPACING = (0.7, 0.9)  # row, column
ORIGIN = np.array([-20.5, 30.25, -410.0])
STEP_MM = 2.5
PATIENT = "DOE^JANE"
PATIENT_ID = "MRN4711"  # letters, which no UID holds
STUDY_UID, FRAME_UID = generate_uid(), generate_uid()


def values(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(21)
    hu = rng.integers(-1024, 3072, shape)
    hu[:, :4] = -2000  # padding
    return hu


def slice_dataset(stored: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName = PATIENT
    dataset.PatientID = PATIENT_ID
    dataset.Manufacturer = "ACME"
    dataset.KVP = "120"
    dataset.ConvolutionKernel = "B30f"
    dataset.SeriesNumber = 4
    dataset.SeriesDescription = "Hip 2.5"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelSpacing = list(SPACING)
    dataset.SliceThickness = "5"
    dataset.ImagePositionPatient = [f"{x:.8f}"[:16] for x in position]
    dataset.ImageOrientationPatient = [f"{x:.12f}"[:16] for x in rotation[:, :2].T.ravel()]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
    dataset.PixelData = stored.tobytes()
    return dataset


Edit = Callable[[int, Dataset], Any]


def write_series(
    folder: Path,
    hu: np.ndarray | None = None,
    *,
    rotation: np.ndarray | None = None,
    step: np.ndarray | None = None,
    edit: Edit | None = None,
    prefix: str = "",
    uid: str | None = None,
) -> np.ndarray:
    """A series in shuffled files; ``edit`` changes one slice and may return False to leave it out.

    :returns: the matrix from (col, row, slice) to RAS that was written.
    """
    hu = values() if hu is None else hu
    rotation = np.eye(3) if rotation is None else rotation
    step = rotation[:, 2] * STEP_MM if step is None else step
    uid = uid or generate_uid()
    folder.mkdir(exist_ok=True, parents=True)
    names = list(range(len(hu)))
    random.Random(5).shuffle(names)
    for index, plane in enumerate(hu):
        dataset = slice_dataset(plane.astype(np.int16), ORIGIN + index * step, rotation)
        dataset.SeriesInstanceUID = uid
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = STUDY_UID, FRAME_UID
        dataset.InstanceNumber = names[index]  # says nothing about the order
        if edit is None or edit(index, dataset) is not False:
            dataset.save_as(folder / f"{prefix}{names[index]:03d}.dcm", enforce_file_format=True)
    lps = np.eye(4)
    lps[:3] = np.column_stack(
        [rotation[:, 0] * SPACING[1], rotation[:, 1] * SPACING[0], step, ORIGIN]
    )
    return np.diag([-1.0, -1, 1, 1]) @ lps


def scanner_header(index: int, dataset: Dataset) -> None:
    """What a real scanner writes besides: for ``edit``."""
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "M\u00fcller^J\u00fcrgen"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19500102", "M", "074Y"
    dataset.PatientPosition = "HFS"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240105", "101112", "S1"
    dataset.StudyDescription, dataset.AccessionNumber = "Hip left", "A123"
    dataset.ReferringPhysicianName = "House^Gregory"
    dataset.SeriesDate, dataset.SeriesTime = "20240105", "101500"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20240105", "101400"
    dataset.ContentDate, dataset.ContentTime = "20240105", "101501"
    dataset.Laterality, dataset.BodyPartExamined = "L", "HIP"
    dataset.PositionReferenceIndicator = ""
    dataset.AcquisitionNumber = 2
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
    dataset.ManufacturerModelName, dataset.DeviceSerialNumber = "Scan 3000", "SN42"
    dataset.InstitutionName, dataset.StationName = "General Hospital", "CT1"
    dataset.SoftwareVersions = "VA40"
    dataset.WindowCenter, dataset.WindowWidth = ["40", "400"], ["350", "1500"]
    dataset.WindowCenterWidthExplanation = ["SOFT", "BONE"]
    dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = -2000, 3071
    dataset.add_new(0x00280120, "SS", -2000)  # PixelPaddingValue
    dataset.LossyImageCompression = "00"
    dataset.ImageComments = "kept"
    private = dataset.private_block(0x0029, "ACME HEADER", create=True)
    private.add_new(0x10, "LO", "raw data of DOE")
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, generate_uid()
    item.private_block(0x0029, "ACME HEADER", create=True).add_new(0x11, "LO", "nested")
    dataset.ReferencedImageSequence = [item]
    dataset.add_new(0x60000010, "US", dataset.Rows)  # an overlay
    dataset.add_new(0x60003000, "OW", bytes(dataset.Rows * dataset.Columns // 8))


def refused(path: Path, **options: Any) -> str:
    """What a reader says of a series that it cannot use: one line, and nothing of the patient."""
    with pytest.raises(InputError) as raised:
        read_volume(path, **options)
    text = str(raised.value)
    assert "\n" not in text and PATIENT not in text and PATIENT_ID not in text
    return text


def body(shape: tuple[int, int, int] = (6, 40, 40), air: float = -1000) -> np.ndarray:
    """A round body in air with noise, HU."""
    row, col = np.mgrid[: shape[1], : shape[2]]
    hu = np.full(shape, air)
    hu[:, np.hypot(row - 20, col - 20) < 14] = 40
    return np.rint(hu + np.random.default_rng(5).normal(0, 9, shape)).astype(np.int16)


def multi_frame(folder: Path, file: Path, order: Sequence[int], syntax: str = "") -> None:
    """The slices of a folder as the frames of one image.

    :param order: which slice, counted from the lowest, each frame is.
    """
    import highdicom

    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    for dataset in slices:
        dataset.remove_private_tags()
    image = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices,
        series_instance_uid=highdicom.UID(),
        series_number=5,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    groups = list(image.PerFrameFunctionalGroupsSequence)
    height = [float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in groups]
    lowest_first = np.argsort(height)
    frames = [int(lowest_first[k]) for k in order]
    image.PerFrameFunctionalGroupsSequence = [groups[frame] for frame in frames]
    image.PixelData = image.pixel_array[frames].tobytes()
    if syntax:
        image.compress(syntax, generate_instance_uid=False)
    image.save_as(file)
