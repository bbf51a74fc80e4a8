"""Skull and soft tissue found by themselves, and metal drawn by what a CT shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.dataset.regions import drawn_plan, patients_in
from SimulateImplantsLib.dataset.training_metal import RealisticMetal
from SimulateImplantsLib.implants import procedures
from SimulateImplantsLib.implants.cranial_plate import CranialPlate
from SimulateImplantsLib.implants.wires import Fiducial
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.collision import collisions
from SimulateImplantsLib.placement.patient import Bones, Patient, measure_patient
from SimulateImplantsLib.placement.plan import PlannedImplant
from SimulateImplantsLib.placement.procedures import sampled_plan
from SimulateImplantsLib.placement.quality import PlacedItem, Quality, measure_placement
from SimulateImplantsLib.placement.tissue import shares

OUTER_MM = 75.0


@pytest.fixture(scope="module")
def head() -> CTVolume:
    """The upper half of a ball: brain, a bone of 7 mm, 5 mm of scalp."""
    matrix = np.array([[-1.25, 0, 0, 100], [0, -1.25, 0, 100], [0, 0, 2.5, -20], [0, 0, 0, 1.0]])
    k, j, i = np.mgrid[:44, :160, :160]
    radius = np.linalg.norm(np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3], axis=-1)
    hu = np.select(
        [radius < OUTER_MM - 7, radius < OUTER_MM, radius < OUTER_MM + 5], [35, 1100, 40]
    )
    return CTVolume(np.where(radius < OUTER_MM + 5, hu, -1000).astype(np.float32), matrix)


@pytest.fixture(scope="module")
def patient(head: CTVolume) -> Patient:
    return measure_patient(head, Bones(), "skull")


def quality(item: object, matrix: np.ndarray, volume: CTVolume) -> Quality:
    placed = PlacedItem(item.make(), matrix, "one")  # type: ignore[attr-defined]
    return measure_placement([placed], Anatomy(volume), lambda i, j: True)[0]


def test_the_vault_is_a_ball(patient: Patient) -> None:
    vault = [spot for spot in patient.spots if spot.name == "vault"]
    assert len(vault) > 50
    for spot in vault:
        distance = np.linalg.norm(spot.origin)
        assert distance == pytest.approx(OUTER_MM, abs=1.5)
        assert spot.matrix[:3, 2] @ spot.origin / distance > 0.98
        assert spot.size_mm["radius_x"] == pytest.approx(OUTER_MM, rel=0.25)


@pytest.mark.parametrize("kind", list(procedures("skull")))
def test_metal_of_the_head_sits_well(patient: Patient, head: CTVolume, kind: str) -> None:
    for item in sampled_plan(patient, kind, 1).implants[:2]:
        assert quality(item, item.matrix, head).grade == "good"
        off = item.matrix.copy()
        outward = off[:3, 3] / np.linalg.norm(off[:3, 3])
        reach = OUTER_MM + 15.0 if np.linalg.norm(off[:3, 3]) > 50 else OUTER_MM - 3.0
        off[:3, 3] = reach * outward
        assert quality(item, off, head).grade != "good"


def test_a_plate_touches_the_bone_and_no_more(patient: Patient, head: CTVolume) -> None:
    spot = next(spot for spot in patient.spots if spot.name == "vault")
    plate = CranialPlate(40, 40, curvature_x_mm=75, curvature_y_mm=75, screws=0)
    assert shares(plate, spot.matrix, "near bone+enamel", head) > 0.8
    deep = spot.matrix.copy()
    deep[:3, 3] -= 3.5 * deep[:3, 2]
    assert shares(plate, deep, "bone+enamel", head) > 0.9


def test_what_leaves_the_ct_is_not_graded(patient: Patient, head: CTVolume) -> None:
    item = sampled_plan(patient, "aneurysm-coil", 1).implants[0]
    away = item.matrix.copy()
    away[2, 3] = -21.0
    row = quality(item, away, head)
    assert row.grade == "" and "not graded" in row.note


def test_straight_wires_have_bodies() -> None:
    """Two of 1.2 mm, 0.3 mm apart: a straight wire is one segment."""
    apart = np.eye(4)
    apart[0, 3] = 1.5
    pair = [PlannedImplant(Fiducial().to_dict(), place) for place in (np.eye(4), apart)]
    (hit,) = collisions(pair, nearer_than_mm=1.0)
    assert hit.gap_mm == pytest.approx(0.3, abs=1e-6)


def test_skin_staples_follow_the_skin(head: CTVolume) -> None:
    """A ball of 80 mm with its scalp: a row in an arc on it, the bridges outside."""
    patient = measure_patient(head, Bones(), "skin")
    items = sampled_plan(patient, "skin-staples", 2).implants
    places = np.array([item.matrix[:3, 3] for item in items])
    assert len(items) >= 6
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), OUTER_MM + 5.0, atol=1.2)
    np.testing.assert_allclose(np.linalg.norm(np.diff(places, axis=0), axis=1), 7.0, atol=1.0)
    for item in items[1:-1]:
        assert quality(item, item.matrix, head).grade == "good"
        for depth in (15.0, -15.0):
            off = item.matrix.copy()
            off[:3, 3] += depth * off[:3, 2]
            assert quality(item, off, head).grade == "poor"


def test_a_couch_is_no_skin(head: CTVolume) -> None:
    """A hard shell about foam behind the head, which the mask of the body takes in."""
    hu = np.pad(head.hu, ((0, 0), (0, 40), (0, 0)), constant_values=-1000)
    hu[:, 165:180, 4:156] = 300.0
    hu[:, 168:177, 7:153] = -450.0
    assert body_mask(hu, head.spacing_mm)[20, 172, 80]
    couch = replace(head, hu=hu)
    spots = measure_patient(couch, Bones(), "skin").spots
    away = np.linalg.norm([spot.matrix[:3, 3] for spot in spots], axis=1)
    np.testing.assert_allclose(away, OUTER_MM + 5.0, atol=1.5)


def test_one_slice_has_no_skin() -> None:
    with pytest.raises(InputError, match="1 x 40 x 40 voxels"):
        measure_patient(CTVolume(np.zeros((1, 40, 40), np.float32), np.eye(4)), Bones(), "skin")


def test_sites_follow_from_the_ct(head: CTVolume) -> None:
    found = patients_in(head)
    assert "skull" in found and "teeth" not in found and "hip" not in found
    kinds = {drawn_plan(found, seed).parameters["kind"] for seed in range(12)}
    assert kinds & set(procedures("skull"))
    assert drawn_plan(found, 5).to_json() == drawn_plan(found, 5).to_json()
    with pytest.raises(InputError, match="'knees'"):
        patients_in(head, only=["knees"])
    with pytest.raises(InputError, match="skull: bone encloses 0 ml"):
        patients_in(CTVolume(np.full((8, 64, 64), 40.0, np.float32), np.eye(4)), only=["skull"])


def test_training_draws_on_a_ct_without_plans(head: CTVolume) -> None:
    source = RealisticMetal()
    one = source.draw("head", head, 6, np.random.default_rng(3))
    again = RealisticMetal().draw("head", head, 6, np.random.default_rng(3))
    assert one.first == again.first and one.fractions.keys() == again.fractions.keys()
    assert sum(f.sum() for f in one.fractions.values()) > 0
    for name, fraction in one.fractions.items():
        np.testing.assert_array_equal(fraction, again.fractions[name])
