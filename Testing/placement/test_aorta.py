"""The aorta found before the spine, and stent-grafts in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from placement_support import grades
from SimulateImplantsLib.implants.stent import Stent
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.aorta import Piece
from SimulateImplantsLib.placement.lumen import round_section, stent_grade
from SimulateImplantsLib.placement.patient import Bones, Patient, measure_patient
from SimulateImplantsLib.placement.plan import PlannedImplant
from SimulateImplantsLib.placement.procedures import sampled_plan
from SimulateImplantsLib.placement.spine.column import column
from support import packed_ct

BODY = np.array([4.0, -40.0])
RADIUS_MM = 10.6


def middle(z: np.ndarray) -> np.ndarray:
    """Of the phantom's aorta: left before the spine, bent to a radius of 250 mm."""
    return np.stack([-8.0 - z**2 / 500.0, -7.0 + 0.1 * z], axis=-1)


def trunk(blood_hu: float = 150.0, aorta: bool = True, liver: float = 1.0) -> CTVolume:
    """Fat with a spine, aorta, vena cava as wide and bright, psoas muscles, a liver.

    The spine: bodies of cortex and cancellous bone with discs between, a canal, arches.

    :param liver: on the right, or with -1 on the left.
    """
    matrix = np.array([[-1.5, 0, 0, 150], [0, -1.5, 0, 105], [0, 0, 3, -72], [0, 0, 0, 1.0]])
    k, j, i = np.mgrid[:49, :140, :200]
    x, y, z = np.moveaxis(np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3], -1, 0)
    hu = np.where((x / 145) ** 2 + (y / 98) ** 2 < 1, -95.0, -1000.0)
    hu[(np.hypot(x - 85 * liver, y - 20) < 42) & (np.abs(z) < 60)] = 100.0
    u, v = x - BODY[0], y - BODY[1]
    for side in (-1, 1):
        hu[np.hypot(u - 40 * side, v) < 15] = 55.0
    body = np.hypot(u / 22, v / 17)
    disc = np.mod(z, 36) < 8
    hu[body < 1] = np.where(disc, 90.0, np.where(body > 0.88, 550.0, 170.0))[body < 1]
    canal = np.hypot(u, v + 26)
    hu[(canal < 15) & (v < -17)] = 500.0
    hu[(np.abs(u) < 4) & (v < -38) & (v > -58) & ~disc] = 450.0
    hu[canal < 9] = 30.0
    if aorta:
        hu[np.linalg.norm(np.stack([x, y], -1) - middle(z), axis=-1) < RADIUS_MM] = blood_hu
    hu[np.hypot(u - 18, v - 32) < RADIUS_MM] = blood_hu
    noise = np.random.default_rng(1).normal(0, 12, hu.shape)
    return CTVolume((hu + noise).astype(np.float32), matrix)


@pytest.fixture(scope="module", params=[40.0, 150.0, 320.0])
def volume(request: pytest.FixtureRequest) -> CTVolume:
    """Without contrast medium, venous, arterial."""
    return trunk(request.param)


def lines(patient: Patient) -> list[np.ndarray]:
    return [spot.line for spot in patient.spots if isinstance(spot, Piece)]


