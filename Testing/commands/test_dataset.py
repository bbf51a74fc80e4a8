"""``mar dataset``: the same cases whatever the workers, resumed after any end, bad cases logged."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cli_support import assert_refused, run, run_and_signal, snapshot, stored
from MetalArtifactReductionLib.errors import Cancelled
from MetalArtifactReductionLib.jobs import isolated
from MetalArtifactReductionLib.jobs.isolated import run_isolated
from simulate_support import QUICK, SHAPE, clean_ct, clean_hu, die_at_two, wait_for_stop
from SimulateImplantsLib.dataset.plan import CTSource, DatasetPlan, draw_case
from support import HANG_S

Capture = pytest.CaptureFixture[str]
LIGHT = [*QUICK, "--model", "missing-trace", "--quiet"]
SEED = 5
"""Gives both kinds and both CTs among five cases."""
FILES = {"corrupted", "ideal", "reference", "metal-fraction", "labels"}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cases_of(folder: Path) -> dict[str, str]:
    """Content of every case; the log has times in it."""
    return {k: v for k, v in snapshot(folder).items() if k.startswith("case-")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CTs and a dataset of five cases by one worker; read only."""
    from MetalArtifactReductionLib.cli import main

    folder = tmp_path_factory.mktemp("dataset")
    cts = [str(clean_ct(folder / f"{name}.nii.gz", seed)) for name, seed in (("a", 0), ("b", 1))]
    before = snapshot(folder)
    command = ["dataset", *cts, str(folder / "set"), "--cases", "5", "--seed", str(SEED), *LIGHT]
    assert main(command) == 0
    assert {k: v for k, v in snapshot(folder).items() if not k.startswith("set")} == before
    return folder


def command(made: Path, output: Path, *more: object, cases: int = 5) -> list[object]:
    cts = [made / "a.nii.gz", made / "b.nii.gz"]
    return ["dataset", *cts, output, "--cases", cases, "--seed", SEED, *LIGHT, *more]


def test_cases_and_log(made: Path) -> None:
    log = rows(made / "set")
    assert [row["index"] for row in log] == ["0", "1", "2", "3", "4"]
    assert {row["status"] for row in log} == {"done"}
    assert {row["kind"] for row in log} == {"rods", "random"}
    assert {row["ct"] for row in log} == {"a.nii.gz", "b.nii.gz"}
    for row in log:
        case = made / "set" / f"case-{int(row['index']):05d}"
        assert {f"{name}.nii.gz" for name in FILES} <= {path.name for path in case.iterdir()}
        fraction = stored(case / "metal-fraction.nii.gz")
        parts = sum(stored(path) for path in case.glob("fraction-*.nii.gz"))
        assert np.allclose(fraction, parts)
        assert len(fraction) == int(row["slices"]) and fraction.any()
        millilitres = fraction.sum(dtype=float) * 12 / 1000
        assert float(row["metal_ml"]) == pytest.approx(millilitres, abs=0.006)
        # Only the slices with metal and a margin of two, where the volume goes on.
        held = np.flatnonzero(fraction.any(axis=(1, 2)))
        first = int(row["first_slice"])
        assert held[0] <= 3 and len(fraction) - 1 - held[-1] <= 3
        assert held[0] >= 2 or first == 0
        clean = clean_hu({"a.nii.gz": 0, "b.nii.gz": 1}[row["ct"]])[first : first + len(fraction)]
        ideal = stored(case / "ideal.nii.gz")
        assert np.array_equal(ideal[fraction == 0], clean[fraction == 0])
        marker = json.loads((case / "case.json").read_text())
        assert marker["case"] == int(row["index"]) and marker["ct"] == row["ct"]


def test_some_slices_of_each_case(made: Path, tmp_path: Path, capfd: Capture) -> None:
    """Where there is metal; the same as in the whole case."""
    outcome = run(capfd, *command(made, tmp_path / "set", "--slices", 2))
    assert outcome.code == 0
    for row in rows(tmp_path / "set"):
        name = f"case-{int(row['index']):05d}"
        part, whole = (
            stored(f / name / "metal-fraction.nii.gz") for f in (tmp_path / "set", made / "set")
        )
        first = int(row["first_slice"]) - int(rows(made / "set")[int(row["index"])]["first_slice"])
        assert len(part) == 2 and part.any()
        assert np.allclose(part, whole[first : first + 2], atol=0.01)
        assert json.loads((tmp_path / "set" / name / "case.json").read_text())["warnings"] == []


