"""Derived series of sources that are not as the standard has it: places and bytes come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from dicom_support import ORIGIN, STEP_MM, scanner_header, values, write_series
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.dicom_export import (
    DicomOutputs,
    dicom_template,
    write_dicom_outputs,
)
from MetalArtifactReductionLib.files.masks import read_mask
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume


def result_of(volume: CTVolume) -> CorrectionResult:
    metal = np.zeros(volume.hu.shape, np.float32)
    metal[2:4, 10:14, 20:25] = 1
    return CorrectionResult(volume, metal, np.zeros_like(volume.hu), "nmar", {})


def written(tmp_path: Path) -> tuple[CTVolume, dict[float, pydicom.Dataset]]:
    """The source, and what was written of it by the position along z."""
    volume = read_volume(tmp_path / "in")
    outputs = DicomOutputs(tmp_path / "out", metal=tmp_path / "metal.dcm")
    write_dicom_outputs(result_of(volume), dicom_template(volume), outputs)
    slices = [pydicom.dcmread(file) for file in (tmp_path / "out").iterdir()]
    return volume, {float(one.ImagePositionPatient[2]): one for one in slices}


def test_uneven_slices_keep_their_places(tmp_path: Path) -> None:
    places = [ORIGIN[2] + (k if k < 5 else 2 * k - 4) * STEP_MM for k in range(9)]

    def wider(index: int, dataset: Dataset) -> None:
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient[2] = places[index]

    write_series(tmp_path / "in", edit=wider)
    volume, slices = written(tmp_path)
    assert sorted(slices) == pytest.approx(places)
    for plane, place in zip(values(), sorted(slices), strict=True):
        one = slices[place]
        assert np.array_equal(pydicom.pixels.apply_rescale(one.pixel_array, one), plane)
    metal = read_mask(tmp_path / "metal.dcm", volume)
    assert np.array_equal(metal, result_of(volume).metal_fraction)


@pytest.mark.parametrize("implicit", [False, True])
def test_values_that_cannot_be_read_come_back_byte_for_byte(tmp_path: Path, implicit: bool) -> None:
    odd = {
        0x00100010: b"Pr\xfcf^Name ",  # Latin-1, where UTF-8 is declared
        0x00100030: b"00/00/0000",
        0x00081030: b"H\xfcfte li.",
        0x00180060: b"80\\140 ",
    }

    def edit(index: int, dataset: Dataset) -> None:
        scanner_header(index, dataset)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for tag, value in odd.items():
            dataset[tag].value = "X" * len(value) if tag != 0x00180060 else "1234567"

    with pydicom.config.disable_value_validation():
        write_series(tmp_path / "in", edit=edit)
    for file in (tmp_path / "in").iterdir():
        if implicit:
            dataset = pydicom.dcmread(file)
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            dataset.save_as(file, implicit_vr=True, little_endian=True)
        content = file.read_bytes()
        for tag, value in odd.items():
            before = (b"1234567 " if tag == 0x00180060 else b"X" * len(value))[: len(value)]
            assert content.count(before) >= 1
            at = content.index(tag.to_bytes(4, "little")[2:] + tag.to_bytes(4, "little")[:2])
            where = content.index(before, at)
            content = content[:where] + value + content[where + len(value) :]
        file.write_bytes(content)
    volume, slices = written(tmp_path)
    assert np.array_equal(volume.hu, values())
    seg = pydicom.dcmread(tmp_path / "metal.dcm")
    for dataset in (*slices.values(), seg):
        for tag, value in odd.items():
            if tag in dataset:
                assert dataset.get_item(tag).value.strip() == value.strip(), hex(tag)
    assert 0x00100010 in seg and all(tag in one for tag in odd for one in slices.values())
