"""Lateral mass screws in a cervical column of known shape, and in a real neck."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli_support import run
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import write_volume
from MetalArtifactReductionLib.volume import CTVolume
from neck_support import FORAMEN_MM, SPACING_MM, Neck, depth_in_mass, height, neck
from SimulateImplantsLib.cases.plan_quality import plan_quality
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.bone_field import sample_hu
from SimulateImplantsLib.placement.geometry import across, unit
from SimulateImplantsLib.placement.neck.locate import find_masses
from SimulateImplantsLib.placement.neck.screw import LateralMass
from SimulateImplantsLib.placement.patient import Bones, measure_patient
from SimulateImplantsLib.placement.procedures import proposed_plan, sampled_plan
from SimulateImplantsLib.placement.spine.grading import ScrewGrade, rings
from SimulateImplantsLib.placement.spine.image_grade import grade_in_lateral_mass
from support import packed_ct

WANTED = ("C3", "C4", "C5", "C6")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made() -> tuple[Neck, tuple[LateralMass, ...]]:
    column = neck()
    masses, warnings = find_masses(
        column.volume, {}, {level: column.body(level) for level in WANTED}
    )
    assert warnings == ()
    return column, masses


def thread_depth(column: Neck, mass: LateralMass) -> float:
    """Least depth of the thread in the mass that it is for, its ends left out."""
    surface, s = rings(mass.entry_ras, mass.target_ras, 1.75)
    points = column.local(surface[(s > 4) & (s < s[-1] - 1.5)])
    return float(depth_in_mass(points, mass.level, mass.side).min())


def test_screws_lie_in_the_known_masses(made: tuple[Neck, tuple[LateralMass, ...]]) -> None:
    column, masses = made
    assert [(m.level, m.side) for m in masses] == [
        (level, side) for level in WANTED for side in ("left", "right")
    ]
    for mass in masses:
        entry, tip = column.local(mass.entry_ras), column.local(mass.target_ras)
        sign = -1.0 if mass.side == "left" else 1.0
        assert thread_depth(column, mass) > -0.3
        assert abs(depth_in_mass(entry, mass.level, mass.side)) < 1.0  # on the back
        assert sign * (tip - entry)[0] > 3.0 and (tip - entry)[2] > 4.0  # outwards and up
        beside = np.hypot(sign * tip[0] - FORAMEN_MM[0], tip[1] - FORAMEN_MM[1])
        assert beside > FORAMEN_MM[2] + 1.75
        assert 10 <= mass.length_mm <= 16


def test_only_what_leaves_the_bone_is_judged(made: tuple[Neck, tuple[LateralMass, ...]]) -> None:
    column, masses = made
    mass = masses[3]
    entry, tip, d = mass.entry_ras, mass.target_ras, mass.direction
    out = across((1.0, 0.0, 0.0), mass.up)
    inwards = unit(column.body("C4") - entry)
    ahead = np.cross(mass.up, out)
    beside, behind = entry + 7.5 * out, -14.0 * ahead

    def graded(start: np.ndarray, end: np.ndarray) -> ScrewGrade:
        return grade_in_lateral_mass(column.volume, "right", start, end, 3.5)

    sound = graded(entry, tip)
    assert sound.grade == "" and "joints cannot be told in slices of 1.2 mm" in sound.note
    for start, end in (
        (entry, tip + 9.0 * d),  # through the ventral cortex
        (beside, beside + 9.0 * ahead),
        (entry, entry + 22.0 * inwards),  # through the canal
    ):
        assert graded(start, end).grade == "poor" and graded(start, end).breach_mm > 1.0
    assert graded(entry + behind, tip + behind).grade == "poor"
    assert "forward" in graded(tip, entry).note and not graded(tip, entry).grade
    # A joint lies half a vertebra away: not seen, so not judged, and by no means good.
    assert graded(entry + 7.0 * mass.up, tip + 7.0 * mass.up).grade == ""


def test_labels_give_the_same_screws(made: tuple[Neck, tuple[LateralMass, ...]]) -> None:
    column, masses = made
    patient = measure_patient(column.volume, Bones(column.labels), "neck", levels=["C4"])
    clicked = [mass for mass in masses if mass.level == "C4"]
    for mass, other in zip(patient.masses, clicked, strict=True):
        assert np.linalg.norm(mass.entry_ras - other.entry_ras) < 3.0
        assert thread_depth(column, mass) > -0.3


def test_what_gets_no_screws_is_told() -> None:
    column = neck()
    for level in ("C2", "C7", "L3"):
        with pytest.raises(InputError, match=f"{level}: .* from C3 to C6 only"):
            find_masses(column.volume, {}, {level: (0.0, 0.0, 0.0)})
    with pytest.raises(InputError, match="C4: no bone at the clicked point"):
        find_masses(column.volume, {}, {"C4": (38.0, -52.0, 0.0)})
    between = 0.5 * (column.body("C4") + column.body("C5"))
    with pytest.raises(InputError, match=r"C4: the foramina .* click into the middle"):
        find_masses(column.volume, {}, {"C4": between})
    thick = CTVolume(column.volume.hu[::3], column.volume.ijk_to_ras @ np.diag([1, 1, 3, 1.0]))
    with pytest.raises(InputError, match=r"slices of 3\.8 mm are too thick"):
        find_masses(thick, {}, {"C4": column.body("C4")})
    with pytest.raises(InputError, match="--kind lateral-mass"):
        measure_patient(column.volume, Bones(clicks={"C4": column.body("C4")}), "spine")


def test_levels_without_lateral_masses_do_not_hold_up_the_others() -> None:
    column = neck()
    clicks = {level: column.body(level) for level in ("C2", "C5", "C7")}
    masses, warnings = find_masses(column.volume, {}, clicks)
    assert {mass.level for mass in masses} == {"C5"} and len(masses) == 2
    assert [told[:4] for told in warnings] == ["C2: ", "C7: "]
    labelled, warnings = find_masses(column.volume, column.labels, {}, ["C4", "C7"])
    assert {mass.level for mass in labelled} == {"C4"} and "C7: " in warnings[0]


def test_a_cut_neck_and_one_upside_down_get_none() -> None:
    column = neck()
    first = int((height("C4") + 56.0) / SPACING_MM[2])
    cut = CTVolume(column.volume.hu[first:], column.volume.ijk_to_ras.copy())
    cut.ijk_to_ras[:3, 3] += cut.ijk_to_ras[:3, 2] * first
    with pytest.raises(InputError, match="C4"):
        find_masses(cut, {}, {"C4": column.body("C4")})
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    turned = CTVolume(column.volume.hu, flip @ column.volume.ijk_to_ras)
    for mm in (-4.0, 0.0, 4.0):
        with pytest.raises(InputError, match="C4"):
            find_masses(turned, {}, {"C4": flip[:3, :3] @ column.body("C4") + [0.0, 0.0, mm]})


def test_place_takes_clicks_in_the_neck(tmp_path: Path, capfd: Capture) -> None:
    column = neck()
    write_volume(column.volume, tmp_path / "ct.nii.gz")
    clicks = [
        f"--click={level}=" + ",".join(f"{mm:.2f}" for mm in column.body(level))
        for level in ("C4", "C5")
    ]
    more = ("--kind", "lateral-mass", *clicks, "--quiet")
    done = run(capfd, "place", tmp_path / "ct.nii.gz", tmp_path / "plan.json", *more)
    assert done.code == 0, done
    plan = json.loads((tmp_path / "plan.json").read_text())
    kinds = [item["implant"]["kind"] for item in plan["implants"]]
    assert sorted(kinds) == ["lateral-mass-screw"] * 4 + ["rod"] * 2
    rods = [item["implant"] for item in plan["implants"] if item["implant"]["kind"] == "rod"]
    assert {rod["diameter_mm"] for rod in rods} == {3.5}
    assert not any(row["grade"] or row["touches"] for row in plan["quality"])
    thick = ("--rod-diameter", 5.5, "--force")
    done = run(capfd, "place", tmp_path / "ct.nii.gz", tmp_path / "plan.json", *more, *thick)
    assert done.code and "rod_diameter_mm" in done.err


def test_variants_stay_near(made: tuple[Neck, tuple[LateralMass, ...]]) -> None:
    column, masses = made
    bones = Bones(clicks={level: column.body(level) for level in WANTED[:2]})
    patient = measure_patient(column.volume, bones, "neck")
    one, again = (sampled_plan(patient, "lateral-mass", 5, 1).to_dict() for _ in range(2))
    assert one == again
    known = {(m.level, m.side): m for m in masses}
    for seed in range(4):
        for item in sampled_plan(patient, "lateral-mass", seed).implants:
            if item.kind == "lateral-mass-screw":
                mass = known[item.attributes["level"], item.attributes["side"]]
                assert np.linalg.norm(item.matrix[:3, 3] - mass.entry_ras) < 4.0


def test_a_real_neck_that_leans_forward() -> None:
    """Bodies' middles by eye; joints worn, slices of 2 mm."""
    volume = packed_ct("cptac_hnscc_C3L-04844_jaw")
    clicks = {"C4": (6, -29, -182), "C5": (6, -38, -193), "C6": (7, -47, -203)}
    patient = measure_patient(volume, Bones(clicks=clicks), "neck")
    plan = proposed_plan(patient, "lateral-mass")
    rows = [row for row in plan_quality(plan, Anatomy(volume)) if "x" in row.size]
    assert len(patient.masses) == len(rows) == 6
    assert all("slices of 2 mm" in row.note and not row.grade for row in rows)
    for mass in patient.masses:
        sign = -1.0 if mass.side == "left" else 1.0
        assert sign * mass.direction[0] > 0.1 and mass.direction[1] > 0.7
        way = np.linspace(0.3, 1.0, 20)[:, None] * (mass.target_ras - mass.entry_ras)
        assert sample_hu(volume, mass.entry_ras + way).min() > 200.0
    flip = np.array([1.0, 1.0, -1.0])
    turned = CTVolume(volume.hu, np.diag([*flip, 1.0]) @ volume.ijk_to_ras)
    for mm in (2.5, 5.0):  # where one level's joints are too worn to tell
        with pytest.raises(InputError, match=r"C3: no layers .* upside-down"):
            find_masses(turned, {}, {"C3": flip * (6, -20, -170) + (0, 0, mm)})
    moved = {level: np.add(place, (-3.0, 4.0, 0.0)) for level, place in clicks.items()}
    other, _ = find_masses(volume, {}, moved)
    assert len(other) >= 4
    known = {(m.level, m.side): m for m in patient.masses}
    for mass in other:
        assert np.linalg.norm(mass.entry_ras - known[mass.level, mass.side].entry_ras) < 4.0
