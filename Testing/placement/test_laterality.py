"""A mirrored CT is told by the side of its liver."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.placement.spine.laterality import check_not_mirrored, liver_side
from SimulateImplantsLib.placement.spine.locate import locate_bodies
from support import shared_data

SPINE = np.array([[4.0, -60.0, 0.0], [4.0, -55.0, -35.0]])


def trunk(*, liver: bool, lps: bool, oblique_deg: float = 0.0) -> CTVolume:
    """Fat with noise; kidneys, bowel and a spleen, and a liver on the right."""
    size, step = (40, 90, 110), np.array([3.0, 3.0, 5.0])
    c, s = np.cos(np.deg2rad(oblique_deg)), np.sin(np.deg2rad(oblique_deg))
    axes = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(
        [-1.0, -1.0, 1.0] if lps else [1] * 3
    )
    matrix = np.eye(4)
    matrix[:3, :3] = axes * step
    matrix[:3, 3] = [0, 0, 20] - matrix[:3, :3] @ (np.array(size[::-1]) / 2)
    k, j, i = np.indices(size)
    x, y, z = matrix[:3, :3] @ np.stack([i, j, k]).reshape(3, -1) + matrix[:3, 3:]
    hu = np.where(np.hypot(x / 150, y / 110) < 1, -90.0, -1000.0)
    hu[np.hypot(np.hypot((np.abs(x) - 60) / 25, (y + 40) / 25), (z + 20) / 50) < 1] = 40  # kidneys
    hu[np.hypot(np.hypot((x + 100) / 25, (y + 10) / 45), (z - 40) / 40) < 1] = 60  # spleen
    if liver:
        hu[np.hypot(np.hypot((x - 75) / 60, (y - 10) / 70), (z - 30) / 60) < 1] = 60
    hu += np.random.default_rng(0).normal(0, 15, hu.shape)
    return CTVolume(hu.reshape(size).astype(np.float32), matrix)


def mirrored(volume: CTVolume, points: np.ndarray) -> tuple[CTVolume, np.ndarray]:
    """The same columns the other way round in the same geometry, and the points in it."""
    ijk = np.linalg.inv(volume.ijk_to_ras) @ np.vstack([points.T, np.ones(len(points))])
    ijk[0] = volume.hu.shape[2] - 1 - ijk[0]
    flipped = CTVolume(np.ascontiguousarray(volume.hu[:, :, ::-1]), volume.ijk_to_ras)
    return flipped, (volume.ijk_to_ras @ ijk)[:3].T


@pytest.mark.parametrize(("lps", "oblique_deg"), [(True, 0.0), (False, 0.0), (True, 12.0)])
def test_the_liver_tells_a_mirrored_scan(lps: bool, oblique_deg: float) -> None:
    volume = trunk(liver=True, lps=lps, oblique_deg=oblique_deg)
    check_not_mirrored(volume, dict(zip(("L1", "L2"), SPINE, strict=True)))
    other, points = mirrored(volume, SPINE)
    assert liver_side(other, points) == pytest.approx(-liver_side(volume, SPINE), abs=0.1)
    with pytest.raises(InputError, match=r"L1, L2: the liver .* left .* mirrored"):
        check_not_mirrored(other, dict(zip(("L1", "L2"), points, strict=True)))


def test_without_a_liver_nothing_is_said() -> None:
    volume = trunk(liver=False, lps=True)
    assert liver_side(volume, SPINE) == 0.0
    check_not_mirrored(mirrored(volume, SPINE)[0], {"L1": SPINE[0]})
    check_not_mirrored(volume, {"L1": SPINE[0] + [0, 0, 5000.0]})


def test_a_mirrored_patient_gets_no_screw() -> None:
    volume = read_volume(shared_data("tcga_coad_AY-4070A_abdomen_pelvis.nii.gz"))
    points = np.array([(10.0, 157.0, -186.0), (10.0, 162.0, -214.0)])
    found, _ = locate_bodies(volume, dict(zip(("L2", "L3"), points, strict=True)))
    assert list(found) == ["L2", "L3"]
    other, clicks = mirrored(volume, points)
    with pytest.raises(InputError, match="seems mirrored"):
        locate_bodies(other, dict(zip(("L2", "L3"), clicks, strict=True)))
