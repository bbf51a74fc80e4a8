"""The phantoms look like CT, know themselves, and turn as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from phantom_support import narrow_spine, small_pelvis
from SimulateImplantsLib.phantoms import Phantom, lumbar_spine_phantom
from SimulateImplantsLib.phantoms.canvas import Grid, coverage
from SimulateImplantsLib.phantoms.sdf import capsule, ellipsoid, sphere

LUMBAR = [f"vertebrae_L{i}" for i in range(1, 6)]


def value_at(phantom: Phantom, array: np.ndarray, ras: np.ndarray) -> np.ndarray:
    """Nearest voxel of an array on the phantom's grid."""
    points = np.atleast_2d(ras)
    inverse = np.linalg.inv(phantom.volume.ijk_to_ras)
    ijk = np.rint(points @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    return array[ijk[:, 2], ijk[:, 1], ijk[:, 0]]


@pytest.fixture(scope="module")
def spine() -> Phantom:
    return narrow_spine()


@pytest.fixture(scope="module")
def pelvis() -> Phantom:
    return small_pelvis()


def test_partial_volume_of_a_sphere() -> None:
    spacing = np.array([3.0, 1.0, 1.5])
    grid = Grid((18, 44, 32), np.diag([*spacing, 1.0])[[2, 1, 0, 3]])
    centre, radius = np.array([22.3, 21.7, 25.1]), 12.0
    share = coverage(sphere(grid.points(), centre, radius), grid)
    assert share.sum() * spacing.prod() == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)


