"""Iliac screws in hollow ways of known course and width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.cases.plan_quality import plan_quality
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.geometry import angle_deg, axis_distance
from SimulateImplantsLib.placement.patient import Bones, measure_patient
from SimulateImplantsLib.placement.plan import PlacementPlan
from SimulateImplantsLib.placement.procedures import proposed_plan

ENTRIES = {"left": np.array([-48.0, -60.0, 20.0]), "right": np.array([48.0, -60.0, 20.0])}
WAYS = {"left": np.array([-0.34, 0.82, -0.46]), "right": np.array([0.34, 0.82, -0.46])}
OUTER_MM, CORTEX_MM = 9.0, 2.0


def pelvis(
    sides: tuple[str, ...] = ("left", "right"), cortex_hu: float = 500.0, inside_hu: float = 20.0
) -> CTVolume:
    """A trunk of soft tissue with a tube of cortex, fatty inside, for either ilium."""
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    matrix[:3, 3] = [-140.0, -100.0, -60.0]
    k, j, i = np.meshgrid(np.arange(55), np.arange(90), np.arange(140), indexing="ij")
    points = np.stack([i, j, k], axis=-1) * 2.0 + matrix[:3, 3]
    x, y = points[..., 0], points[..., 1]
    hu = np.where(np.hypot(x / 130, y / 85) < 1, 50.0, -1000.0).astype(np.float32)
    for side in sides:
        way = WAYS[side] / np.linalg.norm(WAYS[side])
        offset = points - ENTRIES[side]
        along = offset @ way
        r = np.linalg.norm(offset - along[..., None] * way, axis=-1)
        tube = (r < OUTER_MM) & (along > 0) & (along < 110)
        hollow = (r < OUTER_MM - CORTEX_MM) & (along > CORTEX_MM) & (along < 108)
        hu[tube] = cortex_hu
        hu[hollow] = inside_hu
    return CTVolume(hu, matrix)


def test_iliac_screws_lie_in_the_widest_way() -> None:
    volume = pelvis()
    patient = measure_patient(volume, Bones(), "ilium")
    plan = proposed_plan(patient, "iliac-screws")
    assert [item.attributes["side"] for item in plan.implants] == ["left", "right"]
    rows = plan_quality(plan, Anatomy(volume))
    for item, row in zip(plan.implants, rows, strict=True):
        side, screw = item.attributes["side"], item.make()
        entry, ahead = item.matrix[:3, 3], item.matrix[:3, 2]
        assert angle_deg(ahead, WAYS[side]) < 5.0
        assert axis_distance(entry, ENTRIES[side], WAYS[side]) < 3.0
        assert 6.5 <= screw.diameter_mm < 2 * OUTER_MM  # type: ignore[attr-defined]
        assert row.grade == "A" and row.share_in_bone > 0.9
    left = plan.implants[0]
    reversed_, aside = left.matrix.copy(), left.matrix.copy()
    reversed_[:3, 3] += 60.0 * left.matrix[:3, 2]
    reversed_[:3, 1:3] *= -1.0
    aside[:3, 3] += [14.0, 0.0, 0.0]
    bad = tuple(replace(left, matrix=matrix) for matrix in (reversed_, aside))
    assert [row.grade for row in plan_quality(PlacementPlan(bad), Anatomy(volume))] == ["", ""]


@pytest.mark.parametrize("sides", [("left",), ()])
def test_without_both_iliac_bones_nothing_is_guessed(sides: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="no way through an ilium"):
        measure_patient(pelvis(sides), Bones(), "ilium")


def test_organs_with_contrast_medium_are_no_ilium() -> None:
    """A kidney and a liver are as bright as cancellous bone, and as wide."""
    plan = proposed_plan(measure_patient(pelvis(), Bones(), "ilium"), "iliac-screws")
    organs = pelvis(cortex_hu=200.0, inside_hu=200.0)
    with pytest.raises(InputError, match="does not show the back of both iliac bones; give a CT"):
        measure_patient(organs, Bones(), "ilium")
    assert {row.grade for row in plan_quality(plan, Anatomy(pelvis()))} == {"A"}
    assert {row.grade for row in plan_quality(plan, Anatomy(organs))} == {""}


@pytest.mark.parametrize("side", ["left", "right"])
def test_only_the_wanted_side_gets_a_screw(side: str) -> None:
    patient = measure_patient(pelvis(), Bones(), "ilium", sides=[side])
    (item,) = proposed_plan(patient, "iliac-screws").implants
    assert item.attributes["side"] == side


def test_two_clicks_at_one_place_get_one_screw() -> None:
    clicks = {name: ENTRIES["left"] + [0.0, 0.0, up] for name, up in (("a", 0.0), ("b", 4.0))}
    patient = measure_patient(pelvis(), Bones({}, clicks), "ilium")
    assert [spot.side for spot in patient.spots] == ["left"]