def turned(item: PlannedImplant, degrees: float) -> PlannedImplant:
    """About its own +x through its middle."""
    angle = np.deg2rad(degrees)
    line = item.make().centre_line()[0]  # type: ignore[attr-defined]
    turn, back, there = np.eye(4), np.eye(4), np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    back[:3, 3] = -line[len(line) // 2]
    there[:3, 3] = line[len(line) // 2]
    return replace(item, matrix=item.matrix @ there @ turn @ back)


def test_the_spine_is_found() -> None:
    """To half of a body's radius, whatever lies before it."""
    course = column(trunk(320.0))
    assert np.linalg.norm(course[4:-4, :2] - BODY, axis=1).max() < 10.0


def test_the_aorta_is_found(volume: CTVolume) -> None:
    patient = measure_patient(volume, Bones(), "aorta")
    for spot, line in zip(patient.spots, lines(patient), strict=True):
        off = np.linalg.norm(line[:, :2] - middle(line[:, 2]), axis=1)
        assert off.max() < 1.5
        assert spot.size_mm["diameter"] == pytest.approx(2 * RADIUS_MM, abs=1.0)
        assert spot.matrix[2, 2] > 0.95
    assert max(np.ptp(line[:, 2]) for line in lines(patient)) > 90


def test_stents_lie_in_the_aorta(volume: CTVolume) -> None:
    patient = measure_patient(volume, Bones(), "aorta")
    for seed in range(2):
        (item,) = sampled_plan(patient, "aortic-stent", seed).implants
        assert item.make().diameter_mm == pytest.approx(2 * RADIUS_MM, rel=0.06)  # type: ignore[attr-defined]
        moves = [(10, 0, 0), (-10, 0, 0), (0, 10, 0), (0, -10, 0)]
        assert grades(volume, item, *moves) == ["good"] + ["poor"] * 4
        for degrees in (20, -20):
            assert grades(volume, turned(item, degrees)) == ["poor"]


def test_a_stent_of_another_width_is_poor(volume: CTVolume) -> None:
    patient = measure_patient(volume, Bones(), "aorta")
    (item,) = sampled_plan(patient, "aortic-stent", 0).implants
    for share in (0.8, 1.4):
        stent = replace(item.make(), diameter_mm=share * 2 * RADIUS_MM)  # type: ignore[type-var]
        grade, note = stent_grade(stent, item.matrix, Anatomy(volume))
        assert grade == "poor" and "wider than the vessel" in note


def test_what_a_ct_cannot_show_is_not_graded(volume: CTVolume) -> None:
    assert stent_grade(Stent(3, 18, 0.09, 1.2, 6), np.eye(4), Anatomy(volume))[0] == ""
    outside = np.eye(4)
    outside[2, 3] = 40.0
    assert "outside the CT" in stent_grade(Stent(), outside, Anatomy(volume))[1]


def test_a_section_is_measured_from_beside_its_middle() -> None:
    volume = trunk()
    start = np.append(middle(np.array(0.0)), 0.0) + np.array([3.0, 2.0, 0.0])
    found = round_section(volume, start, np.array([0.0, 0.0, 1.0]))
    assert found is not None and found.wall > 0.9
    np.testing.assert_allclose(found.centre[:2], middle(np.array(0.0)), atol=0.4)
    assert found.radius_mm == pytest.approx(RADIUS_MM, abs=0.4)
    assert found.hu == pytest.approx(150, abs=6)


def test_the_vena_cava_is_no_aorta() -> None:
    with pytest.raises(InputError, match="no aorta of even width over 50 mm"):
        measure_patient(trunk(aorta=False), Bones(), "aorta")


def test_a_mirrored_trunk_is_refused() -> None:
    with pytest.raises(InputError, match="mirrored"):
        measure_patient(trunk(liver=-1.0), Bones(), "aorta")


@pytest.mark.parametrize("shape", [(1, 40, 40), (8, 64, 64)])
def test_what_is_no_trunk_is_refused(shape: tuple[int, ...]) -> None:
    for hu in (-1000.0, 40.0):
        with pytest.raises(InputError, match=r"no spine|no aorta"):
            measure_patient(CTVolume(np.full(shape, hu, np.float32), np.eye(4)), Bones(), "aorta")


SEEN = {
    "crlm_1006_abdomen": [
        (-336.4, -30.0, -32.7, 8.2),
        (-301.4, -29.4, -38.8, 8.5),
        (-266.4, -24.7, -50.7, 9.2),
        (-196.4, -23.9, -62.4, 10.9),
        (-136.4, -31.8, -67.0, 11.0),
    ],
    "rider_pilot_1_01_thoracic_spine": [
        (-258.4, 4.0, 7.3, 12.6),
        (-238.4, 3.3, -0.3, 12.2),
        (-226.4, 1.7, -3.9, 12.3),
    ],
}
"""Height, middle and radius of the aorta in axial slices, by eye, before it was found."""


@pytest.mark.parametrize("name", list(SEEN))
def test_the_aorta_of_patients(name: str) -> None:
    volume = packed_ct(name)
    patient = measure_patient(volume, Bones(), "aorta")
    for z, x, y, radius in SEEN[name]:
        near = [
            (spot, line[np.argmin(abs(line[:, 2] - z))])
            for spot, line in zip(patient.spots, lines(patient), strict=True)
            if abs(line[:, 2] - z).min() < 2.0
        ]
        assert near
        for spot, place in near:
            assert np.hypot(*(place[:2] - [x, y])) < 3.0
            assert spot.size_mm["diameter"] == pytest.approx(2 * radius, rel=0.15)
    (item,) = sampled_plan(patient, "aortic-stent", 1).implants
    assert grades(volume, item, (10, 0, 0), (0, -10, 0)) == ["good", "poor", "poor"]
    assert grades(volume, turned(item, 20)) == ["poor"]


@pytest.mark.parametrize("name", ["sts_030", "cptac_gbm_C3N-01192_jaw"])
def test_thighs_and_jaws_have_no_aorta(name: str) -> None:
    with pytest.raises(InputError, match=r"no spine|no aorta"):
        measure_patient(packed_ct(name), Bones(), "aorta")
