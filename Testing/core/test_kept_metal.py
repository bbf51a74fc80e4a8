"""Metal stays, bone stays, and what needs no correction stays: whatever the method."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.artifact_strength import SoftTissue, strength_along
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.metal.certain import certain_metal
from MetalArtifactReductionLib.metal.segmentation import segment_metal
from MetalArtifactReductionLib.methods import registry
from MetalArtifactReductionLib.methods.base import InpaintingContext
from MetalArtifactReductionLib.methods.linear import LinearInterpolation
from MetalArtifactReductionLib.methods.nmar.prior_image import prior_image
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.simulation import SimulationResult, simulate_volume
from MetalArtifactReductionLib.tomography.attenuation import hu_to_mu, mu_to_hu
from MetalArtifactReductionLib.volume import CTVolume
from support import once, shared_data

SIDE, PIXEL_MM, SLICES = 160, 1.2, 2
METHODS = ("li", "nmar", "prior", "prior-strict", "trace-cnn", "unet", "cgan")
ROW, COL = np.mgrid[:SIDE, :SIDE].astype(float)


def disc(row: float, col: float, radius: float, wobble: float = 0.0) -> np.ndarray:
    """Share of the pixels in a disc, or in one with a thread around it."""
    angle = np.arctan2(ROW - row, COL - col)
    edge = radius + wobble * np.cos(6 * angle)
    return np.clip(edge + 0.5 - np.hypot(ROW - row, COL - col), 0, 1)


def patient() -> CTVolume:
    """An oval of muscle under fat, with bone, a row of teeth, and the noise of a scan."""
    oval = np.hypot((ROW - 80) / 60, (COL - 80) / 72)
    hu = np.where(oval < 1, -100.0, -1000.0)
    hu[oval < 0.88] = 50.0
    for row, col in ((105, 50), (105, 110)):
        hu += disc(row, col, 11) * 750 - disc(row, col, 7) * 650
    for col in range(52, 112, 8):
        hu += disc(45, col, 3.5) * 1700
    volume = np.repeat(hu[None], SLICES, axis=0)
    volume += np.random.default_rng(1).normal(0, 8, volume.shape)
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, 2.0, 1.0])
    return CTVolume(volume.clip(-1000, 3000).astype(np.float32), affine)


METAL = {
    "threaded head": disc(105, 50, 5.0, 0.8),
    "crown": np.clip(disc(45, 84, 3.5) - disc(45, 84, 1.5), 0, 1),
    "wire": disc(80, 120, 1.0),
    "clip": disc(75, 35, 1.2),
}


def shares(*names: str) -> np.ndarray:
    one = np.maximum.reduce([METAL[name] for name in names or METAL])
    return np.repeat(one[None], SLICES, axis=0).astype(np.float32)


def without_artifact(clean: CTVolume, metal: np.ndarray, metal_hu: float = 9000.0) -> CTVolume:
    """Metal as a scanner blurs and clips it, in an image that it does not touch otherwise."""
    hu = clean.hu + ndimage.gaussian_filter(metal * (metal_hu - clean.hu), (0, 0.6, 0.6))
    return clean.with_hu(hu.clip(-1024, 3071).astype(np.float32))


@pytest.fixture(scope="module")
def scan() -> SimulationResult:
    parameters = preset("wide-field", views=500)
    return simulate_volume(patient(), {"CoCrMo": shares()}, parameters, seed=1)


def joined_and_bright(hu: np.ndarray, level: float = 2620.0) -> np.ndarray:
    """Not by the product's own code: parts of at least three voxels above the level."""
    labels, count = ndimage.label(hu > level, np.ones((3, 3, 3)))
    sizes = ndimage.sum(hu > level, labels, np.arange(count + 1))
    return (sizes >= 3)[labels] & (labels > 0)


@pytest.mark.parametrize("method", METHODS)
def test_every_bright_voxel_of_metal_is_as_it_was(scan: SimulationResult, method: str) -> None:
    result = correct_volume(scan.corrupted, method=method, always=True)
    bright = joined_and_bright(scan.corrupted.hu)
    count = ndimage.label(bright, np.ones((3, 3, 3)))[1]
    assert count >= 4, "head, crown, wire and clip"
    assert np.array_equal(result.corrected.hu[bright], scan.corrupted.hu[bright])
    assert result.strength is not None and (result.strength == 1).all()


