"""Bone in a scene, implants proposed for it, and the quality of their placement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.errors import Cancelled, InputError
from MetalArtifactReductionLib.mrml import node_from_volume
from MetalArtifactReductionLib.mrml.jobs import SceneJobs
from phantom_support import LEVELS, small_pelvis, vertebrae
from SimulateImplantsLib.implants.hip_stem import HipStem
from SimulateImplantsLib.implants.nail import CephalomedullaryNail
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.mrml import (
    ImplantLink,
    add_implant,
    bone_in_background,
    bone_labels,
    clicks_of,
    fit_screw,
    implants_of,
    placement_quality,
    propose,
    propose_in_background,
    quality_in_background,
    screws_of,
    segment_bone,
    segmentation_from_labels,
    set_matrix,
    split_vertebrae,
)
from SimulateImplantsLib.mrml.propose import named_levels
from SimulateImplantsLib.phantoms import Phantom
from SimulateImplantsLib.placement.geometry import axis_placement
from SimulateImplantsLib.placement.procedures import ProposalOptions
from SimulateImplantsLib.placement.spine.levels import parse_levels

pytestmark = pytest.mark.usefixtures("forked_jobs")


@pytest.fixture
def ct(scene: Any, spine: Phantom) -> Any:
    return node_from_volume(scene, spine.volume, "Spine")


def node_count(scene: Any) -> int:
    return int(scene.GetNumberOfNodes())


#
# Bone
#


def test_segments_by_name_on_the_cts_grid(scene: Any, ct: Any, spine: Phantom) -> None:
    node = segmentation_from_labels(scene, vertebrae(spine), ct, "Bones")
    labels = bone_labels(node, ct)
    assert set(labels) == {"vertebrae_L3", "vertebrae_L4"}
    for name, mask in labels.items():
        np.testing.assert_array_equal(mask, spine.labels[name])


def test_segmentation_on_another_grid_is_resampled(
    scene: Any, ct: Any, spine: Phantom, add_volume: Any
) -> None:
    """Every second row and column only, as of another reconstruction of the same patient."""
    coarse = spine.volume.ijk_to_ras.copy()
    coarse[:3, :2] *= 2.0
    other = add_volume(spine.volume.hu[:, ::2, ::2], coarse, name="Coarse")
    masks = {name: mask[:, ::2, ::2] for name, mask in vertebrae(spine).items()}
    labels = bone_labels(segmentation_from_labels(scene, masks, other, "Bones"), ct)
    for name, mask in labels.items():
        truth = spine.labels[name]
        assert mask.shape == truth.shape
        dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert dice > 0.85


def test_segmentation_of_another_patient_is_refused(
    scene: Any, ct: Any, spine: Phantom, add_volume: Any
) -> None:
    far = spine.volume.ijk_to_ras.copy()
    far[:3, 3] += 5000.0
    other = add_volume(spine.volume.hu, far, name="Other")
    node = segmentation_from_labels(scene, vertebrae(spine), other, "Bones")
    with pytest.raises(InputError, match="'Bones' has no bone inside volume 'Spine': choose"):
        bone_labels(node, ct)
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Nothing")
    with pytest.raises(InputError, match="'Nothing' is empty: no bone; segment it first"):
        bone_labels(empty, ct)
    with pytest.raises(InputError, match="choose the segmentation of the bone"):
        bone_labels(None, ct)


def test_bone_by_threshold(scene: Any, ct: Any, spine: Phantom) -> None:
    node = segment_bone(scene, ct, threshold_hu=250.0)
    (mask,) = bone_labels(node, ct).values()
    assert (spine.volume.hu[mask] > 250).all()
    # All of it is bone, but for the partial volume at the bone's surface.
    truth = ndimage.binary_dilation(spine.bone_mask())
    assert (mask & truth).sum() / mask.sum() > 0.97
    before = node_count(scene)
    assert segment_bone(scene, ct, threshold_hu=400.0, into=node) is node
    assert node_count(scene) == before
    assert mrml.results_of(scene, ct, "bone") == [node]
    (fewer,) = bone_labels(node, ct).values()
    assert fewer.sum() < mask.sum()


def test_bone_in_a_process_of_its_own_is_the_same(scene: Any, ct: Any) -> None:
    jobs = SceneJobs(scene)
    found = bone_in_background(jobs, ct, threshold_hu=250.0).result()
    (mask,) = bone_labels(found, ct).values()
    (same,) = bone_labels(segment_bone(scene, ct, threshold_hu=250.0), ct).values()
    np.testing.assert_array_equal(mask, same)
    bounds, other = [0.0] * 6, np.argwhere(mask)
    surface = found.GetSegmentation().GetNthSegment(0).GetRepresentation("Closed surface")
    surface.GetBounds(bounds)
    index = np.array([[*ends[::-1], 1.0] for ends in (other.min(axis=0), other.max(axis=0))])
    corners = (mrml.volume_from_node(ct).ijk_to_ras @ index.T)[:3]
    low, high = corners.min(axis=1), corners.max(axis=1)
    step = 2 * max(ct.GetSpacing())
    np.testing.assert_allclose(bounds[::2], low, atol=step)
    np.testing.assert_allclose(bounds[1::2], high, atol=step)
    jobs.close()


def test_no_bone_above_the_threshold(scene: Any, ct: Any) -> None:
    before = node_count(scene)
    with pytest.raises(
        InputError, match="'Spine': no bone of 2 cm3 above 3000 HU: lower the bone threshold"
    ):
        segment_bone(scene, ct, threshold_hu=3000.0)
    assert node_count(scene) == before


def test_clicks_are_read_in_the_cts_own_frame(scene: Any, ct: Any, add_transform: Any) -> None:
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Clicks")
    with pytest.raises(InputError, match="nothing is clicked"):
        clicks_of(points, ct)
    shift = np.eye(4)
    shift[:3, 3] = (0.0, 0.0, 100.0)
    ct.SetAndObserveTransformNodeID(add_transform(shift).GetID())
    points.AddControlPointWorld(1.0, 2.0, 103.0)
    points.SetNthControlPointLabel(0, "L4")
    (item,) = clicks_of(points, ct).items()
    assert item[0] == "L4"
    np.testing.assert_allclose(item[1], [1, 2, 3], atol=1e-9)
    points.AddControlPointWorld(1.0, 2.0, 140.0)
    points.SetNthControlPointLabel(1, "L4")
    with pytest.raises(InputError, match="two clicked points are labelled 'L4'"):
        clicks_of(points, ct)


def test_levels_of_clicks() -> None:
    points = {"a": (0, 0, 40.0), "b": (0, 5, 0.0), "c": (1, 0, 80.0)}
    named = named_levels({k: np.array(v) for k, v in points.items()}, "L5")
    assert {level: tuple(point) for level, point in named.items()} == {
        "L5": (0, 5, 0.0),
        "L4": (0, 0, 40.0),
        "L3": (1, 0, 80.0),
    }
    with pytest.raises(InputError, match="'a' names no vertebra and others do"):
        named_levels({"a": np.zeros(3), "L4": np.ones(3)})
    with pytest.raises(InputError, match="more than vertebrae up from C1"):
        named_levels({"a": np.zeros(3), "b": np.ones(3)}, "C1")
    assert parse_levels(" L3, l4 vertebrae_L5") == ["L3", "L4", "L5"]
    assert parse_levels("") is None
    with pytest.raises(InputError, match="'X9' is not a level"):
        parse_levels("L3 X9")


def test_plain_bone_is_parted_at_the_clicks(scene: Any, ct: Any, spine: Phantom) -> None:
    truth = {t.level: t for t in spine.truth.vertebrae}
    clicks = {level: truth[level].centre_ras for level in LEVELS}
    node, warnings = split_vertebrae(scene, ct, {"bone": spine.bone_mask()}, clicks)
    assert warnings == ()
    labels = bone_labels(node, ct)
    assert set(labels) == {"vertebrae_L3", "vertebrae_L4"}
    for name, mask in labels.items():
        own = spine.labels[name]
        assert 2 * (mask & own).sum() / (mask.sum() + own.sum()) > 0.75
    before = node_count(scene)
    with pytest.raises(InputError, match=r"no clicked vertebra could be used: L4: .*outside"):
        split_vertebrae(
            scene, ct, {"bone": spine.bone_mask()}, {"L4": np.array([0.0, 0.0, 9000.0])}
        )
    with pytest.raises(InputError, match="no bone"):
        split_vertebrae(scene, ct, {}, clicks)
    assert node_count(scene) == before


#
# Proposals
#


def test_proposed_screws_lie_in_the_pedicles(proposed: Any, spine: Phantom) -> None:
    _, node, result = proposed
    screws = [one for one in result.implants if one.kind == "pedicle-screw"]
    assert {(one.level, one.side) for one in screws} == {
        (level, side) for level in LEVELS for side in ("left", "right")
    }
    truth = {(t.level, t.side): t for t in spine.truth.pedicles}
    for screw in screws:
        axis = truth[screw.level, screw.side]
        matrix = screw.matrix(node)
        angle = np.degrees(np.arccos(matrix[:3, 2] @ axis.direction))
        away = np.cross(axis.isthmus_ras - matrix[:3, 3], matrix[:3, 2])
        assert angle < 10.0
        assert np.linalg.norm(away) < 3.0
        assert screw.line is not None
        assert screw.transform.GetDisplayNode() is None  # no handles yet


def test_proposed_rods_follow_their_screws(proposed: Any) -> None:
    _, _, result = proposed
    rods = [one for one in result.implants if one.kind == "rod"]
    assert len(rods) == 2
    for rod in rods:
        held = screws_of(rod)
        assert [one.level for one in held] == ["L3", "L4"]
        assert {one.side for one in held} == {rod.side}
        assert {one.construct for one in held} == {rod.construct}


def test_proposals_are_edited_like_any_implant(scene: Any, ct: Any, spine: Phantom) -> None:
    labels = {"vertebrae_L4": spine.labels["vertebrae_L4"]}
    link = ImplantLink(scene)
    (screw,) = propose(scene, ct, labels, options=ProposalOptions(sides=("left",))).implants
    before = screw.matrix()[:3, 3]
    line = screw.line
    position = np.array(line.GetNthControlPointPositionWorld(0)) + np.array([0.0, -2.0, 1.0])
    line.SetNthControlPointPositionWorld(0, *position)
    np.testing.assert_allclose(screw.matrix()[:3, 3], before + np.array([0, -2, 1]), atol=1e-6)
    link.stop()


def test_a_screw_moved_by_hand_is_kept_by_the_next_proposal(
    scene: Any, ct: Any, spine: Phantom
) -> None:
    """In the place of the one that would be proposed there; the new rod is led through it."""
    labels = {name: spine.labels[name] for name in ("vertebrae_L3", "vertebrae_L4")}
    options = ProposalOptions(sides=("left",))
    first = propose(scene, ct, labels, options=options).implants
    link = ImplantLink(scene)
    moved = next(one for one in first if one.level == "L4")
    tip = np.array(moved.line.GetNthControlPointPositionWorld(1)) + np.array([2.0, 0.0, 1.0])
    moved.line.SetNthControlPointPositionWorld(1, *tip)
    place = moved.matrix()
    again = propose(scene, ct, labels, options=options).implants
    link.stop()
    assert [(one.kind, one.level) for one in again] == [(one.kind, one.level) for one in first]
    assert len(implants_of(scene)) == len(first) == 3
    assert moved in again
    np.testing.assert_allclose(moved.matrix()[:3, 2], place[:3, 2], atol=1e-9)
    (rod,) = implants_of(scene, "rod")
    assert moved in screws_of(rod) and len(screws_of(rod)) == 2 and not rod.problem


def test_a_proposal_in_a_process_of_its_own_is_the_same(
    scene: Any, ct: Any, spine: Phantom
) -> None:
    labels = {"vertebrae_L4": spine.labels["vertebrae_L4"]}
    options = ProposalOptions(sides=("left",))
    jobs = SceneJobs(scene)
    there = propose_in_background(jobs, ct, labels, options=options).result()
    here = propose(scene, ct, labels, options=options)
    assert there.plan.to_dict() == here.plan.to_dict()
    (row,) = quality_in_background(jobs, ct, labels).result()
    assert row.grade == placement_quality(scene, ct, labels)[0].grade == "A"
    jobs.close()


def test_variants_follow_from_their_number(scene: Any, ct: Any, spine: Phantom) -> None:
    first, again, other = (
        [item.to_dict() for item in propose(scene, ct, vertebrae(spine), variant=n).plan.implants]
        for n in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_drawn_screw_gets_the_size_that_its_pedicle_leaves(
    scene: Any, ct: Any, spine: Phantom
) -> None:
    """Drawn along the pedicle's true axis, much too thin and short, and not yet at the bone."""
    axis = next(t for t in spine.truth.pedicles if (t.level, t.side) == ("L4", "left"))
    screw = PedicleScrew(diameter_mm=4.0, length_mm=25.0)
    outside = np.asarray(axis.entry_ras) - 4.0 * np.asarray(axis.direction)
    one = add_implant(scene, screw, axis_placement(outside, axis.isthmus_ras), like=ct)
    found = fit_screw(one, ct, vertebrae(spine))
    assert one.implant.diameter_mm == found.diameter_mm > 4.5
    assert one.implant.diameter_mm < axis.width_mm
    assert one.implant.length_mm == found.length_mm > 35.0
    np.testing.assert_allclose(one.matrix(ct)[:3, 2], axis.direction, atol=1e-6)
    (row,) = placement_quality(scene, ct, vertebrae(spine))
    assert row.grade == "A"
    assert row.level == "L4"


