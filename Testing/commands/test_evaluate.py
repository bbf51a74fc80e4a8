"""``mar evaluate``: figures that can be known beforehand, and what it refuses."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli_support import (
    GEOMETRY,
    METAL_HU,
    SPACING_MM,
    assert_refused,
    ct_hu,
    metal_truth,
    run,
    run_process,
    snapshot,
    write_dicom,
    write_image,
)

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A truth without metal, and it with metal and errors of 0 and 7 HU in the soft tissue."""
    truth = ct_hu(metal=False)
    with_metal = ct_hu()
    biased = with_metal + np.int16(7)
    arrays = {"truth": truth, "same": with_metal, "biased": biased}
    found = {name: write_image(tmp_path / f"{name}.nii.gz", a) for name, a in arrays.items()}
    mask = metal_truth().astype(np.uint8)
    return found | {"mask": write_image(tmp_path / "mask.nrrd", mask)}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(out: str) -> tuple[list[str], dict[str, list[str]]]:
    """Column heads, and the cells by the label of their row."""
    lines = out.splitlines()
    heads = lines[0].split()
    body = {
        " ".join(words[: -len(heads)]): words[-len(heads) :] for words in map(str.split, lines[1:])
    }
    return heads, body


@pytest.mark.parametrize("masked", [True, False])
def test_with_a_reference(
    tmp_path: Path, files: dict[str, Path], capfd: Capture, masked: bool
) -> None:
    before = snapshot(tmp_path)
    mask = ["--mask", files["mask"]] if masked else []
    outcome = run(
        capfd,
        *("evaluate", files["same"], files["biased"], "--reference", files["truth"], *mask),
        *("--csv", tmp_path / "table.csv", "--quiet"),
    )
    assert outcome.code == 0 and outcome.err == ""
    heads, cells = table(outcome.out)
    assert heads == ["same.nii.gz", "biased.nii.gz"]
    assert cells["RMSE body HU"] == cells["RMSE near metal HU"] == ["0", "7"]
    assert cells["MSE HU^2"] == ["0", "49"]
    assert cells["SSIM"][0] == "1"
    assert cells["PSNR dB"][0] == "inf"
    assert float(cells["PSNR dB"][1]) == pytest.approx(10 * np.log10(5000**2 / 49), abs=0.01)
    for ratio in ("noise ratio", "edge strength bone", "metal Dice", "bone volume ratio"):
        assert float(cells[ratio][0]) == pytest.approx(1, abs=0.02)
    assert float(cells["range of errors HU"][1]) == 0  # a bias is no streak

    written = rows(tmp_path / "table.csv")
    assert [row["volume"] for row in written] == [str(files["same"]), str(files["biased"])]
    assert [float(row["rmse_body_hu"]) for row in written] == [0, 7]
    assert {k: v for k, v in snapshot(tmp_path).items() if k != "table.csv"} == before


def test_the_page_shows_the_worst_first_with_the_figures_of_the_table(
    tmp_path: Path, files: dict[str, Path], capfd: Capture
) -> None:
    strange = files["same"].rename(tmp_path / "&lt;same.nii.gz")
    page = tmp_path / "page.html"
    command = ["evaluate", strange, files["biased"], "--reference", files["truth"]]
    assert_refused(run(capfd, *command, "--csv", page, "--html", page), "two outputs")
    outcome = run(capfd, *command, "--html", page)
    text = page.read_text(encoding="utf-8")
    heads, *body = re.findall(r"<tr>(.*?)</tr>", text)
    assert re.findall("<th>(.*?)</th>", heads) == ["", "biased.nii.gz", "&amp;lt;same.nii.gz"]
    cells = {words[0]: words[1:] for words in (re.findall("<td>(.*?)</td>", r) for r in body)}
    assert cells["RMSE body HU"] == ["7", "0"]
    _, printed = table(outcome.out)
    assert cells == {label: values[::-1] for label, values in printed.items()}
    assert text.count("data:image/png;base64,") == 5  # both, the truth, both minus it
    assert not re.findall(r"https?://", text)


def test_without_a_reference(tmp_path: Path, capfd: Capture) -> None:
    """Bright and dark streaks of 100 HU in the slices with metal raise the streak measure."""
    clean = ct_hu()
    streaky = clean.astype(np.float32)
    columns = np.arange(clean.shape[2]) // 2 % 2 * 200 - 100
    tissue = (clean > 0) & (clean < 100)
    streaky[tissue] += np.broadcast_to(columns, clean.shape)[tissue]
    one = write_image(tmp_path / "clean.nii.gz", clean)
    two = write_image(tmp_path / "streaky.nii.gz", streaky)
    outcome = run(capfd, "evaluate", two, one, "--csv", tmp_path / "table.csv")
    assert outcome.code == 0, outcome.err
    first, second = rows(tmp_path / "table.csv")
    amplitude = float(first["streak_amplitude_hu"]) - float(second["streak_amplitude_hu"])
    assert amplitude == pytest.approx(200, abs=30)
    volume = metal_truth().sum() * np.prod(SPACING_MM)
    for row in (first, second):
        assert float(row["metal_volume_mm3"]) == pytest.approx(volume, rel=0.1)
    assert 8 < float(second["noise_hu"]) < 12  # 10 HU were put in
    assert "mean HU 2-5 mm from metal" in outcome.out