def test_the_patients_own_network_keeps_metal_too(scan: SimulationResult) -> None:
    hu = np.concatenate([patient().hu[:2], scan.corrupted.hu, patient().hu[:2]])
    volume = CTVolume(hu, scan.corrupted.ijk_to_ras)
    few = {"steps": 1, "masks": 4, "above": 2, "below": 2, "margin": 0}
    result = correct_volume(volume, method="patient", method_options=few, always=True)
    bright = joined_and_bright(hu)
    assert np.array_equal(result.corrected.hu[bright], hu[bright])


@pytest.mark.parametrize("method", METHODS)
def test_streaks_are_corrected(scan: SimulationResult, method: str) -> None:
    result = correct_volume(scan.corrupted, method=method)
    assert result.strength is not None and result.strength.min() > 0.9
    assert scan.reference is not None
    counted = (scan.reference.hu > -300) & (result.metal_fraction == 0) & (shares() == 0)
    counted &= ndimage.distance_transform_edt(shares() == 0, sampling=(99, 1, 1)) > 3
    before, after = (
        float(np.sqrt(np.mean((hu - scan.reference.hu)[counted] ** 2)))
        for hu in (scan.corrupted.hu, result.corrected.hu)
    )
    assert after < (0.9 if method in ("li", "trace-cnn") else 0.8) * before


@pytest.mark.parametrize(
    ("method", "names"), [*product(("li", "nmar", "prior"), (("wire", "clip"), ("threaded head",)))]
)
def test_metal_without_streaks_comes_back_bit_by_bit(method: str, names: tuple[str, ...]) -> None:
    """As another method left it, or as a thin wire shows: nothing to gain."""
    volume = without_artifact(patient(), shares(*names))
    told: list[str] = []
    result = correct_volume(volume, method=method, progress=lambda _, text: told.append(text))
    assert np.array_equal(result.corrected.hu, volume.hu) and not result.change_hu.any()
    assert list(result.left_alone) == [0, 1]
    assert told[-1] == "2 of 2 slices need no correction: no streaks beyond noise"
    assert result.parameters["strength"] == {0: 0.0, 1: 0.0}
    forced = correct_volume(volume, method=method, always=True)
    assert forced.change_hu.any(axis=(1, 2)).all() and len(forced.left_alone) == 0


class Streaking(LinearInterpolation):
    """Here and there a view's trace is filled with far too much."""

    def __call__(
        self, sinogram: torch.Tensor, trace: torch.Tensor, context: InpaintingContext
    ) -> torch.Tensor:
        filled = super().__call__(sinogram, trace, context)
        filled[:, ::40] *= 4.0
        return filled


def test_streaks_that_a_method_adds_are_left_out(scan: SimulationResult) -> None:
    tissue = body_mask(scan.reference.hu, scan.reference.spacing_mm) & (scan.corrupted.hu < 1000)

    def error(hu: np.ndarray) -> float:
        return float(np.sqrt(np.mean((hu - scan.reference.hu)[tissue] ** 2)))

    given = error(scan.corrupted.hu)
    taken = correct_volume(scan.corrupted, method=Streaking()).corrected.hu
    whole = correct_volume(scan.corrupted, method=Streaking(), always=True).corrected.hu
    assert error(whole) > 1.5 * given and error(taken) < given
    # Close to metal not even the whole change darkens what is bright in both others.
    prior = correct_volume(scan.corrupted, method="prior", always=True)
    away = ndimage.distance_transform_edt(prior.metal_fraction == 0, sampling=(99, 1.2, 1.2))
    least = np.minimum(scan.corrupted.hu, prior.corrected.hu).clip(max=-100.0)
    near = (away > 0) & (away < 4) & ~certain_metal(scan.corrupted.hu, prior.metal_fraction)
    assert (whole > least - 20)[near].all()
    most = (1.25 * prior.corrected.hu).clip(min=60.0)
    assert (whole < most + 20)[near].all()


def test_streaks_far_from_metal_go_too() -> None:
    """Two rods at one side of a wide body: their streaks reach the other side."""
    row, col = np.mgrid[:96, :256].astype(float)
    hu = np.where(np.hypot((row - 48) / 42, (col - 128) / 122) < 1, 40.0, -1000.0)
    metal = np.hypot(row - 42, col - 30) < 5
    metal |= np.hypot(row - 54, col - 60) < 5
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    clean = CTVolume(hu[None].astype(np.float32), affine)
    parameters = preset("wide-field", views=400)
    one = simulate_volume(clean, {"CoCrMo": metal[None].astype(np.float32)}, parameters, seed=1)
    far = ndimage.binary_erosion(hu > 0, iterations=3) & (col > 175)

    def error(shown: np.ndarray) -> float:
        return float(np.sqrt(np.mean((shown - one.reference.hu)[0][far] ** 2)))

    taken = correct_volume(one.corrupted, method="nmar").corrected.hu
    assert error(taken) < 0.7 * error(one.corrupted.hu)


