"""Sampled variants of the patient in a scene."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from SimulateImplantsLib.cases.options import SimulationOptions
from SimulateImplantsLib.dataset.variants import Variants
from SimulateImplantsLib.mrml import variants


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
