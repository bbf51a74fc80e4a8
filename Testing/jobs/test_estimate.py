"""The estimate counts slices right; how fast this machine is nobody asserts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from MetalArtifactReductionLib.correction import correct as correction
from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.jobs.estimate import Estimator, Speed, measure
from MetalArtifactReductionLib.jobs.job import JobState
from MetalArtifactReductionLib.jobs.queue import JobQueue
from MetalArtifactReductionLib.methods.linear import LinearInterpolation
from support import HANG_S


def test_a_measurement_with_a_clock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A projector that takes 7 s to make, 2 s a slice of the method; nothing else takes time."""
    now = 100.0

    class Slow(LinearInterpolation):
        def __call__(self, sinogram, trace, context):  # type: ignore[no-untyped-def]
            nonlocal now
            now += 2.0 * len(sinogram)
            return super().__call__(sinogram, trace, context)

    class Scanner(correction.Reprojection):
        def __init__(self, *arguments: object) -> None:
            nonlocal now
            now += 7.0
            super().__init__(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(correction, "Reprojection", Scanner)
    speed = measure(CorrectionOptions(), (48, 64), Slow(), clock=lambda: now)
    assert speed.slice_s == pytest.approx(2.0)
    assert speed.setup_s == pytest.approx(7.0)
    assert speed.seconds(100) == pytest.approx(207.0)


@pytest.mark.usefixtures("forked_jobs")
def test_the_estimator_measures_once_in_a_process() -> None:
    known: list[int] = []
    queue = JobQueue()
    estimator = Estimator(queue, on_known=lambda: known.append(1))
    assert estimator.seconds(CorrectionOptions("nmar"), (64, 64), 10) is None
    assert estimator.seconds(CorrectionOptions("nmar"), (64, 64), 10) is None
    assert len(queue.jobs) == 1
    assert queue.wait(HANG_S)
    assert queue.jobs[0].done, queue.jobs[0].log
    few, many = (
        estimator.seconds(CorrectionOptions("nmar"), (64, 64), count) for count in (10, 1000)
    )
    assert few is not None and many is not None
    assert 0 < few < many < math.inf
    assert estimator.device("cpu") == "cpu"
    assert estimator.device("auto") == ""  # nobody measured there
    assert known == [1] and queue.idle
    queue.close()


@pytest.mark.usefixtures("forked_jobs")
def test_what_cannot_be_measured_stays_unknown() -> None:
    queue = JobQueue()
    estimator = Estimator(queue)
    assert not estimator.measurable("patient")
    assert estimator.seconds(CorrectionOptions("patient"), (64, 64), 10) is None
    assert queue.jobs == []
    assert estimator.seconds(CorrectionOptions("magic"), (64, 64), 10) is None
    queue.wait(HANG_S)
    assert "unknown method 'magic'" in queue.jobs[0].error
    assert estimator.seconds(CorrectionOptions("magic"), (64, 64), 10) is None
    assert len(queue.jobs) == 1  # asked once
    queue.close()


def test_speed_is_linear_in_slices() -> None:
    assert Speed(3.0, 0.5).seconds(0) == 3.0
    assert np.diff([Speed(3.0, 0.5).seconds(n) for n in range(4)]).tolist() == [0.5] * 3


def test_the_phantom_is_a_ct_that_can_be_corrected() -> None:
    from MetalArtifactReductionLib.files.checks import check_is_ct
    from MetalArtifactReductionLib.jobs.estimate import small_phantom

    volume, metal = small_phantom((64, 80))
    check_is_ct(volume)
    assert correct_volume(volume, metal, "li", always=True).change_hu.any()


def test_a_measurement_gives_way_at_once() -> None:
    """A process that was asked to stop while it loads its libraries hears it only later."""
    queue = JobQueue()
    Estimator(queue).seconds(CorrectionOptions("nmar"), (64, 64), 10)
    queue.poll()
    (job,) = queue.jobs
    job.cancel()
    assert job.poll() is JobState.CANCELLED
    queue.close()