def test_screws_that_cannot_be_fitted_say_why(scene: Any, ct: Any, spine: Phantom) -> None:
    stem = add_implant(scene, HipStem(), like=ct)
    with pytest.raises(InputError, match="is no pedicle screw"):
        fit_screw(stem, ct, vertebrae(spine))
    far = add_implant(scene, PedicleScrew(), axis_placement([0, 90, 0], [0, 91, 0]), like=ct)
    with pytest.raises(InputError, match="lies in no labelled vertebra: part the vertebrae"):
        fit_screw(far, ct, vertebrae(spine))


def test_proposals_that_cannot_be_made_add_nothing(scene: Any, ct: Any, spine: Phantom) -> None:
    before = node_count(scene)
    bone = {"bone": spine.bone_mask()}
    with pytest.raises(InputError, match="no vertebra among the segments"):
        propose(scene, ct, bone)
    with pytest.raises(InputError, match="level T1 is not segmented"):
        propose(scene, ct, vertebrae(spine), levels=["T1"])
    with pytest.raises(InputError, match="no side chosen"):
        propose(scene, ct, vertebrae(spine), options=ProposalOptions(sides=()))
    with pytest.raises(InputError, match="no femur_left among the segments"):
        propose(scene, ct, bone, "total-hip")
    with pytest.raises(InputError, match="unknown kind of implants 'knee'"):
        propose(scene, ct, bone, "knee")
    with pytest.raises(Cancelled):
        propose(scene, ct, vertebrae(spine), cancel=lambda: True)
    assert node_count(scene) == before


