"""A method in a package of its own is found by every command, and nothing else is touched."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from cli_support import ct_hu, installed, metal_truth, run, write_image
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.methods import MethodEntry, methods, register
from MetalArtifactReductionLib.methods.registry import create_method

ENTRY = """
from MetalArtifactReductionLib.methods import MethodEntry
ENTRY = MethodEntry(
    "toy", "Toy", "fills the trace with one value", "Nobody needs it.", "toy.work:Toy",
    kind="toy", architecture="toy-net", network="toy.work:Net", task="toy.work:make_task",
)
"""
WORK = """
import torch
from MetalArtifactReductionLib.methods import Method
from MetalArtifactReductionLib.training.task import Task
from MetalArtifactReductionLib.weights import WeightsFacts

class Net(torch.nn.Module):
    def __init__(self, start=0.0):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor([start]))

class Toy(Method):
    name = "toy"

    def __init__(self, weights=None):
        self.value = 0.0 if weights is None else float(weights.network.value)

    def __call__(self, sinogram, trace, context):
        return sinogram.masked_fill(trace, self.value)

class ToyTask(Task):
    name = "toy"

    def networks(self):
        return {"generator": Net(0.5)}

    def optimizer(self, name, parameters):
        return torch.optim.SGD(parameters, lr=0.4)

    def batch(self, indices, device):
        return {"wanted": torch.full((len(indices),), 2.0, device=device)}

    def loss(self, part, networks, batch):
        return ((networks[part].value - batch["wanted"]) ** 2).mean(), {}

    def facts(self):
        return WeightsFacts("toy-net", {}, {"inpainter": "toy"})

def make_task(options, data, seed):
    return ToyTask()
"""

OPTIONS = ("--always", "--quiet")  # no streaks that would need a correction


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with the package, as ``pip install`` leaves one."""
    folder = tmp_path / "packages"
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / "__init__.py").write_text(ENTRY)
    (folder / "toy" / "work.py").write_text(WORK)
    facts = folder / "toy-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[metal_artifact_reduction.methods]\ntoy = toy:ENTRY\n")
    return folder


@pytest.mark.usefixtures("forked", "undrawn")
def test_every_command_has_it(
    packages: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The batch's process, too."""
    ct = write_image(tmp_path / "ct.nii.gz", ct_hu()[:2])
    out, batch, trained = (tmp_path / name for name in ("out.nii.gz", "batch", "trained.nii.gz"))
    config, folder = tmp_path / "toy.toml", tmp_path / "run"
    config.write_text('task = "toy"\n[training]\nsteps = 4\nbatch_size = 1\n')
    with installed(packages):
        told = run(capfd, "correct", "-h").out
        for command in (
            ("correct", ct, out, *OPTIONS, "--method", "toy"),
            ("correct", ct, batch, *OPTIONS, "--method", "toy", "--workers", "1"),
            ("train", config, "--output", folder, "--accelerator", "cpu", "--quiet"),
            ("correct", ct, trained, *OPTIONS, "--method", folder / "weights.safetensors"),
        ):
            outcome = run(capfd, *command)
            assert outcome.code == 0, outcome
    assert "toy: fills the trace with one value" in " ".join(told.split())
    filled_with_nothing = read_volume(out).hu
    metal = metal_truth()[:2].any(axis=(1, 2))
    assert not np.array_equal(filled_with_nothing[metal], read_volume(ct).hu[metal])
    assert np.array_equal(read_volume(batch / "ct" / "corrected.nii.gz").hu, filled_with_nothing)
    assert not np.array_equal(read_volume(trained).hu, filled_with_nothing)


def test_a_script_registers_its_own(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("MetalArtifactReductionLib.methods.registry._ENTRIES", dict(methods()))
    entry = MethodEntry("mine", "Mine", "of a script", inpainter="toy.work:Toy")
    with installed(packages):
        register(entry)
        register(entry)
        assert methods()["mine"] == entry
        assert create_method("mine").name == "toy"
    with pytest.raises(ValueError, match="a method 'li' already"):
        register(MethodEntry("li", "Another", "of the same name", inpainter="toy.work:Toy"))


def test_a_package_that_cannot_be_imported_is_left_out(
    packages: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "toy" / "__init__.py").write_text("import nothing_of_this_name")
    # A command that ran before may have the log for itself.
    monkeypatch.setattr(logging.getLogger("mar"), "handlers", [caplog.handler])
    with caplog.at_level(logging.WARNING, "mar"), installed(packages):
        assert "toy" not in methods() and "nmar" in methods()
    assert "'toy' is left out: toy:ENTRY cannot be imported" in caplog.text
