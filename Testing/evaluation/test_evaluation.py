"""Measures against values worked out by hand, and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from MetalArtifactReductionLib.evaluation import (
    evaluate,
    evaluate_without_reference,
    soft_tissue_near_metal,
)
from MetalArtifactReductionLib.evaluation.comparison import (
    UNCORRECTED,
    ScanWithTruth,
    format_table,
    mean_rows,
    measure_images,
)
from MetalArtifactReductionLib.evaluation.metrics import (
    Metrics,
    edge_strength,
    noise,
    streak_amplitude,
)
from MetalArtifactReductionLib.metal.body import within_pixels
from MetalArtifactReductionLib.volume import CTVolume


def phantom(noise_hu: float = 5.0, size: int = 160) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    hu = np.where((x / 70) ** 2 + (y / 60) ** 2 <= 1, -100.0, -1000.0)
    hu[(x / 62) ** 2 + (y / 52) ** 2 <= 1] = 50.0
    hu[np.hypot(x - 15, y) <= 12] = 700.0
    metal = (np.hypot(x + 10, y) <= 6).astype(np.float32)
    hu = hu + np.random.default_rng(0).normal(0, noise_hu, (2, size, size))
    return hu, np.repeat(metal[None], 2, axis=0)


def test_the_truth_itself_is_perfect() -> None:
    truth, metal = phantom()
    image = np.where(metal > 0, 3071.0, truth)
    m = evaluate(image, truth, metal)
    assert m.rmse_body_hu == m.rmse_near_metal_hu == m.mse_hu2 == m.streak_amplitude_hu == 0
    assert m.psnr_db == float("inf")
    perfect = (
        m.ssim,
        m.noise_ratio,
        m.edge_strength_soft,
        m.edge_strength_bone,
        m.metal_dice,
        m.metal_volume_ratio,
        m.bone_dice,
        m.bone_volume_ratio,
    )
    # One pixel of smoothing reaches from the metal's rim into the edges' gradients.
    assert perfect == pytest.approx((1,) * 8, abs=0.02)


def test_known_errors_give_known_figures() -> None:
    truth, metal = phantom()
    body = np.zeros(truth.shape, bool)
    body[:, 40:120, 40:120] = True
    near = within_pixels(metal > 0, 20) & body
    error = np.where(near, 30.0, 0.0)
    m = evaluate(truth + error, truth, metal, body=body)
    tissue = body & (metal == 0)
    expected = 900.0 * near.sum() / tissue.sum()
    assert m.mse_hu2 == pytest.approx(expected)
    assert m.rmse_near_metal_hu == pytest.approx(30.0)
    assert m.psnr_db == pytest.approx(10 * np.log10(5000**2 / expected))
    assert m.metal_dice == 0.0  # the truth shows no metal: it is gone
    # Inside metal nothing counts.
    wrong_inside = np.where(metal > 0, -1000.0, truth)
    assert evaluate(wrong_inside, truth, metal, body=body).rmse_body_hu == 0


def test_ssim_is_that_of_scikit_image() -> None:
    truth, _ = phantom()
    image = truth + np.random.default_rng(3).normal(0, 60, truth.shape)
    body = np.ones(truth.shape, bool)
    ours = evaluate(image, truth, np.zeros(truth.shape), body=body).ssim
    theirs = [
        structural_similarity(
            a, b, data_range=5000, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            full=True,
        )[1].mean()
        for a, b in zip(image, truth, strict=True)
    ]  # fmt: skip
    assert ours == pytest.approx(np.mean(theirs), abs=1e-9)


def test_streak_amplitude_of_a_uniform_distribution() -> None:
    values = np.linspace(-100, 100, 100_001)
    assert streak_amplitude(values) == pytest.approx(195 - 5, abs=0.1)
    assert np.isnan(streak_amplitude(np.zeros(0)))


def test_noise_is_the_standard_deviation_without_the_trend() -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 400, 200)[None, None] + np.zeros((1, 200, 1))
    image = ramp + rng.normal(0, 12, (1, 200, 200))
    region = np.zeros(image.shape, bool)
    region[:, 20:180, 20:180] = True
    assert noise(image, region) == pytest.approx(12, rel=0.05)


def test_noise_and_edges_follow_noise_and_blur() -> None:
    truth, metal = phantom()
    noisy = truth + np.random.default_rng(9).normal(0, np.sqrt(3) * 5, truth.shape)
    assert evaluate(noisy, truth, metal).noise_ratio == pytest.approx(2.0, rel=0.1)
    blurred = ndimage.gaussian_filter(truth, (0, 2, 2))
    m = evaluate(blurred, truth, metal)
    assert m.edge_strength_bone < 0.8
    assert m.noise_ratio < 0.5


def test_edge_strength_of_a_step() -> None:
    image = np.zeros((1, 20, 20))
    image[:, :, 10:] = 80.0
    region = np.zeros(image.shape, bool)
    region[:, 5:15, 9:11] = True
    assert edge_strength(image, region) == pytest.approx(40.0)  # 80 HU over two pixels


def test_bone_and_metal_volumes() -> None:
    truth, metal = phantom(0.0)
    image = np.where(metal > 0, 3071.0, truth)
    bone = truth > 150
    upper = bone & (np.arange(160)[None, :, None] < 80)
    lost = np.where(upper, 40.0, image)
    m = evaluate(lost, truth, metal)
    assert m.bone_volume_ratio == pytest.approx(0.5, abs=0.01)
    assert m.bone_dice == pytest.approx(2 / 3, abs=0.01)
    assert m.metal_dice == 1.0


def test_shapes_must_agree_and_single_slices_work() -> None:
    truth, metal = phantom()
    with pytest.raises(ValueError, match="shapes differ"):
        evaluate(truth, truth[:1], metal)
    flat = evaluate(truth[0] + 10.0, truth[0], metal[0])
    assert flat.rmse_body_hu == pytest.approx(10.0)


def test_without_reference_sees_streaks_noise_and_dark_rims() -> None:
    truth, metal = phantom()
    spacing = (2.0, 1.0, 1.0)
    region = soft_tissue_near_metal(truth, metal, spacing_mm=spacing)
    assert region.any() and not (region & (metal > 0)).any()
    angle = np.arctan2(*(np.mgrid[:160, :160] - np.array([79.5, 69.5])[:, None, None]))
    streaks = truth + 80 * np.sin(12 * angle)
    y, x = np.mgrid[:160, :160] - 79.5
    rim = np.where((np.hypot(x + 10, y) <= 8) & (metal == 0), truth - 300, truth)

    def measure(image: np.ndarray):
        return evaluate_without_reference(image, metal, spacing_mm=spacing, soft_tissue=region)

    clean = measure(truth)
    assert clean.metal_volume_mm3 == pytest.approx(2 * metal.sum())
    assert clean.noise_hu == pytest.approx(5.0, rel=0.15)
    assert measure(streaks).streak_amplitude_hu > clean.streak_amplitude_hu + 100
    first = (0.0, 2.0)
    assert measure(rim).shell_mean_hu[first] < clean.shell_mean_hu[first] - 250
    assert set(clean.as_dict()) >= {"mean_hu_0_2_mm", "noise_hu", "streak_amplitude_hu"}
    with pytest.raises(ValueError, match="no metal"):
        evaluate_without_reference(truth, metal * 0, spacing_mm=spacing)


def test_tables_hold_what_was_measured() -> None:
    truth, metal = phantom()
    corrupted = CTVolume((truth + 50).astype(np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    case = ScanWithTruth("one", corrupted, truth, metal)
    rows = measure_images(case, {UNCORRECTED: (corrupted.hu, 0.0), "half": (truth + 25, 1.25)})
    rows += measure_images(
        ScanWithTruth("two", corrupted, truth, metal),
        {UNCORRECTED: (corrupted.hu, 0.0), "half": (truth + 15, 0.75)},
    )
    means = {row.method: row for row in mean_rows(rows)}
    assert means["half"].metrics.rmse_body_hu == pytest.approx(20.0, abs=1e-3)
    assert means["half"].seconds == pytest.approx(1.0)
    text = format_table(rows, columns=("rmse_body_hu",))
    assert text.splitlines()[0].split() == ["case", "method", "RMSE", "body", "HU", "s"]
    assert "50.0" in text
    markdown = format_table(rows, "markdown").splitlines()
    assert len({line.count("|") for line in markdown}) == 1 and set(markdown[1]) <= set("|- :")
    lines = format_table(rows, "csv").splitlines()
    assert len(lines) == 5
    assert lines[0].split(",")[2:-1] == list(Metrics.__dataclass_fields__)
    with pytest.raises(ValueError, match="unknown table style"):
        format_table(rows, "html")