def test_the_cases_differ_and_both_kinds_and_cts_occur() -> None:
    plan = DatasetPlan((CTSource(Path("a")), CTSource(Path("b"))), seed=2)
    draws = [draw_case(plan, index) for index in range(400)]
    assert draws == [draw_case(plan, index) for index in range(400)]
    assert len({draw.placement_seed for draw in draws}) == 400
    for name, values in (("kind", ("rods", "random")), ("source", (0, 1))):
        share = np.mean([getattr(draw, name) == values[0] for draw in draws])
        assert abs(share - 0.5) < 0.1, (name, share)
    mixed = DatasetPlan(plan.sources, mix={"random": 3.0, "rods": 1.0})
    share = np.mean([draw_case(mixed, index).kind == "random" for index in range(400)])
    assert abs(share - 0.75) < 0.09


def test_realistic_cases_come_from_every_ct() -> None:
    sources = (CTSource(Path("a")), CTSource(Path("b"), segmentation=Path("s")))
    plan = DatasetPlan(sources, mix={"realistic": 0.5, "random": 0.5})
    draws = [draw_case(plan, index) for index in range(200)]
    assert {d.source for d in draws if d.kind == "realistic"} == {0, 1}
    assert {d.source for d in draws if d.kind == "random"} == {0, 1}


@pytest.mark.usefixtures("own_processes")
def test_two_workers_give_the_same(made: Path, tmp_path: Path, capfd: Capture) -> None:
    outcome = run(capfd, *command(made, tmp_path / "set", "--workers", 2))
    assert outcome.code == 0, outcome
    assert "5 of 5 cases, 0 of them from before" in outcome.out
    assert cases_of(tmp_path / "set") == cases_of(made / "set")
    settings = [folder / "set" / "dataset.json" for folder in (made, tmp_path)]
    assert settings[0].read_bytes() == settings[1].read_bytes()
    assert len(rows(tmp_path / "set")) == 5


def test_half_cases_are_done_again_and_whole_ones_left(
    made: Path, tmp_path: Path, capfd: Capture
) -> None:
    folder = tmp_path / "set"
    shutil.copytree(made / "set", folder)
    (folder / "case-00001" / "case.json").unlink()
    (folder / "case-00003" / "case.json").unlink()
    (folder / "case-00003" / "corrupted.nii.gz").write_bytes(b"half")
    shutil.rmtree(folder / "case-00004")  # as if more cases were asked for now
    (folder / ".case-00004-abc" / "case-00004").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    kept = folder / "case-00002" / "corrupted.nii.gz"
    stamp = kept.stat().st_mtime_ns
    outcome = run(capfd, *command(made, folder))
    assert outcome.code == 0 and "5 of 5 cases, 2 of them from before" in outcome.out
    assert cases_of(folder) == cases_of(made / "set")
    assert kept.stat().st_mtime_ns == stamp
    assert not list(folder.glob(".*")) and (folder / "notes.txt").read_text() == "mine"


def test_a_case_can_be_made_again_from_its_record(
    made: Path, tmp_path: Path, capfd: Capture
) -> None:
    log = rows(made / "set")
    row = next(row for row in log if row["kind"] == "random")
    case = made / "set" / f"case-{int(row['index']):05d}"
    again = ["simulate", made / row["ct"], tmp_path / "again", "--again", case / "simulation.json"]
    assert run(capfd, *again, "--quiet").code == 0
    for path in (tmp_path / "again").glob("*.nii.gz"):
        assert path.read_bytes() == (case / path.name).read_bytes()
    planned = ["simulate", made / row["ct"], tmp_path / "plan", "--plan", case / "plan.json"]
    assert run(capfd, *planned, *LIGHT).code == 0
    first, count = int(row["first_slice"]), int(row["slices"])
    whole = stored(tmp_path / "plan" / "metal-fraction.nii.gz")
    assert len(whole) == SHAPE[0]
    part = stored(case / "metal-fraction.nii.gz")
    assert np.abs(whole[first : first + count] - part).max() < 0.04  # 1 of 27 samples a voxel
    assert whole.sum() == pytest.approx(part.sum(), rel=1e-3)


