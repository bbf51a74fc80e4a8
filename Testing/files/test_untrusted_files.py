"""Files of the user's that are none, of the wrong shape, or full of what a table would do."""

from __future__ import annotations

import csv
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import ct_hu, write_image
from MetalArtifactReductionLib.batch.case import Case
from MetalArtifactReductionLib.batch.lists import read_cases
from MetalArtifactReductionLib.batch.record import (
    BatchSettings,
    CaseRecord,
    fail,
    failed_file,
    record_of,
)
from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.evaluation.command import write_csv
from MetalArtifactReductionLib.files.masks import read_labels, read_mask
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.training.checkpoint import read_checkpoint
from MetalArtifactReductionLib.training.config import read_config
from MetalArtifactReductionLib.training.curves import write_curves
from MetalArtifactReductionLib.training.slice_bank import read_bank
from MetalArtifactReductionLib.volume import CTVolume
from MetalArtifactReductionLib.weights import read_facts, weights_path
from SimulateImplantsLib.cases.label_files import read_names
from SimulateImplantsLib.cases.plan_files import read_plan
from SimulateImplantsLib.cases.records import read_record
from SimulateImplantsLib.dataset.config import read_config as read_dataset
from SimulateImplantsLib.implants.user_mesh import read_mesh
from SimulateImplantsLib.placement.random_shapes import load_masks

CT = CTVolume(np.zeros((2, 20, 20), np.float32), np.eye(4))
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "volume": ("v.nii.gz", read_volume),
    "DICOM": ("v.dcm", read_volume),
    "DICOMDIR": ("DICOMDIR", read_volume),
    "archive": ("v.zip", read_volume),
    "mask": ("m.nrrd", lambda path: read_mask(path, CT)),
    "surface as mask": ("m.stl", lambda path: read_mask(path, CT)),
    "labels": ("l.nii.gz", lambda path: read_labels(path, CT)),
    "names of labels": ("l.csv", read_names),
    "weights": ("w.safetensors", read_facts),
    "method": ("w.safetensors", weights_path),
    "checkpoint": ("checkpoint.safetensors", read_checkpoint),
    "training": ("t.toml", lambda path: read_config(path, ["trace-cnn"])),
    "training slices": ("b.npz", read_bank),
    "metal shapes": ("m.npz", load_masks),
    "list of cases": ("c.csv", lambda path: read_cases(path, Case("", Path()))),
    "plan": ("p.json", read_plan),
    "record": ("simulation.json", read_record),
    "dataset": ("d.json", read_dataset),
    "implant": ("i.stl", read_mesh),
    "implant of VTK": ("i.vtp", read_mesh),
}


@pytest.mark.skipif(os.name == "nt", reason="such files are of Unix")
@pytest.mark.parametrize("what", READERS)
def test_a_pipe_or_a_device_is_told_at_once(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, read = READERS[what]
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    os.mkfifo(tmp_path / name)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).symlink_to("/dev/zero")
    (tmp_path / "s").mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"s/{name}")
        for path, kind in ((name, "pipe"), (f"d/{name}", "device"), (f"s/{name}", "socket")):
            with pytest.raises(InputError) as told:
                read(tmp_path / path)
            assert "\n" not in str(told.value)
            assert f"is a {kind}, not a file" in str(told.value)


@pytest.mark.parametrize("name", ["v" * 3000, "v.raw", "a/" * 2000])
@pytest.mark.parametrize("header", ["v.mhd", "v.nhdr"])
def test_data_that_lie_nowhere(tmp_path: Path, header: str, name: str) -> None:
    path = write_image(tmp_path / header, ct_hu())
    field, end = ("ElementDataFile", " = ") if header == "v.mhd" else ("data file", ": ")
    lines = path.read_text().splitlines()
    kept = [line for line in lines if line and not line.startswith(field)]
    path.write_text("\n".join([*kept, f"{field}{end}{name}", ""]) + "\n")
    for one in tmp_path.iterdir():
        if one != path:
            one.unlink()
    with pytest.raises(InputError, match=r"its data file .* is missing") as told:
        read_volume(path)
    assert len(str(told.value)) < 400


# -- of the wrong shape -------------------------------------------------------------------------

