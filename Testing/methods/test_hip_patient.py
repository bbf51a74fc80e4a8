"""Training on the patient's own slices: end to end, resumed, cancelled, refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hip_support import METAL, clean_hip, rod, scanned_hip
from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.errors import Cancelled, InputError, OutputError
from MetalArtifactReductionLib.methods.trace_cnn.network import TraceCNN
from MetalArtifactReductionLib.training.trainer import TrainingError
from MetalArtifactReductionLib.weights import load_weights

FEW = {"masks": 24, "steps": 3}


@pytest.fixture(scope="module")
def scan() -> object:
    return scanned_hip()


@pytest.mark.usefixtures("undrawn")
def test_from_a_volume_with_metal_to_a_corrected_one(scan, tmp_path: Path) -> None:
    told: list[float] = []
    result = correct_volume(
        scan.corrupted,
        scan.metal_fraction,
        "patient",
        method_options={"masks": 40, "steps": 25, "folder": str(tmp_path / "run")},
        progress=lambda fraction, message: told.append(fraction),
    )
    # What a scanner shows as bright as metal is given back as it was.
    tissue = (scan.metal_fraction < 0.02) & (clean_hip().hu > -500) & (scan.corrupted.hu < 2000)

    def rmse(hu: np.ndarray) -> float:
        error = (hu - scan.reference.hu)[METAL][tissue[METAL]]
        return float(np.sqrt((error**2).mean()))

    before = rmse(scan.corrupted.hu)
    # On pixels of 5 mm the proposal, which decides what is taken, is no better than the lines.
    lines = correct_volume(scan.corrupted, scan.metal_fraction, "li")
    assert rmse(result.corrected.hu) < rmse(lines.corrected.hu) < 0.62 * before
    with (tmp_path / "run" / "curve.csv").open(encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    # In the trace of training samples, where linear interpolation cannot know of bone.
    assert float(last["rmse"]) < 0.75 * float(last["rmse_lines"])
    others = np.setdiff1d(np.arange(len(tissue)), np.arange(METAL.start, METAL.stop))
    assert np.array_equal(result.corrected.hu[others], scan.corrupted.hu[others])
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert result.parameters["method_parameters"]["trained_on"] == [*range(8), *range(14, 22)]

    weights = tmp_path / "run" / "weights.safetensors"
    again = correct_volume(scan.corrupted, scan.metal_fraction, str(weights), batch_slices=1)
    assert np.abs(again.corrected.hu - result.corrected.hu).max() < 0.5


@pytest.mark.usefixtures("undrawn")
def test_resumed_training_gives_the_same_weights(scan, tmp_path: Path) -> None:
    def train(name: str, cancel_after: int | None, **options: object) -> None:
        steps = 0

        def count(fraction: float, message: str) -> None:
            nonlocal steps
            steps += message.startswith("step ")

        correct_volume(
            scan.corrupted,
            scan.metal_fraction,
            "patient",
            method_options={**FEW, "folder": tmp_path / name, **options},
            progress=count,
            cancel=lambda: cancel_after is not None and steps >= cancel_after,
        )

    train("whole", None)
    with pytest.raises(Cancelled, match="resume it from"):
        train("parts", 2)
    with pytest.raises(OutputError, match="holds a training already"):
        train("parts", None)
    with pytest.raises(InputError, match="was trained with data"):
        train("parts", None, resume=True, seed=5)
    train("parts", None, resume=True)
    one, two = (
        load_weights(
            tmp_path / name / "weights.safetensors", "trace-cnn", TraceCNN
        ).network.state_dict()
        for name in ("whole", "parts")
    )
    assert all(bool((one[key] == two[key]).all()) for key in one)


def test_same_seed_same_result_another_seed_another(scan) -> None:
    def corrected(seed: int) -> np.ndarray:
        options = {**FEW, "seed": seed}
        found = correct_volume(
            scan.corrupted, scan.metal_fraction, "patient", method_options=options
        )
        return found.corrected.hu

    first = corrected(0)
    assert np.array_equal(first, corrected(0))
    assert not np.array_equal(first, corrected(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"above": 0, "below": 2}, "only 2 clean slice.*trace-cnn.*nmar"),
        ({"slices": [3, 4, 5, 10]}, "slice 10 holds metal"),
        ({"slices": [3, 4, 5, 8]}, "slice 8 lies within 1 of metal"),
        ({"slices": [3, 4, 5, 99]}, "slice 99 is not one of 0-21"),
        ({"slices": [3]}, "1 slice.* 4 needed"),
        ({"steps": 0}, "steps is 0"),
        ({"above": -1}, "must be 0 or more"),
        ({"masks": 0}, "masks is 0"),
        ({"start": "zero"}, "start 'zero' is unknown"),
        ({"output": "all"}, "output 'all' is unknown"),
        ({"resume": True}, "no folder to resume from"),
        ({"depth": 3}, "depth"),
    ],
)
def test_refusals(scan, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        correct_volume(
            scan.corrupted, scan.metal_fraction, "patient", method_options={**FEW, **options}
        )
    assert "\n" not in str(caught.value)


def test_metal_through_the_whole_volume_leaves_nothing_to_learn_from() -> None:
    volume, metal = clean_hip(), rod()
    metal[:] = metal[METAL.start]
    with pytest.raises(InputError, match=r"no clean slices near the metal.*trace-cnn.*nmar"):
        correct_volume(volume, metal, "patient", method_options=FEW)


@pytest.mark.usefixtures("undrawn")
def test_training_that_diverges_stops_and_keeps_the_last_good_weights(
    scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MetalArtifactReductionLib.methods.trace_cnn import task as hip_task

    monkeypatch.setattr(hip_task, "LEARNING_RATE", 1e30)
    with pytest.raises(TrainingError, match="not finite"):
        correct_volume(
            scan.corrupted,
            scan.metal_fraction,
            "patient",
            method_options={"masks": 24, "steps": 20, "folder": tmp_path / "run"},
        )
    # Refuses values that are not finite.
    load_weights(tmp_path / "run" / "weights.safetensors", "trace-cnn", TraceCNN)
