"""What the commands write and print where all is well, and when they are stopped."""

from __future__ import annotations

import argparse
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from cli_support import (
    DISCS,
    METAL_SLICES,
    SHAPE,
    SPACING_MM,
    ct_hu,
    metal_truth,
    run,
    run_and_signal,
    run_process,
    same_grid,
    snapshot,
    stored,
    write_dicom,
    write_image,
)
from MetalArtifactReductionLib.cli import build_parser
from MetalArtifactReductionLib.progress import Progress

Capture = pytest.CaptureFixture[str]
NO_METAL = [0, 5]


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_image(tmp_path / "ct.nii.gz", ct_hu())


# -- help ---------------------------------------------------------------------------------------


def subcommands() -> dict[str, argparse.ArgumentParser]:
    parser = build_parser()
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def test_help_lists_every_command(capfd: Capture) -> None:
    outcome = run(capfd, "--help")
    assert outcome.code == 0 and outcome.err == ""
    commands = subcommands()
    assert {"info", "segment", "correct", "evaluate"} <= commands.keys()
    for name in commands:
        assert re.search(rf"^ +{name}( |$)", outcome.out, re.MULTILINE)


def test_help_of_every_command_explains_every_option(capfd: Capture) -> None:
    for name, parser in subcommands().items():
        outcome = run(capfd, name, "--help")
        assert outcome.code == 0 and outcome.err == ""
        assert parser.description and len(parser.description) > 80
        for action in parser._actions:
            assert action.help, (name, action.dest)
            for option in action.option_strings:
                assert option in outcome.out
    assert "nmar" in run(capfd, "correct", "--help").out


# -- info ---------------------------------------------------------------------------------------


def test_info(ct: Path, tmp_path: Path, capfd: Capture) -> None:
    before = snapshot(tmp_path)
    outcome = run(capfd, "info", ct)
    assert outcome.code == 0 and outcome.err == ""
    facts = dict(re.split(r" {2,}", line, maxsplit=1) for line in outcome.out.splitlines())
    assert facts["path"] == str(ct)
    assert facts["matrix"] == "96, 96, 6"
    assert facts["spacing mm"] == "1.9, 2, 3"
    assert facts["voxel type"] == "int16"
    assert facts["hu max"] == str(ct_hu().max())
    assert snapshot(tmp_path) == before


def test_info_tells_the_scan_but_not_the_patient(tmp_path: Path, capfd: Capture) -> None:
    folder = write_dicom(tmp_path / "scan", ct_hu(), SeriesDescription="Spine 3.0")
    outcome = run(capfd, "info", folder)
    assert outcome.code == 0
    assert "Spine 3.0" in outcome.out and "120" in outcome.out and "dicom" in outcome.out
    for identity in ("DOE", "JANE", "MRN4711", "19501231", "A-0815", "HOUSE", "Elsewhere"):
        assert identity not in outcome.out + outcome.err


# -- segment ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--segmentation", "kmeans"], ["--threshold", "3000"]])
def test_segment_finds_the_discs(
    tmp_path: Path, ct: Path, capfd: Capture, options: list[str]
) -> None:
    before = snapshot(tmp_path)
    outcome = run(capfd, "segment", ct, tmp_path / "metal.nrrd", *options)
    assert outcome.code == 0 and re.fullmatch(r"\s*segmenting.* 100%.*done\n", outcome.err, re.S)
    mask = stored(tmp_path / "metal.nrrd")
    assert mask.dtype == np.uint8 and same_grid(tmp_path / "metal.nrrd", ct)
    truth = metal_truth()
    assert 2 * (truth & (mask > 0)).sum() / (truth.sum() + mask.sum()) > 0.95
    told = float(re.search(r"([\d.]+) ml$", outcome.out.splitlines()[0])[1])  # type: ignore[index]
    assert told == pytest.approx(truth.sum() * np.prod(SPACING_MM) / 1000, rel=0.1)
    parts = [line for line in outcome.out.splitlines() if "part" in line]
    assert len(parts) == len(DISCS)
    for line, disc in zip(parts, DISCS, strict=True):  # the larger one first
        highest = ct_hu()[metal_truth((disc,))].max()
        assert f"up to {highest} HU, at R " in line and "slices 1-4: metal" in line
    assert {k: v for k, v in snapshot(tmp_path).items() if k != "metal.nrrd"} == before


