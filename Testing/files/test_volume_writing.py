"""What is not written: sources, what is there already, what does not fit."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from image_support import DIRECTIONS, SUFFIXES, ct_values, image, one_line, points
from MetalArtifactReductionLib.errors import OutputError
from MetalArtifactReductionLib.files.volumes import (
    check_output,
    read_volume,
    write_array_like,
    write_volume,
)
from MetalArtifactReductionLib.volume import CTVolume


@pytest.fixture
def volume(tmp_path: Path) -> CTVolume:
    path = tmp_path / "source" / "ct.nrrd"
    path.parent.mkdir()
    sitk.WriteImage(image(ct_values((6, 128, 128))), str(path))
    return read_volume(path)


def test_existing_files_stay_unless_overwriting(tmp_path: Path, volume: CTVolume) -> None:
    target = tmp_path / "out.nii.gz"
    target.write_text("precious")
    with pytest.raises(OutputError, match=r"out\.nii\.gz: exists already.*--force"):
        write_volume(volume, target)
    assert target.read_text() == "precious"
    write_volume(volume, target, overwrite=True)
    assert np.array_equal(read_volume(target).hu, volume.hu)
    (tmp_path / "out.raw").write_text("precious")  # the data file of a header not yet there
    with pytest.raises(OutputError, match=r"out\.raw: exists already"):
        write_volume(volume, tmp_path / "out.mhd")


@pytest.mark.parametrize("link", ["itself", "symlink", "hardlink", "folder link", "dots"])
def test_the_source_is_never_overwritten(tmp_path: Path, volume: CTVolume, link: str) -> None:
    source = tmp_path / "source" / "ct.nrrd"
    before = source.read_bytes()
    target = source
    if link == "symlink":
        target = tmp_path / "link.nrrd"
        target.symlink_to(source)
    elif link == "hardlink":
        target = tmp_path / "hard.nrrd"
        os.link(source, target)
    elif link == "folder link":
        (tmp_path / "other").symlink_to(source.parent)
        target = tmp_path / "other" / "ct.nrrd"
    elif link == "dots":
        target = tmp_path / "source" / ".." / "source" / "ct.nrrd"
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="is the input itself"):
            write_volume(volume, target, overwrite=overwrite)
    assert source.read_bytes() == before


def test_the_data_file_beside_a_header_is_a_source_too(tmp_path: Path) -> None:
    sitk.WriteImage(image(ct_values((2, 20, 20))), str(tmp_path / "ct.nhdr"))
    before = (tmp_path / "ct.raw").read_bytes()
    again = read_volume(tmp_path / "ct.nhdr")
    with pytest.raises(OutputError, match="is the input itself"):
        write_volume(again, tmp_path / "ct.mhd", overwrite=True)  # would make ct.raw or ct.zraw
    assert (tmp_path / "ct.raw").read_bytes() == before


def test_places_where_nothing_can_be_written(
    tmp_path: Path, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match=r"missing does not exist; create it"):
        write_volume(volume, tmp_path / "missing" / "out.nii.gz")
    (tmp_path / "folder.nii.gz").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_volume(volume, tmp_path / "folder.nii.gz")
    with pytest.raises(OutputError, match=r"cannot write '\.png'.*\.nrrd"):
        write_volume(volume, tmp_path / "out.png")
    with pytest.raises(OutputError, match="the name has no ending"):
        check_output(volume, tmp_path / "out")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="no permission to write"):
        write_volume(volume, tmp_path / "out.nii.gz")


def test_read_only_folder(tmp_path: Path, volume: CTVolume) -> None:
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        pytest.skip("permissions do not bind the superuser")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="no permission to write"):
        write_volume(volume, folder / "out.nii.gz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_nothing(tmp_path: Path, volume: CTVolume, suffix: str) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / f"old{suffix}").write_text("precious")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        for name, overwrite in (("new", False), ("old", True)):
            with pytest.raises(OutputError, match="could not be written") as raised:
                write_volume(volume, folder / f"{name}{suffix}", overwrite=overwrite)
            one_line(raised)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [file.name for file in folder.iterdir()] == [f"old{suffix}"]
    assert (folder / f"old{suffix}").read_text() == "precious"


def test_nan_is_not_written(tmp_path: Path, volume: CTVolume) -> None:
    hu = volume.hu.copy()
    hu[0, 0, 0] = np.nan
    with pytest.raises(OutputError, match="NaN"):
        write_volume(volume.with_hu(hu), tmp_path / "out.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_maps_and_masks_lie_on_the_source(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(
        image(ct_values((17, 33, 21)), DIRECTIONS["sagittal"]), str(tmp_path / "ct.mha")
    )
    given = sitk.ReadImage(str(tmp_path / "ct.mha"))
    volume = read_volume(tmp_path / "ct.mha")
    for array, dtype in ((volume.hu > 2500, np.uint8), (volume.hu / 7, np.float32)):
        path = write_array_like(array, volume, tmp_path / f"{dtype.__name__}{suffix}")
        found = sitk.ReadImage(str(path))
        assert np.abs(points(found) - points(given)).max() < 2e-4
        values = sitk.GetArrayFromImage(found)
        stored = sitk.GetArrayFromImage(given)
        expected = stored > 2500 if dtype is np.uint8 else (stored / np.float32(7))
        assert values.dtype == dtype and np.array_equal(values, expected)
    with pytest.raises(ValueError, match="does not fit"):
        write_array_like(volume.hu[:1], volume, tmp_path / "bad.nrrd")
