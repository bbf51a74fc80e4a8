"""Knees and long bones found by themselves, and the metal on them."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from placement_support import grades
from SimulateImplantsLib.placement.patient import Bones, Patient, measure_patient
from SimulateImplantsLib.placement.procedures import sampled_plan
from support import packed_ct

KNEE = np.array([80.0, 10.0, 4.0])
"""Lowest point of the condyles."""
TURN_DEG = 12.0


def bone(hu: np.ndarray, within: np.ndarray, cortex: np.ndarray, marrow: float) -> None:
    hu[within] = np.where(cortex[within], 1200.0, marrow)


@pytest.fixture(scope="module")
def leg() -> CTVolume:
    """A right leg of 270 mm: femur of 28 mm, two condyles 72 mm wide, a gap of 6 mm, a tibia."""
    matrix = np.array([[-1.0, 0, 0, 140], [0, -1.0, 0, 70], [0, 0, 2.0, -100], [0, 0, 0, 1.0]])
    k, j, i = np.mgrid[:135, :140, :120]
    at = np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3] - KNEE
    c, s = np.cos(np.deg2rad(TURN_DEG)), np.sin(np.deg2rad(TURN_DEG))
    x, y, z = at[..., 0] * c + at[..., 1] * s, at[..., 1] * c - at[..., 0] * s, at[..., 2]
    hu = np.where(np.hypot(x, y) < 58, 50.0, -1000.0)
    shaft = np.hypot(x, y)
    bone(hu, (shaft < 14) & (z > 30), shaft > 9, -20)
    bone(hu, (shaft < 13) & (z < -30), shaft > 8, -20)
    for side in (-1, 1):
        r = ((x / 19 - side * 17 / 19) ** 4 + (y / 30) ** 4 + (z / 25 - 1) ** 4) ** 0.25
        bone(hu, r < 1, r > 0.88, 250)
    bridge = (np.abs(x) < 20) & (np.abs(y - 8) < 18) & (z > 14) & (z < 44)
    hu[bridge & (hu < 200)] = 250
    r = np.maximum(np.sqrt((x / 37) ** 2 + (y / 25) ** 2), np.abs(z + 24) / 18)
    bone(hu, r < 1, r > 0.9, 250)
    return CTVolume(hu.astype(np.float32), matrix)


def test_a_knee_lies_where_it_was_drawn(leg: CTVolume) -> None:
    patient = measure_patient(leg, Bones(), "knee")
    (spot,) = patient.spots
    assert spot.side == "right"
    np.testing.assert_allclose(spot.origin, KNEE, atol=3.0)
    assert np.rad2deg(np.arctan2(*spot.matrix[1::-1, 0])) == pytest.approx(TURN_DEG, abs=3.0)
    assert spot.matrix[2, 2] > 0.98
    assert spot.size_mm["width"] == pytest.approx(72, abs=4)
    (item,) = sampled_plan(patient, "total-knee", 1).implants
    moves = 15.0 * np.vstack([np.eye(3), -np.eye(3)])
    assert grades(leg, item, *moves) == ["good", *["poor"] * 6]


@pytest.mark.parametrize(
    ("name", "place"),
    [("sts_010", (-66, -27, 558)), ("sts_013", (-62, -57, 562)), ("sts_051", (-75, -39, 563))],
)
def test_real_knees(name: str, place: tuple[float, ...]) -> None:
    """Middle of the joint line, looked up by eye in the CT."""
    (spot,) = measure_patient(packed_ct(name), Bones(), "knee").spots
    np.testing.assert_allclose(spot.origin, place, atol=8.0)
    assert spot.side == "left" and 62 < spot.size_mm["width"] < 80


@pytest.mark.parametrize("name", ["sts_049", "sts_022", "sts_044"])
def test_an_ankle_a_thigh_and_a_hip_are_no_knees(name: str) -> None:
    with pytest.raises(InputError, match="no joint of a knee"):
        measure_patient(packed_ct(name), Bones(), "knee")


def test_shafts_have_their_axis_and_radius(leg: CTVolume) -> None:
    spots = measure_patient(leg, Bones(), "limb").spots
    assert spots
    for spot in spots:
        assert spot.matrix[2, 2] > 0.995 and spot.matrix[0, 0] > 0.99
        np.testing.assert_allclose(spot.origin[:2], KNEE[:2], atol=1.0)
        assert spot.size_mm["radius"] == pytest.approx(14.0, abs=1.0)


def two_shafts(slices: int) -> CTVolume:
    """Of two legs, the one that is met first in a slice in all but the first three."""
    hu = np.full((slices, 60, 120), -1000.0, np.float32)
    hu[:, 4:56, 4:116] = 50.0
    _, j, i = np.indices(hu.shape)
    for row, column, first in ((24, 30, 3), (34, 90, 0)):
        r = 2.0 * np.hypot(j - row, i - column)
        hu[first:][(r < 13)[first:]] = 1200.0
        hu[first:][(r < 8)[first:]] = -20.0
    return CTVolume(hu, np.array([[-2.0, 0, 0, 119], [0, -2, 0, 60], [0, 0, 2, 0], [0, 0, 0, 1]]))


def test_both_legs_have_their_shafts_whichever_begins_first() -> None:
    spots = measure_patient(two_shafts(60), Bones(), "limb").spots
    assert {spot.side for spot in spots} == {"left", "right"}
    for spot in spots:
        assert abs(spot.origin[0]) == pytest.approx(60.0, abs=2.0)


def test_a_plate_is_no_longer_than_the_shaft_that_is_seen() -> None:
    patient = measure_patient(two_shafts(46), Bones(), "limb")
    for seed in range(12):
        (item,) = sampled_plan(patient, "bone-plate", seed).implants
        assert item.make().length_mm <= 92.0
        assert 12.0 < abs(abs(item.matrix[0, 3]) - 60.0) < 14.5


@pytest.mark.parametrize("kind", ["bone-plate", "external-fixator", "k-wires"])
def test_metal_on_a_shaft_sits_well(leg: CTVolume, kind: str) -> None:
    """Not moved along the bone, where it sits as well."""
    patient = measure_patient(leg, Bones(), "limb")
    for item in sampled_plan(patient, kind, 1).implants:
        inwards = item.matrix[:3, :3].T
        moves = [inwards @ way for way in ((20, 0, 0), (-20, 0, 0), (0, 20, 0))]
        assert grades(leg, item, *moves) == ["good", "poor", "poor", "poor"]


def test_a_plate_lies_on_the_bone(leg: CTVolume) -> None:
    patient: Patient = measure_patient(leg, Bones(), "limb")
    (item,) = sampled_plan(patient, "bone-plate", 2).implants
    face = item.matrix[:3, 3] - KNEE
    assert np.hypot(*face[:2]) == pytest.approx(14.0, abs=1.0)
    assert item.matrix[0, 1] > 0.95  # lateral, of a right leg
    tip = item.make().mesh().points[:, 1].min()
    assert -32.0 < tip < -28.0  # through the far cortex, no further than 4 mm


@pytest.mark.parametrize("name", ["sts_009", "sts_010", "sts_033"])
def test_metal_on_real_shafts(name: str) -> None:
    """A thigh, a lower leg and a thigh that lies oblique to the slices."""
    volume = packed_ct(name)
    patient = measure_patient(volume, Bones(), "limb")
    for kind in ("bone-plate", "k-wires"):
        for item in sampled_plan(patient, kind, 3).implants:
            assert grades(volume, item)[0] == "good"


def test_a_head_has_no_long_bones() -> None:
    with pytest.raises(InputError, match="no 80 mm of a straight shaft"):
        measure_patient(
            CTVolume(np.full((40, 80, 80), 40.0, np.float32), np.eye(4)), Bones(), "limb"
        )
