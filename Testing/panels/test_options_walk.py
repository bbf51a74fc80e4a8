"""Each option of a correction, from where a user sets it to the work itself."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import panel_support
from MetalArtifactReductionLib.batch.record import BatchSettings
from MetalArtifactReductionLib.batch.work import run_case
from MetalArtifactReductionLib.cli import main
from MetalArtifactReductionLib.correction import correct as correction
from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.errors import MARError
from MetalArtifactReductionLib.files.volumes import write_volume
from MetalArtifactReductionLib.jobs import correction as correction_jobs
from MetalArtifactReductionLib.jobs.task import REQUEST, TaskRequest
from MetalArtifactReductionLib.metal.options import CleanUpParameters
from MetalArtifactReductionLib.tomography.trace import TraceParameters
from MetalArtifactReductionLib.volume import CTVolume

PARAMETERS = {
    "method": "nmar", "weightsFile": "", "slicesAbove": 11, "slicesBelow": 11, "device": "auto",
    "always": False, "includeSurface": False, "metalMethod": SimpleNamespace(value="threshold"),
    "automaticThreshold": True, "thresholdHu": 2500.0,
}  # fmt: skip
"""Of the panel's parameter node, what it begins with."""


@dataclass(frozen=True)
class Way:
    """How a user sets an option, and what the work then gets; empty where it is not offered."""

    command: Mapping[str, str] = field(default_factory=dict)
    column: Mapping[str, str] = field(default_factory=dict)
    panel: Mapping[str, Any] = field(default_factory=dict)
    gets: Any = None


WAYS = {
    "method": Way({"--method": "li"}, {"method": "li"}, {"method": "li"}, "li"),
    "method_options": Way(
        panel={"method": "patient", "slicesAbove": 3, "slicesBelow": 4},
        gets={"above": 3, "below": 4},
    ),
    "reconstruction": Way(
        {"--reconstruction": "add-change"}, {"reconstruction": "add-change"}, gets="add-change"
    ),
    "window": Way(),
    "trace": Way(),
    "always": Way({"--always": ""}, panel={"always": True}, gets=True),
    "segmentation": Way(
        {"--segmentation": "kmeans"},
        {"segmentation": "kmeans"},
        {"metalMethod": SimpleNamespace(value="kmeans")},
        "kmeans",
    ),
    "threshold_hu": Way(
        {"--threshold": "1999"},
        {"threshold": "1999"},
        {"automaticThreshold": False, "thresholdHu": 1999.0},
        1999.0,
    ),
    "clean_up": Way(
        {"--include-surface": ""},
        panel={"includeSurface": True},
        gets=CleanUpParameters(include_surface=True),
    ),
    "device": Way({"--device": "cpu"}, panel={"device": "cpu"}),
    "batch_slices": Way({"--batch-slices": "3"}, gets=3),
}


def test_every_option_is_walked() -> None:
    assert set(WAYS) == {option.name for option in fields(CorrectionOptions)}


class Seen(MARError):
    """The work has begun: nothing more is needed."""


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[CorrectionOptions]:
    """What the work itself is given, one entry a correction."""
    seen: list[CorrectionOptions] = []

    def work(*volume: Any, options: CorrectionOptions, **more: Any) -> None:
        seen.append(options)
        raise Seen("seen")

    monkeypatch.setattr(correction, "correct_volume", work)
    return seen


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    _, y, x = np.mgrid[:3, :48, :48]
    hu = np.where((x - 24) ** 2 + (y - 24) ** 2 < 20**2, 40.0, -1000.0).astype(np.float32)
    hu[:, 22:26, 12:16] = 3071.0
    path = tmp_path / "ct.nii.gz"
    write_volume(CTVolume(hu, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    return path


def in_the_child(options: CorrectionOptions) -> None:
    """As a job's process does it, from the file of JSON that it reads."""
    volume = CTVolume(np.zeros((2, 4, 4), np.float32), np.eye(4))
    job = correction_jobs.correction_job(volume, None, options)
    arguments = json.loads((job.folder / REQUEST).read_text())["arguments"]
    job.close()
    with pytest.raises(Seen):
        correction_jobs.correct(
            TaskRequest(arguments, {"hu": volume.hu}, lambda *told: None, lambda: False)
        )


def by_command(way: Way, ct: Path) -> None:
    words = [word for pair in way.command.items() for word in pair if word]
    main(["correct", str(ct), str(ct.parent / "out.nii.gz"), "--quiet", *words])


def by_list(way: Way, ct: Path) -> None:
    """A CSV of cases, by the library as ``mar correct`` reads it."""
    from MetalArtifactReductionLib.batch.cases import cases_from

    path = ct.parent / "cases.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["input", *way.column], [ct.name, *way.column.values()]])
    (case,) = cases_from([str(path)])
    folder = ct.parent / "batch"
    folder.mkdir()
    record = run_case(case, BatchSettings(folder))
    assert record.reason == "seen"


def by_panel(way: Way, ct: Path) -> None:
    from MetalArtifactReductionPanel.choices import correction_options

    in_the_child(correction_options(SimpleNamespace(**{**PARAMETERS, **way.panel})))


@pytest.mark.parametrize("name", list(WAYS))
@pytest.mark.parametrize(
    ("offered", "go"),
    [("command", by_command), ("column", by_list), ("panel", by_panel)],
    ids=["command", "list", "panel"],
)
def test_option_reaches_the_work(
    name: str,
    offered: str,
    go: Callable[[Way, Path], None],
    given: list[CorrectionOptions],
    ct: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    panel_support.install(monkeypatch)
    go(WAYS[name], ct)
    (options,) = given
    chosen = getattr(WAYS[name], offered)
    if name == "device":  # what "auto" comes to is the machine's
        expected = chosen[next(iter(chosen))] if chosen else options.device
    else:
        expected = WAYS[name].gets if chosen else getattr(CorrectionOptions(), name)
    assert getattr(options, name) == expected
    others = {option.name for option in fields(options)} - {name, "device"} - (
        {"method"} if "method" in chosen else set()
    )  # fmt: skip
    for other in others:
        assert getattr(options, other) == getattr(CorrectionOptions(), other)


def test_all_options_at_once_survive_the_way_to_a_process(given: list[CorrectionOptions]) -> None:
    options = CorrectionOptions(
        "li",
        {"weight": 0.5},
        "frequency-split",
        "hann",
        TraceParameters(dilation_bins=2),
        True,
        "kmeans",
        1800.0,
        CleanUpParameters(include_surface=True, exclude=(2,)),
        "cuda:1",
        3,
    )
    default = CorrectionOptions()
    assert all(getattr(options, one.name) != getattr(default, one.name) for one in fields(options))
    in_the_child(options)
    assert given == [options]
