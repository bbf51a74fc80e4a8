"""One slice in a process that stays: the same values as in the whole volume, the newest first."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.jobs.estimate import small_phantom
from MetalArtifactReductionLib.jobs.preview import Preview, PreviewAnswer
from support import HANG_S


def answer_of(preview: Preview) -> PreviewAnswer:
    until = time.monotonic() + HANG_S
    while time.monotonic() < until:
        answer = preview.poll()
        if answer is not None:
            return answer
        time.sleep(0.02)
    raise TimeoutError


def test_a_slice_as_in_the_whole_volume() -> None:
    volume, metal = small_phantom((64, 80))
    metal[:2] = 0.0
    options = CorrectionOptions("li", always=True)
    whole = correct_volume(volume, metal, options=options)
    preview = Preview()
    try:
        slab = replace(volume, hu=volume.hu[2:7].copy(), source=None)
        preview.warm(slab, 1, options)
        assert preview.poll() is None and not preview.busy  # nobody waits for it
        assert preview._job is not None
        warmed, until = preview._job.folder / "answer-1.npz", time.monotonic() + HANG_S
        while not warmed.exists() and time.monotonic() < until:
            time.sleep(0.02)
        with np.load(warmed, allow_pickle=False) as file:
            assert not np.array_equal(file["hu"], slab.hu[1]), "a slice was corrected"
        for middle in (0, 1):  # given up for the next one
            preview.ask(slab, middle, metal[2:7], options)
        preview.ask(slab, 2, metal[2:7], options)
        answer = answer_of(preview)
        assert answer.problem == "" and answer.strength == 1.0
        assert answer.hu == pytest.approx(whole.corrected.hu[4], abs=0.05)
        assert preview.poll() is None and not preview.busy

        found = replace(options, threshold_hu=2000.0)
        preview.ask(slab, 2, None, found)
        by_threshold = answer_of(preview).hu
        assert by_threshold is not None
        inside = metal[4] == 0
        assert np.abs(by_threshold - whole.corrected.hu[4])[inside].mean() < 20.0

        preview.ask(slab, 2, np.zeros_like(slab.hu), options)
        assert "no metal" in answer_of(preview).problem
        preview.ask(slab, 2, metal[2:7], CorrectionOptions("magic"))
        assert "magic" in answer_of(preview).problem
    finally:
        folder = preview._job.folder if preview._job is not None else None
        preview.close()
    assert folder is not None and not folder.exists()
