"""The sternum found in a chest, and wires about it."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.patient import Bones, measure_patient
from SimulateImplantsLib.placement.procedures import sampled_plan
from SimulateImplantsLib.placement.quality import PlacedItem, measure_placement


def chest(bone_hu: float = 500.0) -> CTVolume:
    """An oval trunk, two lungs, a sternum of 36 x 12 mm at 78 mm to the front, a spine behind."""
    matrix = np.array([[-2.0, 0, 0, 160], [0, -2.0, 0, 120], [0, 0, 5, -50], [0, 0, 0, 1.0]])
    k, j, i = np.mgrid[:20, :120, :160]
    x, y, _ = np.moveaxis(np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3], -1, 0)
    hu = np.where((x / 150) ** 2 + (y / 100) ** 2 < 1, 40.0, -1000.0)
    for side in (-1, 1):
        hu[((x - 70 * side) / 52) ** 2 + (y / 68) ** 2 < 1] = -850.0
    hu[(np.abs(x) < 18) & (np.abs(y - 78) < 6)] = bone_hu
    hu[(np.abs(x) < 16) & (np.abs(y + 60) < 14)] = 500.0
    return CTVolume(hu.astype(np.float32), matrix)


def test_wires_go_round_the_sternum() -> None:
    volume = chest()
    patient = measure_patient(volume, Bones(), "sternum")
    for spot in patient.spots:
        np.testing.assert_allclose(spot.origin[:2], (0, 78), atol=2.5)
        assert spot.size_mm["width"] == pytest.approx(36, abs=4)
    plan = sampled_plan(patient, "sternal-wires", 1)
    heights = [item.matrix[2, 3] for item in plan.implants]
    assert 3 <= len(heights) <= 7 and (np.diff(heights) <= -16).all()
    for item in plan.implants:
        off = item.matrix.copy()
        off[1, 3] -= 60.0
        rows = [
            measure_placement(
                [PlacedItem(item.make(), m, "wire")], Anatomy(volume), lambda i, j: True
            )[0]
            for m in (item.matrix, off)
        ]
        assert [row.grade for row in rows] == ["good", "poor"]


def test_a_chest_without_sternum_is_refused() -> None:
    with pytest.raises(InputError, match="no 30 mm of a sternum"):
        measure_patient(chest(bone_hu=40.0), Bones(), "sternum")
