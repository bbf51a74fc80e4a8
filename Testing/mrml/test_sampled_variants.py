"""Sampled variants of the patient in a scene."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib.jobs.job import JobState
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.cases.options import SimulationOptions
from SimulateImplantsLib.dataset.plan import MARKER
from SimulateImplantsLib.dataset.variants import Variants, variants_job
from SimulateImplantsLib.mrml import variants
from SimulateImplantsLib.placement.patient import Bones
from support import HANG_S


@pytest.mark.parametrize("kind", ["spine", "cages", "anterior-plates"])
def test_unnamed_points_in_vertebrae_get_levels(
    scene: Any, add_volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(variants, "variants_job", lambda _, bones, *__, **___: bones)
    jobs = SimpleNamespace(scene=scene, add=lambda bones, *_: bones)
    ct = add_volume(
        np.linspace(-1000, 1000, 8192, dtype=np.int16).reshape(8, 32, 32), np.eye(4), name="CT"
    )
    points = {"F-1": np.array([0.0, 0.0, 40.0]), "F-2": np.zeros(3)}
    given: Any = (jobs, ct, {}, points, Variants(kind), SimulationOptions(), tmp_path)
    bones: Any = variants.variants_in_background(*given, lowest="L4")
    assert {name: place[2] for name, place in bones.clicks.items()} == {"L4": 0.0, "L3": 40.0}


@pytest.mark.usefixtures("forked_jobs")
def test_what_is_finished_when_variants_are_cancelled_stays_and_is_told(tmp_path: Path) -> None:
    hu = np.full((8, 48, 48), 40.0, np.float32)
    wanted = Variants(count=1000, random_share=1.0)
    options = SimulationOptions(preset("low-dose", views=90), "trace-maximum")
    job = variants_job(CTVolume(hu, np.eye(4)), Bones(), wanted, options, tmp_path / "set")
    until = time.monotonic() + HANG_S
    job.start()
    while not list((tmp_path / "set").rglob(MARKER)) and time.monotonic() < until:
        job.poll()
        time.sleep(0.02)
    job.cancel()
    assert job.wait(HANG_S) is JobState.CANCELLED
    assert list((tmp_path / "set").rglob(MARKER))
    assert "finished stay in" in job.error and str(tmp_path / "set") in job.error
    job.close()
