"""Every picture shows the patient's right on the left and the front on top, however stored."""

from __future__ import annotations

import base64
import io
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as png

from image_support import stored_as
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.evaluation.report import ReportCase, report_html
from MetalArtifactReductionLib.files.pictures import PatientView, comparison_picture, scale_bar_mm
from MetalArtifactReductionLib.volume import CTVolume, volume_from_storage

STORED = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
SPACING = (3.0, 1.5, 1.0)


def patient() -> CTVolume:
    """Rows to the back, columns to the left, slices to the head; bone at the front right."""
    hu = np.full((4, 40, 60), -1000.0, np.float32)
    hu[:, 4:36, 5:55] = 40.0
    hu[:, 8:14, 10:16] = 900.0
    hu[1:3, 20:24, 30:34] = 3071.0
    hu[2, 12:30, 20:24] = 150.0
    return CTVolume(hu, np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0]))


def test_a_slice_of_every_storage_is_shown_in_radiological_convention() -> None:
    for order, signs in STORED:
        stored = stored_as(patient(), order, signs)
        view = PatientView.of(stored.ijk_to_ras)
        shown = view(stored.hu[len(stored.hu) // 2])
        left, top, right, bottom = view.letters
        assert (left, right) == ("R", "L") if "R" in view.letters else ("A", "P")
        assert (top, bottom) == ("S", "I") if "S" in view.letters else ("A", "P")
        # One pixel along the picture is that far, and that way, in the patient.
        index = np.arange(stored.hu[0].size).reshape(stored.hu[0].shape)
        at = view(index)
        for axis, (low, high), mm in (
            (0, (top, bottom), view.pixel_mm[0]),
            (1, (left, right), view.pixel_mm[1]),
        ):
            first, second = at[0, 0], at[1, 0] if axis == 0 else at[0, 1]
            row, col = np.divmod([first, second], stored.hu.shape[2])
            places = np.stack([col, row, np.zeros(2), np.ones(2)])
            step = np.diff(stored.ijk_to_ras @ places)[:3, 0]
            along = {"R": (0, 1), "A": (1, 1), "S": (2, 1)}[low][0]
            assert high == {"R": "L", "A": "P", "S": "I"}[low]
            assert step[along] == pytest.approx(-mm)
        assert shown.shape == at.shape


def test_the_comparison_picture_is_the_same_for_every_storage_along_the_body(
    tmp_path: Path,
) -> None:
    made = set()
    for number, (order, signs) in enumerate(STORED[::3]):
        stored = stored_as(patient(), order, signs)
        volume = volume_from_storage(stored.hu, stored.ijk_to_ras)
        k = int(np.argmax([(one == 150.0).sum() for one in volume.hu]))
        images = {"original": volume.hu[k], "corrected": np.minimum(volume.hu[k], 1500)}
        path = comparison_picture(
            images,
            tmp_path / f"{number}.png",
            ijk_to_ras=volume.ijk_to_ras,
            windows=("bone",),
            difference_to="original",
        )
        made.add(path.read_bytes())
    assert len(made) == 1
    grey = png.imread(io.BytesIO(made.pop()))[..., :3].mean(axis=2)
    quarter = grey[: grey.shape[0] // 2, : grey.shape[1] // 2]
    # The bone at the right front lies in the left half of its picture, above the middle.
    bright = np.argwhere((quarter > 0.65) & (quarter < 0.75)).mean(axis=0)
    assert bright[1] < quarter.shape[1] / 2 and bright[0] < quarter.shape[0] * 0.6


def test_a_picture_without_geometry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give ijk_to_ras or pixel_mm"):
        comparison_picture({"one": patient().hu[0]}, tmp_path / "one.png")


def test_a_scale_bar_is_round_and_fits() -> None:
    for width in (12.0, 40.0, 97.0, 350.0, 700.0):
        assert width / 10 < scale_bar_mm(width) <= width / 3


def test_the_report_shows_the_same_pictures_for_every_storage() -> None:
    shown = set()
    for order, signs in STORED[::5]:
        volume = stored_as(patient(), order, signs)
        metal = (volume.hu == 3071.0).astype(np.float32)
        case = ReportCase(
            "a patient", volume, np.minimum(volume.hu, 1500), metal, "nmar", measures=()
        )
        html = report_html(case)
        images = re.findall(r"base64,([^\"]+)", html)
        sides = re.findall(r'<span class="(left|top|right|bottom)">(.)</span>', html)
        assert set(sides) == {("left", "R"), ("right", "L"), ("top", "A"), ("bottom", "P")}
        assert len(sides) == 4 * len(images)
        assert html.count("20 mm</span>") == len(images)
        # Slices are counted as they are stored: the pictures may come in either order.
        shown.add(frozenset(images))
    assert len(shown) == 1
    first = png.imread(io.BytesIO(base64.b64decode(next(iter(shown.pop())))))
    assert first.ndim >= 2
