"""Figures before and after, HU along lines, and the report that shows them."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MetalArtifactReductionLib.batch.record import CaseRecord
from MetalArtifactReductionLib.batch.summary import page as page_of_batch
from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.evaluation.before_after import Measure, compare_before_after
from MetalArtifactReductionLib.evaluation.line_profile import (
    Line,
    line_across_metal,
    profile_along,
)
from MetalArtifactReductionLib.evaluation.report import (
    NOTE,
    ReportCase,
    report_html,
    slices_to_show,
    write_report,
)
from MetalArtifactReductionLib.evaluation.report_pictures import (
    change_picture,
    curves_svg,
    grey_picture,
    png_bytes,
)
from MetalArtifactReductionLib.volume import CTVolume

ROWS, COLS, SLICES = 96, 120, 6


def cylinder() -> tuple[CTVolume, np.ndarray, np.ndarray]:
    """A body with bone and a metal rod; the "corrected" image is known everywhere."""
    z, y, x = np.mgrid[0:SLICES, 0:ROWS, 0:COLS]
    clean = np.where((x - 60) ** 2 + (y - 48) ** 2 < 42**2, 40.0, -1000.0)
    clean[(x - 85) ** 2 + (y - 48) ** 2 < 49] = 600.0
    metal = ((x - 40) ** 2 + (y - 48) ** 2 < 16) & (z > 0) & (z < 5)
    clean[metal] = 3000.0
    affine = np.diag([-1.5, -1.5, 3.0, 1.0])
    affine[:3, 3] = (90.0, 72.0, -20.0)
    return CTVolume(clean.astype(np.float32), affine), metal.astype(np.float32), clean


def with_streaks(volume: CTVolume, metal: np.ndarray) -> CTVolume:
    hu = volume.hu.copy()
    band = np.zeros(hu.shape, dtype=bool)
    band[1:5, 44:52, 46:70] = True
    hu[band & (metal == 0)] -= 300.0
    return volume.with_hu(hu)


def test_measures_before_and_after_know_the_streak_and_the_volumes() -> None:
    clean, metal, _ = cylinder()
    original = with_streaks(clean, metal)
    region = np.zeros(metal.shape, dtype=bool)
    region[2:4, 46:50, 50:60] = True
    rows = compare_before_after(original, clean.hu, metal, regions={"the band": region})
    by_key = {row.key: row for row in rows}
    assert by_key["streak_amplitude_hu"].after == 0.0
    assert by_key["streak_amplitude_hu"].before > 100.0
    assert by_key["noise_hu"].before == by_key["noise_hu"].after < 1e-9
    assert by_key["mean_hu_far"].before == pytest.approx(40.0)
    voxel_cm3 = 1.5 * 1.5 * 3.0 / 1000
    bone = np.count_nonzero((clean.hu[1:5] > 150) & (metal[1:5] == 0)) * voxel_cm3
    assert by_key["bone_cm3"].before == by_key["bone_cm3"].after == pytest.approx(bone)
    assert by_key["metal_cm3"].after == pytest.approx(metal.sum() * voxel_cm3)
    assert by_key["region_the band"].before == pytest.approx(-260.0)
    assert by_key["region_the band"].after == pytest.approx(40.0)
    shell = by_key["mean_hu_5_10_mm"]
    assert shell.before < shell.after <= 40.0 + 1e-3


def test_measuring_refuses_what_cannot_be_compared() -> None:
    clean, metal, _ = cylinder()
    with pytest.raises(ValueError, match="no metal"):
        compare_before_after(clean, clean.hu, metal * 0)
    with pytest.raises(ValueError, match="shapes differ"):
        compare_before_after(clean, clean.hu[1:], metal)


def test_line_crosses_the_metal_and_reads_the_values() -> None:
    clean, metal, _ = cylinder()
    line = line_across_metal(clean, metal, margin_mm=30.0)
    assert line.start[1:] == pytest.approx(line.end[1:])
    # The rod spans columns 37 to 43, and 30 mm are 20 columns.
    assert line.length_mm == pytest.approx((43 - 37 + 2 * 20) * 1.5)
    distance, hu = profile_along(clean, line)
    assert distance[0] == 0.0
    assert distance[-1] == pytest.approx(line.length_mm)
    middle = np.abs(distance - line.length_mm / 2) < 2.0
    assert (hu[middle] == 3000.0).all()
    at = float(hu[np.argmin(np.abs(distance - 34 * 1.5))])
    assert at == pytest.approx(40.0)


def test_profile_is_linear_in_a_ramp_and_empty_outside() -> None:
    k, j, i = np.mgrid[0:5, 0:20, 0:30].astype(np.float32)
    ramp = CTVolume(2 * i + 5 * j - 7 * k, np.diag([0.7, 1.1, 2.0, 1.0]))
    line = Line((0.7, 1.1, 0.0), (0.7 * 21, 1.1 * 11, 8.0))
    distance, hu = profile_along(ramp, line, step_mm=0.5)
    expected = np.linspace(2 + 5, 2 * 21 + 5 * 11 - 7 * 4, len(distance))
    np.testing.assert_allclose(hu, expected, atol=1e-3)
    beyond = profile_along(ramp, Line((0.0, 0.0, 0.0), (60.0, 0.0, 0.0)))[1]
    assert np.isfinite(beyond[0])
    assert np.isnan(beyond[-1])
    with pytest.raises(InputError, match="outside the volume"):
        profile_along(ramp, Line((0.0, 0.0, 100.0), (10.0, 0.0, 100.0)))
    with pytest.raises(InputError, match="no length"):
        profile_along(ramp, Line((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("shape", [(7, 5), (6, 9, 3)])
def test_png_is_read_back_by_another_library(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "picture.png"
    path.write_bytes(png_bytes(pixels))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), pixels)
    with pytest.raises(ValueError, match="float64"):
        png_bytes(pixels.astype(float))


def test_pictures_of_slices() -> None:
    image = np.array([[-400.0, 40.0], [240.0, np.nan]])
    grey = grey_picture(image, 40.0, 400.0, (1.0, 1.0))
    assert grey.shape == (320, 320)  # small slices are enlarged
    assert grey[0, 0] == 0
    assert grey[-1, 0] == 255
    tall = grey_picture(np.zeros((400, 400)), 0.0, 100.0, (2.0, 1.0))
    assert tall.shape == (800, 400)
    change = change_picture(np.array([[-300.0, 0.0, 300.0]] * 400), 300.0, (1.0, 1.0))
    lower, none, higher = change[200, 0], change[200, 1], change[200, 2]
    assert lower[2] > lower[0]
    assert higher[0] > higher[2]
    assert not none.any()


def test_curve_breaks_where_values_are_missing() -> None:
    x = np.arange(10.0)
    y = np.where(x == 5, np.nan, 100.0 * x)
    svg = curves_svg({"a <b>": (x, y)}, x_title="mm", y_title="HU")
    assert svg.count("<polyline") == 2
    assert "a &lt;b&gt;" in svg
    places = [float(v) for v in re.findall(r"[ \"]([\d.]+),", svg)]
    assert places == sorted(places)


class Outside(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.pictures: list[bytes] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data") and value:
                if value.startswith("data:image/png;base64,"):
                    self.pictures.append(base64.b64decode(value.split(",", 1)[1]))
                else:
                    self.addresses.append(value)
        assert tag not in ("script", "link", "iframe")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_report_is_self_contained_and_says_what_was_done(tmp_path: Path) -> None:
    clean, metal, _ = cylinder()
    original = with_streaks(clean, metal)
    result = correct_volume(original, metal, "li")
    case = ReportCase(
        "Hip <1>",
        original,
        result.corrected.hu,
        metal,
        "li",
        facts={"Method": "linear interpolation"},
        parameters=result.parameters,
        metal_parts=[{"Part": "1", "cm³": "0.4"}],
    )
    path = write_report(case, tmp_path / "report.html")
    page = Outside()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.addresses == []
    assert len(page.pictures) == 3 * 5
    from PIL import Image

    for picture in page.pictures:
        assert min(Image.open(io.BytesIO(picture)).size) > 100
    for expected in (NOTE, "Hip <1>", "Streak amplitude", "linear interpolation", "0.4"):
        assert expected in page.text
    with pytest.raises(OutputError, match="exists already"):
        write_report(case, path)
    write_report(case, path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_report_shows_given_figures_and_line() -> None:
    clean, metal, _ = cylinder()
    measures = (Measure("x", "A measure", "HU", 12.3, float("nan")),)
    line = Line((0.0, 0.0, -11.0), (30.0, 0.0, -11.0))
    text = report_html(ReportCase("CT", clean, clean.hu, metal, "li", measures=measures, line=line))
    assert "<td>A measure</td><td>HU</td><td>12</td><td>-</td>" in text
    assert "(30.0, 0.0, -11.0)" in text


def test_text_from_files_is_neither_markup_nor_control_characters() -> None:
    bad = "<script>alert(1)</script>\x1b[2J\0&\udcff"
    volume, metal, clean = cylinder()
    case = ReportCase(
        bad, volume, clean, metal, bad, {bad: bad}, {bad: [bad]}, metal_parts=[{bad: bad}]
    )
    for page in (report_html(case), page_of_batch([CaseRecord(bad, bad, "failed", reason=bad)])):
        assert "<script" not in page and "&lt;script&gt;" in page
        assert page.replace("\n", "").isprintable()
        page.encode("utf-8")


def test_slices_shown_spread_over_the_metal() -> None:
    fraction = np.zeros((40, 4, 4), dtype=np.float32)
    fraction[10:31, 1, 1] = 1.0
    fraction[17] = 1.0
    shown = slices_to_show(fraction)
    assert len(shown) == 3
    assert 17 in shown
    assert all(10 <= index <= 30 for index in shown)
    assert slices_to_show(fraction[16:18]) == [0, 1]
