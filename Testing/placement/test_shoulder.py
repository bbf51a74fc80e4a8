"""Shoulders found beside the lungs, and prostheses in them."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from phantom_support import small_pelvis
from placement_support import grades
from SimulateImplantsLib.placement.patient import Bones, measure_patient
from SimulateImplantsLib.placement.procedures import sampled_plan
from support import packed_ct

HEAD = np.array([145.0, 0.0, 90.0])
RADIUS_MM, ASIDE_MM = 23.0, 7.0


def shoulders() -> CTVolume:
    """Arms down in one oval of soft tissue; heads in thin shells, a glenoid 3 mm from each."""
    matrix = np.array([[-2.0, 0, 0, 200], [0, -2.0, 0, 110], [0, 0, 4, -60], [0, 0, 0, 1.0]])
    k, j, i = np.mgrid[:46, :110, :200]
    x, y, z = np.moveaxis(np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3], -1, 0)
    hu = np.where((x / 190) ** 4 + (y / 95) ** 4 < 1, 40.0, -1000.0)
    beside = np.abs(x) - HEAD[0]
    hu[(((np.abs(x) - 50) / 38) ** 2 + (y / 60) ** 2 < 1) & (z < 100)] = -850.0
    shaft = np.hypot(beside - ASIDE_MM, y)
    hu[(shaft < 12) & (z < 80)] = np.where(shaft < 8, -20, 1200)[(shaft < 12) & (z < 80)]
    head = np.sqrt(beside**2 + y**2 + (z - HEAD[2]) ** 2)
    hu[head < RADIUS_MM] = np.where(head < RADIUS_MM - 3, 260, 1000)[head < RADIUS_MM]
    glenoid = (head > RADIUS_MM + 3) & (np.abs(y) < 14) & (np.abs(z - HEAD[2]) < 18)
    hu[glenoid & (beside < -20) & (beside > -48)] = 600.0
    return CTVolume(hu.astype(np.float32), matrix)


def test_shoulders_lie_where_they_were_drawn() -> None:
    volume = shoulders()
    patient = measure_patient(volume, Bones(), "shoulder")
    assert [spot.side for spot in patient.spots] == ["right", "left"]
    for spot in patient.spots:
        sign = 1.0 if spot.side == "right" else -1.0
        np.testing.assert_allclose(spot.origin, HEAD * [sign, 1, 1], atol=2.5)
        assert spot.size_mm["radius"] == pytest.approx(RADIUS_MM, abs=1.5)
        assert spot.matrix[2, 2] > 0.97 and -sign * spot.matrix[0, 0] > 0.9
        assert spot.size_mm["offset"] == pytest.approx(ASIDE_MM, abs=2.5)
    (item,) = sampled_plan(patient, "total-shoulder", 1).implants
    moves = 15 * np.vstack([np.eye(3)[:2], -np.eye(3)[:2]])
    assert grades(volume, item, *moves) == ["good", *["poor"] * 4]


def test_real_shoulders_with_the_arms_up() -> None:
    """Centres of the heads and their size looked up by eye; the shafts lead up and to the front."""
    spots = measure_patient(
        packed_ct("acrin_flt_breast_001_shoulders_jaw"), Bones(), "shoulder"
    ).spots
    places = {spot.side: spot for spot in spots}
    np.testing.assert_allclose(places["left"].origin, (-139, -31, -271), atol=5.0)
    for spot in spots:
        assert spot.matrix[2, 2] < -0.6 and 18 < spot.size_mm["radius"] < 27


def test_no_lungs_no_shoulders() -> None:
    """A pelvis has gas in its bowel, and round heads with shafts."""
    for volume in (packed_ct("sts_040"), small_pelvis().volume):
        with pytest.raises(InputError, match="no lungs"):
            measure_patient(volume, Bones(), "shoulder")