def test_bad_cts_are_logged_and_the_others_go_on(
    made: Path, tmp_path: Path, capfd: Capture
) -> None:
    """One broken; once it is repaired, the missing cases are made."""
    broken = tmp_path / "b.nii.gz"
    broken.write_bytes((made / "b.nii.gz").read_bytes()[:-300])
    cts = [made / "a.nii.gz", broken]
    args = ["dataset", *cts, tmp_path / "set", "--cases", 5, "--seed", SEED, *LIGHT]
    outcome = run(capfd, *args)
    assert outcome.code == 1, outcome
    log = {int(row["index"]): row for row in rows(tmp_path / "set")}
    bad = {index for index, row in log.items() if row["ct"] == "b.nii.gz"}
    assert bad and {i for i, row in log.items() if row["status"] == "failed"} == bad
    assert all("truncated" in log[index]["reason"] for index in bad)
    assert f"{5 - len(bad)} of 5 cases" in outcome.out and f"{len(bad)} failed" in outcome.out
    assert outcome.err.count("b.nii.gz: truncated") == len(bad)
    names = {path.name for path in (tmp_path / "set").glob("case-*")}
    assert names == {f"case-{i:05d}" for i in range(5) if i not in bad}

    shutil.copy(made / "b.nii.gz", broken)
    assert run(capfd, *args).code == 0
    assert cases_of(tmp_path / "set") == cases_of(made / "set")
    assert {row["status"] for row in rows(tmp_path / "set")} == {"done"}


def test_nothing_but_bad_cases_is_an_error(tmp_path: Path, capfd: Capture) -> None:
    broken = clean_ct(tmp_path / "b.nii.gz")
    broken.write_bytes(broken.read_bytes()[:-300])
    outcome = run(capfd, "dataset", broken, tmp_path / "set", "--cases", 1, *LIGHT)
    assert outcome.code == 2 and "no case could be made" in outcome.err
    assert rows(tmp_path / "set")[0]["status"] == "failed"


# -- stopped and killed -------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_goes_on_later(
    made: Path, tmp_path: Path, capfd: Capture, how: signal.Signals
) -> None:
    folder = tmp_path / "set"
    stopped = run_and_signal(folder, how, *command(made, folder))
    finished = len(list(folder.glob("case-*/case.json")))
    assert 1 <= finished < 5
    if how == signal.SIGINT:
        assert stopped.code == 130
        assert f"mar: stopped; {finished} of 5 cases are finished" in stopped.err
        assert not list(folder.glob(".mar-*")) and not (folder / ".stop").exists()
        return
    assert list(folder.glob(".mar-*"))
    assert run(capfd, *command(made, folder)).code == 0
    assert cases_of(folder) == cases_of(made / "set")
    assert {row["status"] for row in rows(folder)} == {"done"}


def test_a_job_that_kills_its_process_is_the_only_one_lost(tmp_path: Path) -> None:
    ended: dict[int, int | None] = {}
    run_isolated(partial(die_at_two, tmp_path), range(5), 2, ended.__setitem__, tmp_path / "stop")
    assert ended == {0: 0, 1: 1, 2: None, 3: 9, 4: 16}


def test_running_jobs_are_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "_GRACE_S", HANG_S)
    stop = tmp_path / "stop"

    def cancel() -> bool:
        return (tmp_path / "started-0").exists()

    with pytest.raises(Cancelled):
        run_isolated(partial(wait_for_stop, stop), range(3), 1, lambda *_: None, stop, cancel)
    assert (tmp_path / "told-0").exists() and not (tmp_path / "started-1").exists()
    assert not stop.exists()


# -- refusals -----------------------------------------------------------------------------------


def test_other_settings_need_another_folder(made: Path, capfd: Capture) -> None:
    before = snapshot(made)
    for more, words in (
        (["--seed", 3], ("with seed 5, not with seed 3",)),
        (["--margin", 0], ("with --margin 2, not with --margin 0",)),
        (["--slices", 4], ("without --slices, not with --slices 4",)),
        (["--mix", "random=1"], ("mix", '"rods"')),
        (["--preset", "low-dose"], ("acquisitions",)),
    ):
        outcome = run(capfd, *command(made, made / "set", *more))
        assert_refused(outcome, "was begun", "new folder", *words)
    assert snapshot(made) == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--cases", "0"], ("--cases", "'0' is not a number of 1 or more")),
        (["--workers", "many"], ("--workers", "'many'")),
        (["--mix", "random"], ("'random' is not a kind and its weight",)),
        (["--mix", "random=-1"], ("'random=-1'",)),
        (["--mix", "magic=1"], ("unknown kind 'magic'", "realistic, rods, random")),
        (["--mix", "random=0"], ("the mix is empty",)),
        (["--preset", "best"], ("unknown preset 'best'",)),
        (["--format", "png"], ("'png' is unknown",)),
        (["--metal-shapes", "nowhere.npz"], ("nowhere.npz",)),
        (["--device", "cuda:99"], ("unknown device 'cuda:99'",)),
    ],
)
def test_unusable_options(
    tmp_path: Path, capfd: Capture, more: list[str], words: tuple[str, ...]
) -> None:
    ct = clean_ct(tmp_path / "ct.nii.gz")
    before = snapshot(tmp_path)
    assert_refused(run(capfd, "dataset", ct, tmp_path / "set", "--quiet", *more), *words)
    assert snapshot(tmp_path) == before


