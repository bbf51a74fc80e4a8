"""The scripts of docs/examples on small bodies: each does what it says, and makes its picture."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from cli_support import ct_hu, stored, write_image
from MetalArtifactReductionLib import mrml, read_volume, write_volume
from support import REPOSITORY
from training_support import FEATURES, small_ct

EXAMPLES = REPOSITORY / "docs" / "examples"


def main_of(name: str) -> Any:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def is_picture(path: Path) -> bool:
    """A PNG of some content, by another library."""
    return bool(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).std() > 5)


def test_scripts_are_short() -> None:
    lines = {path.name: path.read_text("utf-8").count("\n") for path in EXAMPLES.glob("*.py")}
    assert len(lines) == 5 and max(lines.values()) < 60, lines


def test_correct(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_image(tmp_path / "ct.nii.gz", ct_hu()[3:]), tmp_path / "out"
    main_of("correct")(source, out)
    assert capsys.readouterr().out.count(" mm3, metal\n") == 2
    change = stored(out / "corrected.nii.gz") - stored(source).astype(float)
    assert np.allclose(change, stored(out / "change.nii.gz"), atol=0.51)  # stored in whole HU
    assert is_picture(out / "correct.png")


def test_slicer_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a real scene; the logic, which Slicer alone can load, hands it to this function too."""
    slicer = pytest.importorskip("slicer", reason="the package slicer-core is not installed")
    scene = mrml.headless_scene()
    ct = write_image(tmp_path / "ct.nii.gz", ct_hu()[3:])
    mrml.node_from_volume(scene, read_volume(ct), "CT")
    module: Any = ModuleType("MetalArtifactReduction")
    module.MetalArtifactReductionLogic = lambda: SimpleNamespace(
        correct=lambda node, **options: mrml.correct_node(scene, node, **options)
    )
    monkeypatch.setitem(sys.modules, "MetalArtifactReduction", module)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(slicer, "app", SimpleNamespace(temporaryPath=str(tmp_path)), raising=False)
    runpy.run_path(str(EXAMPLES / "slicer_console.py"))
    assert " of 3 changed most" in capsys.readouterr().out
    assert is_picture(tmp_path / "slicer_console.png")


def test_place_and_simulate(tmp_path: Path) -> None:
    out = tmp_path / "out"
    main_of("place_and_simulate")(out)
    kinds = [
        one["implant"]["kind"] for one in json.loads((out / "plan.json").read_text())["implants"]
    ]
    assert kinds.count("pedicle-screw") == 4 and kinds.count("rod") == 2
    difference = stored(out / "corrupted.nii.gz") - stored(out / "reference.nii.gz")
    assert difference.max() > 1000  # the screws
    assert is_picture(out / "place_and_simulate.png")


def test_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, run = tmp_path / "clean", tmp_path / "run"
    clean.mkdir()
    write_volume(small_ct(), clean / "one.nii.gz")
    small = {"features": FEATURES, "crop": [64, 48], "slices": 2, "window": 2, "start": "li"}
    main_of("train")(clean, run, 2, **small)
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 steps in ")
    assert is_picture(run / "curve.png")
    assert (run / "weights.safetensors").exists()


def test_evaluate_cohort(tmp_path: Path) -> None:
    cohort, out = tmp_path / "cohort", tmp_path / "out"
    cohort.mkdir()
    plain = ct_hu()[4:].astype(float)  # metal in the first of two slices
    streaked = plain + 150 * np.sin(np.arange(96) / 3)
    for number, hu in enumerate((streaked, plain)):
        write_image(cohort / f"{number}.nii.gz", np.rint(hu).astype("int16"))
    main_of("evaluate_cohort")(cohort, out, "li")
    with (out / "cohort.csv").open(encoding="utf-8") as file:
        one, two = csv.DictReader(file)
    assert float(one["before_hu"]) > float(two["before_hu"]) + 100
    assert is_picture(out / "evaluate_cohort.png")
