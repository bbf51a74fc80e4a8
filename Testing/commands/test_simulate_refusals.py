"""What ``mar simulate`` and ``mar voxelise`` cannot use: one line, exit code 2, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli_support import assert_refused, run, snapshot, write_image
from simulate_support import GEOMETRY, QUICK, SHAPE, at, clean_ct, clean_hu
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.placement.plan import PlacementPlan, PlannedImplant

Refused = Callable[..., None]
MIDDLE = at(6, 48, 48)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return clean_ct(tmp_path / "ct.nii.gz")


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command and asserts that every file stays as it is."""

    def check(arguments: list[object], *words: str) -> None:
        before = snapshot(tmp_path)
        outcome = run(capfd, *arguments, "--quiet")
        assert_refused(outcome, *words)
        assert snapshot(tmp_path) == before

    return check


SPHERE = ["--shape", "sphere:diameter=10", "--at", MIDDLE]
OPTIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no metal": ([], ("--plan", "--metal", "--shape", "--rods", "is required")),
    "two sources": ([*SPHERE, "--rods"], ("not allowed with",)),
    "no point": (["--shape", "sphere:diameter=9"], ("1 --shape and 0 --at", "one point for each")),
    "a point too many": ([*SPHERE, "--at", MIDDLE], ("1 --shape and 2 --at",)),
    "a point alone": (["--rods", "--at", MIDDLE], ("--at gives the place of a --shape",)),
    "no point of space": (["--shape", "sphere", "--at", "1,2"], ("'1,2'", "not a point R,A,S")),
    "infinite": (["--shape", "sphere", "--at", "1,2,inf"], ("'1,2,inf'", "not a point")),
    "unknown shape": (["--shape", "shere", "--at", MIDDLE], ("'shere'", "did you mean sphere?")),
    "unknown parameter": (
        ["--shape", "sphere:radius=4", "--at", MIDDLE],
        ("sphere has no parameter 'radius'", "diameter_mm"),
    ),
    "not name=value": (["--shape", "box:9", "--at", MIDDLE], ("'9' is not name=value",)),
    "text for a number": (
        ["--shape", "sphere:diameter=big", "--at", MIDDLE],
        ("diameter_mm of 'big' is not a number",),
    ),
    "in metres": (
        ["--shape", "sphere:diameter=0.028", "--at", MIDDLE],
        ("diameter_mm of 0.028 is outside 0.2 to 500 mm",),
    ),
    "a rod that is none": (
        ["--shape", "rod:diameter=60", "--at", MIDDLE],
        ("diameter_mm of 60 mm is outside 3 to 6.5 mm",),
    ),
    "unknown direction": (
        ["--shape", "rod:axis=Q", "--at", MIDDLE],
        ("axis 'Q' is no direction", "R, L, A, P, S, I"),
    ),
    "outside": (
        ["--shape", "sphere:diameter=9", "--at", "0,0,0"],
        ("sphere 1 lies completely outside the CT", "R 0.0, A 0.0, S 0.0", "move it"),
    ),
    "unknown material": (
        [*SPHERE, "--material", "unobtainium"],
        ("unknown material 'unobtainium'", "Ti6Al4V"),
    ),
    "too many materials": (
        [*SPHERE, "--material", "cp-Ti", "--material", "CoCrMo"],
        ("1 --shape and 2 --material",),
    ),
    "no rods": (["--rods", "0"], ("--rods 0", "1 or more")),
    "unknown model": ([*SPHERE, "--model", "magic"], ("'magic'", "physics", "trace-maximum")),
    "unknown preset": ([*SPHERE, "--preset", "best"], ("unknown preset 'best'", "low-dose")),
    "kvp": ([*SPHERE, "--kvp", "500"], ("kvp 500", "80 to 140")),
    "photons": ([*SPHERE, "--photons", "1"], ("photons_per_ray 1", "10 to 1e+12")),
    "photons as text": ([*SPHERE, "--photons", "many"], ("'many' is neither a number nor none",)),
    "set without value": ([*SPHERE, "--set", "views"], ("--set 'views' is not NAME=VALUE",)),
    "set unknown": ([*SPHERE, "--set", "voltage=3"], ("'voltage'", "kvp")),
    "set of the wrong kind": ([*SPHERE, "--set", "views=many"], ("views 'many'",)),
    "seed": ([*SPHERE, "--seed", "-1"], ("--seed", "'-1' is not a whole number of 0 or more")),
    "format": ([*SPHERE, "--format", "png"], ("'.png' is unknown", ".nii.gz, .nrrd, .mha")),
    "device": ([*SPHERE, "--device", "cuda:99"], ("unknown device 'cuda:99'",)),
    "no such mask": (["--metal", "nowhere.nii", "--material", "CoCrMo"], ("no such file",)),
    "mask without material": (["--metal", "x.nii"], ("1 --metal and 0 --material",)),
    "no such plan": (["--plan", "nowhere.json"], ("nowhere.json: no such file",)),
    "no such record": (["--again", "nowhere.json"], ("nowhere.json: no such file",)),
    "again and more": (["--again", "x.json", "--seed", "3"], ("leave out --seed",)),
    "implant out of view": (
        [*SPHERE, "--set", "bins=20"],
        ("implant of CoCrMo", "field of view"),
    ),
}


