"""``mar simulate`` where all is well: what it writes, and that it can be made again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli_support import run, same_grid, snapshot, stored, write_dicom, write_image
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.physics.acquisition import PRESETS, preset
from MetalArtifactReductionLib.physics.simulation import MODELS, simulate_volume
from simulate_support import FAST, GEOMETRY, QUICK, SHAPE, SPACING_MM, at, clean_ct, clean_hu, ras
from SimulateImplantsLib.cases import options
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.placement.plan import PlacementPlan, PlannedImplant

Capture = pytest.CaptureFixture[str]
VOXEL_MM3 = float(np.prod(SPACING_MM))
SPHERE = ["--shape", "sphere:diameter=18", "--material", "CoCrMo", "--at", at(5.3, 50.2, 28.4)]
SLICES = slice(2, 9)
"""Which a sphere of 18 mm about slice 5.3 meets: it reaches from 2.3 to 8.3 with slices of 3 mm,
and slice 2 ends at 2.5."""


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return clean_ct(tmp_path / "ct.nii.gz")


@pytest.fixture(scope="module")
def sphere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated sphere; read only."""
    from MetalArtifactReductionLib.cli import main

    folder = tmp_path_factory.mktemp("sphere")
    ct = clean_ct(folder / "ct.nii.gz")
    assert main(["simulate", str(ct), str(folder / "out"), *SPHERE, *QUICK, "--quiet"]) == 0
    return folder


def test_the_command_s_choices_are_the_library_s() -> None:
    assert options.MODELS == MODELS
    assert tuple(PRESETS) == options.PRESETS


def test_a_sphere_and_its_truth(sphere: Path) -> None:
    out, clean = sphere / "out", clean_hu()
    names = {"corrupted", "ideal", "reference", "metal-fraction", "fraction-CoCrMo", "labels"}
    assert {path.name for path in out.iterdir()} == {f"{n}.nii.gz" for n in names} | {
        "simulation.json"
    }
    for name in names:
        assert same_grid(out / f"{name}.nii.gz", sphere / "ct.nii.gz")
    fraction = stored(out / "metal-fraction.nii.gz")
    assert fraction.dtype == np.float32 and 0 <= fraction.min() <= fraction.max() == 1
    assert fraction.sum(dtype=float) * VOXEL_MM3 == pytest.approx(np.pi / 6 * 18**3, rel=5e-3)
    centre = (fraction[..., None] * np.moveaxis(np.indices(SHAPE), 0, -1)).sum((0, 1, 2))
    assert centre / fraction.sum() == pytest.approx([5.3, 50.2, 28.4], abs=0.02)
    assert np.array_equal(stored(out / "labels.nii.gz") > 0, fraction >= 0.5)
    assert np.array_equal(fraction, stored(out / "fraction-CoCrMo.nii.gz"))

    corrupted, ideal, reference = (
        stored(out / f"{name}.nii.gz") for name in ("corrupted", "ideal", "reference")
    )
    assert {a.dtype.name for a in (corrupted, ideal, reference)} == {"int16"}
    assert (ideal[fraction == 1] == 3071).all()
    assert np.array_equal(ideal[fraction == 0], clean[fraction == 0])
    without = np.ones(len(clean), bool)
    without[SLICES] = False
    assert fraction[~without].any(axis=(1, 2)).all()
    assert np.array_equal(corrupted[without], clean[without])
    # In the body, away from the metal: artifacts where there is metal, none in the reference.
    far = (clean[5] > -200) & (fraction[5] == 0)
    assert (
        np.abs(corrupted[5][far] - clean[5][far]).std()
        > 3 * np.abs(reference[5][far] - clean[5][far]).std()
    )


def test_everything_is_made_again_bit_for_bit(sphere: Path, tmp_path: Path, capfd: Capture) -> None:
    before = snapshot(sphere)
    again = ["simulate", sphere / "ct.nii.gz", tmp_path / "again"]
    outcome = run(capfd, *again, "--again", sphere / "out" / "simulation.json", "--quiet")
    assert outcome.code == 0, outcome
    assert snapshot(tmp_path / "again") == snapshot(sphere / "out")
    assert snapshot(sphere) == before


