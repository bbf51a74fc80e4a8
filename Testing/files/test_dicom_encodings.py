"""DICOM in any encoding, units in any spelling, and files that claim more than they hold."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from dicom_support import refused, values, write_series
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from support import peak_memory_mb


def encoded(folder: Path, syntax: str) -> np.ndarray:
    """A series written again in another transfer syntax."""
    hu = np.clip(values(), -1024, 3071)
    write_series(folder, hu)
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        if syntax in (RLELossless, JPEGLSLossless):
            dataset.compress(syntax, generate_instance_uid=False)
        if syntax == ExplicitVRBigEndian:
            swapped = Dataset()
            swapped.update({element.tag: element for element in dataset})
            swapped["PixelData"].value = dataset.pixel_array.astype(">i2").tobytes()
            swapped.file_meta, dataset = dataset.file_meta, swapped
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(file, enforce_file_format=True)
    return hu


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
    ],
    ids=lambda uid: uid.name,
)
def test_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    hu = encoded(tmp_path, syntax)
    assert np.array_equal(read_volume(tmp_path).hu, hu)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.3.4.5.6.7"])
def test_a_syntax_that_is_not_true(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        old = ExplicitVRLittleEndian.encode() + b"\0"
        assert old in content
        start = content.index(old) - 2
        new = syntax.encode() + b"\0" * (len(syntax) % 2)
        file.write_bytes(
            content[:start] + len(new).to_bytes(2, "little") + new + content[start + 2 + len(old) :]
        )
    try:
        volume = read_volume(tmp_path)
    except InputError as error:
        assert ".dcm: " in str(error) and "\n" not in str(error)
    else:
        assert np.array_equal(volume.hu, values())  # plain pixels, whatever was said of them


def deflated(rows: int, body: bytes) -> bytes:
    """A deflated slice that claims ``rows`` rows, with anything for its pixels."""
    item = Dataset()
    item.SOPClassUID, item.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    item.Modality, item.Rows, item.Columns = "CT", rows, 512
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation, item.SamplesPerPixel = 15, 1, 1
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, item, implicit_vr=False, little_endian=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = item.SOPClassUID, "1.2.3"
    head = BytesIO()
    pydicom.filewriter.write_file_meta_info(pydicom.filebase.DicomFileLike(head), meta)
    pixels = b"\xe0\x7f\x10\0OW\0\0" + (len(body)).to_bytes(4, "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = packer.compress(buffer.getvalue()) + packer.compress(pixels) + packer.compress(body)
    return bytes(128) + b"DICM" + head.getvalue() + stream + packer.flush()


def test_memory_that_was_freed_before_counts_where_it_is_taken_again() -> None:
    np.ones(100 << 17)
    with peak_memory_mb() as grown:
        np.ones(100 << 17)
    assert grown() > 64


def test_a_deflated_file_unpacks_no_further_than_it_promises(tmp_path: Path) -> None:
    path = tmp_path / "bomb.dcm"
    path.write_bytes(deflated(512, bytes(200 << 20)))
    assert path.stat().st_size < 1 << 20
    with (
        peak_memory_mb() as grown,
        pytest.raises(InputError, match=r"unpacks to more than .* which its header does not"),
    ):
        read_volume(path)
    assert grown() < 64


def test_a_slice_that_claims_more_than_its_file_can_hold(tmp_path: Path) -> None:
    def wide(_: int, dataset: Dataset) -> None:
        dataset.Rows = dataset.Columns = 65535

    write_series(tmp_path, edit=wide)
    with peak_memory_mb() as grown, pytest.raises(InputError, match="do not hold 38653526"):
        read_volume(tmp_path)
    assert grown() < 64


UNITS = ("HU", "hu", "[HU]", "[hnsf'U] HU", "H.U.", "Hounsfield Units (HU)", "HOUNSFIELD UNIT")
NO_UNITS = ("OD", "MGML", "Z_EFF", "ED", "EDW", "PCT", "mg/ml", "HU-like")


@pytest.mark.parametrize("unit", [*UNITS, "Hounsfield-Einheiten", "hounsfield", "US", "HU_MOD"])
def test_units_in_any_spelling(tmp_path: Path, unit: str) -> None:
    def named(_: int, dataset: Dataset) -> None:
        dataset.RescaleType = unit

    write_series(tmp_path, edit=named)
    assert np.array_equal(read_volume(tmp_path).hu, values())


@pytest.mark.parametrize("unit", NO_UNITS)
def test_values_in_another_unit_are_refused(tmp_path: Path, unit: str) -> None:
    def named(_: int, dataset: Dataset) -> None:
        dataset.RescaleType = unit

    write_series(tmp_path, edit=named)
    with pytest.raises(InputError, match=rf"the values are in '{unit}' \(RescaleType\)"):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "told"), [("KVP", ""), ("PixelSpacing", "position"), ("HighBit", "DQ")]
)
def test_values_of_a_kind_that_does_not_exist(tmp_path: Path, keyword: str, told: str) -> None:
    hu = values()
    write_series(tmp_path, hu, edit=lambda _, dataset: setattr(dataset, "KVP", "120"))
    tag = pydicom.datadict.tag_for_keyword(keyword)
    begin = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        at = data.index(begin) + 4
        file.write_bytes(data[:at] + b"DQ" + data[at + 2 :])
    if told:
        assert told in refused(tmp_path)
    else:
        assert np.array_equal(read_volume(tmp_path).hu, hu)
