"""Vertebra frames, pedicle trajectories and grades against phantoms whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from phantom_support import narrow_spine
from SimulateImplantsLib.phantoms import Phantom, lumbar_spine_phantom
from SimulateImplantsLib.placement import (
    ScrewSizes,
    SpineProposal,
    gertzbein_robbins,
    propose_screws,
    propose_screws_from_clicks,
    vertebra_frame,
)
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.geometry import angle_deg
from support import once

LEVELS = ["L1", "L2", "L3", "L4", "L5"]
CASES = {
    "supine": (11, (1.8, 1.4, 1.4), (125, 128, 128), {}),
    "thick slices, scoliosis": (12, (3.0, 1.3, 1.3), (72, 128, 128), {"scoliosis_deg": 35.0}),
    "patient turned, oblique volume": (
        13,
        (2.4, 1.8, 1.8),
        (119, 124, 124),
        {"patient_rotation_deg": (25, -30, 160), "grid_rotation_deg": (8, 5, -12)},
    ),
}


@once
def proposed(name: str) -> tuple[Phantom, SpineProposal]:
    seed, spacing, shape, options = CASES[name]
    phantom = lumbar_spine_phantom(seed, spacing, shape, **options)
    return phantom, propose_screws(phantom.labels, phantom.volume, levels=LEVELS)


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Phantom, SpineProposal]:
    return proposed(request.param)


@pytest.fixture(scope="module")
def straight() -> tuple[Phantom, SpineProposal]:
    return proposed("supine")


def errors(phantom: Phantom, proposal: SpineProposal) -> np.ndarray:
    """Distance (mm) of the axes in the plane of the isthmus, and angle (deg), per pedicle."""
    out = []
    for screw in proposal.trajectories():
        truth = next(
            t for t in phantom.truth.pedicles if (t.level, t.side) == (screw.level, screw.side)
        )
        along = (truth.isthmus_ras - screw.entry_ras) @ truth.direction
        point = screw.entry_ras + screw.direction * along / (screw.direction @ truth.direction)
        out.append(
            (
                np.linalg.norm(point - truth.isthmus_ras),
                angle_deg(screw.direction, truth.direction),
            )
        )
    return np.array(out)


def test_trajectories_are_the_true_pedicle_axes(case: tuple[Phantom, SpineProposal]) -> None:
    found = errors(*case)
    assert len(found) == 10
    good = (found[:, 0] < 2.0) & (found[:, 1] < 5.0)
    assert good.sum() >= 9, found


def test_proposed_screws_keep_inside_the_bone(case: tuple[Phantom, SpineProposal]) -> None:
    phantom, proposal = case
    for vertebra in proposal.vertebrae:
        for side, screw in vertebra.trajectories.items():
            truth = next(
                t for t in phantom.truth.pedicles if (t.level, t.side) == (screw.level, side)
            )
            # A screw of 4 mm and its margin need a pedicle of about 6.5 mm.
            assert screw.fits or truth.width_mm < 7.0, screw.warnings
            narrow = min(truth.width_mm, truth.height_mm)
            assert screw.pedicle_width_mm == pytest.approx(narrow, abs=1.5)
            assert screw.diameter_mm < truth.width_mm
            assert screw.diameter_mm > 0.4 * truth.width_mm
            assert screw.diameter_mm in ScrewSizes().diameters_mm
            assert screw.length_mm in ScrewSizes().lengths_mm
            grade = vertebra.grade(
                side, screw.entry_ras, screw.target_ras, screw.diameter_mm, phantom.volume
            )
            assert grade.grade == "A", (screw.level, side, grade)
            assert grade.share_in_bone > 0.95
            assert 60 < grade.min_hu <= grade.mean_hu < 700


@pytest.mark.parametrize("case", ["supine", "patient turned, oblique volume"], indirect=True)
def test_sacral_screws_run_from_the_facets_towards_the_promontory(
    case: tuple[Phantom, SpineProposal],
) -> None:
    phantom, _ = case
    proposal = propose_screws(phantom.labels, phantom.volume, levels=["L5", "S1"])
    truth = next(v for v in phantom.truth.vertebrae if v.level == "S1")
    vertebra = proposal["S1"]
    assert set(vertebra.trajectories) == {"left", "right"}
    for side, screw in vertebra.trajectories.items():
        assert screw.fits, screw.warnings
        outwards = truth.left if side == "left" else -truth.left
        assert np.linalg.norm(screw.entry_ras - phantom.truth.sacral_facets_ras[side]) < 14.0
        tip = screw.target_ras - truth.centre_ras
        assert 0.0 < tip @ outwards < 0.5 * truth.body_width_mm, "crosses the midline or misses"
        assert abs(tip @ truth.superior) < 0.5 * truth.body_height_mm
        assert 2.0 < tip @ truth.anterior < 0.5 * truth.body_depth_mm
        # Beside the canal, which is 27 mm wide and 17 mm deep here, not through it.
        along = np.linspace(screw.entry_ras, screw.target_ras, 60) - truth.canal_ras
        level = np.abs(along @ truth.anterior) < 8.5
        assert (along[level] @ outwards).min() > 13.7 + 0.5 * screw.diameter_mm
        grade = vertebra.grade(side, screw.entry_ras, screw.target_ras, screw.diameter_mm)
        assert grade.grade == "A"
        assert grade.share_in_bone > 0.93


def test_frames_from_the_mask_alone(case: tuple[Phantom, SpineProposal]) -> None:
    phantom, _ = case
    for level in ("L2", "L4"):
        truth = next(v for v in phantom.truth.vertebrae if v.level == level)
        mask = phantom.labels[f"vertebrae_{level}"]
        frame = vertebra_frame(mask, phantom.volume.ijk_to_ras, level)
        assert angle_deg(frame.superior, truth.superior) < 4
        assert angle_deg(frame.anterior, truth.anterior) < 4
        assert angle_deg(frame.left, truth.left) < 4
        assert np.linalg.norm(frame.centre - truth.centre_ras) < 2.5
        assert np.linalg.norm(frame.canal - truth.canal_ras) < 3


def test_one_click_on_each_vertebra_does_the_same() -> None:
    phantom = narrow_spine()
    rng = np.random.default_rng(0)
    clicks = {
        v.level: v.centre_ras + rng.uniform(-5, 5, 3)
        for v in phantom.truth.vertebrae
        if v.level in LEVELS[1:]
    }
    proposal = propose_screws_from_clicks(phantom.volume, clicks)
    assert [v.level for v in proposal.vertebrae] == LEVELS[1:]
    found = errors(phantom, proposal)
    good = (found[:, 0] < 2.0) & (found[:, 1] < 6.0)
    assert good.sum() >= 7, found


@pytest.mark.parametrize("toward", [1.0, -1.0])
def test_constructed_breaches(straight: tuple[Phantom, SpineProposal], toward: float) -> None:
    phantom, proposal = straight
    vertebra = proposal["L3"]
    truth = next(t for t in phantom.truth.pedicles if (t.level, t.side) == ("L3", "left"))
    pose = next(v for v in phantom.truth.vertebrae if v.level == "L3")
    medial = np.cross(pose.superior, truth.direction)
    medial *= np.sign(medial @ (pose.canal_ras - truth.isthmus_ras))
    diameter = 5.0
    for breach in (0.0, 1.0, 3.0, 5.0, 7.0):
        shift = breach - diameter / 2 + truth.width_mm / 2 if breach else 0.0
        entry = truth.entry_ras + toward * shift * medial
        grade = vertebra.grade("left", entry, entry + 40 * truth.direction, diameter)
        assert grade.breach_mm == pytest.approx(breach, abs=0.7)
        letters = {gertzbein_robbins(max(b, 0)) for b in (breach - 0.7, breach, breach + 0.7)}
        if breach == 0:
            letters, direction = {"A"}, ""
        else:
            direction = "medial" if toward > 0 else "lateral"
        assert grade.grade in letters
        assert grade.breach_direction == direction
    up = truth.entry_ras + toward * (truth.height_mm / 2) * pose.superior
    grade = vertebra.grade("left", up, up + 40 * truth.direction, diameter)
    assert grade.breach_direction == ("superior" if toward > 0 else "inferior")


def test_a_screw_too_long_comes_out_in_front(straight: tuple[Phantom, SpineProposal]) -> None:
    _, proposal = straight
    vertebra = proposal["L3"]
    screw = vertebra.trajectories["right"]
    far = screw.entry_ras + 70 * screw.direction
    grade = vertebra.grade("right", screw.entry_ras, far, 5.0)
    assert grade.breach_direction == "anterior"
    assert grade.breach_mm > 6
    assert grade.grade == "E"


def test_grade_letters() -> None:
    limits = {0.0: "A", 0.1: "B", 1.99: "B", 2.0: "C", 3.99: "C", 4.0: "D", 5.99: "D", 6.0: "E"}
    assert {b: gertzbein_robbins(b) for b in limits} == limits


def test_pedicle_too_small_for_any_size(straight: tuple[Phantom, SpineProposal]) -> None:
    phantom, _ = straight
    only_thick = ScrewSizes(diameters_mm=(12.0, 14.0))
    proposal = propose_screws(phantom.labels, phantom.volume, levels=["L2"], sizes=only_thick)
    screw = proposal["L2"].trajectories["left"]
    assert not screw.fits
    assert screw.diameter_mm == 12.0
    assert any("too small" in w for w in proposal.warnings)


def test_vertebra_cut_by_the_volumes_end_is_said(straight: tuple[Phantom, SpineProposal]) -> None:
    phantom, _ = straight
    mask = phantom.labels["vertebrae_L3"]
    middle = int(np.argwhere(mask)[:, 0].mean()) + 2
    cut = {"vertebrae_L3": mask[:middle], "vertebrae_L4": phantom.labels["vertebrae_L4"][:middle]}
    volume = type(phantom.volume)(
        np.ascontiguousarray(phantom.volume.hu[:middle]), phantom.volume.ijk_to_ras
    )
    proposal = propose_screws(cut, volume)
    assert any("L3" in w and "cut by the volume's end" in w for w in proposal.warnings)
    assert "L4" in [v.level for v in proposal.vertebrae]


def test_labels_on_the_wrong_side_are_told(straight: tuple[Phantom, SpineProposal]) -> None:
    phantom, _ = straight
    truth = next(v for v in phantom.truth.vertebrae if v.level == "L3")
    k, j, i = np.indices(phantom.volume.hu.shape)
    ras = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ phantom.volume.ijk_to_ras[:3].T
    aside = (ras - truth.centre_ras) @ truth.left
    hips = {"hip_left": aside > 40, "hip_right": aside < -40}
    one = {"L3": phantom.labels["vertebrae_L3"]}
    assert len(propose_screws(one | hips, phantom.volume).trajectories()) == 2
    swapped = dict(zip(hips, list(hips.values())[::-1], strict=True))
    with pytest.raises(InputError, match="L3: hip_left lies to the right of hip_right"):
        propose_screws(one | swapped, phantom.volume)


def test_canal_and_ribs_are_no_bone_of_a_vertebra(
    straight: tuple[Phantom, SpineProposal],
) -> None:
    """Masks that a network filled: the canal as well, and the rib's head."""
    phantom, proposal = straight
    mask, wanted = phantom.labels["vertebrae_L3"], proposal["L3"]
    grid = np.indices(mask.shape)[::-1].reshape(3, -1)
    ras = (phantom.volume.ijk_to_ras[:3, :3] @ grid).T + phantom.volume.ijk_to_ras[:3, 3]
    local = wanted.frame.local(ras)
    canal = wanted.frame.local(wanted.frame.canal)
    tube = np.hypot(*(local[:, :2] - canal[:2]).T) < wanted.frame.canal_radius_mm + 1.0
    tube = tube.reshape(mask.shape) & ~mask
    knob = np.linalg.norm(local - canal - [-28.0, 8.0, 0.0], axis=1) < 14.0
    knob = knob.reshape(mask.shape) & ~mask
    filled = {"vertebrae_L3": mask | tube | knob}
    with pytest.raises(InputError, match="L3: no vertebral canal"):
        propose_screws(filled, phantom.volume)
    labels = filled | {"spinal_cord": tube, "rib_left_12": knob}
    again = propose_screws(labels, phantom.volume).trajectories()
    assert len(again) == 2
    for screw in again:
        before = wanted.trajectories[screw.side]
        assert np.linalg.norm(screw.entry_ras - before.entry_ras) < 2.5
        assert angle_deg(screw.direction, before.direction) < 5.0
    bone = Anatomy(phantom.volume, labels).bone
    assert bone is not None
    assert bone[knob & ~tube].all()
    assert not bone[tube].any()
    sides = {"rib_left_12": local[:, 0] > 40.0, "rib_right_12": local[:, 0] < -40.0}
    ribs = {name: side.reshape(mask.shape) for name, side in sides.items()}
    with pytest.raises(InputError, match="rib_left_12 lies to the right of rib_right_12"):
        propose_screws({"L3": mask} | ribs, phantom.volume)


