"""Unusable input and options: exit code 2, one line that helps, nothing written or changed."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from cli_support import (
    GEOMETRY,
    Outcome,
    assert_refused,
    ct_hu,
    metal_truth,
    run,
    run_process,
    snapshot,
    write_dicom,
    write_image,
)
from MetalArtifactReductionLib.cli import main
from MetalArtifactReductionLib.errors import DeviceError, InputError

Make = Callable[[Path], Path]


def with_value(value: float) -> Make:
    def make(folder: Path) -> Path:
        hu = ct_hu(dtype="float32")
        hu[2, 40, 41] = value
        return write_image(folder / "ct.nii.gz", hu)

    return make


def truncated(suffix: str, share: float = 0.7) -> Make:
    def make(folder: Path) -> Path:
        path = write_image(folder / f"ct{suffix}", ct_hu())
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return make


def corrupted(suffix: str) -> Make:
    def make(folder: Path) -> Path:
        path = write_image(folder / f"ct{suffix}", ct_hu())
        content = bytearray(path.read_bytes())
        middle = len(content) // 2
        content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
        path.write_bytes(content)
        return path

    return make


def text_file(name: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_text("this is not an image\n" * 50)
        return folder / name

    return make


def colour(suffix: str) -> Make:
    def make(folder: Path) -> Path:
        path = folder / f"rgb{suffix}"
        if suffix == ".nrrd":
            rgb = sitk.GetImageFromArray(np.zeros((4, 40, 40, 3), np.uint8), isVector=True)
            sitk.WriteImage(rgb, str(path))
        else:
            voxel = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
            nibabel.Nifti1Image(np.zeros((40, 40, 4), voxel), np.eye(4)).to_filename(path)
        return path

    return make


def two_series(folder: Path) -> Path:
    write_dicom(folder / "scan", ct_hu(), SeriesNumber=4, SeriesDescription="native")
    return write_dicom(folder / "scan", ct_hu(), SeriesNumber=7, SeriesDescription="bone")


def empty_folder(folder: Path) -> Path:
    (folder / "scan").mkdir()
    return folder / "scan"


def magnetic_resonance(folder: Path) -> Path:
    signal = np.where(ct_hu() > -500, 420, 0)
    values = np.abs(signal + np.random.default_rng(1).normal(0, 15, signal.shape)).astype(np.int16)
    return write_image(folder / "mr.nii.gz", values)


UNUSABLE: dict[str, tuple[Make, tuple[str, ...]]] = {
    "no such file": (lambda folder: folder / "nowhere.nii.gz", ("no such file", "check the name")),
    "no such folder": (lambda folder: folder / "nowhere", ("no such file or folder",)),
    "unknown format": (text_file("notes.txt"), ("unknown format '.txt'", ".nii.gz")),
    "text as NIfTI": (text_file("ct.nii"), ("no NIfTI header",)),
    "text as NRRD": (text_file("ct.nrrd"), ("export it again",)),
    "out of any HU range": (with_value(2e6), ("2e+06", "out of any HU range", "Hounsfield")),
    "MR": (magnetic_resonance, ("no air or fat", "MR")),
    "mask": (
        lambda folder: write_image(folder / "mask.nrrd", metal_truth().astype(np.uint8)),
        ("values from 0 to 1 ", "mask"),
    ),
    "RGB .nii.gz": (colour(".nii.gz"), ("RGB voxels", "give the CT itself")),
    "RGB .nrrd": (colour(".nrrd"), ("3 components a voxel", "give the CT itself")),
    "NaN": (with_value(np.nan), ("1 voxels are NaN", "slice 2, row 40, column 41", "air")),
    "infinite": (with_value(-np.inf), ("infinite", "replace them")),
    "truncated .nii": (truncated(".nii"), ("truncated", "copy or download it again")),
    "truncated .nii.gz": (truncated(".nii.gz"), ("truncated", "copy or download it again")),
    "truncated .nrrd": (truncated(".nrrd"), ("ends early", "copy or download it again")),
    "truncated .mha": (truncated(".mha"), ("truncated", "copy or download it again")),
    "corrupted .nii.gz": (corrupted(".nii.gz"), ("corrupted", "copy or download it again")),
    "corrupted .nrrd": (corrupted(".nrrd"), ("corrupted", "copy or download it again")),
    "missing slices": (
        lambda folder: write_dicom(folder / "scan", ct_hu(), leave_out=3),
        ("1 of 6 slices are missing", "export the complete series"),
    ),
    "MR series": (
        lambda folder: write_dicom(folder / "scan", ct_hu(), Modality="MR"),
        ("modality MR, not CT",),
    ),
    "empty folder": (empty_folder, ("no DICOM images", "folder of the CT series")),
}

COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "info": lambda path, out: ["info", path],
    "segment": lambda path, out: ["segment", path, out / "metal.nii.gz"],
    "correct": lambda path, out: ["correct", path, out / "corrected.nii.gz"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", UNUSABLE)
def test_unusable_input(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str, command: str
) -> None:
    make, words = UNUSABLE[what]
    path = make(tmp_path)
    before = snapshot(tmp_path)
    outcome = run(capfd, *COMMANDS[command](path, tmp_path))
    assert_refused(outcome, path.name, *words)
    assert snapshot(tmp_path) == before


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_image(tmp_path / "ct.nii.gz", ct_hu())


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[[list[object]], Outcome]:
    """Runs a command and asserts that every file stays as it is."""

    def check(arguments: list[object], *words: str) -> Outcome:
        before = snapshot(tmp_path)
        outcome = run(capfd, *arguments)
        assert_refused(outcome, *words)
        assert snapshot(tmp_path) == before
        return outcome

    return check


Refused = Callable[..., Outcome]


# -- no metal, other masks ----------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_several_series_are_listed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    outcome = run(capfd, *COMMANDS[command](two_series(tmp_path), tmp_path))
    table = outcome.out.splitlines()
    assert_refused(dataclasses.replace(outcome, out=""), "2 CT series", "native", "--series")
    assert (len(table) == 3 and table[0].startswith("number")) == (command == "info")


@pytest.mark.parametrize("command", ["segment", "correct"])
def test_no_metal_says_the_highest_hu_and_the_threshold(
    tmp_path: Path, refused: Refused, command: str
) -> None:
    hu = ct_hu(metal=False)
    path = write_image(tmp_path / "ct.nii.gz", hu)
    arguments: list[object] = [command, path, tmp_path / "out.nii.gz", "--quiet"]
    highest = f"the highest value is {hu.max()} HU"
    for method in ("threshold", "kmeans"):
        refused(
            [*arguments, "--segmentation", method],
            *("no metal found", highest, "the threshold 2500 HU", "lower threshold", "or a mask"),
        )
    refused([*arguments, "--threshold", 1800], highest, "the threshold 1800 HU")
    refused([*arguments, "--threshold", "nan"], "threshold nan HU", "give it in HU")


def mask_of_other_size(folder: Path) -> Path:
    longer = np.concatenate([metal_truth(), metal_truth()[2:3]]).astype(np.uint8)
    return write_image(folder / "mask.nii.gz", longer)


def mask_elsewhere(folder: Path) -> Path:
    moved = GEOMETRY.copy()
    moved[2, 3] += 3.0
    return write_image(folder / "mask.nii.gz", metal_truth().astype(np.uint8), moved)


def mask_of_other_spacing(folder: Path) -> Path:
    wide = GEOMETRY @ np.diag([1.5, 1, 1, 1])
    return write_image(folder / "mask.nii.gz", metal_truth().astype(np.uint8), wide)


MASKS: dict[str, tuple[Make, tuple[str, ...]]] = {
    "size": (mask_of_other_size, ("size 96 x 96 x 7 instead of 96 x 96 x 6", "resample")),
    "origin": (mask_elsewhere, ("geometry is not the volume's", "origin", "436.125", "resample")),
    "spacing": (mask_of_other_spacing, ("spacing 2.85 x 2 x 3 instead of 1.9 x 2 x 3 mm",)),
    "empty": (
        lambda folder: write_image(folder / "mask.nii.gz", np.zeros((6, 96, 96), np.uint8)),
        ("the mask is empty", "mark the metal"),
    ),
    "not a mask": (
        lambda folder: write_image(folder / "mask.nii.gz", ct_hu()),
        ("are not a mask",),
    ),
    "missing": (lambda folder: folder / "mask.nii.gz", ("no such file",)),
}


@pytest.mark.parametrize("what", MASKS)
def test_unusable_mask(tmp_path: Path, ct: Path, refused: Refused, what: str) -> None:
    make, words = MASKS[what]
    mask = make(tmp_path)
    refused(["correct", ct, tmp_path / "out.nii.gz", "--mask", mask], "mask.nii.gz", *words)


# -- outputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["segment", "correct"])
def test_an_existing_output_needs_force(
    tmp_path: Path, ct: Path, refused: Refused, command: str
) -> None:
    (tmp_path / "out.nii.gz").write_text("precious")
    refused([command, ct, tmp_path / "out.nii.gz"], "out.nii.gz: exists already", "--force")


@pytest.mark.parametrize("option", ["--change-map", "--metal"])
def test_every_output_is_checked_before_the_work(
    tmp_path: Path, ct: Path, refused: Refused, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MetalArtifactReductionLib.correction.correct_volume", None)
    (tmp_path / "there.nrrd").write_text("precious")
    command = ["correct", ct, tmp_path / "out.nii.gz", option]
    refused([*command, tmp_path / "there.nrrd"], "there.nrrd: exists already", "--force")
    refused([*command, ct, "--force"], "is the input itself")
    refused([*command, tmp_path / "out.nii.gz"], "named for two outputs")
    refused([*command, tmp_path / "missing" / "x.nrrd"], "missing does not exist", "create it")


@pytest.mark.parametrize("command", ["segment", "correct"])
@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_the_output_is_never_the_input(
    tmp_path: Path,
    ct: Path,
    refused: Refused,
    command: str,
    link: Callable[[Path, Path], None] | None,
) -> None:
    target = ct
    if link is not None:
        target = tmp_path / "link.nii.gz"
        link(ct, target)
    for force in ([], ["--force"]):
        refused([command, ct, target, *force], "is the input itself", "choose another name")


def test_the_mask_is_an_input_too(tmp_path: Path, ct: Path, refused: Refused) -> None:
    mask = write_image(tmp_path / "mask.nii.gz", metal_truth().astype(np.uint8))
    command = ["correct", ct, tmp_path / "out.nii.gz", "--mask", mask, "--force"]
    refused([*command, "--metal", mask], "mask.nii.gz: is the input itself")
    refused(["correct", ct, mask, "--mask", mask, "--force"], "mask.nii.gz: is the input itself")


@pytest.mark.parametrize("command", ["segment", "correct"])
def test_places_that_cannot_be_written(
    tmp_path: Path,
    ct: Path,
    refused: Refused,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    refused([command, ct, tmp_path / "folder.nii.gz"], "is a folder; give the name of a file")
    refused([command, ct, tmp_path], "the name has no ending", ".nii")
    refused([command, ct, tmp_path / "out.png"], "cannot write '.png'", ".nii.gz")
    refused([command, ct, tmp_path / "no" / "out.nii"], "does not exist; create it first")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and allowed(path, mode))
    refused([command, ct, tmp_path / "out.nii"], "no permission to write", "another folder")


def test_folders_and_files_without_permission(tmp_path: Path, ct: Path, refused: Refused) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("permissions do not bind the superuser")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(["correct", ct, locked / "out.nii.gz"], "no permission to write")
    secret = tmp_path / "secret.nii.gz"
    shutil.copy(ct, secret)
    before = snapshot(tmp_path)
    secret.chmod(0)
    outcome = run_process("info", secret)
    secret.chmod(0o600)
    assert_refused(outcome, "secret.nii.gz: no permission to read it")
    assert snapshot(tmp_path) == before


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "gpu"], ("unknown device 'gpu'", "this machine has cpu")),
        (["--device", "cuda:99"], ("unknown device 'cuda:99'",)),
        (["--method", "magic"], ("unknown method 'magic'", "li", "nmar")),
        (["--reconstruction", "x"], ("'x'", "replace", "add-change", "frequency-split")),
        (["--segmentation", "x"], ("'x'", "threshold", "kmeans")),
        (["--threshold", "high"], ("--threshold", "'high'")),
        (["--batch-slices", "0"], ("--batch-slices", "'0' is not a number of 1 or more")),
        (["--batch-slices", "-2"], ("'-2' is not a number of 1 or more",)),
        (["--series", "7", "--mask", "m.nii", "--threshold", "9"], ("not allowed with",)),
        (["--colour"], ("unrecognized arguments: --colour",)),
    ],
)
def test_unknown_values_of_options(
    tmp_path: Path, ct: Path, refused: Refused, options: list[str], words: tuple[str, ...]
) -> None:
    refused(["correct", ct, tmp_path / "out.nii.gz", *options], *words)


def test_unknown_and_missing_commands(refused: Refused) -> None:
    refused(["bake"], "'bake'", "correct", "mar --help")
    refused(["correct"], "INPUT, OUTPUT", "mar correct --help")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), ("not enough memory", "--batch-slices")),
        (DeviceError("not enough memory on cuda\nfor a slice"), ("not enough memory on cuda for",)),
    ],
)
def test_too_little_memory(
    tmp_path: Path,
    ct: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: tuple[str, ...],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("MetalArtifactReductionLib.correction.correct_volume", fail)
    refused(["correct", ct, tmp_path / "out.nii.gz", "--quiet"], *words)


def test_in_a_process_of_its_own(tmp_path: Path, ct: Path) -> None:
    before = snapshot(tmp_path)
    assert_refused(run_process("correct", ct, ct, "--force"), "ct.nii.gz: is the input itself")
    assert snapshot(tmp_path) == before


def test_debug_shows_where_it_happened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.nii: no such file"):
        main(["--debug", "info", str(tmp_path / "no.nii")])
