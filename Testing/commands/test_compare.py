"""``mar compare`` on folders as test sets are shared."""

from __future__ import annotations

import csv
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

from cli_support import METAL_SLICES, assert_refused, ct_hu, metal_truth, run
from MetalArtifactReductionLib.evaluation.comparison import ScanWithTruth, errors_by_distance
from MetalArtifactReductionLib.files.itk import image_from_array
from MetalArtifactReductionLib.methods.registry import methods
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.volume import CTVolume

GRID = np.diag([-2.0, -2.0, 3.0, 1.0])


@cache
def streaked() -> np.ndarray:
    """The CT with both pieces of metal as a scanner shows it, two slices."""
    clean = CTVolume(ct_hu(metal=False)[METAL_SLICES][:2].astype(np.float32), GRID)
    metal = metal_truth()[METAL_SLICES][:2].astype(np.float32)
    scan = preset("wide-field", views=300)
    return simulate_volume(clean, {"CoCrMo": metal}, scan, seed=1).corrupted.hu


def test_set(folder: Path) -> Path:
    """One case of image files, one of a single file with the names of the field, in 1/cm."""
    image, truth = streaked(), ct_hu(metal=False)[METAL_SLICES][:2].astype(np.float32)
    metal = metal_truth()[METAL_SLICES][:2].astype(np.uint8)
    (folder / "first").mkdir(parents=True)
    for name, array in (("image", image), ("truth", truth), ("metal", metal)):
        path = str(folder / "first" / f"{name}.nii.gz")
        sitk.WriteImage(image_from_array(array, GRID), path)
    mu = {"ma_CT": image, "image": truth}
    arrays = {name: 0.192 * (1 + array / 1000) for name, array in mu.items()}
    np.savez(folder / "second.npz", **arrays, metal_mask=metal)
    return folder


test_set.__test__ = False


def test_methods_and_other_peoples_results_in_one_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cases = test_set(tmp_path / "cases")
    truth = ct_hu(metal=False)[METAL_SLICES][:2].astype(np.float32)
    theirs = tmp_path / "theirs"
    (theirs / "second").mkdir(parents=True)
    sitk.WriteImage(image_from_array(truth, GRID), str(theirs / "first.nii.gz"))
    np.save(theirs / "second" / "corrected.npy", 0.192 * (1 + (truth + 10) / 1000))
    outcome = run(
        capfd,
        *("compare", cases, tmp_path / "out", "--method", "li", "--results", f"perfect={theirs}"),
        *("--pixel-mm", 2, "--mu-water", 0.192),
    )
    assert outcome.code == 0, outcome.err
    with (tmp_path / "out" / "cases.csv").open() as file:
        rows = {(row["case"], row["method"]): row for row in csv.DictReader(file)}
    assert {case for case, _ in rows} == {"first", "second"}
    body = {key: float(row["rmse_body_hu"]) for key, row in rows.items()}
    assert body["first", "perfect"] == 0
    assert body["second", "perfect"] == pytest.approx(10, abs=0.1)
    assert body["first", "uncorrected"] == pytest.approx(body["second", "uncorrected"], rel=1e-3)
    assert body["first", "li"] == pytest.approx(body["second", "li"], rel=1e-2)
    assert (tmp_path / "out" / "worst.png").stat().st_size > 1e4
    table = (tmp_path / "out" / "table.md").read_text()
    assert outcome.out == table and "0-2 mm" in table and "after a blur of 1 mm" in table
    assert "Worst of perfect" in table