def test_vertebra_cut_by_the_volumes_end_warns(scene: Any, spine: Phantom) -> None:
    level = next(t for t in spine.truth.vertebrae if t.level == "L4")
    ijk = np.linalg.inv(spine.volume.ijk_to_ras) @ np.append(level.centre_ras, 1.0)
    first = round(ijk[2]) - 4
    matrix = spine.volume.ijk_to_ras.copy()
    matrix[:3, 3] += first * matrix[:3, 2]
    from MetalArtifactReductionLib.volume import CTVolume

    node = node_from_volume(scene, CTVolume(spine.volume.hu[first:].copy(), matrix), "Cut")
    labels = {"vertebrae_L4": spine.labels["vertebrae_L4"][first:]}
    try:
        warnings = propose(scene, node, labels).warnings
    except InputError as error:
        warnings = (str(error),)
    assert any("L4" in text and "cut by the volume's end" in text for text in warnings)


def test_labelled_hip_gets_a_prosthesis(scene: Any) -> None:
    pelvis = small_pelvis()
    node = node_from_volume(scene, pelvis.volume, "Pelvis")
    result = propose(
        scene, node, pelvis.labels, "total-hip", options=ProposalOptions(sides=("right",))
    )
    truth = next(hip for hip in pelvis.truth.hips if hip.side == "right")
    kinds = [one.kind for one in result.implants]
    assert kinds == ["hip-stem", "femoral-head", "acetabular-cup"]
    assert {one.side for one in result.implants} == {"right"}
    stem, head, _cup = result.implants
    assert np.linalg.norm(head.matrix()[:3, 3] - truth.head_centre_ras) < 6.0
    # The head sits on the stem: it moves along.
    apart = np.linalg.inv(stem.matrix()) @ head.matrix()
    moved = stem.matrix()
    moved[:3, 3] += [3.0, 4.0, 5.0]
    set_matrix(stem, moved)
    np.testing.assert_allclose(np.linalg.inv(stem.matrix()) @ head.matrix(), apart, atol=1e-9)


def test_clicked_hip_in_plain_bone_gets_a_nail(scene: Any) -> None:
    pelvis = small_pelvis()
    node = node_from_volume(scene, pelvis.volume, "Pelvis")
    truth = next(hip for hip in pelvis.truth.hips if hip.side == "left")
    bone = {"bone": pelvis.bone_mask()}
    clicks = {"head": truth.head_centre_ras}
    (one,) = propose(
        scene,
        node,
        bone,
        "short-nail",
        clicks=clicks,
        options=ProposalOptions(sides=("left",)),
    ).implants
    nail = one.implant
    assert isinstance(nail, CephalomedullaryNail)
    assert (one.side, nail.side) == ("left", "left")
    # The lag screw ends in the head.
    tip = one.matrix() @ np.append(nail.lag_tip_mm, 1.0)
    assert np.linalg.norm(tip[:3] - truth.head_centre_ras) < truth.head_radius_mm
