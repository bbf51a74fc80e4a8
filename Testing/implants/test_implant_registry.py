"""One entry an implant: a toy of another package is everywhere where implants are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cli_support import installed, run
from MetalArtifactReductionLib.errors import InputError
from phantom_support import pelvis_files, small_pelvis
from SimulateImplantsLib.implants.entry import ImplantEntry, Procedure, resolve
from SimulateImplantsLib.implants.registry import (
    entries,
    implant_from_dict,
    implant_from_preset,
    presets,
    procedure_of,
    procedures,
    register,
)

Capture = pytest.CaptureFixture[str]

TOY = """
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from SimulateImplantsLib.implants import ImplantEntry, ParameterRange, Preset, Procedure
from SimulateImplantsLib.implants.base import Implant, ImplantPart
from SimulateImplantsLib.implants.simple_shapes import Sphere
from SimulateImplantsLib.placement.plan import PlacementPlan, PlannedImplant

@dataclass(frozen=True)
class Bead(Implant):
    kind: ClassVar[str] = "bead"
    ranges: ClassVar = {"diameter_mm": ParameterRange(2.0, 20.0, 1.0, "mm", "made up")}
    diameter_mm: float = 6.0
    material: str = "tantalum"
    def parts(self) -> list[ImplantPart]:
        return Sphere(self.diameter_mm, self.material).parts()

def propose(patient, options):
    return beads(patient, [Bead(material=options.material)] * len(patient.hips))

def sample(patient, seed, index):
    rng = np.random.default_rng([seed, index])
    return beads(patient, [Bead(float(rng.uniform(4, 9))) for _ in patient.hips], seed)

def beads(patient, made, seed=None):
    items = []
    for hip, bead in zip(patient.hips, made):
        place = np.eye(4)
        place[:3, 3] = hip.head_centre
        items.append(PlannedImplant(bead.to_dict(), place, {"side": hip.side}))
    return PlacementPlan(tuple(items), seed, "beads")

ENTRY = ImplantEntry(
    "bead", "Bead", Bead,
    sizes=(Preset("bead", "8 mm", {"diameter_mm": 8.0}, "made up"),),
    procedures=(Procedure("beads", "Beads in the heads", "hip", propose, sample, weight=1e9),),
)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy's one file and, as ``pip`` would write it, its entry point."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "toy_bead.py").write_text(TOY)
    about = folder / "toy_bead-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-bead\nVersion: 1.0\n")
    points = "[metal_artifact_reduction.implants]\nbead = toy_bead:ENTRY\n"
    (about / "entry_points.txt").write_text(points)
    return folder


@pytest.fixture(scope="module")
def patient() -> Path:
    return pelvis_files()


def test_the_toy_is_in_help_and_lists(site: Path, capfd: Capture) -> None:
    with installed(site):
        assert "beads" in run(capfd, "place", "--help").out
        assert entries()[-1].label == "Bead"
        assert [size.name for size in presets("bead")] == ["8 mm"]
        ball = implant_from_preset("bead", "8 mm").parts()[0].mesh
        assert ball.volume_mm3 == pytest.approx(np.pi / 6 * 8**3, rel=0.01)
        with pytest.raises(InputError, match="30 mm is outside 2 to 20 mm"):
            implant_from_dict({"kind": "bead", "diameter_mm": 30})
    assert "bead" not in {entry.kind for entry in entries()}


def test_the_toy_is_placed_and_sampled(
    site: Path, patient: Path, tmp_path: Path, capfd: Capture
) -> None:
    bones = ("--kind", "beads", "--segmentation", patient / "masks", "--quiet")
    with installed(site):
        for name, *how in (
            ("best.json", "--material", "CoCrMo"),
            ("drawn.json", "--sample", "--seed", 4),
        ):
            done = run(capfd, "place", patient / "ct.nii.gz", tmp_path / name, *bones, *how)
            assert done.code == 0, done
    truth = {hip.side: hip.head_centre_ras for hip in small_pelvis().truth.hips}
    for name, material in (("best", "CoCrMo"), ("drawn", "tantalum")):
        items = json.loads((tmp_path / f"{name}.json").read_text())["implants"]
        assert {item["attributes"]["side"] for item in items} == {"left", "right"}
        for item in items:
            centre = np.array(item["matrix"])[:3, 3]
            assert np.linalg.norm(centre - truth[item["attributes"]["side"]]) < 3
            assert (item["implant"]["kind"], item["implant"]["material"]) == ("bead", material)


@pytest.mark.usefixtures("forked")
def test_the_toy_is_drawn_for_datasets_in_their_own_processes(
    site: Path, patient: Path, tmp_path: Path, capfd: Capture
) -> None:
    (tmp_path / "masks").mkdir()
    shutil.copy(patient / "masks" / "femur_left.nii.gz", tmp_path / "masks")
    bones = {"segmentation": str(tmp_path / "masks"), "sites": ["hip"]}
    config = {"cts": [{"ct": str(patient / "ct.nii.gz"), **bones}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    quick = ["--model", "missing-trace", "--no-reference", "--set", "views=90", "--quiet"]
    options = [*quick, "--cases", 1, "--mix", "realistic=1"]
    with installed(site):
        done = run(capfd, "dataset", tmp_path / "config.json", tmp_path / "set", *options)
    assert done.code == 0, done
    plan = json.loads((tmp_path / "set" / "case-00000" / "plan.json").read_text())
    assert {item["implant"]["kind"] for item in plan["implants"]} == {"bead"}


def test_every_family_is_what_its_entry_says() -> None:
    for entry in entries():
        assert entry.load().kind == entry.kind
        assert {size.kind for size in entry.sizes} <= {entry.kind}
    for procedure in procedures().values():
        parts = (procedure.find, procedure.draw)
        if procedure.site in ("spine", "neck", "hip"):
            parts = (procedure.propose, procedure.sample)
        assert all(callable(resolve(part)) for part in parts)


def test_names_are_unique_and_unknown_ones_refused() -> None:
    spine = Procedure("spine", "Another", "spine", "a:b", "a:b")
    with pytest.raises(InputError, match="'spine' of toy is one of pedicle-screw"):
        register(ImplantEntry("toy", "Toy", "a:B", procedures=(spine,)))
    assert "toy" not in {entry.kind for entry in entries()}
    with pytest.raises(InputError, match="'knee'; use one of spine, iliac-screws"):
        procedure_of("knee")