def test_methods_that_find_the_metal_themselves(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Told of one piece only, they leave the streaks of the other."""
    cases = test_set(tmp_path / "cases")
    (cases / "second.npz").unlink()
    one = metal_truth()[METAL_SLICES][:2].astype(np.uint8)
    one[:, :, :48] = 0
    sitk.WriteImage(image_from_array(one, GRID), str(cases / "first" / "metal.nii.gz"))
    none = cases / "none"
    none.mkdir()
    for name in ("truth", "metal"):
        shutil.copy(cases / "first" / f"{name}.nii.gz", none)
    shutil.copy(cases / "first" / "truth.nii.gz", none / "image.nii.gz")  # shows no metal
    body = {}
    for out, more in (("told", ()), ("found", ("--segment",))):
        ask = ("compare", cases, tmp_path / out, "--method", "li", *more)
        outcome = run(capfd, *ask)
        assert outcome.code == 0, outcome.err
        assert ("found the metal itself (--segment)" if more else "told the true metal") in (
            outcome.out
        )
        with (tmp_path / out / "cases.csv").open() as file:
            rows = {(row["case"], row["method"]): row for row in csv.DictReader(file)}
        body[out] = {key: float(row["rmse_body_hu"]) for key, row in rows.items()}
    assert body["found"]["first", "li"] < body["told"]["first", "li"] - 5
    assert body["found"]["none", "li"] == body["found"]["none", "uncorrected"] == 0


def test_every_format(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One slice as HDF5, as MATLAB's file, as .npy, with the names of the field."""
    h5py = pytest.importorskip("h5py", reason="the package h5py is not installed")
    cases = tmp_path / "cases"
    (cases / "numpy").mkdir(parents=True)
    image, truth = streaked()[:1], ct_hu(metal=False)[METAL_SLICES][:1].astype(np.float32)
    arrays = {"ma_CT": image, "gt_CT": truth, "metal_mask": metal_truth()[METAL_SLICES][:1]}
    with h5py.File(cases / "hdf5.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array.astype(np.float32)
    savemat(cases / "matlab.mat", {name: array[0] for name, array in arrays.items()})
    for name, array in arrays.items():
        np.save(cases / "numpy" / f"{name}.npy", array)
    ask = ("compare", cases, tmp_path / "out", "--pixel-mm", 2, "--method", "li", "--quiet")
    assert run(capfd, *ask).code == 0
    with (tmp_path / "out" / "cases.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "li"]
    assert [row["case"] for row in rows] == ["hdf5", "matlab", "numpy"]
    first, *others = (
        {k: v for k, v in row.items() if k not in ("case", "seconds")} for row in rows
    )
    assert others == [first, first]


def test_all_methods_that_need_no_training_are_compared(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    image, truth = streaked()[:1], ct_hu(metal=False)[METAL_SLICES][:1].astype(np.float32)
    metal = metal_truth()[METAL_SLICES][:1]
    np.savez(cases / "one.npz", image=image, truth=truth, metal=metal)
    outcome = run(capfd, "compare", cases, tmp_path / "out", "--pixel-mm", 2, "--quiet")
    assert outcome.code == 0, outcome.err
    with (tmp_path / "out" / "cases.csv").open() as file:
        body = {row["method"]: float(row["rmse_body_hu"]) for row in csv.DictReader(file)}
    usable = {one.name for one in methods().values() if not one.trains_first}
    assert body.keys() == {"uncorrected", *usable}
    assert len(set(body.values())) == len(body)  # each did something of its own


def test_errors_by_distance_are_those_of_the_voxels_there() -> None:
    rng = np.random.default_rng(0)
    truth = ct_hu(metal=False)[METAL_SLICES][:1].astype(np.float32)
    metal = metal_truth(((50.0, 48.0, 4.0),))[METAL_SLICES][:1].astype(np.float32)
    hu = truth + rng.normal(0, 30, truth.shape).astype(np.float32)
    case = ScanWithTruth("one", CTVolume(truth, GRID), truth, metal)
    (sharp,) = errors_by_distance(case, {"one": hu}).values()
    row, col = np.nonzero(metal[0])
    y, x = np.mgrid[:96, :96]
    away = 2 * np.sqrt(((y[..., None] - row) ** 2 + (x[..., None] - col) ** 2).min(axis=-1))
    here = (hu - truth)[0][(away > 5) & (away <= 10)]
    assert sharp[2] == pytest.approx(np.sqrt((here**2).mean()), rel=1e-3)
    (blurred,) = errors_by_distance(case, {"one": hu}, blur_mm=4.0).values()
    noise = gaussian_filter(rng.normal(0, 30, (400, 400)), 2.0).std()
    assert blurred[4] == pytest.approx(noise, rel=0.1)


def test_no_case_is_corrected_before_all_were_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = test_set(tmp_path / "cases")
    arrays = dict(np.load(cases / "second.npz"))
    np.savez(cases / "second.npz", **arrays | {"metal_mask": 0 * arrays["metal_mask"]})
    monkeypatch.setattr("MetalArtifactReductionLib.correction.correct_volume", pytest.fail)
    ask = ("compare", cases, tmp_path / "out", "--method", "li", "--quiet")
    outcome = run(capfd, *ask, "--mu-water", 0.192, "--pixel-mm", 2)
    assert_refused(outcome, "second.npz", "the metal is empty")


def test_what_is_no_test_set_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cases = test_set(tmp_path / "cases")
    ask = ("compare", cases, tmp_path / "out", "--method", "li", "--quiet")
    assert_refused(run(capfd, *ask, "--pixel-mm", 2), "second.npz: values up to", "--mu-water")
    (cases / "first" / "truth.nii.gz").unlink()
    assert_refused(run(capfd, *ask), "first: no truth in it", "name it one of truth")
    (tmp_path / "empty").mkdir()
    outcome = run(capfd, "compare", tmp_path / "empty", tmp_path / "out", "--quiet")
    assert_refused(outcome, "no case in it; give a folder of folders")
    assert not (tmp_path / "out").exists()
