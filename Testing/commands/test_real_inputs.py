"""The command line on what people really hand it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cli_support import assert_refused, ct_hu, metal_truth, run, write_dicom, write_image
from MetalArtifactReductionLib.batch.case import Case
from MetalArtifactReductionLib.batch.cases import cases_from
from MetalArtifactReductionLib.batch.lists import read_cases
from MetalArtifactReductionLib.commands.messages import progress_bar
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.tables import cell

Capture = pytest.CaptureFixture[str]
METHOD = ("--method", "li", "--quiet")


def test_our_own_segmentation_is_a_mask(tmp_path: Path, capfd: Capture) -> None:
    scan = write_dicom(tmp_path / "scan", ct_hu())
    out = tmp_path / "a.nrrd"
    assert run(capfd, "correct", scan, out, "--metal", tmp_path / "m.dcm", *METHOD).code == 0
    again = run(capfd, "correct", scan, tmp_path / "b.nrrd", "--mask", tmp_path / "m.dcm", *METHOD)
    assert again.code == 0, again.err


def test_a_downloaded_tree_with_stray_files(tmp_path: Path) -> None:
    tree = tmp_path / "manifest"
    for patient in ("PAT1", "PAT2"):
        (tree / "Coll" / patient / "study").mkdir(parents=True)
        write_dicom(tree / "Coll" / patient / "study" / "series", ct_hu()[:2])
    (tree / "metadata.csv").write_text("a,b\n")
    (tree / "LICENSE").write_text("text")
    cases = cases_from([str(tree)])
    assert [case.input.parent.parent.name for case in cases] == ["PAT1", "PAT2"]
    write_dicom(tree / "Coll" / "PAT2" / "study" / "series", ct_hu()[:2], SeriesNumber=9)
    names = [case.output for case in cases_from([str(tree)])]
    assert len(set(names)) == 3 and {name[-2:] for name in names[1:]} == {"-4", "-9"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("first", ["", "sep=;\r\n"])
def test_lists_as_spreadsheets_write_them(tmp_path: Path, encoding: str, first: str) -> None:
    text = f"{first}input;threshold\r\nHüfte 1.nii.gz;2500\r\n;\r\nb.nii.gz;\r\n"
    (tmp_path / "cases.csv").write_bytes(text.encode(encoding))
    cases = read_cases(tmp_path / "cases.csv", Case("", Path()))
    assert [case.given for case in cases] == ["Hüfte 1.nii.gz", "b.nii.gz"]
    assert cases[0].options.threshold_hu == 2500


def test_a_workbook_is_told_how_to_save_it(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "cases.xlsx").write_bytes(b"PK\3\4")
    outcome = run(capfd, "correct", tmp_path / "cases.xlsx", tmp_path / "out", *METHOD)
    assert_refused(outcome, "save the sheet as CSV")


def test_twenty_thousand_cases_of_one_name(tmp_path: Path) -> None:
    rows = "\n".join(f"{n // 100}/ct.nii.gz" for n in range(20_000))
    (tmp_path / "cases.csv").write_text("input\n" + rows)
    names = [case.output for case in cases_from([str(tmp_path / "cases.csv")])]
    assert len(set(names)) == 20_000 and names[:2] == ["0-ct", "0-ct-2"]
    (tmp_path / "tree.csv").write_text("input\nA/STUDY/CT\nB/STUDY/CT\nB/STUDY/PET\n")
    names = [case.output for case in cases_from([str(tmp_path / "tree.csv")])]
    assert names == ["A-STUDY-CT", "B-STUDY-CT", "PET"]
    (tmp_path / "same.csv").write_text("input,output\na.nii,x/y\nb.nii,x\n")
    with pytest.raises(InputError, match="lies in that of another case"):
        cases_from([str(tmp_path / "same.csv")])


def test_text_of_files_is_shown_not_done(tmp_path: Path, capfd: Capture) -> None:
    scan = write_dicom(tmp_path / "scan", ct_hu()[:2], SeriesDescription="a\x1b[2Jb")
    outcome = run(capfd, "info", scan)
    assert outcome.code == 0 and "\x1b" not in outcome.out and "\\x1b[2J" in outcome.out
    with progress_bar("measuring") as progress:
        progress(1.0, "a\x1b[2Jb")
    shown = capfd.readouterr().err
    assert "\x1b[2J" not in shown and "a\\x1b[2Jb" in shown
    table = tmp_path / "t.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerow([cell(text) for text in ("=1+1", "@x", "-2", "a\x1b", 3.5, None)])
    assert table.read_text().strip() == "'=1+1,'@x,'-2,a\\x1b,3.5,"


def test_a_wrong_kind_of_values_is_converted_on_request(tmp_path: Path, capfd: Capture) -> None:
    path = write_image(tmp_path / "ct.nrrd", np.maximum(ct_hu(), -1024).astype(np.int32) + 1024)
    assert_refused(run(capfd, "info", path), "--hu-offset -1024")
    assert run(capfd, "info", path, "--hu-offset", -1024).code == 0


def test_metal_of_an_implants_surface(tmp_path: Path, capfd: Capture) -> None:
    trimesh = pytest.importorskip("trimesh")
    scan = write_dicom(tmp_path / "scan", ct_hu())
    rod = trimesh.creation.cylinder(radius=6, height=9)
    place = np.argwhere(metal_truth()).mean(axis=0)
    rod.apply_translation([-80 + 1.9 * place[2], -90 + 2.0 * place[1], 400 + 3 * place[0]])
    rod.export(tmp_path / "rod.stl")  # LPS, as 3D Slicer writes it
    out = tmp_path / "out.nrrd"
    outcome = run(capfd, "correct", scan, out, "--mask", tmp_path / "rod.stl", *METHOD)
    assert outcome.code == 0, outcome.err
