"""One uncorrected volume has one figure of its streaks, wherever it is told."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cli_support import run
from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.evaluation.before_after import compare_before_after
from MetalArtifactReductionLib.evaluation.streaks import streak_amplitudes, streak_region
from MetalArtifactReductionLib.files.volumes import read_volume, write_volume
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.volume import CTVolume, volume_from_storage


def streaked(strength_hu: float = 220.0) -> CTVolume:
    """A thigh of muscle and fat with a steel rod and streaks that turn with the slices."""
    slices, size, mm = 5, 96, 1.6
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * mm
    hu = np.full((slices, size, size), -1000.0)
    hu[:, np.hypot(x, y) <= 66] = -90.0
    hu[:, np.hypot(x, y) <= 58] = 55.0
    hu[:, np.hypot(x - 12, y) <= 14] = 900.0
    hu += np.random.default_rng(2).normal(0, 8, hu.shape)
    radius, angle = np.hypot(x - 12, y), np.arctan2(y, x - 12)
    for k in range(1, 4):
        streak = strength_hu * np.cos(4 * angle + k) * np.exp(-radius / 25)
        hu[k] += np.where(np.hypot(x, y) <= 66, streak, 0.0)
        hu[k][radius <= 7] = 3071.0
    return CTVolume(hu.clip(-1000, 3071).round().astype(np.float32), np.diag([-mm, -mm, 2.0, 1]))


@pytest.mark.usefixtures("forked")
def test_the_figure_depends_on_the_volume_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    volume = streaked()
    (wanted,) = streak_amplitudes(volume, [volume.hu])
    own = segment_metal(volume).fraction
    larger = np.maximum(own, np.roll(own, 3, axis=2))
    before = []
    for method, mask in (("li", own), ("nmar", own), ("nmar", larger)):
        result = correct_volume(volume, mask, method, always=True)
        measures = compare_before_after(volume, result.corrected.hu, result.metal_fraction)
        before.append({one.key: one.before for one in measures})
        write_volume(result.corrected, tmp_path / f"{method}.nii.gz", overwrite=True)
    assert [one["streak_amplitude_hu"] for one in before] == [wanted] * 3
    np.testing.assert_equal(before[0], before[1])  # noise, shells and bone, too

    write_volume(volume, tmp_path / "ct.nii.gz")
    for others in ([], ["li.nii.gz"], ["nmar.nii.gz", "li.nii.gz"]):
        files = [tmp_path / name for name in ("ct.nii.gz", *others)]
        table = tmp_path / "table.csv"
        assert run(capfd, "evaluate", *files, "--csv", table, "--force").code == 0
        with table.open(encoding="utf-8") as file:
            first = next(csv.DictReader(file))
        assert float(first["streak_amplitude_hu"]) == pytest.approx(wanted, abs=0.01)

    assert (
        run(capfd, "correct", tmp_path / "ct.nii.gz", tmp_path / "out", "--workers", "1").code == 0
    )
    (record,) = (tmp_path / "out").rglob("*.json")
    facts = json.loads(record.read_text(encoding="utf-8"))
    assert facts["record"]["streaks_before_hu"] == pytest.approx(wanted, abs=0.01)
    assert facts["record"]["metal_cm3"] == pytest.approx(
        segment_metal(volume).volume_mm3 / 1000, abs=0.001
    )


def test_the_figure_is_that_of_the_streaks_and_not_of_the_storage() -> None:
    found = [streak_amplitudes(one, [one.hu])[0] for one in (streaked(100), streaked(200))]
    without = streaked(0)
    (anatomy,) = streak_amplitudes(without, [without.hu])
    # Twice the streaks, twice the range that they add.
    assert found[1] - anatomy == pytest.approx(2 * (found[0] - anatomy), rel=0.35)
    volume = streaked(200)
    stored = volume_from_storage(volume.hu[::-1, :, ::-1], np.diag([1.6, -1.6, -2.0, 1]))
    assert streak_amplitudes(stored, [stored.hu])[0] == pytest.approx(found[1], abs=0.5)


def test_where_no_metal_is_found_the_mask_says_where_to_look() -> None:
    volume = streaked()
    faint = volume.with_hu(np.minimum(volume.hu, 1200.0))
    assert not streak_region(faint).any()
    assert streak_region(faint, segment_metal(volume).fraction).any()


def test_the_volume_of_the_metal_in_the_table_is_that_of_the_mask(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_volume(streaked(), tmp_path / "ct.nii.gz")
    outcome = run(capfd, "segment", tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz")
    mask = read_volume(tmp_path / "mask.nii.gz", check=False)
    ml = np.count_nonzero(mask.hu) * np.prod(mask.spacing_mm) / 1000
    assert f": {ml:.2f} ml" in outcome.out.splitlines()[0]