def test_dense_contrast_told_to_be_metal_stays() -> None:
    clean = patient()
    vein = np.repeat(disc(80, 80, 6)[None], SLICES, axis=0)
    hu = (clean.hu + vein * 1300).astype(np.float32)
    result = correct_volume(clean.with_hu(hu), (vein > 0.5).astype(np.float32))
    assert np.array_equal(result.corrected.hu, hu)


def test_an_expected_error_is_told_of_corrected_slices_only(scan: SimulationResult) -> None:
    quiet = without_artifact(patient(), shares("wire"))
    far = [quiet.hu[:1]] * 3
    hu = np.concatenate([*far, scan.corrupted.hu, *far])
    result = correct_volume(CTVolume(hu, quiet.ijk_to_ras), method="prior")
    assert result.expected_error_hu is not None and result.strength is not None
    left = result.strength == 0
    assert left[0] and left[-1] and not left[3:5].any()
    assert not result.expected_error_hu[left].any()
    assert result.expected_error_hu[4].mean() > 1.0


def alternation(line: np.ndarray) -> float:
    """HU by which neighbours differ in turn, one up, one down."""
    high = line[1:-1] - 0.25 * line[:-2] - 0.5 * line[1:-1] - 0.25 * line[2:]
    return abs(float((high * (-1.0) ** np.arange(len(high))).mean()))


@pytest.mark.parametrize("method", ["li", "nmar", "prior"])
def test_no_line_crosses_the_slice_at_metal(method: str) -> None:
    """Clipped metal ends within a pixel: 4 to 9 HU, up and down in turn, along its rows."""
    row, col = np.mgrid[-96:96, -96:96]
    hu = np.where(np.hypot(row, col) < 88, 40.0, -1000.0)
    hu[(abs(row) < 6) & (abs(col + 30) < 4)] = 3071.0
    volume = CTVolume(np.stack([hu, hu]).astype(np.float32), np.eye(4))
    image = correct_volume(volume, method=method, always=True).corrected.hu[0]
    assert max(alternation(image[k, 96:140]) for k in range(86, 107)) < 0.5
    assert max(alternation(image[120:160, k]) for k in range(60, 73)) < 0.5


def test_without_the_weights_that_judge_nothing_is_corrected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "JUDGE", "gone")
    with pytest.raises(InputError, match=r"'gone'.*install"):
        correct_volume(patient(), None, "li", progress=lambda *_: pytest.fail("work began"))


# The parts, one by one


def test_strength_is_continuous_and_neighbours_are_alike() -> None:
    gains = np.array([0.3, 0.3, 0.6, 0.6, np.nan, 0.45, 0.1])
    wire = np.array([1, 1, 1, 1, 0, 1, 0], np.float32)[:, None, None] * np.ones((3, 3))
    thick = strength_along(gains, wire, (5.0, 1.0, 1.0))
    assert thick[4] == 0 and thick[6] == 0, "no metal"
    assert thick[0] == 0 and thick[3] == 1 and 0 < thick[5] < 1
    thin = strength_along(gains, wire, (0.5, 1.0, 1.0))
    assert np.abs(np.diff(thin[:4])).max() < np.abs(np.diff(thick[:4])).max()
    unknown = strength_along(np.full(7, np.nan), wire, (1.0, 1.0, 1.0))
    assert np.array_equal(unknown, wire[:, 0, 0]), "what nobody can judge is corrected"
    screw = strength_along(gains, wire, (5.0, 5.0, 5.0))
    assert (screw >= thick).all() and screw[0] == 1, "of much metal, a small gain is believed"


