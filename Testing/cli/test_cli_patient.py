"""``mar train-patient`` and ``mar hip-experiment`` as a user runs them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cli_support import ct_hu, run, stored, write_image
from hip_support import clean_hip, rod
from support import SHARED_DATA, shared_data

Capture = pytest.CaptureFixture[str]

QUICK = ("--masks", 12, "--steps", 2, "--device", "cpu", "--quiet")


@pytest.fixture
def hip(tmp_path: Path) -> Path:
    """A hip with a rod, as a file."""
    volume = clean_hip()
    hu = np.where(rod() > 0, 6000, volume.hu).astype(np.int16)
    return write_image(tmp_path / "hip.nii.gz", hu, volume.ijk_to_ras)


def test_trains_corrects_and_the_weights_are_a_method(hip: Path, capfd: Capture) -> None:
    folder = hip.parent / "run"
    corrected, again = hip.parent / "corrected.nii.gz", hip.parent / "again.nii.gz"
    done = run(capfd, "train-patient", hip, folder, "--corrected", corrected, *QUICK)
    assert (done.code, done.out.strip()) == (0, str(folder / "weights.safetensors"))
    weights = folder / "weights.safetensors"
    options = ("--method", weights, "--segmentation", "kmeans", "--quiet", "--device", "cpu")
    assert run(capfd, "correct", hip, again, *options).code == 0
    difference = np.abs(stored(corrected).astype(int) - stored(again))
    assert difference.max() <= 1
    assert not np.array_equal(stored(corrected), stored(hip))

    refused = run(capfd, "train-patient", hip, folder, *QUICK)
    assert refused.code == 2
    assert re.search("holds a training already.*--resume", refused.err)
    assert run(capfd, "train-patient", hip, folder, "--resume", *QUICK).code == 0


def test_says_so_where_there_is_nothing_to_learn_from(tmp_path: Path, capfd: Capture) -> None:
    ct = write_image(tmp_path / "ct.nii.gz", ct_hu())  # metal in all slices but the outermost
    refused = run(capfd, "train-patient", ct, tmp_path / "run", *QUICK)
    assert refused.code == 2
    assert re.fullmatch(
        r"mar: no clean slices near the metal in slices 1-4 of 6 .*trace-cnn.*nmar\n", refused.err
    )
    assert not (tmp_path / "run").exists()


def test_experiments_need_their_data(tmp_path: Path, capfd: Capture) -> None:
    given = ("hip-experiment", 1, "--data", tmp_path, "--output", tmp_path / "run", "--quiet")
    assert "no such file" in run(capfd, *given).err
    unknown = run(capfd, *given, "--hips", "knee")
    assert (unknown.code, "hip 'knee' is unknown" in unknown.err) == (2, True)
    alone = run(capfd, "hip-experiment", 2, *given[2:], "--hips", "ov")
    assert "experiment 2 needs several hips" in alone.err
    assert not (tmp_path / "run").exists()


def test_experiment_prints_the_papers_table_beside_ours(tmp_path: Path, capfd: Capture) -> None:
    shared_data("tcga_coad_AY-4070A_abdomen_pelvis.nii.gz")  # skips where it is not
    folder = tmp_path / "run"
    done = run(
        capfd,
        *("hip-experiment", 1, "--data", SHARED_DATA, "--output", folder, "--hips", "coad"),
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
