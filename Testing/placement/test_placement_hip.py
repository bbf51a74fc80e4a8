"""Measures of hips and their implants against the pelvis phantom's truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from phantom_support import labelled_hip, turned_pelvis
from SimulateImplantsLib.implants.acetabular_cup import AcetabularCup
from SimulateImplantsLib.implants.femoral_head import FemoralHead
from SimulateImplantsLib.implants.hip_stem import HipStem
from SimulateImplantsLib.implants.nail import CephalomedullaryNail
from SimulateImplantsLib.phantoms import HipTruth, Phantom
from SimulateImplantsLib.placement import (
    HipModel,
    measure_hip,
    nail_plan,
    prosthesis_plan,
    sample_hip_plan,
)
from SimulateImplantsLib.placement.collision import collisions
from SimulateImplantsLib.placement.geometry import angle_deg, axis_distance
from SimulateImplantsLib.placement.hip.plan import leg_and_offset_mm, resurfacing_plan
from SimulateImplantsLib.placement.patient import Patient
from SimulateImplantsLib.placement.procedures import sampled_plan


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return turned_pelvis()


@pytest.fixture(scope="module", params=["labels", "click"])
def hips(request: pytest.FixtureRequest, phantom: Phantom) -> list[tuple[HipModel, HipTruth]]:
    out = []
    for truth in phantom.truth.hips:
        if request.param == "labels":
            model = labelled_hip(truth.side)
        else:
            click = truth.head_centre_ras + np.array([5.0, -6.0, 6.0])
            model = measure_hip(phantom.volume, bone=phantom.volume.hu > 160, click=click)
        out.append((model, truth))
    return out


def test_head_neck_shaft_and_canal(hips: list[tuple[HipModel, HipTruth]]) -> None:
    for model, truth in hips:
        assert model.side == truth.side
        assert np.linalg.norm(model.head_centre - truth.head_centre_ras) < 1.5
        assert model.head_radius_mm == pytest.approx(truth.head_radius_mm, abs=1.0)
        assert model.socket_radius_mm == pytest.approx(truth.acetabulum_radius_mm, abs=1.2)
        assert angle_deg(model.neck_axis, truth.neck_axis) < 4
        assert angle_deg(model.shaft.axis, truth.shaft_axis) < 2
        below = model.shaft.point + 100 * model.shaft.axis
        assert axis_distance(below, truth.shaft_point_ras, truth.shaft_axis) < 1.5
        assert model.shaft.canal_at(130) == pytest.approx(truth.canal_radius_mm, abs=0.5)
        assert model.shaft.isthmus_mm == pytest.approx(truth.canal_radius_mm, abs=0.5)
        assert model.neck_shaft_angle_deg == pytest.approx(truth.neck_shaft_angle_deg, abs=4)


def test_a_bent_thigh(phantom: Phantom) -> None:
    """As a volume whose axes are turned with the patient in it."""
    a = np.deg2rad(40.0)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    truth = phantom.truth.hips[0]
    volume = CTVolume(phantom.volume.hu, turn @ phantom.volume.ijk_to_ras)
    model = measure_hip(volume, femur=phantom.labels[f"femur_{truth.side}"], side=truth.side)
    assert angle_deg(model.shaft.axis, turn[:3, :3] @ truth.shaft_axis) < 2
    assert angle_deg(model.neck_axis, turn[:3, :3] @ truth.neck_axis) < 5


def test_the_side_of_a_single_hip(phantom: Phantom) -> None:
    for truth in phantom.truth.hips:
        ijk = np.linalg.inv(phantom.volume.ijk_to_ras) @ [*truth.head_centre_ras, 1]
        first = int(max(ijk[0] - 45, 0))
        matrix = phantom.volume.ijk_to_ras.copy()
        matrix[:3, 3] += matrix[:3, 0] * first
        hu = np.ascontiguousarray(phantom.volume.hu[:, :, first : int(ijk[0] + 45)])
        volume = CTVolume(hu, matrix)
        model = measure_hip(volume, bone=volume.hu > 160, click=truth.head_centre_ras)
        assert model.side == truth.side
        assert np.linalg.norm(model.head_centre - truth.head_centre_ras) < 1.5


def test_stem_lies_in_the_canal_and_the_head_where_it_was(
    hips: list[tuple[HipModel, HipTruth]],
) -> None:
    for model, truth in hips:
        plan = prosthesis_plan(model)
        stem, head, cup = (item.make() for item in plan.implants)
        assert isinstance(stem, HipStem)
        assert isinstance(head, FemoralHead)
        assert isinstance(cup, AcetabularCup)
        matrix = plan.implants[0].matrix
        points = stem.mesh().points @ matrix[:3, :3].T + matrix[:3, 3]
        low = points[(points - truth.shaft_point_ras) @ truth.shaft_axis > 75]
        assert len(low) > 100
        radii = [axis_distance(p, truth.shaft_point_ras, truth.shaft_axis) for p in low]
        # The stem stays within the cortex (and mostly within the canal).
        assert max(radii) < truth.shaft_radius_mm
        assert np.median(radii) < truth.canal_radius_mm + 1.0
        centre = plan.implants[1].matrix[:3, 3]
        assert np.linalg.norm(centre - truth.head_centre_ras) < 3
        assert np.allclose(centre, plan.implants[2].matrix[:3, 3])
        assert cup.head_mm == head.diameter_mm
        assert cup.diameter_mm == pytest.approx(2 * truth.acetabulum_radius_mm + 1, abs=4)
        # The neck points to the head, the cup opens outwards, downwards and forwards.
        assert (centre - matrix[:3, 3]) @ matrix[:3, 0] > 20
        opening = plan.implants[2].matrix[:3, 2]
        assert opening[2] < -0.5
        assert (opening[0] > 0.3) == (truth.side == "right")
        assert opening[1] > 0


def test_nail_in_the_canal_lag_screw_in_the_head(
    hips: list[tuple[HipModel, HipTruth]],
) -> None:
    for model, truth in hips:
        item = nail_plan(model).implants[0]
        nail = item.make()
        assert isinstance(nail, CephalomedullaryNail)
        tip = item.matrix @ np.append(nail.lag_tip_mm, 1.0)
        start = item.matrix[:3, 3]
        axis = item.matrix[:3, :3] @ nail.lag_axis
        assert axis_distance(truth.head_centre_ras, start, axis) < 1.5
        inside = truth.head_radius_mm - np.linalg.norm(tip[:3] - truth.head_centre_ras)
        assert 5 < inside < 18, "the tip lies under the head's surface"
        body = next(p for p in nail.parts() if p.name == "nail").mesh.points
        points = body @ item.matrix[:3, :3].T + item.matrix[:3, 3]
        low = points[(points - truth.shaft_point_ras) @ truth.shaft_axis > 90]
        radii = [axis_distance(p, truth.shaft_point_ras, truth.shaft_axis) for p in low]
        assert max(radii) < truth.shaft_radius_mm - 1


def test_samples(hips: list[tuple[HipModel, HipTruth]]) -> None:
    models = {m.side: m for m, _ in hips}
    plans = [sample_hip_plan(models, 2, i) for i in range(12)]
    assert sample_hip_plan(models, 2, 4).to_json() == plans[4].to_json()
    kinds = {i.kind for p in plans for i in p.implants}
    assert {"hip-stem", "acetabular-cup", "cephalomedullary-nail"} <= kinds
    assert {len(p.parameters["sides"]) for p in plans} == {1, 2}
    with pytest.raises(InputError, match="no hip"):
        sample_hip_plan({}, 0)


def test_a_volume_that_ends_high_is_said(phantom: Phantom) -> None:
    truth = phantom.truth.hips[0]
    ijk = np.linalg.inv(phantom.volume.ijk_to_ras) @ [*truth.head_centre_ras, 1]
    first = int(ijk[2] - 60 / 2.5)
    matrix = phantom.volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2] * first
    volume = CTVolume(np.ascontiguousarray(phantom.volume.hu[first:]), matrix)
    click = truth.head_centre_ras
    model = measure_hip(volume, bone=volume.hu > 160, click=click)
    plan = prosthesis_plan(model)
    assert any("the volume ends" in w for w in plan.warnings)
    above = CTVolume(
        np.ascontiguousarray(phantom.volume.hu[int(ijk[2]) - 4 :]),
        phantom.volume.ijk_to_ras
        + np.outer(phantom.volume.ijk_to_ras[:, 2], [0, 0, 0, int(ijk[2]) - 4]),
    )
    with pytest.raises(InputError, match="the CT ends in the head"):
        measure_hip(above, bone=above.hu > 160, click=click)


def test_bad_input(phantom: Phantom) -> None:
    volume = phantom.volume
    bone = volume.hu > 160
    with pytest.raises(InputError, match="needs a segmented femur"):
        measure_hip(volume, bone=bone)
    with pytest.raises(InputError, match="shape"):
        measure_hip(volume, bone=bone[1:], click=(0, 0, 0))
    with pytest.raises(InputError, match="outside the volume"):
        measure_hip(volume, bone=bone, click=(900, 0, 0))
    with pytest.raises(InputError, match="no femoral head"):
        measure_hip(volume, bone=bone, click=(0.0, 30.0, 40.0))
    with pytest.raises(InputError, match="is empty"):
        measure_hip(volume, femur=np.zeros_like(bone))


def test_leg_and_offset_are_what_the_centres_move(hips: list[tuple[HipModel, HipTruth]]) -> None:
    """Reduced into a cup that moved as the head did, the femur stays where it was."""
    for model, _ in hips:
        lateral = 1.0 if model.side == "right" else -1.0
        down = model.shaft.axis
        assert leg_and_offset_mm(model, model.head_centre) == pytest.approx((0, 0), abs=1e-6)
        longer = leg_and_offset_mm(model, model.head_centre - 7.0 * down)
        assert longer == pytest.approx((7.0, 0.0), abs=1e-6)
        out = leg_and_offset_mm(model, model.head_centre + 5.0 * model.medial)
        assert out == pytest.approx((0.0, 5.0), abs=1e-6)
        raised = model.socket_centre + np.array([4.0 * lateral, 0.0, 6.0])
        cup = leg_and_offset_mm(model, model.head_centre, raised)
        assert cup == pytest.approx((-6.0, 4.0), abs=1e-6)
        assert not [w for w in prosthesis_plan(model).warnings if "leg length" in w]
        wide = replace(model, head_centre=model.head_centre + 30.0 * model.medial, offset_mm=75.0)
        told = [w for w in prosthesis_plan(wide).warnings if "leg length" in w]
        assert len(told) == 1 and told[0].startswith(f"{model.side} hip: leg length")


def test_revision_dual_mobility_and_resurfacing(hips: list[tuple[HipModel, HipTruth]]) -> None:
    for model, truth in hips:
        primary = prosthesis_plan(model).implants
        long = prosthesis_plan(model, stem_series="revision").implants[0]
        assert long.make().length_mm >= 190 > primary[0].make().length_mm
        cup = prosthesis_plan(model, dual_mobility=True).implants[2]
        assert cup.kind == "dual-mobility-cup"
        assert cup.make().diameter_mm == primary[2].make().diameter_mm
        head, shell = resurfacing_plan(model).implants
        assert np.linalg.norm(head.matrix[:3, 3] - truth.head_centre_ras) < 1.5
        assert angle_deg(head.matrix[:3, 2], truth.neck_axis) < 4
        assert head.make().diameter_mm == pytest.approx(2 * truth.head_radius_mm, abs=2.5)
        assert collisions([head, shell], nearer_than_mm=-1.0) == []
        rim = shell.make()
        assert rim.inner_mm == pytest.approx(0.5 * head.make().diameter_mm, abs=0.2)


def test_a_stem_wider_than_its_canal_is_told(hips: list[tuple[HipModel, HipTruth]]) -> None:
    model, _ = hips[0]
    canal = np.full_like(model.shaft.canal_radius_mm, 4.0)
    narrow = replace(model, shaft=replace(model.shaft, canal_radius_mm=canal, length_mm=300.0))
    for series, told in (("standard", False), ("revision", True)):
        warnings = prosthesis_plan(narrow, stem_series=series).warnings
        assert any("a stem of 12 mm in a canal of 8.0 mm" in w for w in warnings) is told


@pytest.mark.parametrize("kind", ["revision-hip", "dual-mobility", "resurfacing"])
def test_variants_hang_on_their_seed(hips: list[tuple[HipModel, HipTruth]], kind: str) -> None:
    patient = Patient(hips=tuple(model for model, _ in hips))
    plans = [sampled_plan(patient, kind, 7, index) for index in (0, 0, 1, 2, 3)]
    texts = [[(item.implant, item.matrix.tolist()) for item in plan.implants] for plan in plans]
    assert texts[0] == texts[1] and any(text != texts[0] for text in texts[2:])
    for index, plan in zip((0, 0, 1, 2, 3), plans, strict=True):
        assert plan.seed == 7 and plan.parameters["index"] == index