def test_other_seeds_and_doses_give_other_noise(
    sphere: Path, ct: Path, tmp_path: Path, capfd: Capture
) -> None:
    for name, more in (
        ("seed", ["--seed", "1"]),
        ("none", ["--photons", "none"]),
        ("none-seed", ["--photons", "none", "--seed", "1"]),
        ("low", ["--photons", "2e5"]),
    ):
        assert run(capfd, "simulate", ct, tmp_path / name, *SPHERE, *QUICK, *more).code == 0
    first = stored(sphere / "out" / "reference.nii.gz").astype(float)
    images = {
        name: stored(tmp_path / name / "reference.nii.gz").astype(float)
        for name in ("seed", "none", "none-seed", "low")
    }
    assert np.array_equal(images["none"], images["none-seed"])
    noise = (first - images["none"])[SLICES].std()
    assert (images["seed"] - first)[SLICES].std() == pytest.approx(np.sqrt(2) * noise, rel=0.1)
    assert (images["low"] - images["none"])[SLICES].std() > 3 * noise
    record = json.loads((tmp_path / "low" / "simulation.json").read_text())
    assert record["acquisition"]["photons_per_ray"] == 2e5 and record["acquisition"]["views"] == 90


@pytest.mark.parametrize("model", MODELS)
def test_masks_and_models_as_the_library_does_them(
    tmp_path: Path, ct: Path, capfd: Capture, model: str
) -> None:
    titanium, steel = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.float32)
    titanium[4:6, 46:50, 26:29] = 7
    steel[4:7, 50:54, 66:70] = 0.375
    masks = [
        write_image(tmp_path / "a.nrrd", titanium, GEOMETRY),
        write_image(tmp_path / "b.nii.gz", steel, GEOMETRY),
    ]
    both = ["--metal", masks[0], "--material", "ti6al4v", "--metal", masks[1], "--material", "316L"]
    command = ["simulate", ct, tmp_path / "out", *both, "--model", model, *QUICK, "--seed", "4"]
    outcome = run(capfd, *command, "--format", "mha", "--quiet")
    assert outcome.code == 0 and outcome.err == "", outcome
    fractions = {"Ti6Al4V": (titanium > 0).astype(np.float32), "316L": steel}
    volume = read_volume(ct)
    known = simulate_volume(volume, fractions, preset("reference", **FAST), model=model, seed=4)
    for name, truth in (
        ("corrupted", np.rint(known.corrupted.hu)),
        ("ideal", np.rint(known.ideal.hu)),
        ("reference", np.rint(known.reference.hu)),
        ("metal-fraction", fractions["Ti6Al4V"] + steel),
        ("fraction-316L", steel),
        ("labels", known.labels),
    ):
        assert np.array_equal(stored(tmp_path / "out" / f"{name}.mha"), truth), name
    again = ["simulate", ct, tmp_path / "again", "--again", tmp_path / "out" / "simulation.json"]
    assert run(capfd, *again, "--format", ".mha").code == 0
    for path in (tmp_path / "out").glob("*.mha"):
        assert np.array_equal(stored(path), stored(tmp_path / "again" / path.name))