RECORD: dict[str, Any] = {
    "model": "polyenergetic",
    "acquisition": {},
    "seed": 1,
    "every_slice": False,
    "with_reference": True,
    "ct": {"hu_sha256": "0", "ijk_to_ras": np.eye(4).tolist(), "name": "ct"},
    "placed_implants": [
        {"implant": {"kind": "rod"}, "placement": np.eye(4).tolist(), "name": "rod"}
    ],
    "files": {"fractions": {"titanium": "f.nrrd"}, "labels": "labels.nrrd"},
}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "text for a number": ({"seed": "1"}, r"seed is '1'; give a valid integer"),
    "a number for a name": ({"model": 3}, r"model is 3; give a valid string"),
    "a list for a table": ({"acquisition": []}, r"acquisition is \[\]; give"),
    "three rows": ({"ct": {"hu_sha256": "", "ijk_to_ras": [[0.0] * 4] * 3}}, r"ct\.ijk_to_ras"),
    "nothing": ({"placed_implants": [{}]}, r"placed_implants\.0\.\w+ is missing"),
    "a shape of no kind": ({"shapes": [{}]}, r"shapes\.0"),
    "a file that is none": ({"files": {"fractions": {"x": 1}}}, r"files\.fractions\.x is 1"),
    "a slice before the first": ({"cut": {"first_slice": -1}}, r"cut\.first_slice is -1"),
}


def test_a_record_that_fits(tmp_path: Path) -> None:
    (tmp_path / "simulation.json").write_text(json.dumps(RECORD))
    assert read_record(tmp_path / "simulation.json") == RECORD


@pytest.mark.parametrize("what", WRONG)
def test_a_record_of_the_wrong_shape(tmp_path: Path, what: str) -> None:
    change, words = WRONG[what]
    (tmp_path / "simulation.json").write_text(json.dumps(RECORD | change))
    with pytest.raises(InputError, match=words):
        read_record(tmp_path / "simulation.json")


def test_the_file_of_a_finished_case(tmp_path: Path) -> None:
    case = Case("ct.nii.gz", write_image(tmp_path / "ct.nii.gz", ct_hu()), "one")
    settings = BatchSettings(tmp_path / "out")
    (tmp_path / "out" / "one").mkdir(parents=True)
    marker = tmp_path / "out" / "one" / "case.json"
    kept = {
        "record": {"case": "one", "input": "ct.nii.gz", "status": "done", "slices": 6},
        "settings": settings.kept_with(case),
    }
    marker.write_text(json.dumps(kept))
    assert record_of(case, settings) == CaseRecord("one", "ct.nii.gz", "done", slices=6)
    for content, words in (
        (kept | {"record": kept["record"] | {"slices": "6"}}, r"record\.slices is '6'"),
        (kept | {"record": []}, r"record is \[\]"),
        ([], "case.json"),
        ({}, "record is missing"),
        (float("nan"), "is not JSON"),
    ):
        marker.write_text(json.dumps(content))
        with pytest.raises(OutputError, match=rf"{words}.*remove .*one$"):
            record_of(case, settings)


# -- tables -------------------------------------------------------------------------------------


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_no_table_holds_a_formula(tmp_path: Path, name: str) -> None:
    shown = "'" + name.replace("\t", "\\t")
    write_csv(tmp_path / "e.csv", [Path(name)], [{"rmse_hu": -1.5}])
    assert cells(tmp_path / "e.csv") == [["volume", "rmse_hu"], [shown, "-1.5"]]


def test_no_curve_is_a_formula(tmp_path: Path) -> None:
    write_curves([{"step": 1.0, "seconds": 0.5, "=1+1": -2.0}], tmp_path)
    assert cells(tmp_path / "curve.csv") == [["step", "seconds", "'=1+1"], ["1", "0.5", "-2"]]


def test_what_a_terminal_would_do_is_shown(tmp_path: Path) -> None:
    case = Case("\x1b[2Jct.nii.gz", tmp_path / "ct.nii.gz", "one")
    settings = BatchSettings(tmp_path)
    fail(case, settings, "\x1b]0;owned\x07")
    assert "\x1b" not in failed_file(case, settings, ".json").read_text()
