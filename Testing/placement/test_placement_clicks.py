"""Screws from clicks anywhere in a body, at any threshold; what the image says of bad ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from phantom_support import narrow_spine
from SimulateImplantsLib.cases.plan_quality import plan_quality
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.phantoms import Phantom
from SimulateImplantsLib.placement import (
    PlannedImplant,
    SpineProposal,
    axis_placement,
    propose_screws_from_clicks,
    rod_construct,
    spine_plan,
)
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.geometry import angle_deg, axis_distance
from SimulateImplantsLib.placement.plan import PlacementPlan
from SimulateImplantsLib.placement.spine.click_checks import check_alike
from SimulateImplantsLib.placement.spine.construct import bent_elsewhere
from SimulateImplantsLib.placement.spine.image_grade import grade_in_image
from SimulateImplantsLib.placement.spine.locate import locate_bodies
from SimulateImplantsLib.placement.spine.propose import missing_screws

LEVELS = ["L2", "L3", "L4"]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return narrow_spine()


def clicks(
    phantom: Phantom, offset: tuple[float, float, float] = (0, 0, 0)
) -> dict[str, np.ndarray]:
    return {
        v.level: v.centre_ras + np.array(offset)
        for v in phantom.truth.vertebrae
        if v.level in LEVELS
    }


@pytest.fixture(scope="module")
def proposal(phantom: Phantom) -> SpineProposal:
    return propose_screws_from_clicks(phantom.volume, clicks(phantom))


@pytest.mark.parametrize(
    ("threshold", "offset"),
    [(100.0, (0, 0, 0)), (300.0, (0, 0, 0)), (None, (8, 0, 0)), (None, (0, 0, 8))],
)
def test_neither_threshold_nor_click_moves_a_screw(
    phantom: Phantom,
    proposal: SpineProposal,
    threshold: float | None,
    offset: tuple[float, float, float],
) -> None:
    moved = propose_screws_from_clicks(
        phantom.volume, clicks(phantom, offset), threshold_hu=threshold
    )
    for one, other in zip(proposal.trajectories(), moved.trajectories(), strict=True):
        assert (one.level, one.side) == (other.level, other.side)
        assert axis_distance(one.isthmus_ras, other.entry_ras, other.direction) < 2.0
        assert angle_deg(one.direction, other.direction) < 5.0
        assert abs(one.diameter_mm - other.diameter_mm) <= 1.0


def test_twenty_hu_of_bones_outline_hardly_move_a_screw(phantom: Phantom) -> None:
    """Not even with a joint behind each pedicle that one of two thresholds sees."""
    matrix = phantom.volume.ijk_to_ras
    ras = np.moveaxis(np.indices(phantom.volume.hu.shape)[::-1], 0, -1) @ matrix[:3, :3].T
    ras += matrix[:3, 3]
    bodies, _ = locate_bodies(phantom.volume, clicks(phantom))
    hu = phantom.volume.hu + np.random.default_rng(4).normal(0.0, 10.0, ras.shape[:3])
    for truth in phantom.truth.pedicles:
        if truth.level in bodies:
            behind = (ras - truth.entry_ras) @ truth.direction
            beside = np.linalg.norm(
                ras - truth.entry_ras - behind[..., None] * truth.direction, axis=-1
            )
            hu[(abs(behind - 4.0) < 1.0) & (beside < 9.0)] = bodies[truth.level].threshold_hu
    # A given threshold moves each level's own by 10 HU: down by the lowest, up by the highest.
    low, high = (
        propose_screws_from_clicks(
            CTVolume(hu.astype(np.float32), matrix), clicks(phantom), threshold_hu=given
        ).trajectories()
        for given in (60.0, 300.0)
    )
    for one, other in zip(low, high, strict=True):
        assert one.fits and other.fits
        assert np.linalg.norm(one.entry_ras - other.entry_ras) < 1.0
        assert angle_deg(one.direction, other.direction) < 1.0
        assert abs(one.diameter_mm - other.diameter_mm) <= 0.5
        assert abs(one.length_mm - other.length_mm) <= 5.0


def test_a_level_that_cannot_be_told_leaves_the_others(phantom: Phantom) -> None:
    given = clicks(phantom) | {"L1": np.array([0.0, 0.0, 900.0])}
    found = propose_screws_from_clicks(phantom.volume, given)
    assert [v.level for v in found.vertebrae] == LEVELS
    assert any("L1" in w and "outside the volume" in w for w in found.warnings)
    plan = spine_plan(found, rods=False)
    assert missing_screws(plan.implants, ["L1", "L2"], ["left"]) == ["L1 left"]


def test_nothing_is_placed_on_a_vertebra_that_is_guessed(phantom: Phantom) -> None:
    volume, true = phantom.volume, clicks(phantom)
    swapped = dict(zip(true, list(true.values())[::-1], strict=True))
    with pytest.raises(InputError, match="L2 is clicked below L3"):
        locate_bodies(volume, swapped)
    found, told = locate_bodies(volume, {"C5": true["L3"]})
    assert not found and told[0].startswith("C5: cervical pedicles are not found from clicks")
    inverted = CTVolume(np.ascontiguousarray(volume.hu[::-1]), volume.ijk_to_ras)
    middle = volume.ijk_to_ras @ [*(0.5 * (np.array(volume.hu.shape[::-1]) - 1)), 1]
    with pytest.raises(InputError, match=r"L3: .* upside-down"):
        locate_bodies(inverted, {"L3": [*true["L3"][:2], 2 * middle[2] - true["L3"][2]]})
    found, told = locate_bodies(volume, {"L2": true["L3"] + [1, 0, 5], "L3": true["L3"]})
    assert not found
    assert told == ["L2 and L3: the same body is clicked twice; click once into each body"]
    start = int(np.linalg.inv(volume.ijk_to_ras)[2] @ [*true["L4"], 1]) - 2
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += start * matrix[:3, 2]
    ends = CTVolume(volume.hu[start:].copy(), matrix)
    found, told = locate_bodies(ends, {level: true[level] for level in ("L3", "L4")})
    assert list(found) == ["L3"]
    assert len(told) == 1 and told[0].startswith("L4: the CT ends within this vertebra")


@pytest.mark.parametrize("down", [-12.0, -8.0, 8.0, 12.0])
def test_clicks_towards_a_disc_find_no_other_body(phantom: Phantom, down: float) -> None:
    true = {level: clicks(phantom)[level] for level in ("L2", "L3")}
    found, told = locate_bodies(phantom.volume, {n: p - [0, 0, down] for n, p in true.items()})
    assert set(found) == set(true), told
    for level, body in found.items():
        assert np.linalg.norm(body.frame.centre - true[level]) < 8.0


def test_a_body_is_another_where_one_click_lies_unlike_the_others(proposal: SpineProposal) -> None:
    frame = proposal["L3"].frame
    usual = dict.fromkeys([*LEVELS, "L5"], 26.0)
    frames, true = dict.fromkeys(LEVELS, frame), dict.fromkeys(LEVELS, frame.centre)
    assert not check_alike(frames, true | {"L3": frame.centre + 8 * frame.superior}, usual)
    moved = true | {"L4": frame.centre + 17 * frame.superior}
    assert list(check_alike(frames | {"L5": frame}, moved | {"L5": frame.centre}, usual)) == ["L4"]
    two = {name: frames[name] for name in ("L3", "L4")}
    assert list(check_alike(two, moved, usual)) == ["L3", "L4"]


def test_a_body_too_far_from_its_neighbour_or_too_near_is_told(proposal: SpineProposal) -> None:
    one, usual = proposal["L3"].frame, dict.fromkeys(["L1", "L2", "L3", "L4", "L5"], 26.0)
    for ways, told in (
        ((33.0, 34.0, 32.0, 33.0), []),
        ((33.0, 34.0, 32.0, 40.0), []),
        ((33.0, 34.0, 32.0, 46.0), ["L5"]),
        ((46.0, 34.0, 32.0, 33.0), ["L1"]),
        ((44.0, 22.0, 32.0, 33.0), ["L2"]),
        ((33.0, 34.0, 32.0, 15.0), ["L4", "L5"]),
    ):
        down = dict(zip(usual, np.cumsum([0.0, *ways]), strict=True))
        frames = {n: replace(one, centre=one.centre - d * one.superior) for n, d in down.items()}
        clicked = {n: frame.centre for n, frame in frames.items()}
        assert list(check_alike(frames, clicked, usual)) == told
    narrow = frames | {"L1": replace(frames["L1"], body_width_mm=0.5 * one.body_width_mm)}
    assert list(check_alike(narrow, clicked, usual)) == ["L1", "L4", "L5"]


def test_all_clicked_beyond_what_was_found_may_be_one_body_off(proposal: SpineProposal) -> None:
    one, usual = proposal["L3"].frame, dict.fromkeys(LEVELS, 26.0)
    frames = {
        name: replace(one, centre=one.centre - mm * one.superior)
        for name, mm in zip(LEVELS, (0.0, 33.0, 66.0), strict=True)
    }
    for share, told in ((0.4, []), (-0.4, []), (0.55, list(LEVELS)), (-0.55, list(LEVELS))):
        off = share * one.body_height_mm * one.superior
        assert (
            list(check_alike(frames, {n: f.centre + off for n, f in frames.items()}, usual)) == told
        )


def test_a_screw_that_diverges_is_graded_no_a(proposal: SpineProposal, phantom: Phantom) -> None:
    vertebra = proposal["L2"]
    plan = spine_plan(proposal, rods=False)
    screw = next(i for i in plan.implants if i.attributes == {"side": "left", "level": "L2"})
    frame, turn = vertebra.frame, np.deg2rad(20.0)
    forward = np.cos(turn) * frame.anterior - np.sin(turn) * frame.left
    turned = replace(frame, anterior=forward, left=np.cross(frame.superior, forward))
    straight, diverging = (
        plan_quality(PlacementPlan((screw,)), Anatomy(phantom.volume, {}, {"L2": model}))[0]
        for model in (vertebra, replace(vertebra, frame=turned))
    )
    assert (straight.grade, diverging.grade) == ("A", "")
    assert diverging.convergence_deg < 0 and "less than sound at L2" in diverging.note


def test_the_image_grades_true_pedicle_axes_a_and_impossible_screws_never(
    phantom: Phantom,
) -> None:
    graded = []
    for truth in phantom.truth.pedicles:
        if truth.level not in LEVELS:
            continue
        d, side = truth.direction, truth.side
        medial = np.array([1.0 if side == "left" else -1.0, 0.0, 0.0])
        entry, tip = truth.entry_ras, truth.entry_ras + 40 * d
        graded.append(grade_in_image(phantom.volume, side, entry, tip, 4.5).grade)
        across = 0.5 * (entry + tip) + 12 * d
        for name, (start, end) in {
            "backwards": (tip, entry),
            "sideways": (across - 22 * medial, across + 22 * medial),
            "canal": (entry + 14 * medial, tip + 14 * medial),
            "beside the pedicle": (entry - 14 * medial, tip - 14 * medial),
            "foramen": (entry - [0, 0, 16], tip - np.array([0, 0, 16])),
            "out in front": (entry + 25 * d, tip + 25 * d),
            "in soft tissue": (entry - 70 * medial, tip - 70 * medial),
        }.items():
            found = grade_in_image(phantom.volume, side, start, end, 4.5)
            assert found.grade != "A", (truth.level, side, name)
            assert found.grade or found.note
    assert graded.count("A") >= 5, graded


def test_an_osteoporotic_spine_is_found_by_its_cortex(phantom: Phantom) -> None:
    hu = phantom.volume.hu.copy()
    inside = (hu > 60) & (hu < 300)
    hu[inside] = 60 + 0.25 * (hu[inside] - 60)
    volume = CTVolume(hu, phantom.volume.ijk_to_ras)
    found = propose_screws_from_clicks(volume, clicks(phantom))
    for screw in found.trajectories():
        truth = next(
            t for t in phantom.truth.pedicles if (t.level, t.side) == (screw.level, screw.side)
        )
        assert angle_deg(screw.direction, truth.direction) < 12
        line = screw.entry_ras + np.linspace(0, 30, 60)[:, None] * screw.direction
        assert np.linalg.norm(line - truth.isthmus_ras, axis=1).min() < 3.5


def test_slices_of_5_mm_lose_no_screw(phantom: Phantom) -> None:
    hu, matrix = phantom.volume.hu, phantom.volume.ijk_to_ras.copy()
    count = len(hu) // 3
    matrix[:3, 3] += matrix[:3, 2]
    matrix[:3, 2] *= 3
    thick = CTVolume(hu[: 3 * count].reshape(count, 3, *hu.shape[1:]).mean(axis=1), matrix)
    check_axes(phantom, propose_screws_from_clicks(thick, clicks(phantom)), angle=8.0, aside=3.0)


def test_a_collapsed_body_gets_its_screws(phantom: Phantom) -> None:
    """The upper endplate of L3 fallen in: a wedge of disc, half of the body's height in front."""
    truth = next(v for v in phantom.truth.vertebrae if v.level == "L3")
    mask = phantom.labels["vertebrae_L3"]
    at = np.argwhere(mask)
    ras = at[:, ::-1] @ phantom.volume.ijk_to_ras[:3, :3].T + phantom.volume.ijk_to_ras[:3, 3]
    local = (ras - truth.centre_ras) @ np.stack(
        [truth.left, truth.anterior, truth.superior], axis=1
    )
    body = local[:, 1] > -12.0
    top, front = local[body, 2].max(), local[body, 1].max()
    fallen = top * np.clip(1.0 - (local[:, 1] + 12.0) / (front + 12.0), 0.0, 1.0)
    hu = phantom.volume.hu.copy()
    hu[tuple(at[body & (local[:, 2] > fallen)].T)] = 70.0
    hu[tuple(at[body & (np.abs(local[:, 2] - fallen) < 1.0)].T)] = 400.0
    volume = CTVolume(hu, phantom.volume.ijk_to_ras)
    found = propose_screws_from_clicks(volume, clicks(phantom, (0.0, 0.0, -3.0)))
    check_axes(phantom, found, angle=12.0, aside=3.5)
    for screw in found["L3"].trajectories.values():
        grade = grade_in_image(
            volume, screw.side, screw.entry_ras, screw.target_ras, screw.diameter_mm
        )
        assert grade.grade in ("A", "B", ""), grade


