"""``mar place`` and ``mar voxelise`` on a phantom with labelled vertebrae."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cli_support import assert_refused, run, same_grid, snapshot, stored
from MetalArtifactReductionLib.files.volumes import read_volume, write_array_like, write_volume
from SimulateImplantsLib.cases.label_files import read_bones, read_names
from SimulateImplantsLib.cases.plan_files import metal_of, read_plan
from SimulateImplantsLib.phantoms import PhantomTruth, lumbar_spine_phantom

Capture = pytest.CaptureFixture[str]
LEVELS = ("L3", "L4")


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    """A CT with its bones as masks, as labels with names, and as Slicer saves them; read only."""
    folder = tmp_path_factory.mktemp("patient")
    phantom = lumbar_spine_phantom(0, (2.5, 1.5, 1.5), (56, 130, 130))
    write_volume(phantom.volume, folder / "ct.nii.gz", dtype="int16")
    (folder / "masks").mkdir()
    labels = np.zeros(phantom.volume.hu.shape, np.uint8)
    names = {}
    for value, (name, mask) in enumerate(phantom.labels.items(), start=11):
        labels[mask] = value
        names[value] = name
    for name, value in {name: value for value, name in names.items()}.items():
        write_array_like(labels == value, phantom.volume, folder / "masks" / f"{name}.nii.gz")
    write_array_like(labels > 250, phantom.volume, folder / "masks" / "vertebrae_C1.nii.gz")
    write_array_like(labels > 0, phantom.volume, folder / "masks" / "liver.nii.gz")
    write_array_like(labels, phantom.volume, folder / "labels.nii.gz")
    lines = "".join(f"{value}, {name}\n" for value, name in names.items())
    (folder / "names.csv").write_text(f"label,name\n{lines}")
    (folder / "names.json").write_text(json.dumps({name: v for v, name in names.items()}))
    image = sitk.ReadImage(str(folder / "labels.nii.gz"))
    for index, (value, name) in enumerate(names.items()):
        image.SetMetaData(f"Segment{index}_Name", name)
        image.SetMetaData(f"Segment{index}_LabelValue", str(value))
    sitk.WriteImage(image, str(folder / "bones.seg.nrrd"))
    return folder, phantom.truth


@pytest.fixture(scope="module")
def plan(patient: tuple[Path, PhantomTruth]) -> Path:
    from MetalArtifactReductionLib.cli import main

    folder, _ = patient
    command = ["place", "ct.nii.gz", "plan.json", "--segmentation", "masks"]
    line = [str(folder / part) if part[0] != "-" and part != "place" else part for part in command]
    assert main([*line, "--levels", "L3-L4", "--quiet"]) == 0
    return folder / "plan.json"


def test_screws_lie_along_the_true_pedicles(patient: tuple[Path, PhantomTruth], plan: Path) -> None:
    _, truth = patient
    pedicles = {(p.level, p.side): p for p in truth.pedicles}
    found = read_plan(plan)
    screws = [item for item in found.implants if item.kind == "pedicle-screw"]
    assert {(s.attributes["level"], s.attributes["side"]) for s in screws} == {
        (level, side) for level in LEVELS for side in ("left", "right")
    }
    assert sum(item.kind == "rod" for item in found.implants) == 2
    for screw in screws:
        true = pedicles[screw.attributes["level"], screw.attributes["side"]]
        offset = np.asarray(true.isthmus_ras) - screw.matrix[:3, 3]
        axis = screw.matrix[:3, 2]
        assert np.linalg.norm(offset - axis * (offset @ axis)) < 2.0
    data = json.loads(plan.read_text())
    grades = {row["name"]: row["grade"] for row in data["quality"] if row["grade"]}
    assert len(grades) == 4 and set(grades.values()) <= {"A", "B"}


@pytest.mark.parametrize(
    ("bones", "names"),
    [("labels.nii.gz", "names.csv"), ("labels.nii.gz", "names.json"), ("bones.seg.nrrd", None)],
)
def test_labels_hold_the_same_bones_as_masks(
    patient: tuple[Path, PhantomTruth], bones: str, names: str | None
) -> None:
    folder, _ = patient
    volume = read_volume(folder / "ct.nii.gz")
    masks = read_bones(folder / "masks", volume)
    found = read_bones(folder / bones, volume, names and folder / names)
    kinds = ("vertebrae", "hip", "femur", "sacrum", "rib")
    assert masks.keys() == {name for name in found if name.startswith(kinds)}
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name], mask)


def test_labels_say_the_same_as_masks(
    patient: tuple[Path, PhantomTruth], plan: Path, tmp_path: Path, capfd: Capture
) -> None:
    folder, _ = patient
    before = snapshot(folder)
    given = [folder / "labels.nii.gz", "--labels", folder / "names.csv"]
    command = ["place", folder / "ct.nii.gz", tmp_path / "plan.json", "--segmentation", *given]
    outcome = run(capfd, *command, "--levels", "L4,L3", "--quiet")
    assert outcome.code == 0, outcome
    assert json.loads((tmp_path / "plan.json").read_text()) == json.loads(plan.read_text())
    assert snapshot(folder) == before
    table = outcome.out.splitlines()
    assert re.match(r"implant +size +material +grade +breach", table[0])
    row = next(line for line in table if line.startswith("pedicle-screw L3 left"))
    assert re.search(r" \d(\.\d)? x \d\d mm +Ti6Al4V +[AB] +\d", row)


def test_clicks_into_plain_bone(
    patient: tuple[Path, PhantomTruth], plan: Path, tmp_path: Path, capfd: Capture
) -> None:
    folder, truth = patient
    centres = {v.level: v.centre_ras for v in truth.vertebrae}
    clicks = [f"--click={k}=" + ",".join(f"{x:.1f}" for x in centres[k]) for k in LEVELS]
    command = ["place", folder / "ct.nii.gz", tmp_path / "plan.json", *clicks]
    outcome = run(capfd, *command, "--no-rods", "--sides", "left", "--material", "cp-ti", "--quiet")
    assert outcome.code == 0, outcome
    found = read_plan(tmp_path / "plan.json")
    assert [i.attributes["level"] for i in found.implants] == list(LEVELS)
    assert {i.attributes["side"] for i in found.implants} == {"left"}
    assert {i.implant["material"] for i in found.implants} == {"cp-Ti"}
    known = {(i.attributes["level"], i.attributes["side"]): i for i in read_plan(plan).implants}
    for item in found.implants:
        other = known[item.attributes["level"], "left"]
        assert item.matrix[:3, 2] @ other.matrix[:3, 2] > np.cos(np.deg2rad(8))


def test_samples_are_seeded(
    patient: tuple[Path, PhantomTruth], tmp_path: Path, capfd: Capture
) -> None:
    folder, _ = patient
    command = ["place", folder / "ct.nii.gz", tmp_path / "plan.json", "--force", "--quiet"]
    bones = ["--segmentation", folder / "masks", "--levels", "L4"]
    texts = []
    for seed in (3, 3, 4):
        assert run(capfd, *command, *bones, "--sample", "--seed", seed).code == 0
        texts.append((tmp_path / "plan.json").read_text())
    assert texts[0] == texts[1] != texts[2]
    assert json.loads(texts[2])["seed"] == 4 and read_plan(tmp_path / "plan.json").implants


def test_voxelise(
    patient: tuple[Path, PhantomTruth], plan: Path, tmp_path: Path, capfd: Capture
) -> None:
    folder, _ = patient
    ct, out = folder / "ct.nii.gz", tmp_path / "out"
    outcome = run(capfd, "voxelise", ct, plan, out, "--labels", "--quiet")
    assert outcome.code == 0 and outcome.err == "", outcome
    assert {path.name for path in out.iterdir()} == {
        "fraction-Ti6Al4V.nii.gz",
        "metal-fraction.nii.gz",
        "labels.nii.gz",
        "labels.json",
    }
    fraction = stored(out / "metal-fraction.nii.gz")
    assert same_grid(out / "metal-fraction.nii.gz", ct)
    told = {name: float(ml) for name, ml in re.findall(r"^(.+?) +([\d.]+) ml$", outcome.out, re.M)}
    voxel = 2.5 * 1.5 * 1.5
    assert sum(told.values()) == pytest.approx(fraction.sum(dtype=float) * voxel / 1000, abs=0.04)
    names = json.loads((out / "labels.json").read_text())
    assert list(names.values()) == list(told)
    labels = stored(out / "labels.nii.gz")
    assert set(np.unique(labels)) == {0, *map(int, names)}
    assert np.array_equal(labels > 0, fraction >= 0.5)
    # Each implant's label lies about the implant.
    volume = sitk.ReadImage(str(ct))
    for value, placed in zip(names, metal_of(read_plan(plan)).implants, strict=True):
        points = placed.implant.mesh().points @ placed.placement[:3, :3].T
        low, high = (f(points + placed.placement[:3, 3], axis=0) for f in (np.min, np.max))
        index = np.argwhere(labels == int(value))[:, ::-1]
        places = np.array([volume.TransformIndexToPhysicalPoint(i.tolist()) for i in index])
        places *= (-1, -1, 1)
        assert (places > low - 2.5).all() and (places < high + 2.5).all()


def test_numbers_of_published_segmentations() -> None:
    verse = read_names("VerSe")
    known = {1: "vertebrae_C1", 7: "vertebrae_C7", 8: "vertebrae_T1", 19: "vertebrae_T12"}
    known |= {20: "vertebrae_L1", 24: "vertebrae_L5", 25: "vertebrae_L6", 26: "sacrum"}
    assert {value: verse[value] for value in known} == known
    names = read_names("TotalSegmentator")
    known = {25: "sacrum", 26: "vertebrae_S1", 27: "vertebrae_L5", 31: "vertebrae_L1"}
    known |= {32: "vertebrae_T12", 43: "vertebrae_T1", 44: "vertebrae_C7", 50: "vertebrae_C1"}
    known |= {75: "femur_left", 76: "femur_right", 77: "hip_left", 78: "hip_right"}
    known |= {79: "spinal_cord", 92: "rib_left_1", 103: "rib_left_12", 115: "rib_right_12"}
    assert {value: names[value] for value in known} == known
    assert len(names) == len(set(names.values())) == 55


REFUSED: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "no bones": ([], ("nothing says where the bones are", "--segmentation", "--click")),
    "labels without segmentation": (["--labels", "totalsegmentator"], ("there is none",)),
    "no such segmentation": (["--segmentation", "@no.nii"], ("no.nii: no such file or folder",)),
    "labels without names": (
        ["--segmentation", "@labels.nii.gz"],
        ("holds labels 11, 12", "--labels names.csv"),
    ),
    "other names": (
        ["--segmentation", "@labels.nii.gz", "--labels", "@other.csv"],
        ("holds labels 11", "names are given for 1, 2"),
    ),
    "names that are none": (
        ["--segmentation", "@labels.nii.gz", "--labels", "@bad.csv"],
        ("bad.csv: line 2 is not a label and a name: eleven,L1",),
    ),
    "a name twice": (
        ["--segmentation", "@labels.nii.gz", "--labels", "@twice.csv"],
        ("'L1' is there twice",),
    ),
    "no such names": (
        ["--segmentation", "@labels.nii.gz", "--labels", "@no.csv"],
        ("no.csv: no such file",),
    ),
    "another geometry": (["--segmentation", "@larger.nii.gz"], ("geometry is not", "resample")),
    "a folder of nothing": (["--segmentation", "@nothing"], ("none of its 0 volumes",)),
    "no such level": (
        ["--segmentation", "@masks", "--levels", "L9"],
        ("'L9' is not a level",),
    ),
    "a level not segmented": (
        ["--segmentation", "@masks", "--levels", "C3"],
        ("level C3 is not segmented",),
    ),
    "no femur": (["--segmentation", "@masks", "--kind", "total-hip"], ("no femur_left",)),
    "a click outside": (["--click", "L3=0,0,9000"], ("L3", "lies outside the volume")),
    "a click in air": (["--click", "L3=80,80,0"], ("no vertebra could be used", "L3")),
    "no point": (["--click", "L3=1,2"], ("'1,2' is not a point",)),
    "no name": (["--click", "1,2,3"], ("'1,2,3' is not NAME=R,A,S",)),
    "twice": (["--click", "L3=1,2,3", "--click", "l3=1,2,4"], ("--click L3 is given twice",)),
    "no bone": (
        ["--kind", "total-hip", "--click", "hip=0,-22,6", "--bone-threshold", "5000"],
        ("above 5000 HU", "lower the bone threshold"),
    ),
    "material": (["--click", "L3=1,2,3", "--material", "wood"], ("unknown material 'wood'",)),
    "rod": (["--click", "L3=1,2,3", "--rod-diameter", "55"], ("diameter_mm of 55 mm",)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_unusable_bones(
    patient: tuple[Path, PhantomTruth], tmp_path: Path, capfd: Capture, what: str
) -> None:
    folder, _ = patient
    given, words = REFUSED[what]
    (tmp_path / "other.csv").write_text("1,vertebrae_L1\n2,vertebrae_L2\n")
    (tmp_path / "bad.csv").write_text("11,vertebrae_L1\neleven,L1\n")
    (tmp_path / "twice.csv").write_text("value,name\n11,L1\n12,L1\n")
    (tmp_path / "nothing").mkdir()
    image = sitk.ReadImage(str(folder / "labels.nii.gz"))
    image.SetSpacing([1.1 * side for side in image.GetSpacing()])
    sitk.WriteImage(image, str(tmp_path / "larger.nii.gz"))

    def path(part: str) -> str:
        if not part.startswith("@"):
            return part
        own = folder / part[1:]
        return str(own if own.exists() else tmp_path / part[1:])

    before = snapshot(tmp_path)
    command = ["place", folder / "ct.nii.gz", tmp_path / "plan.json", "--quiet"]
    assert_refused(run(capfd, *command, *map(path, given)), *words)
    assert snapshot(tmp_path) == before


def test_unusable_outputs(
    patient: tuple[Path, PhantomTruth], plan: Path, tmp_path: Path, capfd: Capture
) -> None:
    folder, _ = patient
    (tmp_path / "plan.json").write_text("precious")
    bones = ["--segmentation", folder / "masks", "--quiet"]
    for output, words in (
        (tmp_path / "plan.json", ("exists already", "--force")),
        (tmp_path / "plan.txt", ("end the name in .json",)),
        (tmp_path / "no" / "plan.json", ("does not exist; create it first",)),
    ):
        assert_refused(run(capfd, "place", folder / "ct.nii.gz", output, *bones), *words)
    names = folder / "names.json"
    labels = ["--segmentation", folder / "labels.nii.gz", "--labels", names, "--quiet"]
    outcome = run(capfd, "place", folder / "ct.nii.gz", names, *labels, "--force")
    assert_refused(outcome, "names.json: is the input itself")
    assert (tmp_path / "plan.json").read_text() == "precious"
