"""Metal in the image: thresholds, clean-up, soft borders, real scans."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal import (
    CleanUpParameters,
    body_mask,
    kmeans_threshold,
    propose_threshold,
    segment_metal,
)
from MetalArtifactReductionLib.volume import CTVolume
from support import shared_data


def volume(hu: np.ndarray, spacing: tuple[float, float, float] = (2.0, 1.0, 1.0)) -> CTVolume:
    k, j, i = spacing
    return CTVolume(np.ascontiguousarray(hu, np.float32), np.diag([i, j, k, 1.0]))


def body(slices: int = 6, size: int = 128, seed: int = 0) -> np.ndarray:
    """An elliptic body with noise and a bone of up to 1400 HU."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    image = np.where((x / 55) ** 2 + (y / 45) ** 2 <= 1, 40.0, -1000.0)
    bone = np.clip(1500 - 100 * np.hypot(x, y - 20), 0, 1400)
    image = np.where(bone > 300, bone, image)
    rng = np.random.default_rng(seed)
    return image + rng.normal(0, 10, (slices, size, size))


def disc(size: int, centre: tuple[float, float], radius: float, samples: int = 8) -> np.ndarray:
    """Share of each pixel inside a circle, by supersampling."""
    offset = (np.arange(samples) + 0.5) / samples - 0.5
    y, x = np.mgrid[:size, :size]
    inside = [
        np.hypot(y + a - centre[0], x + b - centre[1]) <= radius for a in offset for b in offset
    ]
    return np.mean(inside, axis=0)


def with_metal(fraction: np.ndarray, metal_hu: float, clip: float | None, seed: int = 0):
    hu = body(len(fraction), fraction.shape[1], seed)
    rng = np.random.default_rng(seed + 1)
    metal = rng.normal(metal_hu, 0.02 * metal_hu, fraction.shape)
    hu = hu * (1 - fraction) + metal * fraction
    return np.minimum(hu, clip) if clip else hu


@pytest.mark.parametrize("clip", [3071.0, 2976.0, None])
def test_metal_volume_is_found_whatever_the_scale(clip: float | None) -> None:
    fraction = np.zeros((6, 128, 128))
    fraction[1:5] = disc(128, (55.3, 40.8), 7.0)
    found = segment_metal(volume(with_metal(fraction, 8000.0, clip)))
    true_mm3 = fraction.sum() * 2.0
    # Clipped, the border's share is unknown: half a voxel at most all round.
    allowed = 0.04 if clip is None else 0.12
    assert found.volume_mm3 == pytest.approx(true_mm3, rel=allowed)
    assert found.slices.tolist() == [1, 2, 3, 4]
    assert found.fraction.dtype == np.float32
    assert found.fraction.min() >= 0 and found.fraction.max() <= 1
    assert (found.fraction[fraction == 1] > 0.4).all()


def test_border_voxels_hold_the_true_share_when_not_clipped() -> None:
    fraction = np.zeros((3, 128, 128))
    fraction[:] = disc(128, (55.0, 40.0), 9.0)
    found = segment_metal(volume(with_metal(fraction, 9000.0, None)))
    border = (fraction > 0.35) & (fraction < 0.95)
    assert np.abs(found.fraction - fraction)[border].mean() < 0.1


def test_two_hips_and_a_small_clip_are_all_found() -> None:
    fraction = np.zeros((6, 128, 128))
    fraction[:] += disc(128, (64, 25), 6.0) + disc(128, (64, 102), 6.0)
    fraction[2:4, 40, 60:65] = 0.4
    done: list[float] = []
    ct = volume(with_metal(fraction, 6000.0, 3071.0))
    found = segment_metal(ct, progress=lambda share, _message: done.append(share))
    assert (done[0], done[-1]) == (0.0, 1.0) and done == sorted(set(done))
    kept = [c for c in found.components if c.kept]
    centres = sorted((round(c.centre_ijk[0]), round(c.centre_ijk[1])) for c in kept)
    assert centres == [(25, 64), (62, 40), (102, 64)]


def test_specks_are_left_out_and_listed() -> None:
    fraction = np.zeros((6, 128, 128))
    fraction[:] = disc(128, (64, 40), 6.0)
    hu = with_metal(fraction, 8000.0, 3071.0)
    hu[2, 90, 80] = 3000.0
    found = segment_metal(volume(hu, (1.0, 1.0, 1.0)))
    assert found.fraction[2, 90, 80] == 0
    assert [c.remark for c in found.components if not c.kept] == ["speck"]


