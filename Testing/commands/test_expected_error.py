"""``mar correct`` with the learned image prior, and the map of its expected error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli_support import (
    METAL_SLICES,
    assert_refused,
    ct_hu,
    metal_truth,
    run,
    same_grid,
    snapshot,
    stored,
    write_image,
)

Capture = pytest.CaptureFixture[str]
COMPUTE = ("--device", "cpu", "--quiet")


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return write_image(tmp_path / "ct.nii.gz", ct_hu())


def test_expected_error_of_one_volume(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    out, error = tmp_path / "out.nii.gz", tmp_path / "error.nrrd"
    outcome = run(
        capfd,
        "correct",
        "--always",
        ct,
        out,
        "--method",
        "prior",
        "--expected-error",
        error,
        "--device",
        "cpu",
    )
    assert outcome.code == 0, outcome.err
    assert "changed outside the metal's rays: " in outcome.out and "(RMS)" in outcome.out
    found = stored(error)
    assert found.dtype == np.float32 and same_grid(error, ct)
    where = np.zeros(len(found), dtype=bool)
    where[METAL_SLICES] = True
    assert (found[where] > 0).all() and not found[~where].any()
    # The network is less sure beside metal than in the air around the body.
    beside = stored(out)[where][~metal_truth()[where]]
    assert np.isfinite(beside).all()
    assert found[2, 46:54, 40:56].mean() > 3 * found[2, :6, :6].mean()


def test_strict_changes_nothing_but_the_metals_rays(
    tmp_path: Path, ct: Path, capfd: Capture
) -> None:
    outcome = run(
        capfd,
        "correct",
        "--always",
        ct,
        tmp_path / "out.nii.gz",
        "--method",
        "prior-strict",
        "--device",
        "cpu",
    )
    assert outcome.code == 0, outcome.err
    assert "outside the metal's rays" not in outcome.out


def test_who_does_not_know_is_refused_before_the_work(
    tmp_path: Path, ct: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("MetalArtifactReductionLib.correction.correct_volume", None)
    other = write_image(tmp_path / "other.nii.gz", ct_hu())
    cases = tmp_path / "cases.csv"
    cases.write_text("input,method\nct.nii.gz,prior\nother.nii.gz,li\n", encoding="utf-8")
    one, many = tmp_path / "out.nii.gz", tmp_path / "out"
    file = ("--expected-error", tmp_path / "error.nrrd")
    each = "--with-expected-error"
    before = snapshot(tmp_path)
    for arguments, words in (
        ((ct, one, *file), ("'nmar' does not know", "(prior)")),
        ((ct, one, *file, "--method", "prior-strict"), ("'prior-strict' does not know",)),
        ((ct, one, *file, "--method", "magic"), ("unknown method 'magic'",)),
        ((ct, one, "--method", "prior", "--expected-error", ct), ("is the input itself",)),
        ((ct, one, "--method", "prior", "--expected-error", one), ("named for two outputs",)),
        ((ct, other, many, *file), ("--with-expected-error",)),
        ((ct, other, many, each), ("'nmar' does not know",)),
        ((cases, many, each), ("'li' does not know",)),
        ((ct, other, many, each, "--method", "prior", "--dicom"), ("leave it out with --dicom",)),
    ):
        assert_refused(run(capfd, "correct", *arguments, *COMPUTE), *words)
    assert snapshot(tmp_path) == before


def test_expected_error_of_every_case(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    import json

    out = tmp_path / "out"
    command = (
        "correct",
        "--always",
        ct,
        out,
        "--method",
        "prior",
        "--with-expected-error",
        *COMPUTE,
    )
    outcome = run(capfd, *command)
    assert outcome.code == 0, outcome.err
    case = out / "ct"
    names = [
        "before-after.png",
        "case.json",
        "corrected.nii.gz",
        "expected-error.nii.gz",
        "metal.nii.gz",
    ]
    assert sorted(path.name for path in case.iterdir()) == names
    kept = json.loads((case / "case.json").read_text(encoding="utf-8"))
    assert kept["before_after"]["expected_error_mean_hu"][0] is None
    assert kept["before_after"]["expected_error_mean_hu"][1] > 0
    assert "changed outside the metal's rays" in kept["record"]["notes"]
    assert kept["settings"]["expected_error"] is True
    # Finished with the map, so also without; and not the other way round.
    again = run(
        capfd, "correct", "--always", ct, out, "--method", "prior", "--workers", 1, *COMPUTE
    )
    assert again.code == 0 and "1 of them from before" in again.out
