"""Teeth found in a CT by themselves, and dental metal on them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.implants import procedures
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.patient import Bones, Patient, measure_patient
from SimulateImplantsLib.placement.procedures import sampled_plan
from SimulateImplantsLib.placement.quality import PlacedItem, measure_placement
from support import packed_ct

DENTAL = [name for name, one in procedures("teeth").items()]


@cache
def jaw(crown_hu: float = 2500.0) -> tuple[CTVolume, np.ndarray]:
    """A lower jaw of 12 teeth: crowns 7 mm high on roots in bone; the crowns' middles in RAS."""
    angle = np.linspace(0.12 * np.pi, 0.88 * np.pi, 12)
    at = np.stack([30 * np.cos(angle), 42 * np.sin(angle) - 20, 0 * angle], axis=-1)
    matrix = np.array([[-0.5, 0, 0, 40], [0, -0.5, 0, 40], [0, 0, 1.5, -24], [0, 0, 0, 1.0]])
    k, j, i = np.mgrid[:28, :160, :160]
    ras = np.stack([i, j, k], axis=-1) @ matrix[:3, :3].T + matrix[:3, 3]
    hu = np.where(ras[..., 2] > 3.5, -1000.0, 40.0).astype(np.float32)
    for tooth in at:
        away = np.hypot(*(ras - tooth)[..., :2].transpose(3, 0, 1, 2))
        hu[(away < 6.5) & (ras[..., 2] < -4.5)] = 600.0
    for tooth in at:
        away = np.hypot(*(ras - tooth)[..., :2].transpose(3, 0, 1, 2))
        hu[(away < 2.5) & (ras[..., 2] < -3.5) & (ras[..., 2] > -15)] = 1200.0
        hu[(away < 3.0) & (np.abs(ras[..., 2]) < 3.5)] = crown_hu
    return CTVolume(hu, matrix), at


@pytest.fixture(scope="module")
def patient() -> Patient:
    return measure_patient(jaw()[0], Bones(), "teeth")


def test_every_tooth_is_found_with_its_axes(patient: Patient) -> None:
    at = jaw()[1]
    assert len(patient.spots) == len(at)
    for spot in patient.spots:
        nearest = at[np.linalg.norm(at - spot.origin, axis=1).argmin()]
        assert spot.name == "lower tooth"
        np.testing.assert_allclose(spot.origin[:2], nearest[:2], atol=0.7)
        assert 2.0 < spot.origin[2] < 4.5  # the biting surface at 3.5
        assert spot.matrix[2, 2] == pytest.approx(1.0)
        assert spot.matrix[:3, 1] @ (nearest - [0, -20, 0]) > 0  # to the cheek
        assert 5.0 < spot.size_mm["width"] < 7.0


@pytest.mark.parametrize("kind", DENTAL)
def test_dental_metal_sits_well_and_is_the_same_for_a_seed(patient: Patient, kind: str) -> None:
    plan = sampled_plan(patient, kind, 3)
    assert plan.to_json() == sampled_plan(patient, kind, 3).to_json()
    assert plan.to_json() != sampled_plan(patient, kind, 4).to_json()
    assert patient.volume is not None
    anatomy = Anatomy(patient.volume)
    for item in plan.implants:
        near = [np.linalg.norm(item.matrix[:3, 3] - s.origin) for s in patient.spots]
        assert min(near) < 12
        placed = PlacedItem(item.make(), item.matrix, kind)
        assert measure_placement([placed], anatomy, lambda i, j: True)[0].grade == "good"
        away = item.matrix.copy()
        away[:3, 3] += 15.0 * away[:3, 1]
        placed = PlacedItem(item.make(), away, kind)
        row = measure_placement([placed], anatomy, lambda i, j: True)[0]
        assert row.grade != "good" and row.note


def test_a_click_chooses_its_tooth() -> None:
    volume, at = jaw()
    chosen = measure_patient(volume, Bones(clicks={"tooth": at[2]}), "teeth").spots
    assert len(chosen) == 1
    assert np.linalg.norm(chosen[0].origin - at[2]) < 5
    with pytest.raises(InputError, match="nearest lower tooth is"):
        measure_patient(volume, Bones(clicks={"tooth": (0, 0, -400)}), "teeth")


def test_a_jaw_without_enamel_is_refused() -> None:
    with pytest.raises(InputError, match="0 teeth with enamel above 1700 HU"):
        measure_patient(jaw(crown_hu=1200.0)[0], Bones(), "teeth")


def test_real_jaws() -> None:
    """25 crowns can be counted in the slices; molars of the upper jaw touch the lower ones."""
    spots = measure_patient(packed_ct("cptac_hnscc_C3L-04844_jaw"), Bones(), "teeth").spots
    assert 22 <= len(spots) <= 28
    lower = np.array([s.origin for s in spots if s.name == "lower tooth"])
    assert 10 <= len(lower) <= 14 and np.ptp(lower[:, 0]) > 40
