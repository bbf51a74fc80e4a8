"""``mar train-patient`` as a user runs it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cli_support import ct_hu, run, stored, write_image
from hip_support import scanned_hip

Capture = pytest.CaptureFixture[str]

QUICK = ("--masks", 12, "--steps", 2, "--device", "cpu", "--quiet")


@pytest.fixture
def hip(tmp_path: Path) -> Path:
    """A hip with a rod and its streaks, as a file."""
    volume = scanned_hip().corrupted
    return write_image(tmp_path / "hip.nii.gz", volume.hu.astype(np.int16), volume.ijk_to_ras)


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