@pytest.mark.parametrize("what", OPTIONS)
def test_unusable_options(tmp_path: Path, ct: Path, refused: Refused, what: str) -> None:
    given, words = OPTIONS[what]
    quick = [] if "--set" in given or "--again" in given else QUICK
    refused(["simulate", ct, tmp_path / "out", *given, *quick], *words)


def mask(array: np.ndarray, geometry: np.ndarray = GEOMETRY) -> Callable[[Path], Path]:
    return lambda folder: write_image(folder / "mask.nii.gz", array, geometry)


def block(value: float = 1.0, dtype: type = np.uint8) -> np.ndarray:
    array = np.zeros(SHAPE, dtype)
    array[3:6, 40:50, 40:50] = value
    return array


MASKS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "other size": (
        mask(np.concatenate([block(), block()[3:4]])),
        ("size 96 x 96 x 13 instead of 96 x 96 x 12", "resample"),
    ),
    "elsewhere": (
        mask(block(), GEOMETRY + np.outer([0, 0, 7, 0], [0, 0, 0, 1])),
        ("the mask's geometry is not the volume's", "origin"),
    ),
    "empty": (mask(np.zeros(SHAPE, np.uint8)), ("the mask is empty",)),
    "a CT": (mask(clean_hu()), ("are not a mask",)),
}


@pytest.mark.parametrize("what", MASKS)
def test_unusable_masks(tmp_path: Path, ct: Path, refused: Refused, what: str) -> None:
    make, words = MASKS[what]
    path = make(tmp_path)
    command = ["simulate", ct, tmp_path / "out", "--metal", path, "--material", "CoCrMo", *QUICK]
    refused(command, "mask.nii.gz", *words)


def test_masks_that_do_not_go_together(tmp_path: Path, ct: Path, refused: Refused) -> None:
    path = mask(block())(tmp_path)
    twice = ["simulate", ct, tmp_path / "out", "--metal", path, "--metal", path, *QUICK]
    refused([*twice, "--material", "cp-Ti"], "material cp-Ti is given to two masks")
    materials = ["--material", "cp-Ti", "--material", "CoCrMo"]
    refused([*twice, *materials], "fill a voxel 2.000 times", "count overlaps once")


def rod(**changes: object) -> dict[str, object]:
    matrix = np.eye(4)
    matrix[:3, 3] = [float(v) for v in MIDDLE.split(",")]
    item = PlannedImplant(Rod(length_mm=20.0).to_dict(), matrix).to_dict()
    item["implant"] |= changes
    return item


def plan_of(*implants: object) -> str:
    return json.dumps(PlacementPlan(()).to_dict() | {"implants": list(implants)})


PLANS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "text": ("screw, L3, left", ("is not JSON", "mar place")),
    "binary": (b"\x1f\x8b\x00\xff", ("is not JSON",)),
    "a list": ("[1, 2]", ("not a placement plan",)),
    "something else": ('{"a": 1}', ("not a placement plan: it has no list of implants",)),
    "implants is a number": ('{"implants": 3}', ("placement plan",)),
    "format is text": ('{"implants": [], "format": "x"}', ("placement plan",)),
    "empty": (plan_of(), ("the plan holds no implants", "place some first")),
    "of a later version": (
        json.dumps({"format": 99, "implants": []}),
        ("placement plan of format 99", "update"),
    ),
    "no matrix": (plan_of({"implant": {"kind": "rod"}}), ("implants.0.matrix is missing",)),
    "scaled": (
        plan_of(rod() | {"matrix": np.diag([10, 10, 10, 1.0]).tolist()}),
        ("is not rigid", "remove scale"),
    ),
    "unknown kind": (plan_of(rod(kind="nut")), ("implant 1 of the plan", "'nut'", "pedicle-screw")),
    "unknown parameter": (plan_of(rod(colour=1)), ("rod has no parameter 'colour'",)),
    "metres": (
        plan_of(rod(length_mm=0.02)),
        ("implant 1 of the plan (rod)", "length_mm of 0.02 mm is outside 15 to 600 mm"),
    ),
    "unknown material": (plan_of(rod(material="tin")), ("unknown material 'tin'",)),
    "outside": (
        plan_of(rod(), rod() | {"matrix": np.eye(4).tolist()}),
        ("rod (2) lies completely outside the CT", "move it"),
    ),
    "no such surface": (
        plan_of(rod() | {"implant": {"kind": "user-mesh", "path": "mine.stl"}}),
        ("mine.stl",),
    ),
}