def test_a_plan_is_where_its_implants_are(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    """The same rod, once in a plan and once as a shape, by its analytic volume too."""
    matrix = np.eye(4)
    matrix[:3, 3] = np.array(ras(5.5, 50, 68)) - (0, 0, 10)
    rod = Rod(diameter_mm=6.0, length_mm=20.0, material="316L")
    plan = PlacementPlan((PlannedImplant(rod.to_dict(), matrix, {"side": "left"}),))
    (tmp_path / "plan.json").write_text(plan.to_json())
    quick = [*QUICK, "--no-reference", "--quiet", "--model", "missing-trace"]
    planned = run(
        capfd, "simulate", ct, tmp_path / "plan", "--plan", tmp_path / "plan.json", *quick
    )
    shape = ["--shape", "rod:diameter=6,length=20,axis=S,material=316L", "--at", at(5.5, 50, 68)]
    drawn = run(capfd, "simulate", ct, tmp_path / "shape", *shape, *quick)
    assert planned.code == drawn.code == 0
    assert "rod left" in planned.out and "rod 1" in drawn.out
    one, two = (stored(tmp_path / n / "fraction-316L.nii.gz") for n in ("plan", "shape"))
    assert np.abs(one - two).max() < 1e-3
    volume = np.pi * 3**2 * 14 + 4 / 3 * np.pi * 3**3  # hemispherical ends within the length
    assert one.sum(dtype=float) * VOXEL_MM3 == pytest.approx(volume, rel=0.01)
    assert not (tmp_path / "plan" / "reference.nii.gz").exists()


def test_rods_lie_in_the_bones(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    outcome = run(
        capfd, "simulate", ct, tmp_path / "out", "--rods", *QUICK, "--model", "trace-maximum"
    )
    assert outcome.code == 0, outcome
    labels = stored(tmp_path / "out" / "labels.nii.gz")
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (clean_hu()[labels > 0] > 300).all()


def test_sinograms(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    outcome = run(capfd, "simulate", ct, tmp_path / "out", *SPHERE, *QUICK, "--sinograms")
    assert outcome.code == 0, outcome
    with np.load(tmp_path / "out" / "sinograms.npz") as data:
        assert list(data["slices"]) == list(range(2, 9))
        assert data["corrupted"].shape == data["metal_path_mm"].shape == (7, 90, 250)
        # Through the middle of the ball; a slice of 3 mm near its equator averages little away.
        assert 16.5 < data["metal_path_mm"][3].max() <= 18.1
        away = data["metal_path_mm"] == 0
        difference = (data["corrupted"] - data["reference"])[3]
        assert difference[data["metal_path_mm"][3] > 15].min() > 1.0
        assert np.abs(difference[away[3]]).max() < 0.2


def test_a_dicom_ct_gives_nrrd_on_its_grid(tmp_path: Path, capfd: Capture) -> None:
    folder = write_dicom(tmp_path / "scan", clean_hu()[:6])
    before = snapshot(folder)
    volume = read_volume(folder)
    point = ",".join(f"{v:.4f}" for v in (volume.ijk_to_ras @ (48, 48, 3, 1))[:3])
    command = ["simulate", folder, tmp_path / "out", "--shape", "box:x=9,y=8,z=7", "--at", point]
    outcome = run(capfd, *command, *QUICK, "--model", "missing-trace")
    assert outcome.code == 0, outcome
    assert snapshot(folder) == before
    fraction = read_volume(tmp_path / "out" / "fraction-Ti6Al4V.nrrd", check=False)
    assert np.allclose(fraction.ijk_to_ras, volume.ijk_to_ras, atol=1e-5)
    voxel = float(np.prod(volume.spacing_mm))
    assert fraction.hu.sum(dtype=float) * voxel == pytest.approx(9 * 8 * 7, rel=0.01)


def test_values_beyond_int16_are_not_cut(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    """A monoenergetic scan shows CoCrMo at 40 000 HU; the file has to hold it."""
    command = ["simulate", ct, tmp_path / "out", *SPHERE, "--preset", "monoenergetic", *QUICK]
    assert run(capfd, *command, "--no-reference").code == 0
    ideal = stored(tmp_path / "out" / "ideal.nii.gz")
    assert ideal.dtype == np.float32 and ideal.max() > 35000


def test_an_empty_folder_may_be_filled(tmp_path: Path, ct: Path, capfd: Capture) -> None:
    (tmp_path / "out").mkdir()
    command = ["simulate", ct, tmp_path / "out", *SPHERE, *QUICK, "--model", "missing-trace"]
    assert run(capfd, *command).code == 0
    assert (tmp_path / "out" / "corrupted.nii.gz").exists()


def test_nothing_is_left_when_the_disk_is_full(
    tmp_path: Path, ct: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SimulateImplantsLib.cases import case as simulated_case

    def full(path: Path, *_: object) -> None:
        assert path.parent.joinpath("corrupted.nii.gz").exists()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(simulated_case, "_write_sinograms", full)
    before = snapshot(tmp_path)
    command = ["simulate", ct, tmp_path / "out", *SPHERE, *QUICK, "--sinograms", "--quiet"]
    outcome = run(capfd, *command, "--model", "missing-trace")
    assert outcome.code == 2 and "out: could not be written (No space left" in outcome.err
    assert snapshot(tmp_path) == before
