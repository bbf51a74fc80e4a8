"""Placement on real CT from clicks: vertebrae and hips of published scans."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.placement import (
    HipModel,
    collisions,
    measure_hip,
    propose_screws_from_clicks,
    prosthesis_plan,
    spine_plan,
)
from SimulateImplantsLib.placement.bone_field import sample_hu
from SimulateImplantsLib.placement.hip.measure import fit_head, socket_axis
from SimulateImplantsLib.placement.spine.image_grade import grade_in_image
from SimulateImplantsLib.placement.spine.locate import locate_bodies
from support import packed_ct, shared_data


def test_clicked_lumbar_vertebrae() -> None:
    volume = read_volume(shared_data("pancreatic_ct_cbct_CB001_abdomen.nii.gz"))
    # (slice, row, column) in the middle of the bodies.
    bodies = {"L2": (57, 275, 256), "L3": (45, 270, 256), "L4": (32, 268, 256)}
    clicks = {
        level: (volume.ijk_to_ras @ np.array([c, r, s, 1.0]))[:3]
        for level, (s, r, c) in bodies.items()
    }
    proposal = propose_screws_from_clicks(volume, clicks)
    screws = proposal.trajectories()
    assert len(screws) == 6
    for screw in screws:
        grade = proposal[screw.level].grade(
            screw.side, screw.entry_ras, screw.target_ras, screw.diameter_mm, volume
        )
        assert grade.grade == "A"
        # Neither the canal (about 20 HU) nor muscle (60 HU) anywhere along the screw.
        assert grade.min_hu > 110
        assert -5 < grade.convergence_deg < 35
        assert abs(grade.inclination_deg) < 20
        # Left of the midline on the left, the tip no nearer to the other side.
        sign = 1.0 if screw.side == "right" else -1.0
        middle = proposal[screw.level].frame.centre[0]
        assert sign * (screw.entry_ras[0] - middle) > 8
        assert sign * (screw.target_ras[0] - middle) > 0
    assert collisions(spine_plan(proposal).implants) == []


@pytest.mark.parametrize("moved", [(0, 0, 0), (0, 0, 4)])
def test_clicked_thoracic_vertebrae_of_an_old_spine(moved: tuple[float, ...]) -> None:
    """Discs thinner than slices, between endplates as bright as the arch: centres by eye."""
    clicks = {"T8": (-2, -31, -143), "T9": (0, -30, -168)}
    volume = packed_ct("acrin_nsclc_042_neck_abdomen")
    proposal = propose_screws_from_clicks(
        volume, {name: np.add(point, moved) for name, point in clicks.items()}
    )
    screws = proposal.trajectories()
    assert len(screws) == 4
    for screw in screws:
        assert np.linalg.norm(proposal[screw.level].frame.centre - clicks[screw.level]) < 6
        grade = grade_in_image(
            volume, screw.side, screw.entry_ras, screw.target_ras, screw.diameter_mm
        )
        assert grade.grade in ("A", "B"), (screw.level, screw.side)


@pytest.mark.parametrize("moved", [(0, 0, -8), (0, 0, 8), (8, 0, 0), (-8, 0, 0)])
def test_bodies_clicked_towards_a_disc_are_the_same(moved: tuple[float, ...]) -> None:
    """A lordotic spine; by its click alone, 8 mm too low, L5 is taken for the disc below it."""
    middles = {
        **{"L1": (14, -47, 1354), "L2": (14, -41, 1325), "L3": (14, -36, 1291)},
        **{"L4": (13, -37, 1259), "L5": (13, -48, 1227)},
    }
    volume = read_volume(shared_data("tcga_ov_09-2043_abdomen_pelvis.nii.gz"))
    found, why = locate_bodies(volume, {name: np.add(at, moved) for name, at in middles.items()})
    assert not why
    for name, at in middles.items():
        assert np.linalg.norm(found[name].frame.centre - at) < 5, name


def joint_dip(volume: CTVolume, model: HipModel, centre: np.ndarray) -> float:
    """How far the mean HU falls between the head's shell and the socket's (HU)."""
    d = np.random.default_rng(0).normal(size=(600, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    d = d[d @ model.socket_axis < -0.2]
    depths = model.head_radius_mm + np.arange(-3.0, 6.1, 0.5)
    profile = sample_hu(volume, centre + depths[:, None, None] * d).mean(axis=1)
    gap = 4 + int(np.argmin(profile[4:13]))
    return float(min(profile[:gap].max(), profile[gap:].max()) - profile[gap])


def test_clicked_hip() -> None:
    volume = read_volume(shared_data("tcga_ov_09-2043_abdomen_pelvis.nii.gz"))
    for (s, r, c), side in (((18, 262, 185), "right"), ((21, 282, 346), "left")):
        click = (volume.ijk_to_ras @ np.array([c, r, s, 1.0]))[:3]
        model = measure_hip(volume, bone=volume.hu > 180, click=click)
        assert model.side == side
        assert 20.5 < model.head_radius_mm < 26
        assert 0.5 < model.socket_radius_mm - model.head_radius_mm < 6
        # Seen from the right centre all of the joint space lies at one depth; 5 mm off, in any
        # direction, it is smeared away.
        off = 5.0 * np.vstack([np.zeros(3), np.eye(3), -np.eye(3)])
        dips = [joint_dip(volume, model, model.head_centre + shift) for shift in off]
        assert dips[0] > 30
        assert dips[0] > 1.5 * max(dips[1:])
        # The scan ends at the lesser trochanter, and this is said.
        plan = prosthesis_plan(model)
        assert any("the volume ends" in w for w in plan.warnings)
        # In the last slices of the scan the stem's axis runs in marrow, inside the cortex.
        stem = plan.implants[0].matrix
        low = volume.ijk_to_ras[2, 3] + 7.0
        t = (low - stem[2, 3]) / stem[2, 2]
        assert sample_hu(volume, stem[:3, 3] + t * stem[:3, 2]) < 350


def test_any_click_in_a_head_finds_the_same_head() -> None:
    """Slices of 5 mm; what the nearest 8 mm about a head's middle lead to is one sphere."""
    volume = read_volume(shared_data("tcga_coad_AY-4070A_abdomen_pelvis.nii.gz"))
    rng = np.random.default_rng(4)
    for side, middle in (("left", (-60.5, 183.7, -393.0)), ("right", (99.0, 186.8, -382.4))):
        found = []
        for _ in range(4):
            away = rng.normal(size=3)
            click = np.array(middle) + away / np.linalg.norm(away) * 8.0
            found.append(fit_head(volume, click, socket_axis(side)))
        centres = np.array([centre for centre, _ in found])
        # Seen in the axial slices: 39 to 40 mm wide, its middle within 3 mm.
        assert np.linalg.norm(centres - middle, axis=1).max() < 3
        assert np.ptp(centres, axis=0).max() < 0.5
        assert all(18.5 < radius < 21.5 for _, radius in found)