@pytest.mark.parametrize("command", ["simulate", "voxelise"])
@pytest.mark.parametrize("what", PLANS)
def test_unusable_plans(
    tmp_path: Path, ct: Path, refused: Refused, what: str, command: str
) -> None:
    content, words = PLANS[what]
    path = tmp_path / "plan.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if command == "simulate":
        refused(["simulate", ct, tmp_path / "out", "--plan", path, *QUICK], *words)
    else:
        refused(["voxelise", ct, path, tmp_path / "out"], *words)


@pytest.mark.parametrize("command", ["simulate", "voxelise"])
def test_unusable_places(
    tmp_path: Path,
    ct: Path,
    refused: Refused,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(plan_of(rod()))
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "precious.txt").write_text("mine")
    file.write_text("mine")

    def to(output: Path) -> list[object]:
        if command == "simulate":
            return ["simulate", ct, output, "--plan", plan, *QUICK]
        return ["voxelise", ct, plan, output]

    monkeypatch.setattr("SimulateImplantsLib.voxels.voxelize.voxelize", None)  # before any work
    refused(to(full), "full: the folder is not empty", "new one")
    refused(to(file), "file: is a file", "new folder")
    refused(to(ct), "is a file")
    refused(to(tmp_path / "no" / "out"), "does not exist; create it first")


def test_the_ct_has_to_be_one(tmp_path: Path, ct: Path, refused: Refused) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(ct.read_bytes()[:-200])
    refused(["simulate", broken, tmp_path / "out", *SPHERE, *QUICK], "broken.nii.gz: truncated")
    missing = tmp_path / "missing.nii.gz"
    refused(["simulate", missing, tmp_path / "out", *SPHERE, *QUICK], "no such file")
    air = write_image(tmp_path / "air.nii.gz", np.full(SHAPE, -1000, np.int16), GEOMETRY)
    refused(["simulate", air, tmp_path / "out", "--rods", *QUICK], "air.nii.gz")


@pytest.mark.parametrize("command", ["simulate", "dataset", "demo"])
def test_a_ct_with_metal_is_used_only_where_that_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    hu = clean_hu()
    hu[tuple(slice(n // 2 - 2, n // 2 + 2) for n in hu.shape)] = 8000
    ct, out = write_image(tmp_path / "ct.nrrd", hu, GEOMETRY), tmp_path / "out"
    given = [ct, out, *(["--rods", 1] if command == "simulate" else ["--cases", 1])]
    if command == "demo":
        given = ["--input", ct, "--output", out]
    outcome = run(capfd, command, *given, "--quiet")
    assert outcome.code == 2
    assert "ml of metal already" in outcome.err and "--allow-metal" in outcome.err
    if command == "simulate":
        assert run(capfd, command, *given, *QUICK, "--quiet", "--allow-metal").code == 0


def test_a_record_belongs_to_its_ct(
    tmp_path: Path, ct: Path, refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    fast = [*QUICK, "--model", "missing-trace", "--no-reference"]
    assert run(capfd, "simulate", ct, tmp_path / "out", *SPHERE, *fast).code == 0
    record = tmp_path / "out" / "simulation.json"
    other = clean_ct(tmp_path / "other.nii.gz", seed=1)
    again = ["simulate", other, tmp_path / "again", "--again"]
    refused([*again, record], "was made from another CT (ct.nii.gz)", "give that one")
    moved = GEOMETRY + np.outer([0, 0, 7, 0], [0, 0, 0, 1])
    write_image(tmp_path / "other.nii.gz", clean_hu(), moved)
    refused([*again, record], "was made from another CT", "origin")
    data = json.loads(record.read_text())
    (tmp_path / "half.json").write_text(json.dumps({**data, "acquisition": None}))
    refused(["simulate", ct, tmp_path / "again", "--again", tmp_path / "half.json"], "half.json")
    (tmp_path / "plan.json").write_text(plan_of(rod()))
    refused([*again, tmp_path / "plan.json"], "plan.json: is no record of a simulation")
