"""Which methods know how far they may be off, what is told of it, and of what else they changed."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.evaluation.before_after import compare_before_after
from MetalArtifactReductionLib.evaluation.outside_trace import (
    NOTHING,
    changed_outside,
    outside_trace_text,
)
from MetalArtifactReductionLib.evaluation.report import ReportCase, report_html
from MetalArtifactReductionLib.evaluation.report_pictures import error_picture
from MetalArtifactReductionLib.jobs.correction import correction_job, correction_result
from MetalArtifactReductionLib.methods.registry import (
    methods,
    require_expected_error,
    require_method,
)
from MetalArtifactReductionLib.volume import CTVolume
from MetalArtifactReductionLib.weights import weights_path

pytestmark = pytest.mark.usefixtures("forked_jobs")

SLICES, ROWS, COLS = 4, 64, 72
_, Y, X = np.mgrid[0:SLICES, 0:ROWS, 0:COLS]
DISTANCE = np.hypot(X - 30, Y - 32)


def rod() -> tuple[CTVolume, np.ndarray]:
    """A rod in the two middle slices of a body that reaches further than 20 pixels from it."""
    hu = np.where(np.hypot(X - 34, Y - 32) < 31, 40.0, -1000.0)
    metal = DISTANCE < 3
    metal[[0, -1]] = False
    hu[metal] = 5000.0
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    return CTVolume(hu.astype(np.float32), affine), metal.astype(np.float32)


def test_only_the_best_mode_of_the_image_prior_knows_its_error() -> None:
    assert [entry.name for entry in methods().values() if entry.tells_error] == ["prior"]
    assert require_method(str(weights_path("prior"))).tells_error
    assert not require_method(str(weights_path("unet"))).tells_error
    require_expected_error("prior")
    with pytest.raises(InputError, match=r"'nmar' does not know its expected error.*\(prior\)"):
        require_expected_error("nmar")
    with pytest.raises(InputError, match="unknown method 'magic'"):
        require_expected_error("magic")


def test_a_job_gives_the_expected_error_back() -> None:
    from MetalArtifactReductionLib.correction import correct_volume

    volume, metal = rod()
    expected = correct_volume(volume, metal, "prior", always=True)
    job = correction_job(volume, metal, CorrectionOptions("prior", always=True))
    try:
        job.wait()
        job.raise_for_error()
        result = correction_result(job)
    finally:
        job.close()
    error = result.expected_error_hu
    assert error is not None and expected.expected_error_hu is not None
    assert error.dtype == np.float32 and error.shape == volume.hu.shape
    np.testing.assert_allclose(error, expected.expected_error_hu, rtol=1e-3, atol=0.1)
    assert not error[[0, -1]].any() and (error[1:-1] > 0).all()
    assert outside_trace_text(result.parameters) == outside_trace_text(expected.parameters) != ""


def test_figures_of_the_expected_error_near_metal() -> None:
    volume, metal = rod()
    error = DISTANCE.astype(np.float32)
    error[[0, -1]] = 500.0  # no metal there: does not count
    measures = compare_before_after(volume, volume.hu, metal, expected_error_hu=error)
    by_key = {one.key: one for one in measures}
    # Of the ring from 3 to 23 pixels, for distances spread as an area is.
    radii = np.linspace(3, 22.8, 100_000)
    mean = np.average(radii, weights=radii)
    high = np.sqrt(3**2 + 0.95 * (22.8**2 - 3**2))
    assert by_key["expected_error_mean_hu"].after == pytest.approx(mean, rel=0.02)
    assert by_key["expected_error_p95_hu"].after == pytest.approx(high, rel=0.02)
    assert np.isnan(by_key["expected_error_mean_hu"].before)
    assert not any("expected" in one.key for one in compare_before_after(volume, volume.hu, metal))
    with pytest.raises(ValueError, match="shapes differ"):
        compare_before_after(volume, volume.hu, metal, expected_error_hu=error[1:])


def test_report_shows_the_expected_error() -> None:
    volume, metal = rod()
    with_error = ReportCase(
        "Rod", volume, volume.hu, metal, "prior", expected_error_hu=np.full_like(metal, 120.0)
    )
    text = report_html(with_error)
    assert text.count("expected error, strongest colour: 150 HU</figcaption>") == 2
    assert "Mean expected error within 20 pixels" in text
    assert "xpected error" not in report_html(ReportCase("Rod", volume, volume.hu, metal, "li"))


def test_colours_of_the_expected_error() -> None:
    grey = np.full((320, 320), 100, dtype=np.uint8)
    error = np.zeros((320, 320), dtype=np.float32)
    error[:, 100:200], error[:, 200:] = 50.0, 1000.0
    picture = error_picture(error, 100.0, (1.0, 1.0), grey).astype(int)
    assert (picture[0, 0] == 60).all()
    assert tuple(picture[0, 250]) == (255, 170, 0)
    np.testing.assert_allclose(picture[0, 150], (picture[0, 0] + picture[0, 250]) / 2, atol=1)


def test_change_outside_the_trace_in_words() -> None:
    told = {"rms_line_integral": 0.0123, "rms_line_integral_share": 0.0041}
    text = outside_trace_text({"outside_trace": told})
    assert text == "0.012 in line integrals (RMS), 0.41 % of their values"
    text = outside_trace_text({"outside_trace": {**told, "bounded_share_of_rays": 0.002}})
    assert text.endswith("held at the limit in 0.2 % of these rays")
    few = outside_trace_text({"outside_trace": {**told, "bounded_share_of_rays": 1e-6}})
    assert "limit" not in few
    assert outside_trace_text({"outside_trace": {"rms_line_integral_share": 0.01}}) == (
        "1 % of their values"
    )
    nothing = {"outside_trace": {"rms_line_integral": 0.0, "rms_line_integral_share": 0.0}}
    assert outside_trace_text(nothing) == NOTHING and changed_outside(nothing) == ""
    for unknown in ({}, {"outside_trace": None}, {"outside_trace": {}}):
        assert outside_trace_text(unknown) == ""
    broken = {"outside_trace": {"rms_line_integral": "much", "rms_line_integral_share": None}}
    assert outside_trace_text(broken) == ""