def test_gain_sees_streaks_and_nothing_in_texture() -> None:
    rng = np.random.default_rng(2)
    tissue, metal = np.full((SIDE, SIDE), 50.0), disc(80, 80, 5) > 0
    tissue[np.hypot(ROW - 80, COL - 80) > 70] = -1000.0
    noisy = tissue + ndimage.gaussian_filter(rng.normal(0, 60, tissue.shape), 1.0)
    angle = np.arctan2(ROW - 80, COL - 80)
    streaked = noisy + 150 * np.cos(8 * angle) / np.maximum(np.hypot(ROW - 80, COL - 80) / 20, 1)
    spacing = (PIXEL_MM, PIXEL_MM)
    found = SoftTissue(streaked, noisy, metal, spacing)
    assert found.gain > 0.7
    assert abs(SoftTissue(noisy, noisy, metal, spacing).gain) < 0.01
    assert SoftTissue(noisy, streaked, metal, spacing).gain < 0, "new streaks are no gain"
    air = SoftTissue(np.full_like(noisy, -1000.0), tissue * 0 - 1000, metal, spacing)
    assert np.isnan(air.gain)


def test_certain_metal_beside_something_brighter() -> None:
    """An unclipped scale: 14,000 HU, and metal of 3,000 joined to it; enamel farther away."""
    hu = np.full((2, 60, 60), 50.0, np.float32)
    hu[:, 20:24, 20:24], hu[:, 20:24, 24:34] = 14000.0, 3000.0
    hu[:, 20:24, 34:50] = 1900.0
    found = segment_metal(CTVolume(hu, np.diag([0.5, 0.5, 1.0, 1.0])))
    assert (found.fraction[:, 20:24, 25:34] == 1).all() and found.fraction[:, 20:24, 24].all()
    assert not found.fraction[:, 20:24, 41:].any(), "joined, but no metal"
    certain = certain_metal(hu, found.fraction)
    assert np.array_equal(certain, hu > 2200)
    alone = certain_metal(hu, np.where([[[True]], [[False]]], found.fraction, 0))
    assert alone[0].any() and not alone[1].any(), "slices without metal are no one's business"


def test_a_clipped_level_is_certain_and_far_bright_parts_are_not() -> None:
    hu = np.full((1, 40, 40), 50.0, np.float32)
    hu[0, 5:9, 5:9], hu[0, 9, 5:9], hu[0, 30:33, 30:33] = 3071.0, 2700.0, 3000.0
    metal = np.zeros_like(hu)
    metal[0, 6:8, 6:8] = 0.4
    certain = certain_metal(hu, metal)
    assert certain[0, 5:10, 5:9].all() and certain.sum() == 20


def test_teeth_are_no_streaks_to_the_prior_image() -> None:
    """Without streaks the prior is the image: enamel and the air between lips keep their values."""
    clean = patient().hu[:1]
    metal = torch.from_numpy(shares("wire")[:1])
    mu = hu_to_mu(torch.from_numpy(clean))
    prior = mu_to_hu(prior_image(mu, mu, metal, (PIXEL_MM, PIXEL_MM)))[0].numpy()
    smooth = ndimage.gaussian_filter(clean[0], 0.9 / PIXEL_MM)
    teeth = ndimage.binary_erosion(clean[0] > 1500)
    assert teeth.sum() > 50
    assert np.abs(prior - smooth)[teeth].max() < 100


@once
def real_scan(name: str, middle: int) -> tuple[CTVolume, np.ndarray]:
    """Nine slices of a real CT, and what is metal in the whole of it; read only."""
    volume = read_volume(shared_data(f"{name}.nii.gz"))
    near = slice(max(middle - 4, 0), middle + 5)
    affine = volume.ijk_to_ras.copy()
    affine[:3, 3] += near.start * affine[:3, 2]
    return CTVolume(volume.hu[near], affine), segment_metal(volume).fraction[near]


@pytest.mark.parametrize(
    ("name", "middle"),
    [
        ("tcga_thca_E3-A3E5_dental_metal", 16),
        ("lungfcp_01-0001_sternal_wires", 12),
        ("totalseg_example_hip_nail_3mm", 6),
    ],
)
@pytest.mark.parametrize("method", ["nmar", "prior"])
def test_real_metal_and_teeth_stay(name: str, middle: int, method: str) -> None:
    volume, metal = real_scan(name, middle)
    slices = [min(middle, 4)]
    chosen = np.zeros_like(metal)
    chosen[slices] = metal[slices]
    assert chosen.any()
    result = correct_volume(volume, chosen, method, always=True)
    was, now = volume.hu[slices], result.corrected.hu[slices]
    bright = certain_metal(volume.hu, metal)[slices]
    assert bright.sum() > 5
    assert np.array_equal(now[bright], was[bright])
    away = ndimage.distance_transform_edt(~bright, sampling=(99, 1, 1))
    dense = (was > 1200) & (was < 2200) & (away >= 3)
    if dense.sum() > 100:
        assert np.mean((now - was)[dense] < -300) < 0.03
