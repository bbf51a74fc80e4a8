"""``mar correct`` on many volumes: all of them, whatever happens to one, and only once."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cli_support import (
    assert_refused,
    ct_hu,
    metal_truth,
    run,
    run_and_signal,
    snapshot,
    stored,
    write_csv,
    write_dicom,
    write_image,
)

Capture = pytest.CaptureFixture[str]
METHOD = ("--method", "li", "--quiet", "--device", "cpu")


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open(newline="", encoding="utf-8-sig") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("own_processes")
def test_many_volumes_of_which_some_are_broken(volumes: Path, capfd: Capture) -> None:
    before = snapshot(volumes)
    inputs = [volumes / one for one in ("a/ct.nii.gz", "broken.nii", "clean.nrrd", "b/ct.nii.gz")]
    missing = volumes / "missing.nii.gz"
    out = volumes / "out"
    arguments = ("correct", *inputs, missing, out, *METHOD, "--workers", 2, "--with-change-map")
    outcome = run(capfd, *arguments)
    assert outcome.code == 1
    assert "2 of 5 cases done, 3 failed" in outcome.out
    assert outcome.err.count("\n") == 3

    rows = table(out)
    assert list(rows) == ["a-ct", "broken", "clean", "b-ct", "missing"]
    assert [row["status"] for row in rows.values()] == [
        "done",
        "failed",
        "failed",
        "done",
        "failed",
    ]
    assert "no NIfTI header" in rows["broken"]["reason"]
    assert "no metal found" in rows["clean"]["reason"]
    assert "no such file" in rows["missing"]["reason"]
    assert rows["a-ct"]["input"] == str(inputs[0])
    assert rows["a-ct"]["slices"] == "6" and rows["a-ct"]["slices_with_metal"] == "4"
    truth_cm3 = metal_truth().sum() * 1.9 * 2.0 * 3.0 / 1000
    assert float(rows["a-ct"]["metal_cm3"]) == pytest.approx(truth_cm3, rel=0.1)

    single = volumes / "single.nii.gz"
    assert run(capfd, "correct", inputs[0], single, *METHOD).code == 0
    for case in ("a-ct", "b-ct"):
        assert names_in(out / case) == [
            "before-after.png",
            "case.json",
            "change.nii.gz",
            "corrected.nii.gz",
            "metal.nii.gz",
        ]
        np.testing.assert_array_equal(stored(out / case / "corrected.nii.gz"), stored(single))
    change = stored(out / "a-ct" / "change.nii.gz")
    np.testing.assert_allclose(stored(inputs[0]) + change, stored(single), atol=0.51)
    single.unlink()

    # The same figures as the evaluation of these two files by itself.
    record = json.loads((out / "a-ct" / "case.json").read_text())["record"]
    assert record["streaks_before_hu"] == float(rows["a-ct"]["streaks_before_hu"])
    assert names_in(out) == ["a-ct", "b-ct", "failed", "summary.csv", "summary.html"]
    assert names_in(out / "failed") == ["broken.json", "clean.json", "missing.json"]
    after = snapshot(volumes)
    assert {name: after[name] for name in before} == before


def test_going_on_does_only_what_is_missing(volumes: Path, capfd: Capture) -> None:
    out = volumes / "out"
    first = volumes / "a" / "ct.nii.gz"
    listed = write_csv(
        volumes / "cases.csv",
        "input;output;method;#remark",
        "a/ct.nii.gz;site 1/Größe;;first",
        "clean.nrrd;site 1/clean;nmar;",
    )
    assert run(capfd, "correct", listed, out, *METHOD).code == 1
    kept = snapshot(out / "site 1")
    assert table(out)["site 1/Größe"]["method"] == "li"
    assert table(out)["site 1/clean"]["method"] == "nmar"

    # A half case, as a killed process leaves it, and the broken input mended.
    half = out / "site 1" / f".mar-case-{host()}-{dead_pid()}-x_1"
    (half / "clean").mkdir(parents=True)
    shutil.copy(write_image(volumes / "mended.nrrd", ct_hu()), volumes / "clean.nrrd")
    outcome = run(capfd, "correct", listed, out, *METHOD)
    assert outcome.code == 0
    assert "2 of 2 cases done, 1 of them from before" in outcome.out
    assert not half.exists() and not (out / "failed" / "site 1__clean.json").exists()
    now = snapshot(out / "site 1")
    assert {name: now[name] for name in kept} == kept

    times = {path: path.stat().st_mtime_ns for path in out.rglob("case.json")}
    assert run(capfd, "correct", listed, out, *METHOD).code == 0
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("case.json")}
    assert float(table(out)["site 1/Größe"]["metal_cm3"]) > 0

    # Other settings or another input are not what lies there.
    text = listed.read_text(encoding="utf-8")
    listed.write_text(text.replace(";nmar;", ";li;"), encoding="utf-8")
    outcome = run(capfd, "correct", listed, out, *METHOD)
    assert_refused(outcome, "clean", "made with method 'nmar', not 'li'", "--force")
    write_image(first, ct_hu() // 2)
    outcome = run(capfd, "correct", listed, out, *METHOD)
    assert_refused(outcome, "its input has changed", "--force")
    assert run(capfd, "correct", listed, out, *METHOD, "--force").code == 0
    assert table(out)["site 1/clean"]["method"] == "li"
    assert not list(out.rglob(".mar-*")) and not list(out.glob(".stop*"))


def host() -> str:
    import socket

    return "".join(letter for letter in socket.gethostname() if letter.isalnum())[:32] or "host"


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_folders_of_volumes_and_of_dicom(tmp_path: Path, capfd: Capture) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("p1", "p2"):
        write_dicom(scans / name, ct_hu())
    out = scans / "results"
    outcome = run(capfd, "correct", scans, out, *METHOD)
    assert outcome.code == 0, outcome.err
    assert set(table(out)) == {"p1", "p2"}
    assert stored(out / "p1" / "corrected.nrrd").shape == ct_hu().shape
    everything = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in out.rglob("*")
        if path.is_file()
    )
    for secret in ("DOE", "MRN4711", "19501231", "A-0815", "HOUSE", "Elsewhere"):
        assert secret not in everything + outcome.out + outcome.err
    # Results are no input of the next run.
    outcome = run(capfd, "correct", scans, out, *METHOD)
    assert "2 of 2 cases done, 2 of them from before" in outcome.out

    images = tmp_path / "images"
    images.mkdir()
    for name in ("CON.nii.gz", "x.mha"):
        write_image(images / name, ct_hu())
    assert run(capfd, "correct", images, tmp_path / "o", *METHOD, "--format", ".nrrd").code == 0
    assert (tmp_path / "o" / "_CON" / "corrected.nrrd").is_file()  # CON is a device on Windows
    assert (tmp_path / "o" / "x" / "metal.nrrd").is_file()


def test_folders_beside_volumes_are_named_and_links_to_above_end(
    tmp_path: Path, capfd: Capture
) -> None:
    scans = tmp_path / "Aufnahmen der Hüfte"
    (scans / "p1" / "segmentations").mkdir(parents=True)
    write_image(scans / "p1" / "ct.nii.gz", ct_hu())
    (scans / "p1" / "nothing in it").mkdir()
    write_image(scans / "p1" / "segmentations" / "femur.nii.gz", ct_hu())
    write_dicom(scans / "p1" / "series", ct_hu())
    try:
        (scans / "again").symlink_to(scans, target_is_directory=True)
    except OSError:
        pytest.skip("no right to make links (Windows)")
    out = tmp_path / "out"
    outcome = run(capfd, "correct", scans, out, *METHOD)
    assert outcome.code == 0, outcome.err
    assert set(table(out)) == {"ct"}
    assert "note:" in outcome.err and "not looked into" in outcome.err
    assert f"{scans / 'p1' / 'segmentations'} and 1 more" in outcome.err


def test_weights_trained_again_are_other_settings(tmp_path: Path) -> None:
    from MetalArtifactReductionLib.batch.case import Case
    from MetalArtifactReductionLib.correction.options import CorrectionOptions

    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"first")
    case = Case("ct", tmp_path / "ct.nii", options=CorrectionOptions(str(weights)))
    before = case.settings()
    assert case.settings() == before
    os.utime(weights, (1, 1))
    assert case.settings() != before
    assert Case("ct", tmp_path / "ct.nii").settings()["method"] == "nmar"


def test_dicom_out(tmp_path: Path, capfd: Capture) -> None:
    import pydicom

    scans = [write_dicom(tmp_path / name, ct_hu()) for name in ("p1", "p2")]
    outcome = run(capfd, "correct", *scans, tmp_path / "out", *METHOD, "--dicom")
    assert outcome.code == 0, outcome.err
    for scan in scans:
        case = tmp_path / "out" / scan.name
        originals = [pydicom.dcmread(path) for path in scan.iterdir()]
        derived = [pydicom.dcmread(path) for path in (case / "corrected").iterdir()]
        assert len(derived) == len(originals)
        assert derived[0].StudyInstanceUID == originals[0].StudyInstanceUID
        assert derived[0].SeriesInstanceUID != originals[0].SeriesInstanceUID
        assert pydicom.dcmread(case / "metal.dcm").Modality == "SEG"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle(tmp_path: Path, capfd: Capture, number: signal.Signals) -> None:
    """Finished cases stay, nothing half is there, no process goes on, the same command does it."""
    inputs = [write_image(tmp_path / f"ct{index}.nrrd", ct_hu()) for index in range(2)]
    out = tmp_path / "out"
    arguments = ["correct", *inputs, out, *METHOD, "--always", "--batch-slices", 1]
    stopped = run_and_signal(out, number, *arguments)
    finished = len(list(out.glob("*/case.json")))
    assert finished == 1
    if number is signal.SIGINT:
        assert stopped.code == 130
        assert "stopped; " in stopped.err
        assert "1 of 2 cases are finished" in stopped.err
        assert not list(out.rglob(".*"))
        statuses = [row["status"] for row in table(out).values()]
        assert statuses.count("done") == 1
    outcome = run(capfd, *arguments)
    assert outcome.code == 0
    assert "2 of 2 cases done, 1 of them from before" in outcome.out
    assert not list(out.rglob(".*"))
    assert all(stored(path).shape == ct_hu().shape for path in out.glob("*/corrected.nrrd"))


def test_one_case_of_an_array_and_the_summary_after_it(volumes: Path, capfd: Capture) -> None:
    listed = write_csv(
        volumes / "cases.csv", "input,mask", "a/ct.nii.gz,mask.nrrd", "b/ct.nii.gz,", "broken.nii,"
    )
    truth = metal_truth()
    write_image(volumes / "mask.nrrd", truth.astype(np.uint8))
    out = volumes / "out"
    assert run(capfd, "correct", listed, out, *METHOD, "--case-index", 0).code == 0
    np.testing.assert_array_equal(stored(out / "a-ct" / "metal.nii.gz"), truth)
    assert run(capfd, "correct", listed, out, *METHOD, "--case-index", 0).code == 0  # there
    outcome = run(capfd, "correct", listed, out, *METHOD, "--case-index", 2)
    assert outcome.code == 1 and "broken: " in outcome.err
    assert not (out / "summary.csv").exists()
    outcome = run(capfd, "correct", listed, out, *METHOD, "--case-index", 3)
    assert_refused(outcome, "case index 3", "3 cases, 0 to 2")
    assert run(capfd, "correct", listed, out, *METHOD, "--summary").code == 1
    statuses = {name: row["status"] for name, row in table(out).items()}
    assert statuses == {"a-ct": "done", "b-ct": "waiting", "broken": "failed"}


class Page(HTMLParser):
    """Rows of the table, and whatever would be loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [tag] if tag in ("script", "link", "iframe") else []
        self.loads += [
            str(value)
            for name, value in attrs
            if name in ("src", "href") and not str(value).startswith("data:")
        ]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def test_the_page_says_what_the_csv_says_and_loads_nothing(volumes: Path, capfd: Capture) -> None:
    odd = write_image(volumes / "<b>&'=1+1.nrrd", ct_hu())
    out = volumes / "out"
    run(capfd, "correct", odd, volumes / "clean.nrrd", out, *METHOD)
    page = Page((out / "summary.html").read_text(encoding="utf-8"))
    assert page.loads == []
    assert len(page.rows) == 3
    for cells, row in zip(page.rows[1:], table(out).values(), strict=True):
        shown = dict(zip(row, cells, strict=True))
        assert shown["input"] == row["input"] and shown["reason"] == row["reason"]
        for name in ("seconds", "metal_cm3", "streaks_after_hu"):
            assert (shown[name] == row[name] == "") or (
                float(shown[name]) == pytest.approx(float(row[name]), abs=0.051)
            )