def test_nail_canal_is_filled_and_cup_liner_stays_open() -> None:
    ring = disc(128, (64, 40), 7.0) - disc(128, (64, 40), 2.5)
    cup = disc(128, (64, 90), 16.0) - disc(128, (64, 90), 12.0)
    hu = with_metal(np.repeat((ring + cup)[None], 3, axis=0), 8000.0, 3071.0)
    found = segment_metal(volume(hu))
    assert found.mask[1, 64, 40]
    assert not found.mask[1, 64, 90]


def test_leads_on_the_skin_are_not_metal_unless_asked() -> None:
    hu = body()
    hu[1:3, 19:21, 62:66] = 3000.0  # the body's front is at row 18.5
    with pytest.raises(InputError, match=r"highest value is \d+ HU.*on the skin") as refused:
        segment_metal(volume(hu))
    told, remedy = str(refused.value), refused.value.remedy
    assert "include_surface=True" in remedy and told.endswith(remedy)
    assert "=" not in told.removesuffix(remedy) and "--" not in told.removesuffix(remedy)
    found = segment_metal(volume(hu), clean_up=CleanUpParameters(include_surface=True))
    assert found.mask[1, 20, 64]


def test_no_metal_names_highest_value_and_threshold() -> None:
    hu = body()
    with pytest.raises(InputError, match=r"highest value is 1\d{3} HU and the threshold 2500 HU"):
        segment_metal(volume(hu))
    with pytest.raises(InputError, match="choose one of threshold, kmeans"):
        segment_metal(volume(hu), "magic")


def test_threshold_lies_between_bone_and_metal() -> None:
    rng = np.random.default_rng(1)
    bone = 300 + rng.exponential(90, 200_000)  # e-fold every 90 HU, as cortical bone
    metal = np.minimum(rng.normal(6000, 2500, 900), 3071)
    threshold = propose_threshold(np.concatenate([bone[bone < 1900], metal]))
    assert 1500 <= threshold <= 2200
    assert propose_threshold(bone[bone < 1900]) == 2500.0
    assert propose_threshold(np.zeros(10)) == 2500.0


def test_kmeans_finds_three_separated_classes() -> None:
    rng = np.random.default_rng(2)
    parts = [rng.normal(m, 50, n) for m, n in ((450, 3000), (1100, 1000), (2900, 400))]
    found = kmeans_threshold(np.concatenate(parts))
    assert found.means_hu == pytest.approx((450, 1100, 2900), abs=20)
    assert found.threshold_hu == pytest.approx(2000, abs=20)


def test_body_mask_without_table_and_through_streaks() -> None:
    hu = body()
    hu[:, 118:120, 20:108] = 100.0  # a table
    hu[:, 60:62, :] = -1000.0  # a dark streak from skin to skin
    mask = body_mask(hu, (2.0, 1.0, 1.0))
    assert not mask[:, 115:].any()
    assert mask[:, 60:62, 30:100].all()
    area = np.pi * 55 * 45
    assert mask[2].sum() == pytest.approx(area, rel=0.04)


@pytest.mark.parametrize(
    ("name", "low_mm3", "high_mm3"),
    [
        ("totalseg_example_hip_nail_3mm.nii.gz", 7000, 17000),
        ("tcga_thca_E3-A3E5_dental_metal.nii.gz", 200, 500),
        ("lungfcp_01-0001_sternal_wires.nii.gz", 300, 1200),
    ],
)
def test_real_metal_is_found(name: str, low_mm3: float, high_mm3: float) -> None:
    found = segment_metal(read_volume(shared_data(name)))
    assert low_mm3 < found.volume_mm3 < high_mm3


def test_teeth_and_bone_are_not_the_dental_restoration() -> None:
    found = segment_metal(read_volume(shared_data("tcga_thca_E3-A3E5_dental_metal.nii.gz")))
    (restoration,) = [c for c in found.components if c.kept]
    assert restoration.slices[0] >= 13 and restoration.slices[1] <= 19
    assert restoration.centre_ijk[:2] == pytest.approx((217, 162), abs=4)


@pytest.mark.parametrize(
    "name",
    [
        "tcga_coad_AY-4070A_abdomen_pelvis.nii.gz",
        "pancreatic_ct_cbct_CB001_abdomen.nii.gz",
        "tcga_ov_09-2043_abdomen_pelvis.nii.gz",
    ],
)
def test_real_scans_without_metal_have_none_by_clustering_either(name: str) -> None:
    """By threshold: ``test_what_is_metal.py``."""
    with pytest.raises(InputError, match="no metal found"):
        segment_metal(read_volume(shared_data(name)), "kmeans")
