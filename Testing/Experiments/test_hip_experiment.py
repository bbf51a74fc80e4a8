"""The hip paper's experiments as a user runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hip_experiment import add_hip_experiment

from cli_support import Outcome, run
from support import SHARED_DATA, shared_data

Capture = pytest.CaptureFixture[str]


def run_experiment(capfd: Capture, *arguments: object) -> Outcome:
    return run(capfd, "hip-experiment", *arguments, more=[add_hip_experiment])


def test_experiments_need_their_data(tmp_path: Path, capfd: Capture) -> None:
    given = (1, "--data", tmp_path, "--output", tmp_path / "run", "--quiet")
    assert "no such file" in run_experiment(capfd, *given).err
    unknown = run_experiment(capfd, *given, "--hips", "knee")
    assert (unknown.code, "hip 'knee' is unknown" in unknown.err) == (2, True)
    alone = run_experiment(capfd, 2, *given[1:], "--hips", "ov")
    assert "experiment 2 needs several hips" in alone.err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_experiment_prints_the_papers_table_beside_ours(tmp_path: Path, capfd: Capture) -> None:
    shared_data("tcga_coad_AY-4070A_abdomen_pelvis.nii.gz")  # skips where it is not
    folder = tmp_path / "run"
    done = run_experiment(
        capfd,
        *(1, "--data", SHARED_DATA, "--output", folder, "--hips", "coad"),
        *("--masks", 8, "--steps", 2, "--pairs", 4, "--physics-slices", 0, "--quiet"),
    )
    assert done.code == 0
    rows = dict(re.findall(r"^(\S.*?)  +(\d\.\d+e-\d+ .*)$", done.out, re.M))
    assert rows["paper, corrected"].split() == ["3.564e-04", "40.99", "0.9473"]
    figures = {name: [float(value) for value in row.split()] for name, row in rows.items()}
    uncorrected = figures["uncorrected (maximum in the trace)"]
    # The max-filled image is as bad as in the paper (MSE 6.6e-2, SSIM 0.35), to a factor.
    assert 0.02 < uncorrected[0] < 0.2
    assert 0.2 < uncorrected[3] < 0.6
    for name in ("linear interpolation", "NMAR"):
        assert figures[name][0] < 0.02 * uncorrected[0]
    assert {"the paper's, full output", "from lines, trace, ends met"} < set(figures)
    assert (folder / "experiment-1.txt").read_text(encoding="utf-8") == done.out