def test_distances_are_zero_on_surfaces_and_grow_outwards() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(size=(200, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    radii = np.array([5.0, 9.0, 14.0])
    on = (d * radii).T
    assert np.abs(ellipsoid((on[0], on[1], on[2]), (0, 0, 0), radii)).max() < 1e-4
    p = np.array([[0.0, 4.0, 0.0], [0.0, 0.0, 13.0]]).T
    ends = capsule((p[0], p[1], p[2]), (0, 0, 0), (0, 0, 10), 2.0)
    assert ends == pytest.approx([2.0, 1.0])


def test_labels_are_named_apart_and_complete(spine: Phantom) -> None:
    assert set(LUMBAR) <= set(spine.labels)
    assert {"vertebrae_S1", "vertebrae_T12"} <= set(spine.labels)
    total = sum(mask.astype(np.uint8) for mask in spine.labels.values())
    assert total.max() == 1, "two bones claim a voxel"
    voxel = float(np.prod(spine.volume.spacing_mm)) / 1000
    for level in LUMBAR:
        # Lumbar vertebrae of adults measure about 45 to 90 ml with their arches.
        assert 30 < spine.labels[level].sum() * voxel < 100


def test_pedicle_axes_lie_in_bone_and_end_at_its_surface(spine: Phantom) -> None:
    truths = [t for t in spine.truth.pedicles if t.level.startswith("L")]
    assert len(truths) == 10
    for truth in truths:
        mask = spine.labels[f"vertebrae_{truth.level}"]
        s = np.arange(3.0, 34.0, 1.0)[:, None]
        assert value_at(spine, mask, truth.entry_ras + s * truth.direction).all()
        behind = truth.entry_ras - 4.0 * truth.direction
        assert not value_at(spine, mask, behind).any()
        # Across the pedicle the bone is as wide as it says (to the size of a voxel).
        vertebra = next(v for v in spine.truth.vertebrae if v.level == truth.level)
        across = np.cross(truth.direction, vertebra.superior)
        t = np.arange(-12, 12.01, 0.1)[:, None]
        inside = value_at(spine, mask, truth.isthmus_ras + t * across)
        middle = len(t) // 2
        left = middle - np.argmin(inside[middle::-1])
        right = middle + np.argmin(inside[middle:])
        assert (right - left) * 0.1 == pytest.approx(truth.width_mm, abs=1.9)


def test_canal_is_no_bone(spine: Phantom) -> None:
    canal = spine.truth.canal_axis_ras
    inside = canal[(canal[:, 2] > -70) & (canal[:, 2] < 90)]
    assert not value_at(spine, spine.bone_mask(), inside).any()
    assert np.median(value_at(spine, spine.volume.hu, inside)) == pytest.approx(20, abs=25)


def test_hu_of_tissues(spine: Phantom) -> None:
    hu = spine.volume.hu
    assert hu.min() >= -1024
    assert hu.max() <= 3071
    for level in LUMBAR:
        truth = next(v for v in spine.truth.vertebrae if f"vertebrae_{v.level}" == level)
        core = truth.centre_ras + np.random.default_rng(0).uniform(-6, 6, (300, 3))
        assert 80 < value_at(spine, hu, core).mean() < 260, "cancellous bone"
        assert np.percentile(hu[spine.labels[level]], 98) > 450, "cortex"


def test_seed_makes_the_patient() -> None:
    small = ((8.0, 5.0, 5.0), (20, 40, 40))
    a, b, c = (lumbar_spine_phantom(s, *small) for s in (1, 1, 2))
    assert np.array_equal(a.volume.hu, b.volume.hu)
    assert not np.array_equal(a.volume.hu, c.volume.hu)
    widths = [[p.width_mm for p in x.truth.pedicles] for x in (a, c)]
    assert widths[0] != widths[1]


def test_rotated_patient_carries_its_truth() -> None:
    small = ((2.5, 2.0, 2.0), (52, 64, 64))
    plain = lumbar_spine_phantom(3, (2.5, 2.0, 2.0), (8, 8, 8))  # its truth is that of any size
    turned = lumbar_spine_phantom(3, *small, patient_rotation_deg=(70, 20, 140))
    oblique = lumbar_spine_phantom(3, *small, grid_rotation_deg=(15, -10, 25))
    for phantom in (turned, oblique):
        axes = phantom.volume.ijk_to_ras[:3, :3]
        assert np.allclose(axes.T @ axes, np.diag([4.0, 4.0, 6.25]))
        for truth in phantom.truth.pedicles:
            if truth.level in ("L3", "L4"):
                mask = phantom.labels[f"vertebrae_{truth.level}"]
                s = np.arange(4.0, 30.0, 2.0)[:, None]
                assert value_at(phantom, mask, truth.entry_ras + s * truth.direction).mean() > 0.95
    a, b = plain.truth.pedicles[4], turned.truth.pedicles[4]
    assert not np.allclose(a.direction, b.direction)
    assert a.width_mm == b.width_mm


def test_pelvis_truth(pelvis: Phantom) -> None:
    hu = pelvis.volume.hu
    for hip in pelvis.truth.hips:
        femur = pelvis.labels[f"femur_{hip.side}"]
        bone = pelvis.labels[f"hip_{hip.side}"]
        assert (hip.head_centre_ras[0] > 0) == (hip.side == "right")
        rng = np.random.default_rng(1)
        d = rng.normal(size=(300, 3))
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        inside = hip.head_centre_ras + d * (hip.head_radius_mm - 2.5)
        assert value_at(pelvis, femur, inside).mean() > 0.99
        # The socket lies behind the head, seen from its opening.
        back = d[d @ hip.acetabulum_axis < -0.5]
        wall = hip.head_centre_ras + back * (hip.acetabulum_radius_mm + 3.0)
        assert value_at(pelvis, bone, wall).mean() > 0.9
        s = np.arange(70.0, 110.0, 5.0)[:, None]
        canal = hip.shaft_point_ras + s * hip.shaft_axis
        assert np.median(value_at(pelvis, hu, canal)) < 60, "marrow"
        side = np.cross(hip.shaft_axis, [0.0, 1.0, 0.0])
        cortex = canal + side * 0.5 * (hip.canal_radius_mm + hip.shaft_radius_mm)
        assert np.median(value_at(pelvis, hu, cortex)) > 700
        angle = np.rad2deg(np.arccos(hip.neck_axis @ hip.shaft_axis))
        assert angle == pytest.approx(hip.neck_shaft_angle_deg, abs=0.01)
    total = sum(mask.astype(np.uint8) for mask in pelvis.labels.values())
    assert total.max() == 1


@pytest.mark.parametrize("bad", [{"shape": (4, 64, 64)}, {"spacing_mm": (1.0, 0.0, 1.0)}])
def test_impossible_grids_are_refused(bad: dict) -> None:
    with pytest.raises(InputError, match=r"phantom (shape|spacing)"):
        lumbar_spine_phantom(0, **bad)
