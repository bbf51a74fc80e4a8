"""Pockets for pacemakers and ports, and the way of their leads to the heart."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from placement_support import grades
from SimulateImplantsLib.placement.chest import draw_port
from SimulateImplantsLib.placement.patient import Bones, Patient, measure_patient
from SimulateImplantsLib.placement.procedures import sampled_plan
from SimulateImplantsLib.placement.sites import Spot
from support import packed_ct

FRONT_MM = 100.0


def chest(slices: int = 60) -> CTVolume:
    """An oval trunk, two lungs with tips at 120 mm; the mediastinum is 50 mm wide."""
    matrix = np.array([[-2.5, 0, 0, 170], [0, -2.5, 0, 120], [0, 0, 5, 140], [0, 0, 0, 1.0]])
    matrix[2, 3] -= 5.0 * (slices - 1)
    k, j, i = np.mgrid[:slices, :96, :136]
    x, y, z = np.moveaxis(np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3], -1, 0)
    hu = np.where((x / 160) ** 4 + (y / FRONT_MM) ** 4 < 1, 40.0, -1000.0)
    size = np.sqrt(np.clip(1 - ((z + 40) / 160) ** 2, 0, 1)) + 1e-6
    for side in (-1, 1):
        oval = ((x - 80 * side) / 55) ** 2 + (y / 68) ** 2
        hu[(oval < np.minimum(1.3 * size, 1.0) ** 2) & (np.abs(z + 40) < 160)] = -850.0
    return CTVolume(hu.astype(np.float32), matrix)


@pytest.fixture(scope="module")
def volume() -> CTVolume:
    return chest()


@pytest.fixture(scope="module")
def patient(volume: CTVolume) -> Patient:
    return measure_patient(volume, Bones(), "chest")


@pytest.mark.parametrize("kind", ["pacemaker", "port"])
def test_a_pocket_lies_under_the_skin(patient: Patient, volume: CTVolume, kind: str) -> None:
    plan = sampled_plan(patient, kind, 3)
    can, *lines = plan.implants
    x, y, z = can.matrix[:3, 3]
    skin = FRONT_MM * (1 - (x / 160) ** 4) ** 0.25
    assert 4.0 < skin - y < 18.0 and z == pytest.approx(75.0, abs=10.0)
    assert 50 < abs(x) < 110 and can.attributes["side"] == ("right" if x > 0 else "left")
    assert grades(volume, can, (0, 0, 15), (0, 0, -30)) == ["good", "poor", "poor"]
    assert lines
    for line in lines:
        assert grades(volume, line, (40, 0, 0)) == ["good", "poor"]
        points = line.make().centre_line()[0]
        assert np.linalg.norm(points[0] - can.matrix[:3, 3]) < 45.0
        assert abs(points[-1][0]) < 30.0  # in the mediastinum


def test_a_ct_that_ends_above_the_heart_gets_a_port_and_no_pacemaker() -> None:
    short = measure_patient(chest(30), Bones(), "chest")
    assert {item.kind for item in sampled_plan(short, "port", 1).implants} == {"port", "catheter"}
    with pytest.raises(InputError, match="ends above the heart"):
        sampled_plan(short, "pacemaker", 1)
    with pytest.raises(InputError, match="no lungs"):
        measure_patient(
            CTVolume(np.full((8, 64, 64), 40.0, np.float32), np.eye(4)), Bones(), "chest"
        )


@pytest.mark.parametrize("room", [13.1, 14.1, 16.6, 30.0])
def test_a_port_keeps_off_the_ribs(room: float) -> None:
    pocket = Spot("pocket", np.eye(4), {"room": room}, "right")
    for seed in range(8):
        (port,) = draw_port(Patient(spots=(pocket,)), np.random.default_rng(seed))
        assert -port.matrix[2, 3] < room


def test_a_real_chest() -> None:
    volume = packed_ct("acrin_nsclc_042_neck_abdomen")
    patient = measure_patient(volume, Bones(), "chest")
    for kind in ("pacemaker", "port"):
        for item in sampled_plan(patient, kind, 1).implants:
            assert grades(volume, item) == ["good"]
