"""Several volumes in one file: listed, chosen, never stacked, never the first in silence."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from cli_support import ct_hu, run, stored, write_dicom, write_image
from dicom_support import multi_frame, values, write_series
from MetalArtifactReductionLib.batch.case import Case
from MetalArtifactReductionLib.batch.cases import cases_from
from MetalArtifactReductionLib.cli import build_parser
from MetalArtifactReductionLib.commands.batch import is_batch
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.several import SeveralVolumes
from MetalArtifactReductionLib.files.volumes import acquisitions_in, read_volume, write_volume

PHASES = np.stack([ct_hu(), ct_hu()[::-1] - 7, ct_hu()[:, ::-1]])


def nifti(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(PHASES.T, np.diag([2, 2, 3, 1.0])), path)
    return path


def metaimage(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(PHASES, isVector=False), str(path))
    return path


def sequence(path: Path, *, first: bool = True, phases: np.ndarray = PHASES) -> Path:
    """As 3D Slicer writes a sequence (the phase runs first), or as others do (last)."""
    _, slices, rows, cols = phases.shape
    count, size, space = len(phases), f"{cols} {rows} {slices}", "(2,0,0) (0,2,0) (0,0,3)"
    axes = (
        (f"{count} {size}", "list domain domain domain", f"none {space}")
        if first
        else (f"{size} {count}", "domain domain domain list", f"{space} none")
    )
    header = (
        "NRRD0005\ntype: short\ndimension: 4\nspace: left-posterior-superior\n"
        f"sizes: {axes[0]}\nkinds: {axes[1]}\nspace directions: {axes[2]}\n"
        "endian: little\nencoding: raw\nspace origin: (1,2,3)\n"
        "DataNodeClassName:=vtkMRMLScalarVolumeNode\n\n"
    )
    stored_ = np.moveaxis(phases, 0, -1) if first else phases
    path.write_bytes(header.encode() + np.ascontiguousarray(stored_).tobytes())
    return path


MAKES = {
    "4-D .nii.gz": lambda folder: nifti(folder / "ct.nii.gz"),
    "4-D .nii": lambda folder: nifti(folder / "ct.nii"),
    "4-D .mha": lambda folder: metaimage(folder / "ct.mha"),
    "sequence": lambda folder: sequence(folder / "ct.seq.nrrd"),
    "sequence, phase last": lambda folder: sequence(folder / "ct.seq.nrrd", first=False),
}


@pytest.mark.parametrize("kind", MAKES)
def test_a_phase_is_chosen(tmp_path: Path, kind: str) -> None:
    path = MAKES[kind](tmp_path)
    with pytest.raises(SeveralVolumes, match="holds 3 volumes of 96 x 96 x 6") as told:
        read_volume(path)
    assert [row["acquisition"] for row in told.value.rows] == ["1", "2", "3"]
    assert acquisitions_in(path) == ("1", "2", "3")
    for number, hu in enumerate(PHASES, start=1):
        assert np.array_equal(read_volume(path, acquisition=number).hu, hu)
    for wrong in ("0", "4", "-1", "all", "x"):
        with pytest.raises(SeveralVolumes, match="among 3 volumes"):
            read_volume(path, acquisition=wrong)
    written = write_volume(read_volume(path, acquisition=2), tmp_path / "out.nii.gz")
    assert np.array_equal(stored(written), PHASES[1])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_phase_is_verified(tmp_path: Path, suffix: str) -> None:
    path = nifti(tmp_path / f"ct{suffix}")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated or corrupted"):
        read_volume(path, acquisition=1)


def test_a_sequence_of_one_volume_is_that_volume(tmp_path: Path) -> None:
    for first in (True, False):
        path = sequence(tmp_path / "ct.seq.nrrd", first=first, phases=PHASES[:1])
        assert np.array_equal(read_volume(path).hu, PHASES[0])
        assert acquisitions_in(path) == ()


@pytest.mark.parametrize("enhanced", [False, True])
def test_temporal_positions(tmp_path: Path, enhanced: bool) -> None:
    hu = np.clip(values(), -1024, 3071)
    both = np.concatenate([hu, hu[::-1]])
    uid = pydicom.uid.generate_uid()
    for number, phase in enumerate((hu, hu[::-1]), start=1):

        def edit(_: int, dataset: pydicom.Dataset, number: int = number) -> None:
            dataset.TemporalPositionIdentifier = number

        write_series(tmp_path / "in", phase, uid=uid, edit=edit, prefix=str(number))
    path = tmp_path / "in"
    if enhanced:
        path = tmp_path / "image.dcm"
        one = tmp_path / "one"
        write_series(one, hu)
        multi_frame(one, path, range(9))
        image = pydicom.dcmread(path)
        groups = list(image.PerFrameFunctionalGroupsSequence)
        image.PerFrameFunctionalGroupsSequence = [deepcopy(groups[k % 9]) for k in range(18)]
        for k, group in enumerate(image.PerFrameFunctionalGroupsSequence):
            group.FrameContentSequence[0].TemporalPositionIndex = 1 + k // 9
        image.NumberOfFrames, image.PixelData = 18, both.astype(np.int16).tobytes()
        image.save_as(path)
    with pytest.raises(SeveralVolumes, match=r"2 temporal positions in one place: 1 \(9") as told:
        read_volume(path)
    assert [row["slices"] for row in told.value.rows] == ["9", "9"]
    assert acquisitions_in(path) == ("1", "2")
    assert np.array_equal(read_volume(path, acquisition=1).hu, hu)
    assert np.array_equal(read_volume(path, acquisition=2).hu, hu[::-1])


def test_the_table_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = nifti(tmp_path / "ct.nii.gz")
    outcome = run(capfd, "info", path)
    assert outcome.code == 2 and "holds 3 volumes" in outcome.err
    assert outcome.out.splitlines()[0].split() == ["acquisition", "slices"]
    assert [line.split()[0] for line in outcome.out.splitlines()[1:]] == ["1", "2", "3"]
    assert run(capfd, "info", path, "--acquisition", 2).code == 0
    assert run(capfd, "segment", path, tmp_path / "m.nii.gz", "--acquisition", 2).code == 0
    metal = stored(tmp_path / "m.nii.gz") > 0
    assert metal.any() and (PHASES[1][metal] > 2000).mean() > 0.8


def test_a_batch_takes_each_phase_and_every_series(tmp_path: Path) -> None:
    path = nifti(tmp_path / "ct.nii.gz")
    write_image(tmp_path / "plain.nii.gz", ct_hu())
    (tmp_path / "cases.csv").write_text("input,acquisition,output\nother.nii.gz,each,o\n")
    nifti(tmp_path / "other.nii.gz")
    for number in (3, 8):
        write_dicom(tmp_path / "study", ct_hu(), SeriesNumber=number)
    inputs = [str(path), str(tmp_path / "plain.nii.gz"), str(tmp_path / "cases.csv")]
    cases = cases_from([*inputs, str(tmp_path / "study")], Case("", Path(), acquisition="each"))
    assert {case.output: case.acquisition for case in cases} == {
        **{f"ct-{n}": str(n) for n in (1, 2, 3)},
        "plain": None,
        **{f"o-{n}": str(n) for n in (1, 2, 3)},
        **{f"study-{n}": None for n in (3, 8)},
    }
    for case, hu in zip(cases[:3], PHASES, strict=True):
        assert np.array_equal(read_volume(case.input, **case.reading()).hu, hu)
    assert len({case.series for case in cases[-2:]}) == 2


@pytest.mark.parametrize("option", [("--series", "all"), ("--acquisition", "each")])
def test_options_that_make_a_batch(tmp_path: Path, option: tuple[str, str]) -> None:
    write_dicom(tmp_path / "ct", ct_hu())
    arguments = ["correct", str(tmp_path / "ct"), str(tmp_path / "out"), *option]
    assert is_batch(build_parser().parse_args(arguments))