def test_bad_input(straight: tuple[Phantom, SpineProposal]) -> None:
    phantom, _ = straight
    volume, mask = phantom.volume, phantom.labels["vertebrae_L3"]
    with pytest.raises(InputError, match="shape"):
        propose_screws({"vertebrae_L3": mask[1:]}, volume)
    with pytest.raises(InputError, match="no vertebra among"):
        propose_screws({"liver": mask}, volume)
    with pytest.raises(InputError, match="is empty"):
        propose_screws({"L3": np.zeros_like(mask)}, volume)
    with pytest.raises(InputError, match=r"L3: what is labelled has -?\d+ HU and is no bone"):
        propose_screws({"L3": np.roll(mask, 45, axis=2)}, volume)
    with pytest.raises(InputError, match="not segmented"):
        propose_screws({"L3": mask}, volume, levels=["L9"])
    with pytest.raises(InputError, match="outside the volume"):
        propose_screws_from_clicks(volume, {"L3": (900.0, 0.0, 0.0)})
    front = phantom.truth.vertebrae[3].centre_ras + 60 * phantom.truth.vertebrae[3].anterior
    with pytest.raises(InputError, match=r"no vertebral body|no bone|no canal"):
        propose_screws_from_clicks(volume, {"L3": front})
    with pytest.raises(InputError, match="clicked"):
        propose_screws_from_clicks(volume, {})
