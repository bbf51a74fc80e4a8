"""S2 alar-iliac screws: on a phantom of known foramina, and on pelves looked at by eye."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.cases.plan_quality import plan_quality
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.geometry import across, axis_distance, unit
from SimulateImplantsLib.placement.patient import Bones, measure_patient
from SimulateImplantsLib.placement.procedures import proposed_plan
from SimulateImplantsLib.placement.sacrum import measure_sacrum, middle_plane
from SimulateImplantsLib.placement.spine.alar_grade import grade_alar_iliac
from support import shared_data

TILT, TURN = np.deg2rad(38.0), np.deg2rad(6.0)
FORAMINA = {"S1": 27.0, "S2": 53.0, "S3": 73.0}
ASIDE_MM = 19.5


def sacrum(holes: bool = True) -> tuple[CTVolume, np.ndarray]:
    """L5 and a sacrum with canal and foramina, turned by 6 degrees; and the pelvis' axes.

    Right, down the canal (from the sacrum's upper edge) and to the front of it are x, s and o.
    """
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = [-90.0, -90.0, -90.0]
    k, j, i = np.meshgrid(*[np.arange(91)] * 3, indexing="ij")
    points = np.stack([i, j, k], axis=-1) * 2.0 + matrix[:3, 3]
    axes = np.array(
        [[np.cos(TURN), -np.sin(TURN), 0.0], [np.sin(TURN), np.cos(TURN), 0.0], [0.0, 0.0, 1.0]]
    )
    x, y, z = np.moveaxis(points @ axes, -1, 0)
    s = -np.sin(TILT) * y - np.cos(TILT) * z + 35.0
    o = np.cos(TILT) * y - np.sin(TILT) * z
    hu = np.full(points.shape[:3], 40.0, np.float32)
    aside = np.abs(x)
    hu[(aside < 45) & (s > 0) & (s < 120) & (o > -13) & (o < 26)] = 260.0
    hu[(aside < 24) & (s > -40) & (s < -12) & (o > -13) & (o < 40)] = 260.0
    hu[(aside < 45) & (s > -32) & (s < -20) & (o > 4) & (o < 16)] = 260.0
    hu[(x / 11) ** 2 + (o / 7) ** 2 < 1] = 20.0
    for place in FORAMINA.values() if holes else ():
        hu[(aside - ASIDE_MM) ** 2 + (s - place) ** 2 < 5.5**2] = -30.0
    return CTVolume(hu, matrix), axes


def test_foramina_are_told_in_the_pelvis_own_axes() -> None:
    volume, axes = sacrum()
    near = axes @ [4.0, -8.0, 0.0]
    plane = middle_plane(volume, near)
    assert np.rad2deg(np.arccos(plane.axes[:, 0] @ axes[:, 0])) < 1.5
    found = measure_sacrum(volume, plane)
    for level, place in FORAMINA.items():
        index, aside = found.foramina[level]
        point = plane.ras(np.append(0.0, found.course[index])) @ axes
        assert abs(point[0]) < 2.0
        assert abs(-np.sin(TILT) * point[1] - np.cos(TILT) * point[2] + 35.0 - place) < 5.0
        assert abs(aside - ASIDE_MM) < 4.0


def test_without_foramina_nothing_is_guessed() -> None:
    volume, axes = sacrum(holes=False)
    plane = middle_plane(volume, axes @ [0.0, -8.0, 0.0])
    with pytest.raises(InputError, match="does not show the sacral foramina"):
        measure_sacrum(volume, plane)


def test_without_a_pelvis_there_is_no_way() -> None:
    hu = np.full((40, 60, 60), 40.0, np.float32)
    with pytest.raises(InputError, match="no way through an ilium"):
        measure_patient(CTVolume(hu, np.diag([4.0, 4.0, 4.0, 1.0])), Bones(), "sacral_ala")


@pytest.fixture(scope="module")
def pelvis() -> CTVolume:
    """A real one, of a patient who lies turned by 6 degrees."""
    volume = read_volume(shared_data("tcga_ov_09-2043_abdomen_pelvis.nii.gz"))
    return CTVolume(volume.hu[:80], volume.ijk_to_ras)


def test_screws_of_a_real_pelvis_pass_between_the_foramina(pelvis: CTVolume) -> None:
    # Middles of the foramina of S1 and S2, read off axial slices.
    seen = {
        "left": np.array([[-2.0, -88.0, 1197.0], [0.0, -104.0, 1180.0]]),
        "right": np.array([[34.0, -88.0, 1197.0], [32.0, -102.0, 1180.0]]),
    }
    plan = proposed_plan(measure_patient(pelvis, Bones(), "sacral_ala"), "s2ai-screws")
    assert [item.attributes["side"] for item in plan.implants] == ["left", "right"]
    for item, row in zip(plan.implants, plan_quality(plan, Anatomy(pelvis)), strict=True):
        assert row.grade == "A" and row.share_in_bone > 0.9
        entry, ahead = item.matrix[:3, 3], item.matrix[:3, 2]
        first, second = seen[item.attributes["side"]]
        for foramen in (first, second):
            assert 9.0 < axis_distance(foramen, entry, ahead) < 25.0
        along = unit(second - first)
        assert 0 < (entry - first) @ along < (second - first) @ along


def test_no_impossible_screw_is_sound(pelvis: CTVolume) -> None:
    entry, target = np.array([37.2, -103.4, 1197.0]), np.array([80.6, -38.4, 1152.4])
    assert grade_alar_iliac(pelvis, "right", entry, target, 9.0).grade == "A"
    ahead = unit(target - entry)
    assert grade_alar_iliac(pelvis, "left", entry, target, 9.0).grade == ""
    rng = np.random.default_rng(20)
    for _ in range(4):
        moved = entry + rng.uniform(8, 20) * across(rng.normal(size=3), ahead)
        angle = np.deg2rad(rng.uniform(15, 30))
        turned = np.cos(angle) * ahead + np.sin(angle) * across(rng.normal(size=3), ahead)
        for start, way in ((moved, ahead), (entry, turned)):
            assert grade_alar_iliac(pelvis, "right", start, start + 90 * way, 9.0).grade != "A"