def test_one_volume_of_a_dicom_folder(tmp_path: Path, capfd: Capture) -> None:
    folder = write_dicom(tmp_path / "scan", ct_hu())
    outcome = run(capfd, "evaluate", folder)
    assert outcome.code == 0 and outcome.out.splitlines()[0].split() == ["scan"]


def test_equal_names_are_told_apart(tmp_path: Path, capfd: Capture) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(write_image(tmp_path / name / "ct.nii.gz", ct_hu()))
    outcome = run(capfd, "evaluate", *paths)
    assert outcome.out.splitlines()[0].split() == [str(path) for path in paths]


def moved(folder: Path) -> Path:
    geometry = GEOMETRY.copy()
    geometry[0, 3] += 4
    return write_image(folder / "moved.nii.gz", ct_hu(), geometry)


def shorter(folder: Path) -> Path:
    return write_image(folder / "shorter.nii.gz", ct_hu()[:4])


@pytest.mark.parametrize("role", ["input", "reference"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (moved, ("moved.nii.gz", "origin", "resample")),
        (shorter, ("shorter.nii.gz", "size 96 x 96 x 4 instead of 96 x 96 x 6")),
        (lambda folder: folder / "nowhere.nrrd", ("nowhere.nrrd: no such file",)),
        (
            lambda folder: write_image(folder / "mask.nrrd", metal_truth().astype(np.uint8)),
            ("mask.nrrd", "give the CT itself"),
        ),
    ],
)
def test_volumes_that_do_not_belong_together(
    tmp_path: Path,
    capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    make: Callable[[Path], Path],
    words: tuple[str, ...],
) -> None:
    """Refused before the metal is looked for."""
    monkeypatch.setattr("MetalArtifactReductionLib.evaluation.command.segment_metal", None)
    ct, other = write_image(tmp_path / "ct.nii.gz", ct_hu()), make(tmp_path)
    before = snapshot(tmp_path)
    arguments = [ct, other] if role == "input" else [ct, "--reference", other]
    outcome = run(capfd, "evaluate", *arguments, "--csv", tmp_path / "table.csv")
    assert_refused(outcome, *words)
    assert snapshot(tmp_path) == before


def test_masks_and_metal(tmp_path: Path, files: dict[str, Path], capfd: Capture) -> None:
    other = write_image(tmp_path / "other.nrrd", np.ones((7, 96, 96), np.uint8))
    before = snapshot(tmp_path)
    assert_refused(
        run(capfd, "evaluate", files["same"], "--mask", other),
        *("other.nrrd", "size 96 x 96 x 7 instead of 96 x 96 x 6"),
    )
    highest = ct_hu(metal=False).max()
    assert highest < METAL_HU / 2
    assert_refused(
        run(capfd, "evaluate", files["truth"]), f"highest value is {highest} HU", "threshold 2500"
    )
    assert snapshot(tmp_path) == before


def test_the_csv_replaces_nothing_unasked_and_never_an_input(
    tmp_path: Path, files: dict[str, Path], capfd: Capture
) -> None:
    scan = write_dicom(tmp_path / "scan", ct_hu())
    table_csv = tmp_path / "table.csv"
    table_csv.write_text("precious")
    before = snapshot(tmp_path)
    command = ["evaluate", files["same"], "--reference", files["truth"], "--mask", files["mask"]]
    assert_refused(run(capfd, *command, "--csv", table_csv), "exists already", "--force")
    for path in (files["same"], files["truth"], files["mask"]):
        outcome = run(capfd, *command, "--force", "--csv", path)
        assert_refused(outcome, f"{path}: is the input itself")
    one = next(scan.iterdir())
    outcome = run(capfd, "evaluate", scan, "--force", "--csv", one)
    assert_refused(outcome, f"{one}: is the input itself")
    missing = tmp_path / "missing" / "t.csv"
    assert_refused(run(capfd, *command, "--csv", missing), "missing does not exist; create it")
    assert snapshot(tmp_path) == before
    assert run(capfd, *command, "--csv", table_csv, "--force").code == 0
    assert len(rows(table_csv)) == 1


def test_in_a_process_of_its_own(files: dict[str, Path]) -> None:
    outcome = run_process("evaluate", files["biased"], "--reference", files["truth"], "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert table(outcome.out)[1]["RMSE body HU"] == ["7"]
