"""Grades of hip implants on a phantom: good where the plan puts them, not when moved or turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MetalArtifactReductionLib.volume import CTVolume
from phantom_support import labelled_hip, turned_pelvis
from SimulateImplantsLib.implants.acetabular_cup import AcetabularCup
from SimulateImplantsLib.phantoms import Phantom
from SimulateImplantsLib.placement.anatomy import Anatomy, inside
from SimulateImplantsLib.placement.geometry import axis_placement
from SimulateImplantsLib.placement.hip.grade import _in_canal
from SimulateImplantsLib.placement.hip.measure import HipModel
from SimulateImplantsLib.placement.patient import Patient
from SimulateImplantsLib.placement.plan import PlannedImplant
from SimulateImplantsLib.placement.procedures import proposed_plan
from SimulateImplantsLib.placement.quality import PlacedItem, Quality, measure_placement

SHIFT_MM, TURN_DEG = 15.0, 20.0


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return turned_pelvis()


@pytest.fixture(scope="module")
def hip() -> HipModel:
    return labelled_hip("left")


@pytest.fixture(scope="module")
def anatomy(phantom: Phantom) -> Anatomy:
    return Anatomy(phantom.volume)


def graded(item: PlannedImplant, matrix: np.ndarray, anatomy: Anatomy) -> Quality:
    placed = PlacedItem(item.make(), matrix, "one")
    return measure_placement([placed], anatomy, lambda i, j: True)[0]


def moved(matrix: np.ndarray) -> list[np.ndarray]:
    """Along the implant's axes, and turned about two: about z a cup is the same."""
    out = []
    for axis in range(3):
        shifted = matrix.copy()
        shifted[:3, 3] += (-1) ** axis * SHIFT_MM * matrix[:3, axis]
        out.append(shifted)
    c, s = np.cos(np.deg2rad(TURN_DEG)), np.sin(np.deg2rad(TURN_DEG))
    for i, j in ((1, 2), (2, 0)):
        turn = np.eye(4)
        turn[i, i] = turn[j, j] = c
        turn[i, j], turn[j, i] = -s, s
        out.append(matrix @ turn)
    return out


@pytest.mark.parametrize(
    "kind", ["total-hip", "revision-hip", "dual-mobility", "resurfacing", "short-nail"]
)
def test_good_where_it_is_proposed_and_nowhere_else(
    hip: HipModel, anatomy: Anatomy, kind: str
) -> None:
    plan = proposed_plan(Patient(hips=(hip,), volume=anatomy.volume), kind)
    for item in plan.implants:
        if item.kind == "femoral-head":
            continue
        found = graded(item, item.matrix, anatomy)
        assert found.grade == "good", (item.kind, found.note)
        for matrix in moved(item.matrix):
            assert graded(item, matrix, anatomy).grade in ("acceptable", "poor"), item.kind


def test_a_stem_is_poor_beside_the_canal_and_not_graded_without_it(
    phantom: Phantom, hip: HipModel, anatomy: Anatomy
) -> None:
    stem = proposed_plan(Patient(hips=(hip,)), "total-hip").implants[0]
    # Turned about the head's centre, so that the head stays.
    head = (stem.matrix @ np.append(stem.make().head_centre_mm(), 1.0))[:3]  # type: ignore[attr-defined]
    turn = np.eye(4)
    turn[:3, :3] = axis_placement((0, 0, 0), (np.sin(0.14), 0, np.cos(0.14)), (1, 0, 0))[:3, :3]
    matrix = stem.matrix.copy()
    matrix[:3, :3] = turn[:3, :3] @ stem.matrix[:3, :3]
    matrix[:3, 3] = head + turn[:3, :3] @ (stem.matrix[:3, 3] - head)
    found = graded(stem, matrix, anatomy)
    assert found.grade == "poor" and "canal" in found.note
    # Of a CT that ends 70 mm below the head.
    first = int((np.linalg.inv(phantom.volume.ijk_to_ras) @ [*head, 1])[2] - 70 / 2.5)
    affine = phantom.volume.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, 2] * first
    short = Anatomy(CTVolume(np.ascontiguousarray(phantom.volume.hu[first:]), affine))
    found = graded(stem, stem.matrix, short)
    assert found.grade == "" and "too little of the shaft" in found.note


def test_leg_and_offset_are_measured_of_each(hip: HipModel, anatomy: Anatomy) -> None:
    """Of the left hip: a cup higher shortens the leg, a head higher on the femur lengthens it."""
    stem, _, cup = proposed_plan(Patient(hips=(hip,)), "total-hip").implants
    for item, sign in ((stem, 1.0), (cup, -1.0)):
        there = graded(item, item.matrix, anatomy)
        assert abs(there.leg_mm) < 2 and abs(there.offset_mm) < 2
        up, out = (item.matrix[:3, 2], item.matrix[:3, 0]) if item is stem else np.eye(3)[[2, 0]]
        for way, changed in ((up, (7.0, 0.0)), (out, (0.0, 7.0))):
            matrix = item.matrix.copy()
            matrix[:3, 3] += 7.0 * way
            found = graded(item, matrix, anatomy)
            change = found.leg_mm - there.leg_mm, found.offset_mm - there.offset_mm
            assert change == pytest.approx(sign * np.array(changed), abs=0.01)


def test_cup_screws_stay_in_the_ilium(phantom: Phantom, hip: HipModel, anatomy: Anatomy) -> None:
    cup = proposed_plan(Patient(hips=(hip,), volume=phantom.volume), "total-hip").implants[2]
    made = cup.make()
    assert isinstance(made, AcetabularCup) and made.screws == 2
    points = np.concatenate([p.mesh.points for p in made.parts() if p.role == "screw"])
    points = points @ cup.matrix[:3, :3].T + cup.matrix[:3, 3]
    outside = np.linalg.norm(points - cup.matrix[:3, 3], axis=1) > 0.5 * made.diameter_mm + 1
    bone = inside(phantom.labels["hip_left"], phantom.volume, points[outside])
    assert bone.mean() > 0.9
    longer = replace(made, screws=3, screw_length_mm=60.0)
    placed = PlacedItem(longer, cup.matrix, "one")
    found = measure_placement([placed], anatomy, lambda i, j: True)[0]
    assert found.grade == "poor" and "screw outside" in found.note


def test_a_gap_in_the_cortex_does_not_hide_the_canal() -> None:
    """A tube about the axis, open in a sector of 25 degrees."""
    _k, j, i = np.mgrid[:60, :60, :60] - 29.5
    radius, angle = np.hypot(j, i), np.arctan2(j, i)
    tube = (radius > 7) & (radius < 12) & ~((angle > 0) & (angle < np.deg2rad(25)))
    matrix = np.eye(4)
    matrix[:3, 3] = -29.5
    volume = CTVolume(np.where(tube, 1200.0, 50.0).astype(np.float32), matrix)
    axis = np.stack([np.zeros(10), np.zeros(10), np.arange(-18.0, 20.0, 4.0)], axis=1)
    turn = np.arange(24) * np.pi / 12
    ring = np.stack([6 * np.cos(turn), 6 * np.sin(turn), 0 * turn], axis=1)
    checks = _in_canal((axis[:, None] + ring).reshape(-1, 3), axis, np.eye(4), volume)
    assert checks is not None
    beyond, off = checks
    assert beyond.value < 0.5 and off.value < 1.5
