"""The command that judges methods: lesions, the observer, kept cases, demands and refusals."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from safety import FakeMetal, Safety

from MetalArtifactReductionLib.evaluation.comparison import UNCORRECTED, Row, ScanWithTruth
from MetalArtifactReductionLib.evaluation.metrics import Metrics
from MetalArtifactReductionLib.evaluation.without_reference import distance_mm
from MetalArtifactReductionLib.physics.acquisition import PRESETS
from MetalArtifactReductionLib.volume import CTVolume
from support import REPOSITORY, shared_data

BENCHMARKS = REPOSITORY / "Testing" / "Benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import compare_methods  # noqa: E402
import held_out_cases  # noqa: E402
import lesions  # noqa: E402
from judgement import BOUND, LI, NMAR, Measured, exceptions, judge  # noqa: E402


def patient(pixel_mm: float = 0.8) -> tuple[CTVolume, np.ndarray]:
    """One slice of muscle with a rod of metal in the middle."""
    y, x = (np.mgrid[:160, :160] - 79.5) * pixel_mm
    hu = np.where(np.hypot(x, y) <= 60, 50.0, -1000.0)[None].astype(np.float32)
    metal = (np.hypot(x, y) <= 3).astype(np.float32)[None]
    return CTVolume(hu, np.diag([pixel_mm, pixel_mm, 3.0, 1.0])), metal


def test_a_lesion_has_its_size_and_contrast() -> None:
    volume, _ = patient()
    added = lesions.with_lesions(volume, [(60, 60), (100, 90)], 20.0).hu - volume.hu
    disc_mm2 = np.pi * (lesions.DIAMETER_MM / 2) ** 2
    assert added.sum() * 0.8**2 == pytest.approx(2 * 20.0 * disc_mm2, rel=0.01)
    assert added.max() == pytest.approx(20.0) and added[0, 60, 60] == pytest.approx(20.0)
    assert np.array_equal(lesions.with_lesions(volume, [(60, 60)], 0.0).hu, volume.hu)


def test_lesions_lie_beside_metal_apart_from_each_other_and_from_bone() -> None:
    volume, metal = patient()
    volume.hu[:, :, 90:] = np.where(volume.hu[:, :, 90:] > 0, 700.0, -1000.0)  # bone on one side
    places = lesions.lesion_places(volume, metal)
    assert len(places) >= 2
    distance = distance_mm(metal > 0, volume.spacing_mm)[0]
    for number, (row, col) in enumerate(places):
        assert 8.0 <= distance[row, col] <= 15.0
        assert col < 90 - 4.0 / 0.8
        for other in places[:number]:
            assert np.hypot(row - other[0], col - other[1]) * 0.8 >= 2 * lesions.DIAMETER_MM
    volume.hu[:] = -100.0
    assert lesions.lesion_places(volume, metal) == []


def test_channels_are_orthonormal_before_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = lesions.laguerre_gauss_channels((0.25, 0.25))
    monkeypatch.setattr(lesions, "FROM_METAL_MM", (25.0, 30.0))
    bank = lesions.laguerre_gauss_channels((0.25, 0.25))
    products = np.einsum("rcm,rcn->mn", bank, bank) / 0.25**2
    np.testing.assert_allclose(products, np.eye(lesions.CHANNELS), atol=0.01)
    middle = slice(len(bank) // 2 - len(cut) // 2, len(bank) // 2 + len(cut) // 2 + 1)
    np.testing.assert_array_equal(cut[20:40, 20:40], bank[middle, middle][20:40, 20:40])
    y, x = np.mgrid[: len(cut), : len(cut)] - len(cut) // 2
    assert not cut[np.hypot(x, y) * 0.25 > 7.6].any()  # metal begins 8 mm from a lesion's centre


@pytest.mark.parametrize("pixel_mm", [0.4, 0.9])
def test_channels_see_the_same_whatever_the_pixel(pixel_mm: float) -> None:
    pytest.importorskip("mareval", reason="mar-eval is not installed")
    channels = lesions.laguerre_gauss_channels((pixel_mm, pixel_mm))
    seen = lesions.channel_outputs(np.ones((60, 60)), (30, 30), channels)[0]
    # sqrt(2) / a exp(-pi r^2 / a^2), integrated to 7.5 mm
    a = lesions.DIAMETER_MM
    assert seen == pytest.approx(np.sqrt(2) * a * (1 - np.exp(-np.pi * 7.5**2 / a**2)), rel=0.02)
    with pytest.raises(ValueError, match="too near"):
        lesions.channel_outputs(np.ones((60, 60)), (3, 30), channels)


def test_the_observer_reaches_the_area_that_theory_gives() -> None:
    pytest.importorskip("mareval", reason="mar-eval is not installed")
    random = np.random.default_rng(3)
    shift = {0.0: 0.0, 10.0: 0.4, 40.0: 1.6}
    weak = {0.0: 0.0, 10.0: 0.0, 40.0: 0.8}
    spread = np.array([1.0, 5.0, 0.3])  # known to no one: the template has to learn it
    cases = [
        {
            (label, contrast): spread * random.normal(shifts[contrast], 1.0, (400, 3))
            for label, shifts in ((UNCORRECTED, weak), ("better", shift))
            for contrast in shift
        }
        for _ in range(6)
    ]
    found = {
        (one.method, one.contrast_hu): one
        for one in lesions.observe(cases, [UNCORRECTED, "better"], [10.0, 40.0])
    }
    for label, shifts in ((UNCORRECTED, weak), ("better", shift)):
        for contrast in (10.0, 40.0):
            # d' of three independent channels; area of two equal normal distributions.
            area = NormalDist().cdf(shifts[contrast] * np.sqrt(3) / np.sqrt(2))
            assert found[label, contrast].auc == pytest.approx(area, abs=0.03)
    better = found["better", 40.0]
    assert better.gain == pytest.approx(better.auc - found[UNCORRECTED, 40.0].auc)
    assert better.p_gain < 0.01 and np.isnan(found[UNCORRECTED, 40.0].p_gain)
    with pytest.raises(ValueError, match="3 or more"):
        lesions.observe(cases[:2], [UNCORRECTED], [10.0])


def test_a_kept_case_comes_back_as_it_was(tmp_path: Path) -> None:
    volume, metal = patient()
    made = held_out_cases.HeldOut(
        "coad hip",
        "unseen",
        ScanWithTruth("coad hip 0", volume.with_hu(volume.hu + metal * 3000), volume.hu, metal),
        volume,
        {"316L": metal, "peek": 0 * metal},
        "rod + clip",
        28.2,
    )
    held_out_cases._save(tmp_path / "case.npz", made)
    read = held_out_cases._load(tmp_path / "case.npz", "coad hip", "unseen", "coad hip 0")
    assert read.implants == made.implants and read.fractions.keys() == made.fractions.keys()
    assert read.area_mm2 == pytest.approx(np.pi * 9, rel=0.05)
    pairs = [
        (read.case.corrupted.hu, made.case.corrupted.hu),
        (read.case.corrupted.ijk_to_ras, volume.ijk_to_ras),
        (read.case.reference_hu, volume.hu),
        (read.case.metal, metal),
        (read.clean.hu, volume.hu),
        (read.fractions["316L"], metal),
    ]
    for back, there in pairs:
        np.testing.assert_array_equal(back, there)


def test_another_case_has_another_file(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text("{}", encoding="utf-8")
    names = [
        held_out_cases._file_name("hip 0", plan, 3, 2, PRESETS["reference"]),
        held_out_cases._file_name("hip 0", plan, 4, 2, PRESETS["reference"]),
        held_out_cases._file_name("hip 0", plan, 3, 1, PRESETS["reference"]),
        held_out_cases._file_name("hip 0", plan, 3, 2, PRESETS["low-dose"]),
    ]
    plan.write_text("{ }", encoding="utf-8")
    names.append(held_out_cases._file_name("hip 0", plan, 3, 2, PRESETS["reference"]))
    assert len(set(names)) == len(names)
    assert all(name.startswith("hip-0-") for name in names)


def test_real_cases_are_simulated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = shared_data("pancreatic_ct_cbct_CB001_abdomen.nii.gz").parent
    quick = {name: one.with_changes(views=180) for name, one in held_out_cases.ACQUISITIONS.items()}

    def all_cases() -> list[held_out_cases.HeldOut]:
        return list(
            held_out_cases.held_out_cases(
                data, 1, 1, quick, groups=["pancreatic spine"], cache=tmp_path
            )
        )

    first = all_cases()
    monkeypatch.setattr(held_out_cases, "simulate_volume", None)
    again = all_cases()
    assert [one.acquisition for one in again] == ["reference", "unseen"]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.case.corrupted.hu, two.case.corrupted.hu)
        assert one.implants == two.implants and one.implants
    # The second scanner's artifacts, noise and kernel are not the first one's.
    assert np.abs(first[0].case.reference_hu - first[1].case.reference_hu).max() > 20


def measured(
    method: str, case: str, body: float, near: float, rim: float, fake: float | None
) -> Measured:
    values = dict.fromkeys((entry.name for entry in fields(Metrics)), 1.0)
    metrics = Metrics(**values | {"rmse_body_hu": body, "rmse_near_metal_hu": near})
    harm = None if fake is None else FakeMetal(fake, 2 * fake, True)
    row = Row(case, method, metrics, 1.0)
    return Measured("unseen", "hip", "rod", 30.0, row, Safety(rim, 0.0, 0.9, 0.9), harm)


def test_demands_follow_from_the_figures() -> None:
    found = [
        measured(UNCORRECTED, "a", 100, 400, 300, None),
        measured(LI, "a", 60, 200, 20, 5),
        measured(NMAR, "a", 50, 180, 10, 4),
        measured("prior", "a", 20, 90, -10, 3),
        measured("prior-strict", "a", 10, 10, 0, 1),
        measured(BOUND, "a", 1, 1, 0, None),
        measured(UNCORRECTED, "b", 20, 80, 300, None),
        measured(LI, "b", 40, 120, 20, 5),
        measured(NMAR, "b", 30, 120, 10, 4),
        measured("prior", "b", 21, 60, -60, 12),
        measured("prior-strict", "b", 10, 10, 0, 1),
        measured(BOUND, "b", 1, 1, 0, None),
    ]
    demands = {one.what: one for one in judge("prior", found)}
    assert demands["RMSE body / NMAR's"].found == f"{41 / 80:.2f}"
    assert not demands["RMSE body / NMAR's"].met
    assert demands["RMSE near metal / NMAR's"].met  # 150 / 300
    assert "RMSE near metal / nmar's" in demands  # neither its own variant nor the bound
    assert not demands["figures of a case worse than uncorrected's"].met
    assert demands["figures of a case worse than li's"].met
    assert demands["rim of 2 mm more than 50 HU from the truth"].found.startswith("1 of 2 cases")
    assert not demands["RMSE of a clean scan with fake metal"].met
    assert demands["slices without metal changed"].met
    worse = exceptions("prior", found)
    assert [(w.case.row.case, w.figure, w.own_hu, w.other) for w in worse] == [
        ("b", "body", 21, UNCORRECTED)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "nmar"], "error: --method 'nmar': give LABEL=NAME"),
        (["--method", "x=nonsense"], "error: unknown method 'nonsense'"),
        (["--judge", "nobody"], "error: --judge 'nobody' is not measured"),
        (["--csv", "no-such-folder/figures.csv"], "does not exist; create it first"),
    ],
)
def test_options_that_cannot_be_used_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare_methods.py", str(tmp_path / "data"), *arguments])
    with pytest.raises(SystemExit) as refused:
        compare_methods.main()
    assert message in str(refused.value.code) and "\n" not in str(refused.value.code)
    assert list(tmp_path.iterdir()) == []
