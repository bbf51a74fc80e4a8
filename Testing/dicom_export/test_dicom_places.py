"""Where derived series may be written, what they are made like, and that they appear whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from dicom_support import PATIENT, SHAPE, scanner_header, values, write_series
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.dicom_export import (
    DicomOutputs,
    check_dicom_outputs,
    dicom_template,
    names_dicom,
    write_dicom_outputs,
)
from MetalArtifactReductionLib.dicom_export.writer import values_kept_secret
from MetalArtifactReductionLib.errors import Cancelled, InputError, OutputError
from MetalArtifactReductionLib.files.volumes import read_volume, write_volume
from MetalArtifactReductionLib.volume import CTVolume


def brightened(volume: CTVolume) -> CorrectionResult:
    change = np.zeros_like(volume.hu)
    change[3, 20:30, 20:30] = 100
    fraction = (change > 0).astype(np.float32)
    return CorrectionResult(volume.with_hu(volume.hu + change), fraction, change, "li", {})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_series(tmp_path / "source", edit=scanner_header)
    return tmp_path / "source"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(outputs: DicomOutputs, volume: CTVolume, **options: Any) -> str:
    """The one line; nothing on disk has changed."""
    with pytest.raises((InputError, OutputError)) as raised:
        check_dicom_outputs(outputs, dicom_template(volume), **options)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_which_names_ask_for_dicom() -> None:
    assert names_dicom("out/") and names_dicom("a/b\\") and names_dicom("metal.DCM")
    assert not names_dicom("out") and not names_dicom("a.nii.gz")


def test_never_into_the_source_s_folder(tmp_path: Path, source: Path) -> None:
    volume = read_volume(source)
    before = files_of(source)
    for inside in (source, source / "corrected", tmp_path / "x" / ".." / "source" / "a"):
        assert "folder of the source series" in refused(DicomOutputs(inside), volume)
    assert "folder of the source series" in refused(
        DicomOutputs(metal=source / "metal.dcm"), volume
    )
    assert "holds the source series" in refused(DicomOutputs(tmp_path), volume)
    (tmp_path / "link").symlink_to(source, target_is_directory=True)
    assert "folder of the source series" in refused(DicomOutputs(tmp_path / "link" / "a"), volume)
    assert files_of(source) == before


def test_only_an_earlier_export_is_replaced_and_only_with_consent(
    tmp_path: Path, source: Path
) -> None:
    volume = read_volume(source)
    outputs = DicomOutputs(tmp_path / "out")
    template = dicom_template(volume)
    (tmp_path / "out").mkdir()  # an empty folder is fine
    write_dicom_outputs(brightened(volume), template, outputs)
    first = files_of(tmp_path / "out")
    assert "--force)" in refused(outputs, volume)
    write_dicom_outputs(brightened(volume), template, outputs, overwrite=True)
    second = files_of(tmp_path / "out")
    assert first.keys() == second.keys() and first != second
    for foreign in ("notes.txt", "x.dcm"):
        content = b"hello" if foreign == "notes.txt" else next(source.iterdir()).read_bytes()
        (tmp_path / "out" / foreign).write_bytes(content)
        assert foreign in refused(outputs, volume, overwrite=True)
        (tmp_path / "out" / foreign).unlink()
    (tmp_path / "out" / "sub").mkdir()
    assert "holds sub" in refused(outputs, volume, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_places_that_cannot_be(tmp_path: Path, source: Path) -> None:
    volume = read_volume(source)
    assert "does not exist; create it first" in refused(DicomOutputs(tmp_path / "a" / "b"), volume)
    (tmp_path / "file").write_text("hello")
    assert "is a file" in refused(DicomOutputs(tmp_path / "file"), volume)
    same = DicomOutputs(tmp_path / "a", tmp_path / "a")
    assert "each its own place" in refused(same, volume)
    assert "ends in .dcm" in refused(DicomOutputs(metal=tmp_path / "metal.nii"), volume)
    (tmp_path / "metal.dcm").write_text("hello")
    taken = DicomOutputs(metal=tmp_path / "metal.dcm")
    assert "exists already" in refused(taken, volume)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return  # permissions do not bind the superuser
    (tmp_path / "closed").mkdir(mode=0o555)
    assert "no permission" in refused(DicomOutputs(tmp_path / "closed" / "a"), volume)


def after_some_slices(tmp_path: Path) -> Callable[[], bool]:
    """Says stop once a few slices are on disk, wherever that is."""
    return lambda: len(list(tmp_path.rglob("000[345].dcm"))) > 2


def test_cancelled_or_broken_leaves_nothing_and_the_old_series(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = read_volume(source)
    template = dicom_template(volume)
    outputs = DicomOutputs(tmp_path / "out", tmp_path / "change", tmp_path / "metal.dcm")
    with pytest.raises(Cancelled):
        write_dicom_outputs(
            brightened(volume), template, outputs, cancel=after_some_slices(tmp_path)
        )
    assert list(tmp_path.iterdir()) == [source]
    write_dicom_outputs(brightened(volume), template, outputs)
    before = files_of(tmp_path)
    with pytest.raises(Cancelled):
        write_dicom_outputs(
            brightened(volume),
            template,
            outputs,
            overwrite=True,
            cancel=after_some_slices(tmp_path),
        )
    assert files_of(tmp_path) == before

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    # The very last step, when the old folders are out of the way already.
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_dicom_outputs(brightened(volume), template, outputs, overwrite=True)
    assert files_of(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["change", "metal.dcm", "out", "source"]


def test_an_element_that_cannot_be_read_comes_back_as_it_was(tmp_path: Path, source: Path) -> None:
    for file in source.iterdir():
        content = file.read_bytes()
        # An age that claims to be a binary number, of half its length.
        at = content.index(b"\x10\x00\x10\x10AS")
        file.write_bytes(content[: at + 4] + b"FD" + content[at + 6 :])
    volume = read_volume(source)
    outputs = DicomOutputs(tmp_path / "out", metal=tmp_path / "metal.dcm")
    write_dicom_outputs(brightened(volume), dicom_template(volume), outputs)
    for file in (*(tmp_path / "out").iterdir(), tmp_path / "metal.dcm"):
        assert b"\x10\x00\x10\x10FD\x04\x00074Y" in file.read_bytes()


def test_an_element_that_cannot_be_written_is_named_without_its_value(tmp_path: Path) -> None:
    """pydicom quotes whole elements in such errors; a name might be among them."""
    with pytest.raises(OutputError) as raised, values_kept_secret(tmp_path / "scan"):
        raise ValueError("With tag (0010,1010) got exception: DOE 074Y\n  traceback")
    text = str(raised.value)
    assert "(0010,1010)" in text and "\n" not in text and "074Y" not in text


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
@pytest.mark.parametrize("room", [200, 20_000], ids=["within the header", "within the pixels"])
def test_a_full_disk_is_no_fault_of_the_header(tmp_path: Path, room: int) -> None:
    import resource

    source = tmp_path / "source"
    write_series(source, values((9, 96, 128)), edit=scanner_header)  # more than files buffer
    volume = read_volume(source)
    outputs = DicomOutputs(tmp_path / "out", tmp_path / "change", tmp_path / "metal.dcm")
    before = files_of(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    result, template = brightened(volume), dicom_template(volume)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
    try:
        with pytest.raises(OutputError, match=r"could not be written \(.*free space") as raised:
            write_dicom_outputs(result, template, outputs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "header" not in str(raised.value)
    assert files_of(tmp_path) == before and list(tmp_path.iterdir()) == [source]


def test_a_source_that_has_gone_or_changed(tmp_path: Path, source: Path) -> None:
    volume = read_volume(source)
    template = dicom_template(volume)
    file = template.files[4]
    dataset = pydicom.dcmread(file)
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.save_as(file)
    with pytest.raises(InputError, match="changed since it was read"):
        write_dicom_outputs(brightened(volume), template, DicomOutputs(tmp_path / "out"))
    file.unlink()
    with pytest.raises(InputError, match="must stay in place"):
        write_dicom_outputs(brightened(volume), template, DicomOutputs(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == [source]


def test_a_converted_volume_needs_its_series(tmp_path: Path, source: Path) -> None:
    converted = write_volume(read_volume(source), tmp_path / "ct.nii.gz")
    with pytest.raises(InputError, match="--dicom-template"):
        dicom_template(read_volume(converted))
    with pytest.raises(InputError, match="no such file or folder"):
        dicom_template(read_volume(converted), tmp_path / "nowhere")


@pytest.mark.parametrize("axes", [(), (1,), (0, 1), (2,)], ids=str)
def test_converters_may_flip_and_pad(tmp_path: Path, source: Path, axes: tuple[int, ...]) -> None:
    """As dcm2niix flips rows; values in the padding may change, axes may be permuted."""
    volume = read_volume(source)
    image = sitk.ReadImage(str(write_volume(volume, tmp_path / "a.nrrd")))
    hu = sitk.GetArrayFromImage(image)
    hu[hu < -1500] = -1024
    padded = sitk.GetImageFromArray(hu)
    padded.CopyInformation(image)
    flipped = sitk.Flip(padded, [axis in axes for axis in range(3)])
    flipped = sitk.PermuteAxes(flipped, [1, 0, 2])
    sitk.WriteImage(flipped, str(tmp_path / "flipped.nii.gz"))
    converted = read_volume(tmp_path / "flipped.nii.gz")
    template = dicom_template(converted, source)
    result = brightened(converted)
    write_dicom_outputs(result, template, DicomOutputs(tmp_path / "out"))
    again = read_volume(tmp_path / "out")
    expected = sitk.ReadImage(str(write_volume(result.corrected, tmp_path / "expected.nrrd")))
    difference = sitk.GetArrayFromImage(sitk.DICOMOrient(expected, "LPS")) - again.hu
    assert np.array_equal(difference, np.zeros(SHAPE))


def test_another_scan_is_no_template(tmp_path: Path, source: Path) -> None:
    """Else the result would get another patient's name."""
    converted = read_volume(write_volume(read_volume(source), tmp_path / "ct.nii.gz"))
    write_series(tmp_path / "other", np.roll(values(), 5, axis=2), edit=scanner_header)
    with pytest.raises(InputError) as raised:
        dicom_template(converted, tmp_path / "other")
    text = str(raised.value)
    assert "another scan" in text and PATIENT not in text
    write_series(tmp_path / "moved", edit=moved)
    with pytest.raises(InputError, match=r"origin .* instead of"):
        dicom_template(converted, tmp_path / "moved")


def moved(index: int, dataset: Dataset) -> None:
    dataset.ImagePositionPatient[0] = float(dataset.ImagePositionPatient[0]) + 5


def test_a_source_nobody_can_refer_to(tmp_path: Path) -> None:
    def without(index: int, dataset: Dataset) -> None:
        del dataset.StudyInstanceUID

    write_series(tmp_path / "source", edit=without)
    with pytest.raises(InputError, match="has no StudyInstanceUID"):
        dicom_template(read_volume(tmp_path / "source"))


def test_the_source_may_lie_in_several_folders(tmp_path: Path, source: Path) -> None:
    (source / "a").mkdir()
    for file in sorted(source.glob("*.dcm"))[:4]:
        shutil.move(file, source / "a")
    volume = read_volume(source)
    write_dicom_outputs(brightened(volume), dicom_template(volume), DicomOutputs(tmp_path / "out"))
    assert np.array_equal(read_volume(tmp_path / "out").hu, brightened(volume).corrected.hu)
