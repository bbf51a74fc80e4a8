"""Every choice of a simulation reaches the work, from command line, list of CTs and panel's job."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib.cli import build_parser, main
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.jobs import call
from MetalArtifactReductionLib.jobs.job import Job
from MetalArtifactReductionLib.jobs.task import INPUTS, REQUEST, TaskRequest, array_file
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.volume import CTVolume
from simulate_support import at, clean_ct
from SimulateImplantsLib.cases import case, job
from SimulateImplantsLib.cases.options import SimulationOptions
from SimulateImplantsLib.commands.dataset import dataset_of
from SimulateImplantsLib.dataset import variants
from SimulateImplantsLib.dataset.plan import make_case
from SimulateImplantsLib.implants.simple_shapes import Sphere
from SimulateImplantsLib.placement.patient import Bones
from SimulateImplantsLib.voxels.voxelize import PlacedImplant

SCANNER = preset("low-dose", kvp=100.0, photons_per_ray=3e5, views=90)
CHOICES: dict[str, tuple[Any, list[str]]] = {
    "acquisition": (
        SCANNER,
        ["--preset", "low-dose", "--kvp", "100", "--photons", "3e5", "--set", "views=90"],
    ),
    "model": ("trace-maximum", ["--model", "trace-maximum"]),
    "seed": (7, ["--seed", "7"]),
    "every_slice": (True, ["--every-slice"]),
    "with_reference": (False, ["--no-reference"]),
    "keep_sinograms": (True, ["--sinograms"]),
    "device": ("cuda:0", ["--device", "cuda:0"]),
    "batch_slices": (3, ["--batch-slices", "3"]),
}
"""A value of each field that is not its default, and how the command line says it."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[SimulationOptions]:
    """What the work was given; it is not done."""
    given: list[SimulationOptions] = []

    def work(_volume: object, _fractions: object, scanner: Any, **more: Any) -> None:
        more = {key: more[key] for key in more if key not in ("progress", "cancel")}
        given.append(SimulationOptions(scanner, **more))
        raise InputError("seen")

    monkeypatch.setattr(case, "simulate_volume", work)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    return given


def sent(made: Job) -> TaskRequest:
    """What the process of a job reads."""
    said = json.loads((made.folder / REQUEST).read_text())
    arrays = {name: np.load(array_file(made.folder, INPUTS, name)) for name in said["arrays"]}
    made.close()
    return TaskRequest(said["arguments"], arrays, lambda *_: None, lambda: False)


def test_every_field_is_walked() -> None:
    assert set(CHOICES) == {item.name for item in fields(SimulationOptions)}
    for name, (value, _) in CHOICES.items():
        assert getattr(SimulationOptions(), name) != value


@pytest.mark.parametrize("name", CHOICES)
def test_from_the_command_line(name: str, seen: list[SimulationOptions], tmp_path: Path) -> None:
    value, words = CHOICES[name]
    metal = ["--shape", "sphere:diameter=18", "--at", at(6, 48, 48), "--device", "cpu"]
    ct = str(clean_ct(tmp_path / "ct.nii.gz"))
    assert main(["simulate", ct, str(tmp_path / "out"), *metal, "--quiet", *words]) == 2
    assert seen == [replace(SimulationOptions(), **{name: value})]


@pytest.mark.parametrize("name", CHOICES)
def test_from_the_panel_s_jobs(name: str, seen: list[SimulationOptions], tmp_path: Path) -> None:
    options = replace(SimulationOptions(), **{name: CHOICES[name][0]})
    volume = CTVolume(np.full((8, 32, 32), 40.0, np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))
    ball = PlacedImplant(Sphere(diameter_mm=12.0), np.eye(4), "ball")
    ball.placement[:3, 3] = (32.0, 32.0, 12.0)
    with pytest.raises(InputError, match="seen"):
        job.simulate(sent(job.simulation_job(volume, [ball], options)))
    wanted = variants.Variants(count=2, seed=1, random_share=1.0)
    call.run(sent(variants.variants_job(volume, Bones(), wanted, options, tmp_path)))
    assert seen == [options, *(replace(options, seed=options.seed + n) for n in (0, 1))]


@pytest.mark.parametrize("name", ["acquisition", "model", "with_reference", "device"])
@pytest.mark.parametrize("listed", [True, False])
def test_from_a_dataset(
    name: str, listed: bool, seen: list[SimulationOptions], tmp_path: Path
) -> None:
    """The seed is drawn for each case; the rest a dataset leaves as it is."""
    value, words = CHOICES[name]
    config: dict[str, Any] = {"cts": [str(clean_ct(tmp_path / "ct.nii.gz"))], "mix": {"rods": 1}}
    if listed:  # the device is the machine's and never of the list
        changes = {"kvp": 100.0, "photons_per_ray": 3e5, "views": 90}
        config |= {
            "acquisition": {"presets": ["low-dose"], "acquisition": changes},
            "model": {"model": value},
            "with_reference": {"reference": value},
        }.get(name, {})
        words = words if name == "device" else []
    (tmp_path / "config.json").write_text(json.dumps(config))
    line = ["dataset", str(tmp_path / "config.json"), str(tmp_path / "set"), *words]
    plan, _, _ = dataset_of(build_parser().parse_args(line))
    made = make_case(plan, tmp_path / "set", tmp_path / "stop", 0)
    assert made.reason == "seen", made
    expected = SimulationOptions(**{name: value})
    assert [replace(one, seed=0) for one in seen] == [expected]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "magic"}, "'magic'; use one of physics, trace-maximum"),
        ({"seed": -1}, "seed -1 must be a whole number, 0 or more"),
        ({"seed": 1.5}, "seed 1.5 must"),
        ({"batch_slices": 0}, "batch_slices 0 must be a whole number, 1 or more"),
    ],
)
def test_values_that_cannot_be_used(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        SimulationOptions(**changes)


def test_options_go_through_json() -> None:
    options = SimulationOptions(**{name: value for name, (value, _) in CHOICES.items()})
    assert SimulationOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
