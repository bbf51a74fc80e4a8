"""A small CT with known metal, and the command line run on it as a user would."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from held import run_held
from MetalArtifactReductionLib.cli import main
from MetalArtifactReductionLib.files.itk import image_from_array
from support import HANG_S, fork_instead_of_spawn

SHAPE = (6, 96, 96)
SPACING_MM = (1.9, 2.0, 3.0)  # column, row, slice
METAL_SLICES = slice(1, 5)
METAL_HU = 7500
DISCS = ((50.0, 32.0, 4.0), (50.0, 64.0, 3.0))  # row, column, radius in voxels
GEOMETRY = np.eye(4)
GEOMETRY[:3, :3] = Rotation.from_euler("zyx", (0.1, -0.05, 0.08)).as_matrix() * SPACING_MM
GEOMETRY[:3, 3] = (-81.5, -92.25, 433.125)


def metal_truth(discs: tuple[tuple[float, float, float], ...] = DISCS) -> np.ndarray:
    """Bool ``SHAPE``: voxels whose centre lies in a disc, in the slices that hold metal."""
    row, col = np.mgrid[: SHAPE[1], : SHAPE[2]]
    truth = np.zeros(SHAPE, bool)
    for y, x, radius in discs:
        truth[METAL_SLICES] |= np.hypot(row - y, col - x) <= radius
    return truth


def ct_hu(*, metal: bool = True, dtype: str = "int16") -> np.ndarray:
    """``SHAPE``: body with fat and two bones in air, noise, metal in the bones."""
    row, col = np.mgrid[: SHAPE[1], : SHAPE[2]]
    body = np.hypot((row - 48) / 34, (col - 48) / 42)
    hu = np.full(SHAPE, -1000.0)
    hu[:, body < 1] = -90
    hu[:, body < 0.9] = 45
    for y, x, radius in DISCS:
        hu[:, np.hypot(row - y, col - x) < radius + 4] = 650
    if metal:
        hu[metal_truth()] = METAL_HU
    hu += np.random.default_rng(3).normal(0, 10, SHAPE)
    return np.rint(hu).astype(dtype)


def write_image(path: Path, array: np.ndarray, geometry: np.ndarray = GEOMETRY) -> Path:
    """Any array on any grid, through SimpleITK."""
    sitk.WriteImage(image_from_array(array, geometry), str(path), True)
    return path


def stored(path: Path) -> np.ndarray:
    """The voxels of a file, in its own type, read by SimpleITK."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def same_grid(path: Path, other: Path) -> bool:
    """Whether SimpleITK sees every corner of two files in the same place (to 0.1 um)."""
    one, two = sitk.ReadImage(str(path)), sitk.ReadImage(str(other))
    corners = [
        [int((n - 1) * b) for n, b in zip(one.GetSize(), bits, strict=True)]
        for bits in np.ndindex(2, 2, 2)
    ]
    places = [[i.TransformIndexToPhysicalPoint(c) for c in corners] for i in (one, two)]
    return one.GetSize() == two.GetSize() and np.abs(np.subtract(*places)).max() < 1e-4


def write_dicom(
    folder: Path, hu: np.ndarray, *, leave_out: int | None = None, **tags: object
) -> Path:
    """A CT series of a patient with a name; ``tags`` overwrite attributes of every slice."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(exist_ok=True)
    series, study = generate_uid(), generate_uid()
    for index, plane in enumerate(hu):
        if index == leave_out:
            continue
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = CTImageStorage
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = generate_uid()
        item.SeriesInstanceUID, item.StudyInstanceUID = series, study
        item.FrameOfReferenceUID = study
        item.Modality, item.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        item.PatientName, item.PatientID, item.PatientBirthDate = "DOE^JANE", "MRN4711", "19501231"
        item.AccessionNumber, item.ReferringPhysicianName = "A-0815", "HOUSE^GREGORY"
        item.InstitutionName, item.KVP, item.SeriesNumber = "Saint Elsewhere", "120", 4
        item.Rows, item.Columns = plane.shape
        item.PixelSpacing = [SPACING_MM[1], SPACING_MM[0]]
        item.ImagePositionPatient = [-80, -90, 400 + index * SPACING_MM[2]]
        item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated = item.BitsStored = 16
        item.HighBit, item.PixelRepresentation = 15, 1
        item.RescaleSlope, item.RescaleIntercept = "1", "0"
        item.PixelData = plane.astype("<i2").tobytes()
        for name, value in tags.items():
            setattr(item, name, value)
        number = f"{series[-6:]}_{index:03d}.dcm"
        item.save_as(folder / number, enforce_file_format=True)
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal, and its exit code."""

    code: int
    out: str
    err: str


def run(capfd: pytest.CaptureFixture[str], *arguments: object, more: Any = ()) -> Outcome:
    """``mar ARGUMENTS`` in this process; ``more`` as of :func:`.cli.main`."""
    capfd.readouterr()
    try:
        code = main([str(argument) for argument in arguments], more)
    except SystemExit as stop:  # argparse
        code = int(stop.code or 0)
    told = capfd.readouterr()
    return Outcome(code, told.out, told.err)


def run_process(*arguments: object) -> Outcome:
    """``mar ARGUMENTS`` in a process of its own."""
    command = [sys.executable, "-m", "MetalArtifactReductionLib.cli", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=HANG_S, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextmanager
def installed(packages: Path) -> Iterator[None]:
    """A folder of packages is found, as if ``pip`` had put them where Python looks."""
    from MetalArtifactReductionLib.methods.registry import _installed
    from SimulateImplantsLib.implants.registry import _registered

    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(packages)
        try:
            for looked_up in (_installed, _registered):
                looked_up.cache_clear()
            yield
        finally:
            for looked_up in (_installed, _registered):
                looked_up.cache_clear()
            for name in set(sys.modules) - before:
                if str(packages) in str(getattr(sys.modules[name], "__file__", "")):
                    del sys.modules[name]


def run_and_signal(when: object, number: int, *arguments: object) -> Outcome:
    """``mar ARGUMENTS`` in a process of its own, signalled where :func:`held.run_held` holds it.

    When this returns none of its processes runs any more: each holds the standard output open.
    """
    told, tell = multiprocessing.Pipe(duplex=False)
    with TemporaryDirectory() as folder, os.fdopen(os.dup(told.fileno()), encoding="utf-8") as out:
        errors = Path(folder, "errors")
        process = fork_instead_of_spawn()("spawn").Process(
            target=run_held, args=(str(when), [*map(str, arguments)], tell, errors)
        )
        process.start()
        for end in (told, tell):
            end.close()
        said = next((line for line in out if line == "held\n"), "the end")
        if said == "held\n":
            os.kill(process.pid, number)
        process.join(HANG_S)
        process.kill()  # what hangs
        rest = out.read()
        process.join()
        told_errors = errors.read_text(encoding="utf-8")
    assert said == "held\n", told_errors
    return Outcome(process.exitcode, rest, told_errors)


def snapshot(folder: Path) -> dict[str, str]:
    """Every file and folder below a folder, hidden ones too, with the hash of its content."""
    return {
        str(path.relative_to(folder)): ""
        if path.is_dir()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
    }


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2, nothing on stdout, one line on stderr with every one of the words in it."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("mar: ") and outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.endswith("\n")
    for word in words:
        assert word in outcome.err, (word, outcome.err)


def write_csv(path: Path, *lines: str) -> Path:
    """A file of these lines."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
