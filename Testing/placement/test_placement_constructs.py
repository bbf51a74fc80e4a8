"""Plans, rods, collisions, samplers and random shapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from phantom_support import proposed_spine
from SimulateImplantsLib.implants import implant_from_dict
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.phantoms import Phantom
from SimulateImplantsLib.placement import (
    PlacementPlan,
    PlannedImplant,
    SpineProposal,
    axis_placement,
    by_level,
    collisions,
    hip_masks,
    level_of,
    load_masks,
    rod_construct,
    sample_plans,
    sample_random_plan,
    sample_spine_plan,
    shape_fractions,
    spine_plan,
    vertebra_masks,
)
from SimulateImplantsLib.placement.geometry import segment_distance
from support import shared_data


@pytest.fixture(scope="module")
def spine() -> tuple[Phantom, SpineProposal]:
    return proposed_spine()


def small_volume(n: int = 48) -> CTVolume:
    hu = np.full((n, n, n), -1000.0, np.float32)
    hu[4:-4, 4:-4, 4:-4] = 40
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0])
    matrix[:3, 3] = (n / 2, n / 2, -n)
    return CTVolume(hu, matrix)


def test_axis_placement_is_the_screws_frame() -> None:
    entry, target = np.array([3.0, -40.0, 12.0]), np.array([-9.0, 2.0, 15.0])
    matrix = axis_placement(entry, target, (0, 0, 1))
    assert np.allclose(matrix[:3, 3], entry)
    length = np.linalg.norm(target - entry)
    assert np.allclose(matrix @ [0, 0, length, 1], [*target, 1])
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
    assert matrix[2, 0] > 0.95
    with pytest.raises(InputError, match="no length"):
        axis_placement(entry, entry)


def test_segment_distance_against_sampling() -> None:
    rng = np.random.default_rng(3)
    t = np.linspace(0, 1, 401)
    for _ in range(40):
        a0, a1, b0, b1 = rng.uniform(-10, 10, (4, 3))
        p, q = a0 + t[:, None] * (a1 - a0), b0 + t[:, None] * (b1 - b0)
        sampled = np.linalg.norm(p[:, None] - q[None], axis=2).min()
        exact = segment_distance(a0, a1, b0, b1)
        assert exact <= sampled + 1e-9
        assert exact == pytest.approx(sampled, abs=0.05)


def test_names_of_levels() -> None:
    names = ["vertebrae_L1", "Vertebra L1", "vertebrae L1", "l1", "L01"]
    assert {level_of(n) for n in names} == {"L1"}
    assert level_of("liver") is None
    assert level_of("hip_left") is None
    assert by_level(["S1", "L5", "T12", "C7", "L1"]) == ["C7", "T12", "L1", "L5", "S1"]
    masks = dict.fromkeys(["vertebrae_L2", "aorta", "vertebrae_T12"], np.ones(1))
    assert list(vertebra_masks(masks)) == ["T12", "L2"]
    assert set(hip_masks(dict.fromkeys(["Hip left", "femur_right", "x"], np.ones(1)))) == {
        "hip_left",
        "femur_right",
    }


def test_rods_run_through_the_seats_in_order(spine: tuple[Phantom, SpineProposal]) -> None:
    plan = spine_plan(spine[1])
    assert [i.kind for i in plan.implants] == (["pedicle-screw"] * 4 + ["rod"]) * 2
    for side in ("left", "right"):
        items = [i for i in plan.implants if i.attributes["side"] == side]
        screws = [i for i in items if i.kind == "pedicle-screw"]
        assert [s.attributes["level"] for s in screws] == ["L2", "L3", "L4", "L5"]
        assert [s.attributes["order"] for s in screws] == [0, 1, 2, 3]
        rod = items[-1].make()
        assert isinstance(rod, Rod)
        line, _ = rod.centre_line()
        for item in screws:
            screw = item.make()
            assert isinstance(screw, PedicleScrew)
            seat = screw.rod_seat().transformed(item.matrix)
            nearest = np.linalg.norm(line - seat.position, axis=1)
            k = int(np.argmin(nearest))
            assert nearest[k] < 1.0
            tangent = line[min(k + 1, len(line) - 1)] - line[max(k - 1, 0)]
            tangent /= np.linalg.norm(tangent)
            assert abs(tangent @ seat.direction) > np.cos(np.deg2rad(10))
            # The head lies outside, behind the bone.
            assert (seat.position - item.matrix[:3, 3]) @ item.matrix[:3, 2] < -3
    assert collisions(plan.implants) == []


def test_screws_in_any_order_make_the_same_rod(spine: tuple[Phantom, SpineProposal]) -> None:
    screws = [i for i in spine_plan(spine[1], sides=["left"], rods=False).implants]
    forward, backward = rod_construct(screws), rod_construct(screws[::-1])
    assert forward[-1].implant == backward[-1].implant
    with pytest.raises(InputError, match="two or more"):
        rod_construct(screws[:1])


def test_collisions_are_found_and_measured() -> None:
    screw = PedicleScrew(6.0, 40.0).to_dict()
    first = PlannedImplant(screw, np.eye(4))
    beside = np.eye(4)
    beside[0, 3] = 5.0
    apart = np.eye(4)
    apart[0, 3] = 40.0
    plan = [first, PlannedImplant(screw, beside), PlannedImplant(screw, apart)]
    found = collisions(plan)
    assert [(c.first, c.second) for c in found] == [(0, 1)]
    assert found[0].gap_mm <= -1.0
    # The screw's shaft runs through the head of a hip prosthesis, or 40 mm beside it.
    head = {"kind": "femoral-head", "diameter_mm": 32.0}
    middle = np.eye(4)
    middle[2, 3] = 20.0
    through = collisions([first, PlannedImplant(head, middle)])
    assert [(c.first, c.second) for c in through] == [(0, 1)]
    middle[0, 3] = 40.0
    assert collisions([first, PlannedImplant(head, middle)]) == []
    near = collisions([first, PlannedImplant(head, middle)], nearer_than_mm=40.0)
    assert near[0].gap_mm == pytest.approx(40.0 - 16.0 - 3.0, abs=0.3)


def test_plan_round_trip(spine: tuple[Phantom, SpineProposal]) -> None:
    plan = spine_plan(spine[1])
    again = PlacementPlan.from_json(plan.to_json())
    assert again.to_json() == plan.to_json()
    for a, b in zip(plan.implants, again.implants, strict=True):
        assert np.allclose(a.matrix, b.matrix, atol=0)
        assert implant_from_dict(a.implant) == implant_from_dict(b.implant)
    with pytest.raises(InputError, match="not JSON"):
        PlacementPlan.from_json("{")
    with pytest.raises(InputError, match="not a placement plan"):
        PlacementPlan.from_dict({"a": 1})
    with pytest.raises(InputError, match="not rigid"):
        PlannedImplant({"kind": "rod"}, np.diag([2.0, 2, 2, 1]))


def test_samples_are_seeded_and_plausible(spine: tuple[Phantom, SpineProposal]) -> None:
    _, proposal = spine
    plans = [sample_spine_plan(proposal, 5, i) for i in range(12)]
    again = sample_spine_plan(proposal, 5, 7)
    assert again.to_json() == plans[7].to_json()
    assert len({p.to_json() for p in plans}) == 12
    grades = [i.attributes["grade"] for p in plans for i in p.implants if i.kind == "pedicle-screw"]
    assert len(grades) > 12
    assert np.mean([g in "AB" for g in grades]) > 0.8
    for plan in plans:
        json.loads(plan.to_json())
        for item in plan.implants:
            item.make()
    used = {tuple(p.parameters["levels"]) for p in plans}
    assert len(used) > 2


def test_mixed_proportions(spine: tuple[Phantom, SpineProposal]) -> None:
    phantom, proposal = spine
    plans = sample_plans(
        phantom.volume, 40, 3, spine=proposal, proportions={"spine": 1, "random": 3}
    )
    kinds = [p.parameters["kind"] for p in plans]
    assert 20 <= kinds.count("random") <= 38
    more = sample_plans(phantom.volume, 3, 3, spine=proposal, proportions={"spine": 1, "random": 3})
    assert [p.to_json() for p in more] == [p.to_json() for p in plans[:3]]
    with pytest.raises(InputError, match="unknown kind"):
        sample_plans(phantom.volume, 1, 0, proportions={"knee": 1})
    with pytest.raises(InputError, match="no hip is measured"):
        sample_plans(phantom.volume, 1, 0, spine=proposal, proportions={"hip": 1})


def test_random_shapes_have_their_volume() -> None:
    volume = small_volume(64)
    # Turned: faces along the voxels' own would be sampled at one of three heights.
    axes = np.linalg.qr(np.array([[3.0, 1, 0], [1, 3, 1], [1, -1, 3]]))[0].tolist()
    centre = [0.0, 0.0, -2.0]
    ball = {"type": "ellipsoid", "radii_mm": [6, 7, 9], "axes": axes}
    rod = {"type": "rod", "radius_mm": 4.0, "length_mm": 30.0, "axes": axes}
    for shape, expected in ((ball, 4 / 3 * np.pi * 6 * 7 * 9), (rod, np.pi * 16 * 30)):
        fraction = shape_fractions([{**shape, "centre_ras": centre, "material": "CoCrMo"}], volume)[
            "CoCrMo"
        ]
        assert fraction.sum() * 2.0 == pytest.approx(expected, rel=0.02)
        assert fraction.max() <= 1
    twice = [{**ball, "centre_ras": centre, "material": m} for m in ("CoCrMo", "Ti6Al4V")]
    both = shape_fractions(twice, volume)
    total = sum(both.values())
    assert total.max() <= 1 + 1e-6
    assert total.sum() * 2.0 == pytest.approx(4 / 3 * np.pi * 6 * 7 * 9, rel=0.02)


def test_random_plans_lie_in_the_body_and_render(tmp_path: Path) -> None:
    volume = small_volume()
    masks = np.zeros((3, 64, 64), np.uint8)
    masks[0, 20:40, 25:30] = 1
    masks[1, 10:50, 10:50] = 1
    np.savez(tmp_path / "shapes.npz", masks=masks)
    loaded = load_masks(tmp_path / "shapes.npz")
    assert len(loaded) == 2
    for source in (None, loaded):
        plan = sample_random_plan(volume, 4, source)
        assert plan.to_json() == sample_random_plan(volume, 4, source).to_json()
        again = PlacementPlan.from_json(plan.to_json())
        fractions = shape_fractions(again.shapes, volume)
        assert sum(f.sum() for f in fractions.values()) > 0
        for shape in plan.shapes:
            ijk = np.linalg.inv(volume.ijk_to_ras) @ [*shape["centre_ras"], 1]
            i, j, k = np.rint(ijk[:3]).astype(int)
            assert volume.hu[k, j, i] > -400
    with pytest.raises(InputError, match="no such file"):
        load_masks(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", a=masks)
    with pytest.raises(InputError, match="'masks' is needed"):
        load_masks(tmp_path / "other.npz")


def test_published_shapes_load() -> None:
    masks = load_masks(shared_data("metal_shapes_97x256x256.npz"))
    assert masks.shape[1:] == (256, 256)
    fractions = shape_fractions(sample_random_plan(small_volume(), 1, masks).shapes, small_volume())
    assert all(f.min() >= 0 and f.max() <= 1 for f in fractions.values())
