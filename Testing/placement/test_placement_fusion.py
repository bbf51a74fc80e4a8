"""Cages, plates and cross-links in a phantom whose discs are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from phantom_support import proposed_spine
from placement_support import grades
from SimulateImplantsLib.implants.cage import InterbodyCage
from SimulateImplantsLib.implants.plate import AnteriorPlate
from SimulateImplantsLib.phantoms import Phantom
from SimulateImplantsLib.placement import (
    SpineProposal,
    SpineSampling,
    collisions,
    sample_spine_plan,
    spine_plan,
)
from SimulateImplantsLib.placement.anatomy import Anatomy, inside
from SimulateImplantsLib.placement.geometry import angle_deg
from SimulateImplantsLib.placement.hip.seat import seat_of
from SimulateImplantsLib.placement.patient import Patient
from SimulateImplantsLib.placement.procedures import proposed_plan, sampled_plan
from SimulateImplantsLib.placement.spine.construct import cross_link
from SimulateImplantsLib.placement.spine.fusion import (
    approaches,
    cage_plan,
    disc_between,
    plate_plan,
)

LEVELS = ["L2", "L3", "L4", "L5"]


@pytest.fixture(scope="module")
def spine() -> tuple[Phantom, SpineProposal]:
    return proposed_spine()


def test_discs_lie_where_the_phantom_has_them(spine: tuple[Phantom, SpineProposal]) -> None:
    phantom, proposal = spine
    truth = {v.level: v for v in phantom.truth.vertebrae}
    for above, below in pairwise(LEVELS):
        disc = disc_between(proposal[above], proposal[below])
        upper, lower = truth[above], truth[below]
        roof = upper.centre_ras - 0.5 * upper.body_height_mm * upper.superior
        floor = lower.centre_ras + 0.5 * lower.body_height_mm * lower.superior
        assert np.linalg.norm(disc.centre - 0.5 * (roof + floor)) < 2.5
        # The phantom's endplates are hollow by 1.2 to 2.4 mm each.
        assert 0 < disc.height_mm - np.linalg.norm(roof - floor) < 4
        assert disc.lordosis_deg == pytest.approx(angle_deg(upper.superior, lower.superior), abs=4)
        assert 0.75 < disc.width_mm / lower.body_width_mm < 1.05
        assert 0.75 < disc.depth_mm / lower.body_depth_mm < 1.05
    with pytest.raises(InputError, match="no neighbours"):
        disc_between(proposal["L2"], proposal["L4"])


def test_cages_fill_the_disc_and_touch_both_endplates(spine: tuple[Phantom, SpineProposal]) -> None:
    phantom, proposal = spine
    anatomy = Anatomy(phantom.volume, phantom.labels)
    bone = phantom.bone_mask()
    made = []
    for above, below in pairwise(LEVELS):
        disc = disc_between(proposal[above], proposal[below])
        for way in approaches(disc):
            try:
                items = cage_plan(disc, way)
            except InputError as error:
                assert f"no {way} cage fits" in str(error)
                continue
            made.append(way)
            assert len(items) == (2 if way == "PLIF" else 1)
            assert collisions(items) == []
            for item in items:
                cage = item.make()
                assert isinstance(cage, InterbodyCage)
                points = cage.mesh().points @ item.matrix[:3, :3].T + item.matrix[:3, 3]
                assert inside(bone, phantom.volume, points).mean() < 0.4
                seat = seat_of(cage, item.matrix, "", anatomy)
                assert seat is not None and seat.contact > 0.6
    assert {"TLIF", "PLIF", "ALIF"} <= set(made)
    with pytest.raises(InputError, match="no cage by 'DLIF'"):
        cage_plan(disc, "DLIF")


def test_plate_rests_on_the_front_walls(spine: tuple[Phantom, SpineProposal]) -> None:
    phantom, proposal = spine
    bone = phantom.bone_mask()
    item = plate_plan(proposal["L4"], proposal["L5"])
    plate = item.make()
    assert isinstance(plate, AnteriorPlate)
    parts = {
        part.name: part.mesh.points @ item.matrix[:3, :3].T + item.matrix[:3, 3]
        for part in plate.parts()
    }
    assert inside(bone, phantom.volume, parts["plate"]).mean() < 0.25
    screws = np.concatenate([points for name, points in parts.items() if "screw" in name])
    assert inside(bone, phantom.volume, screws).mean() > 0.7
    canal = phantom.truth.canal_axis_ras
    far = np.linalg.norm(screws[:, None, :] - canal[None], axis=2).min(axis=1)
    assert far.min() > 8, "no screw reaches the canal"


def test_cross_link_between_the_rods_clear_of_the_screws(
    spine: tuple[Phantom, SpineProposal],
) -> None:
    plan = spine_plan(spine[1])
    sides = [
        [item for item in plan.implants if item.attributes["side"] == side]
        for side in ("left", "right")
    ]
    link = cross_link(*sides)
    assert link.kind == "cross-link"
    assert collisions([*plan.implants, link]) == []
    apart = collisions([*sides[0], link, *sides[1]], nearer_than_mm=-0.1)
    assert apart == []
    with pytest.raises(InputError, match="each needs one"):
        cross_link(sides[0][:-1], sides[1])


def test_samples_with_everything(spine: tuple[Phantom, SpineProposal]) -> None:
    every = SpineSampling(
        both_sides=1.0, with_rods=1.0, cage_chance=1.0, plate_chance=0.5, cross_link_chance=1.0
    )
    plans = [sample_spine_plan(spine[1], 7, index, every) for index in range(8)]
    kinds = [item.kind for plan in plans for item in plan.implants]
    assert kinds.count("interbody-cage") >= 5
    assert kinds.count("cross-link") >= 3
    plated = [plan for plan in plans if plan.parameters["plate"]]
    assert plated
    for plan in plated:
        assert {item.kind for item in plan.implants} == {"interbody-cage", "anterior-plate"}
    none = SpineSampling(cage_chance=0.0, plate_chance=0.0, cross_link_chance=0.0)
    plain = [sample_spine_plan(spine[1], 7, index, none) for index in range(8)]
    assert {i.kind for p in plain for i in p.implants} <= {"pedicle-screw", "rod"}
    assert plans[3].to_json() == sample_spine_plan(spine[1], 7, 3, every).to_json()
    for plan in plans:
        extra = [i for i, item in enumerate(plan.implants) if "screw" not in item.kind]
        hits = [c for c in collisions(plan.implants) if c.second in extra]
        # Rods are not tested against one another when they are made; what is added after them is.
        assert all(plan.implants[c.second].kind == "rod" for c in hits)


@pytest.mark.parametrize("kind", ["cages", "anterior-plates"])
def test_every_disc_gets_its_own_and_the_image_says_whether_it_sits(
    spine: tuple[Phantom, SpineProposal], kind: str
) -> None:
    phantom, proposal = spine
    patient = Patient(spine=proposal)
    plan = proposed_plan(patient, kind)
    assert {item.attributes["level"] for item in plan.implants} == {"L2-L3", "L3-L4", "L4-L5"}
    moves = 15 * np.vstack([np.eye(3)[:2], -np.eye(3)[:2]])
    assert grades(phantom.volume, plan.implants[-1], *moves) == ["good", *["poor"] * 4]
    sample = sampled_plan(patient, kind, 5)
    assert len({item.attributes["level"] for item in sample.implants}) == 1
    lone = SpineProposal(proposal.vertebrae[:1], ())
    with pytest.raises(InputError, match="two neighbouring vertebrae"):
        proposed_plan(Patient(spine=lone), kind)
