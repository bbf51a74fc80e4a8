"""Batches that are refused before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_support import (
    assert_refused,
    ct_hu,
    run,
    snapshot,
    write_csv,
    write_dicom,
)

Capture = pytest.CaptureFixture[str]
METHOD = ("--method", "li", "--quiet", "--device", "cpu")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("file,mask", "a/ct.nii.gz,"), ("no column 'input'",)),
        (("input,metod", "a/ct.nii.gz,li"), ("unknown column 'metod'", "method", "#")),
        (("input,input", "a/ct.nii.gz,x"), ("two columns 'input'",)),
        (("input,output", "a/ct.nii.gz"), ("line 2", "fields")),
        (("input,output", "a/ct.nii.gz,x,y"), ("line 2", "fields")),
        (("input,output", ",x"), ("line 2", "no input")),
        (("input,output", "a/ct.nii.gz,../x"), ("'../x'", "leaves the folder")),
        (("input,output", "a/ct.nii.gz,/elsewhere/x"), ("leaves the folder",)),
        (("input,output", "a/ct.nii.gz,C:\\x"), ("leaves the folder",)),
        (("input,output", "a/ct.nii.gz,a/b:c"), ("'a/b:c'", "cannot be a folder")),
        (("input,output", "a/ct.nii.gz,X", "b/ct.nii.gz,x"), ("named twice",)),
        (("input,output", "a/ct.nii.gz,x", "b/ct.nii.gz,x/y"), ("lies in that",)),
        (("input,output", "a/ct.nii.gz,failed"), ("'failed'", "the batch needs")),
        (("input,threshold", "a/ct.nii.gz,high"), ("line 2", "'high'")),
        (("input,method", "a/ct.nii.gz,magic"), ("unknown method 'magic'",)),
        (("input,segmentation", "a/ct.nii.gz,x"), ("unknown segmentation 'x'", "kmeans")),
        (("input,reconstruction", "a/ct.nii.gz,x"), ("unknown reconstruction 'x'",)),
        (("input,output",), ("no volumes",)),
        (("",), ("no column 'input'",)),
    ],
)
def test_a_list_that_cannot_be_used(
    volumes: Path, capfd: Capture, lines: tuple[str, ...], words: tuple[str, ...]
) -> None:
    listed = write_csv(volumes / "cases.csv", *lines)
    before = snapshot(volumes)
    assert_refused(run(capfd, "correct", listed, volumes / "out", *METHOD), *words)
    assert snapshot(volumes) == before


def test_arguments_that_do_not_fit_many_volumes(volumes: Path, capfd: Capture) -> None:
    two = (volumes / "a" / "ct.nii.gz", volumes / "b" / "ct.nii.gz")
    out = volumes / "out"
    before = snapshot(volumes)
    for arguments, words in (
        ((*two, out, "--mask", "m.nii"), ("--mask m.nii", "column mask")),
        ((*two, out, "--metal", "m.nii"), ("--metal m.nii", "written anyway")),
        ((*two, out, "--change-map", "c.nii"), ("--with-change-map",)),
        ((*two, out, "--series", "3"), ("column series",)),
        ((*two, "out.nii.gz"), ("out.nii.gz", "folder")),
        ((*two, out, "--workers", "0"), ("'0'",)),
        ((*two, out, "--workers", "2", "--dask", "tcp://localhost:1"), ("--workers",)),
        ((*two, out, "--dicom", "--format", ".nii"), ("--format .nii", "--dicom")),
        ((*two, volumes / "clean.nrrd" / "out"), ("no usable name",)),
        ((*two, volumes / "no" / "out"), ("does not exist; create it first",)),
        ((*two, out, "--device", "gpu"), ("unknown device 'gpu'",)),
        ((volumes / "none.csv", out), ("none.csv", "no such file")),
    ):
        assert_refused(run(capfd, "correct", *METHOD, *arguments), *words)
    assert snapshot(volumes) == before


def test_what_lies_in_the_way(volumes: Path, capfd: Capture) -> None:
    two = (volumes / "a" / "ct.nii.gz", volumes / "b" / "ct.nii.gz")
    (volumes / "out" / "b-ct").mkdir(parents=True)
    (volumes / "out" / "b-ct" / "precious").write_text("mine")
    before = snapshot(volumes)
    for force in ((), ("--force",)):
        outcome = run(capfd, "correct", *two, volumes / "out", *METHOD, *force)
        assert_refused(outcome, "b-ct", "not from a batch")
    outcome = run(capfd, "correct", *two, volumes / "broken.nii", *METHOD)
    assert_refused(outcome, "broken.nii")
    scan = write_dicom(volumes / "scan", ct_hu())
    before = snapshot(volumes)
    outcome = run(capfd, "correct", scan, two[0], scan / "out", *METHOD)
    assert_refused(outcome, "lies in the input")
    assert snapshot(volumes) == before