def test_segment_writes_fractions(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    assert run(capfd, "segment", ct, tmp_path / "share.nii.gz", "--fraction").code == 0
    assert run(capfd, "segment", ct, tmp_path / "mask.nii.gz").code == 0
    share, mask = stored(tmp_path / "share.nii.gz"), stored(tmp_path / "mask.nii.gz")
    assert share.dtype == np.float32 and share.min() == 0 and share.max() <= 1
    assert np.array_equal(share >= 0.5, mask > 0)
    inside = metal_truth(tuple((y, x, radius - 1.5) for y, x, radius in DISCS))
    assert (share[inside] == 1).all()


# -- correct ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["li", "nmar"])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_correct(tmp_path: Path, capfd: Capture, method: str, dtype: str) -> None:
    ct = write_image(tmp_path / "ct.nii.gz", ct_hu(dtype=dtype))
    before = snapshot(tmp_path)
    out, change, metal = (tmp_path / f"{n}.nii.gz" for n in ("out", "change", "metal"))
    outcome = run(
        capfd,
        *(
            "correct",
            "--always",
            ct,
            out,
            "--method",
            method,
            "--change-map",
            change,
            "--metal",
            metal,
        ),
        *("--device", "cpu", "--batch-slices", 3),
    )
    assert outcome.code == 0, outcome.err
    assert "metal above" in outcome.out and "100%" in outcome.err

    given, corrected = stored(ct), stored(out)
    assert corrected.dtype == given.dtype == dtype
    assert all(same_grid(path, ct) for path in (out, change, metal))
    assert np.array_equal(corrected[NO_METAL], given[NO_METAL])
    assert not np.array_equal(corrected[METAL_SLICES], given[METAL_SLICES])
    assert np.abs(corrected).max() < 20000

    changed = stored(change)
    assert changed.dtype == np.float32 and not changed[NO_METAL].any()
    difference = corrected.astype(np.float32) - given.astype(np.float32)
    if dtype == "float32":
        assert np.array_equal(changed, difference)
    else:  # the corrected volume is rounded, the map is not
        assert np.abs(changed - difference).max() <= 0.501

    share = tmp_path / "share.nii.gz"
    assert run(capfd, "segment", ct, share, "--fraction").code == 0
    assert np.array_equal(stored(metal), stored(share))
    new = {"out.nii.gz", "change.nii.gz", "metal.nii.gz", "share.nii.gz"}
    assert {k: v for k, v in snapshot(tmp_path).items() if k not in new} == before
    assert set(snapshot(tmp_path)) == new | {"ct.nii.gz"}


def test_only_the_masked_metal_is_corrected(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    truth = metal_truth(DISCS[:1])
    truth[1:3] = False
    mask = write_image(tmp_path / "mask.nii.gz", truth.astype(np.uint8))
    out, metal = tmp_path / "out.mha", tmp_path / "metal.nrrd"
    outcome = run(
        capfd, "correct", "--always", ct, out, "--mask", mask, "--metal", metal, "--quiet"
    )
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert np.array_equal(stored(metal), truth)
    same = [np.array_equal(a, b) for a, b in zip(stored(out), stored(ct), strict=True)]
    assert same == [True, True, True, False, False, True]


@pytest.mark.parametrize("option", ["replace", "add-change", "frequency-split"])
def test_reconstructions_differ(tmp_path: Path, ct: Path, capfd: Capture, option: str) -> None:
    out = tmp_path / "out.nrrd"
    command = ["correct", "--always", ct, out, "--method", "li", "--quiet", "--force"]
    assert run(capfd, *command, "--reconstruction", option).code == 0
    chosen = stored(out)
    assert run(capfd, *command).code == 0
    assert np.array_equal(chosen, stored(out)) == (option == "replace")


def test_batches_do_not_matter(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    for slices in (1, 8):
        out = tmp_path / f"{slices}.nrrd"
        command = ["correct", "--always", ct, out, "--batch-slices", slices, "--quiet"]
        assert run(capfd, *command).code == 0
    one, eight = (stored(tmp_path / f"{n}.nrrd").astype(int) for n in (1, 8))
    assert np.abs(one - eight).max() <= 1


def test_a_dicom_folder(tmp_path: Path, capfd: Capture) -> None:
    folder = write_dicom(tmp_path / "scan", ct_hu())
    before = snapshot(folder)
    out = tmp_path / "out.nrrd"
    assert run(capfd, "correct", "--always", folder, out, "--quiet").code == 0
    assert snapshot(folder) == before
    corrected, given = sitk.ReadImage(str(out)), ct_hu()
    assert corrected.GetSpacing() == pytest.approx(SPACING_MM)
    assert corrected.GetOrigin() == pytest.approx((-80, -90, 400))
    values = sitk.GetArrayFromImage(corrected)
    assert values.dtype == np.int16 and np.array_equal(values[NO_METAL], given[NO_METAL])
    assert not np.array_equal(values[1:5], given[1:5])


def test_a_series_is_chosen(tmp_path: Path, capfd: Capture) -> None:
    write_dicom(tmp_path / "scan", ct_hu(), SeriesNumber=4)
    write_dicom(tmp_path / "scan", ct_hu(metal=False), SeriesNumber=7)
    told = run(capfd, "info", tmp_path / "scan", "--series", "7")
    assert told.code == 0 and f"{ct_hu(metal=False).max()}" in told.out
    assert f"{ct_hu().max()}" in run(capfd, "info", tmp_path / "scan", "--series", "4").out


def test_force_replaces(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    for name in ("out.nrrd", "change.nrrd"):
        (tmp_path / name).write_text("old")
    outcome = run(
        capfd,
        *(
            "correct",
            "--always",
            ct,
            tmp_path / "out.nrrd",
            "--change-map",
            tmp_path / "change.nrrd",
        ),
        *("--force", "--quiet"),
    )
    assert outcome.code == 0, outcome.err
    assert stored(tmp_path / "out.nrrd").shape == stored(tmp_path / "change.nrrd").shape == SHAPE


def test_in_a_process_of_its_own(tmp_path: Path, ct: Path) -> None:
    """The same file as in this process, and nothing on the terminal that was not asked for."""
    outcome = run_process(
        "correct", "--always", ct, tmp_path / "out.nii.gz", "--quiet", "--device", "cpu"
    )
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert stored(tmp_path / "out.nii.gz").shape == SHAPE
    assert sorted(snapshot(tmp_path)) == ["ct.nii.gz", "out.nii.gz"]


# -- stopped ------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 2])
def test_stopped_while_correcting(
    tmp_path: Path, ct: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    (tmp_path / "out.nii.gz").write_text("old")
    before = snapshot(tmp_path)

    @contextmanager
    def bar(title: str, quiet: bool = False) -> Iterator[Progress]:
        reports: list[str] = []

        def progress(fraction: float, message: str) -> None:
            reports.append(message)
            if len(reports) > after:
                raise KeyboardInterrupt

        yield progress

    monkeypatch.setattr("MetalArtifactReductionLib.commands.correct.progress_bar", bar)
    outcome = run(
        capfd,
        *(
            "correct",
            "--always",
            ct,
            tmp_path / "out.nii.gz",
            "--change-map",
            tmp_path / "change.nrrd",
        ),
        *("--force", "--quiet", "--batch-slices", 1),
    )
    assert outcome.code == 130
    assert outcome.err == "mar: stopped; nothing was written\n"
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_stopped_while_writing_the_last_of_three_files(
    tmp_path: Path,
    ct: Path,
    capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    from MetalArtifactReductionLib.files import nifti

    written = []
    real = nifti.write_nifti

    def write(path: Path, *rest: Any) -> None:
        written.append(path.name)
        real(path, *rest)
        if path.name == "out.nii.gz":
            raise error

    monkeypatch.setattr(nifti, "write_nifti", write)
    before = snapshot(tmp_path)
    out, change, metal = (tmp_path / f"{name}.nii.gz" for name in ("out", "change", "metal"))
    outcome = run(
        capfd, "correct", "--always", ct, out, "--change-map", change, "--metal", metal, "--quiet"
    )
    assert sorted(written) == ["change.nii.gz", "metal.nii.gz", "out.nii.gz"]
    assert snapshot(tmp_path) == before
    if isinstance(error, OSError):
        assert outcome.code == 2
        assert outcome.err.startswith(f"mar: {out}: could not be written (No space left")
    else:
        assert outcome.code == 130


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to the whole console")
def test_ctrl_c(tmp_path: Path) -> None:
    """A real signal in the middle of a real correction."""
    ct = write_image(tmp_path / "ct.nrrd", ct_hu())
    before = snapshot(tmp_path)
    options = ("--batch-slices", 1, "--device", "cpu")
    stopped = run_and_signal(
        2, signal.SIGINT, "correct", "--always", ct, tmp_path / "out.nrrd", *options
    )
    assert stopped.code == 130, stopped
    assert stopped.err.endswith("mar: stopped; nothing was written\n")
    assert "corrected 1 of" in stopped.err and "Traceback" not in stopped.err
    assert snapshot(tmp_path) == before