def check_axes(phantom: Phantom, found: SpineProposal, *, angle: float, aside: float) -> None:
    """All six screws run along the true pedicles, within degrees and mm at the isthmus."""
    screws = found.trajectories()
    assert len(screws) == 2 * len(LEVELS)
    for screw in screws:
        truth = next(
            t for t in phantom.truth.pedicles if (t.level, t.side) == (screw.level, screw.side)
        )
        assert angle_deg(screw.direction, truth.direction) < angle, (screw.level, screw.side)
        assert axis_distance(truth.isthmus_ras, screw.entry_ras, screw.direction) < aside


def test_a_rod_that_cannot_be_bent_loses_no_screw() -> None:
    entries = {"L2": (0.0, 0.0, 70.0), "L3": (-9.0, 0.0, 67.0), "L4": (0.0, 0.0, 62.0)}
    screws = [
        PlannedImplant(
            PedicleScrew().to_dict(),
            axis_placement(entry, np.add(entry, (0.0, 40.0, 0.0))),
            {"level": level, "side": "left"},
        )
        for level, entry in entries.items()
    ]
    with pytest.raises(InputError, match="bends to a radius"):
        Rod.through([s.make().rod_seat().transformed(s.matrix) for s in screws])  # type: ignore[attr-defined]
    made = rod_construct(screws)
    assert [i.kind for i in made] == ["pedicle-screw"] * 3 + ["rod"]
    assert isinstance(made[-1].make(), Rod)
    told = bent_elsewhere(made)
    assert any("L3 left" in message and "mm beside" in message for message in told)


def test_a_label_grades_no_screw_that_runs_the_wrong_way(phantom: Phantom) -> None:
    """Backwards through both pedicle and body all of it is in bone."""
    truth = next(t for t in phantom.truth.pedicles if (t.level, t.side) == ("L3", "left"))
    tip = truth.entry_ras + 40 * truth.direction
    screws = [
        PlannedImplant(
            PedicleScrew(4.5, 40.0).to_dict(),
            axis_placement(*ends),
            {"level": "L3", "side": "left"},
        )
        for ends in ((truth.entry_ras, tip), (tip, truth.entry_ras))
    ]
    anatomy = Anatomy(phantom.volume, phantom.labels)
    right, wrong = plan_quality(PlacementPlan(tuple(screws)), anatomy)
    assert right.grade == "A"
    assert wrong.grade == "" and "does not run forward" in wrong.note