CONFIGS = {
    "not JSON": ("cts: a", ("is not JSON", '"cts"')),
    "no CTs": ('{"cts": []}', ("names no CTs",)),
    "unknown key": ('{"cts": ["a.nii.gz"], "case": 3}', ("unknown key 'case'", "cases")),
    "wrong kind": (
        '{"cts": ["a.nii.gz"], "cases": "three"}',
        ("cases is 'three'", "valid integer"),
    ),
    "no CT": ('{"cts": [3]}', ("cts.0", "is 3", "valid string")),
    "unknown key of a CT": ('{"cts": [{"ct": "a.nii.gz", "mask": 1}]}', ("'mask' of a CT",)),
    "clicks": (
        '{"cts": [{"ct": "a.nii.gz", "clicks": {"L3": [1, 2]}}]}',
        ("cts.0.clicks.L3.2 is missing",),
    ),
    "missing": ('{"cts": ["b.nii.gz"]}', ("b.nii.gz: no such file",)),
    "missing labels": (
        '{"cts": [{"ct": "a.nii.gz", "segmentation": "s.nii.gz"}]}',
        ("s.nii.gz: no such file",),
    ),
    "acquisition": (
        '{"cts": ["a.nii.gz"], "acquisition": {"kvp": 900}}',
        ("kvp 900", "80 to 140"),
    ),
    "mix": (
        '{"cts": ["a.nii.gz"], "mix": {"random": "much"}}',
        ("mix.random is 'much'", "valid number"),
    ),
    "seed": ('{"cts": ["a.nii.gz"], "seed": -4}', ("seed -4",)),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_unusable_configurations(tmp_path: Path, capfd: Capture, what: str) -> None:
    text, words = CONFIGS[what]
    clean_ct(tmp_path / "a.nii.gz")
    config = tmp_path / "config.json"
    config.write_text(text)
    before = snapshot(tmp_path)
    assert_refused(run(capfd, "dataset", config, tmp_path / "set", "--quiet"), *words)
    assert snapshot(tmp_path) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, capfd: Capture) -> None:
    ct = clean_ct(tmp_path / "ct.nii.gz")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "case-00000").mkdir()
    before = snapshot(tmp_path)
    outcome = run(capfd, "dataset", ct, tmp_path / "set", *LIGHT)
    assert_refused(outcome, "set: the folder is not empty", "new one")
    assert snapshot(tmp_path) == before


def test_the_configuration_and_the_command_line(tmp_path: Path) -> None:
    """Paths beside the file; what the command line says goes first, zero too."""
    import argparse

    from MetalArtifactReductionLib.cli import build_parser
    from SimulateImplantsLib.commands.dataset import dataset_of

    config = tmp_path / "config.json"
    data = {
        "cts": [{"ct": "a.nii.gz", "segmentation": "masks", "clicks": {"L3": [1, 2, 3]}}, "b"],
        "cases": 7,
        "seed": 5,
        "margin": 4,
        "slices": 6,
        "presets": ["reference", "low-dose"],
        "acquisition": {"views": 360},
        "reference": False,
    }
    config.write_text(json.dumps(data))

    def parsed(*more: str) -> argparse.Namespace:
        return build_parser().parse_args(["dataset", str(config), "out", *more])

    plan, cases, workers = dataset_of(parsed())
    assert (cases, workers, plan.seed, plan.margin_slices) == (7, 1, 5, 4)
    assert plan.most_slices == 6
    assert plan.sources[0].segmentation == tmp_path / "masks"
    assert plan.sources[0].clicks == (("L3", (1.0, 2.0, 3.0)),)
    assert plan.sources[1].path == tmp_path / "b" and not plan.sources[1].has_bones
    assert plan.mix == {"realistic": 0.5, "random": 0.5} and not plan.simulation.with_reference
    assert [a.photons_per_ray for a in plan.acquisitions] == [4e6, 5e5]
    assert {a.views for a in plan.acquisitions} == {360}
    more = ["--seed", "0", "--margin", "0", "--cases", "9", "--preset", "80-kvp"]
    plan, cases, _ = dataset_of(parsed(*more, "--set", "views=90"))
    assert (cases, plan.seed, plan.margin_slices) == (9, 0, 0)
    assert [(a.kvp, a.views) for a in plan.acquisitions] == [(80.0, 90)]
    assert os.fspath(plan.sources[0].path) == str(tmp_path / "a.nii.gz")
