"""What dicom3tools' dciodvfy, which knows the standard's modules, says of what is written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dicom_support import PATIENT, scanner_header, write_series
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.dicom_export import (
    DicomOutputs,
    dicom_template,
    write_dicom_outputs,
)
from MetalArtifactReductionLib.files.volumes import read_volume


def verified(file: Path) -> tuple[str, list[str]]:
    """The information object that dciodvfy took a file for, and its errors and warnings."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    done = subprocess.run([program, str(file)], capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    kinds = [line for line in lines if not line.startswith(("Error", "Warning"))]
    return " ".join(kinds), [line for line in lines if line not in kinds]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_series(tmp_path / "source", edit=scanner_header)
    volume = read_volume(tmp_path / "source")
    change = np.zeros_like(volume.hu)
    change[3, 20:30, 20:30] = 100
    fraction = (change > 0).astype(np.float32)
    after = volume.with_hu(volume.hu + change)
    result = CorrectionResult(after, fraction, change, "nmar", {"method": "nmar"})
    outputs = DicomOutputs(tmp_path / "out", tmp_path / "change", tmp_path / "metal.dcm")
    write_dicom_outputs(result, dicom_template(volume), outputs)
    return tmp_path


def test_the_verifier_finds_faults(written: Path) -> None:
    """Else that it finds none would say nothing."""
    import pydicom

    file = written / "out" / "0001.dcm"
    dataset = pydicom.dcmread(file)
    del dataset.ImageType
    dataset.save_as(file)
    _, said = verified(file)
    assert any("ImageType" in line and line.startswith("Error") for line in said)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("out/0001.dcm", "CTImage"), ("change/0009.dcm", "CTImage"), ("metal.dcm", "Segmentation")],
)
def test_no_error(written: Path, name: str, kind: str) -> None:
    found, said = verified(written / name)
    assert kind in found
    # The only thing to remark is our private code for metal artifact reduction, which has none.
    assert [line for line in said if "<99MAR>" not in line] == []
    assert PATIENT not in "".join(said)
