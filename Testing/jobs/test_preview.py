"""One slice in a process that stays: the same values as in the whole volume, the newest first."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.jobs.estimate import small_phantom
from MetalArtifactReductionLib.jobs.preview import MARGIN_SLICES, Preview, PreviewAnswer
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.volume import CTVolume
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


def streaks_of_uneven_metal(slice_mm: float) -> tuple[CTVolume, np.ndarray]:
    """Two rods, one, or a wire by turns, with a share of their simulated streaks."""
    body, metal = small_phantom((96, 112))
    rods = metal[0].copy()
    one, wire = rods.copy(), np.zeros_like(rods)
    one[:, 56:] = 0.0
    wire[47:49, 33:35] = 1.0
    metal = np.stack([rods, wire, one, wire, rods, rods, wire, one])
    body = CTVolume(np.where(body.hu > 2000, 50.0, body.hu), np.diag([2.4, 2.4, slice_mm, 1.0]))
    scan = simulate_volume(body, {"CoCrMo": metal}, preset("wide-field", views=200), seed=1)
    share = np.array([0.02, 0.9, 0.10, 1.0, 0.04, 0.03, 1.0, 0.15], np.float32)
    hu = body.hu + share[:, None, None] * (scan.corrupted.hu - body.hu)
    return body.with_hu(np.where(metal > 0, 3071.0, hu)), metal


@pytest.mark.parametrize("slice_mm", [3.0, -1.0])  # to the head, to the feet
def test_a_slice_gets_as_much_of_its_change_as_in_the_whole_volume(slice_mm: float) -> None:
    """Which the metal of the slices beside it decides, too."""
    volume, metal = streaks_of_uneven_metal(slice_mm)
    options = CorrectionOptions("nmar")
    whole = correct_volume(volume, metal, options=options)
    assert whole.strength is not None
    assert np.count_nonzero((whole.strength > 0.05) & (whole.strength < 0.95)) >= 2
    preview = Preview()
    try:
        for index in range(len(metal)):
            near = slice(max(index - MARGIN_SLICES, 0), index + MARGIN_SLICES + 1)
            slab = replace(volume, hu=volume.hu[near], source=None)
            preview.ask(slab, index - near.start, metal[near], options)
            answer = answer_of(preview)
            assert answer.hu is not None
            assert answer.strength == pytest.approx(whole.strength[index], abs=0.01)
            assert answer.hu == pytest.approx(whole.corrected.hu[index], abs=2.0)
    finally:
        preview.close()
