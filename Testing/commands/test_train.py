"""``mar train``: from a configuration to a method of ``mar correct``, resumed and refused."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from cli_support import assert_refused, run, run_process, snapshot, stored, write_image
from MetalArtifactReductionLib.files.volumes import write_volume
from support import REPOSITORY
from training_support import small_ct

Capture = pytest.CaptureFixture[str]

CONFIG = """
task = "sinogram-unet"

[training]
steps = 4
batch_size = 1
seed = 7
checkpoint_every = 2
log_every = 1

[options]
volumes = ["clean.nii.gz"]
validation = ["clean.nii.gz"]
validation_blocks = 1
metal = "simple"
start = "li"
features = [4, 4, 8, 8, 8, 4]
crop = [64, 48]
slices = 2
window = 2
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_volume(small_ct(), tmp_path / "clean.nii.gz")
    path = tmp_path / "small.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_a_dry_run_tries_steps_and_writes_nothing(
    tmp_path: Path, config: Path, capfd: Capture
) -> None:
    before = snapshot(tmp_path)
    command = ("train", config, "--data", tmp_path, "--accelerator", "cpu", "--steps", 5000)
    tried = run(capfd, *command, "--output", tmp_path / "run", "--dry-run", "--quiet")
    assert tried.code == 0, tried.err
    assert "5000 steps of 1 samples" in tried.out and "nothing was written" in tried.out
    assert snapshot(tmp_path) == before


def test_train_resume_and_correct(tmp_path: Path, config: Path, capfd: Capture) -> None:
    command = ("train", config, "--data", tmp_path, "--quiet", "--accelerator", "cpu")
    done = run(capfd, *command, "--output", tmp_path / "whole")
    assert done.code == 0, done
    first, *figures = done.out.splitlines()
    assert first.startswith("4 steps in ") and first.endswith(str(tmp_path / "whole"))
    assert any(line.split()[0] == "rmse_near_metal_hu" for line in figures)
    short = run(capfd, *command, "--output", tmp_path / "parts", "--minutes", 1e-9)
    assert short.code == 0 and not short.out.startswith("4 steps")
    again = run(capfd, *command, "--output", tmp_path / "parts", "--resume")
    assert again.code == 0 and again.out.startswith("4 steps")
    one, two = (load_file(tmp_path / n / "weights.safetensors") for n in ("whole", "parts"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {"checkpoint.safetensors", "weights.safetensors", "curve.csv", "curve.png"} <= names

    volume = small_ct()
    volume.hu[2:4, 28:34, 20:26] = 3000
    source = write_image(tmp_path / "ct.nii.gz", volume.hu, np.diag([6.0, 6.0, 3.0, 1.0]))
    weights = tmp_path / "whole" / "weights.safetensors"
    target = tmp_path / "out.nii.gz"
    corrected = run(capfd, "correct", source, target, "--always", "--method", weights, "--quiet")
    assert corrected.code == 0, corrected
    assert np.any(stored(target)[2:4] != stored(source)[2:4])


@pytest.mark.skipif(sys.platform == "win32", reason="processes talk through gloo's Unix build")
def test_two_processes_make_the_weights_of_one(
    tmp_path: Path, config: Path, capfd: Capture
) -> None:
    """Each takes half of the batch; their gradients are averaged."""
    text = CONFIG.replace("batch_size = 1", "batch_size = 2").replace("steps = 4", "steps = 2")
    config.write_text(text + "adversarial = 0.1\n", encoding="utf-8")
    found = []
    for devices, start in ((1, partial(run, capfd)), (2, run_process)):
        folder = tmp_path / f"run{devices}"
        options = ("--quiet", "--accelerator", "cpu", "--devices", devices)
        done = start("train", config, "--data", tmp_path, "--output", folder, *options)
        assert done.code == 0, done
        assert done.out.count("2 steps in ") == 1
        found.append(load_file(folder / "weights.safetensors"))
    for name, tensor in found[0].items():
        assert np.allclose(tensor.numpy(), found[1][name].numpy(), atol=1e-6), name


def test_refusals_write_nothing(tmp_path: Path, config: Path, capfd: Capture) -> None:
    command = ("train", config, "--output", tmp_path / "run", "--quiet")
    data = ("--data", tmp_path)
    before = snapshot(tmp_path)

    def refused(*words: str, arguments: tuple[object, ...] = (*command, *data)) -> None:
        assert_refused(run(capfd, *arguments), *words)

    refused("--data", arguments=command)
    refused(
        "nothing.toml", "no such file", arguments=("train", tmp_path / "nothing.toml", *command[2:])
    )
    refused("does not exist", arguments=(*command[:2], "--output", tmp_path / "a" / "b", *data))
    refused("minutes is -1", arguments=(*command, *data, "--minutes", "-1"))
    config.write_text(CONFIG.replace("steps", "stpes"), encoding="utf-8")
    refused("'stpes'", "steps")
    config.write_text(CONFIG + "colour = 1\n", encoding="utf-8")
    refused("'colour'", "features")
    config.write_text(CONFIG.replace("sinogram-unet", "wizard"), encoding="utf-8")
    refused("'wizard'", "sinogram-unet")
    config.write_text(CONFIG.replace('"simple"', '"gold"'), encoding="utf-8")
    refused("'gold'", "simple")
    config.write_text("task = [", encoding="utf-8")
    refused("TOML")
    config.write_text(CONFIG.replace('["clean.nii.gz"]', '["other.nii.gz"]'), encoding="utf-8")
    refused("other.nii.gz")
    config.write_text(CONFIG, encoding="utf-8")
    left = {k: v for k, v in snapshot(tmp_path).items() if k != "run"}
    assert left == before and not any((tmp_path / "run").rglob("*"))


@pytest.mark.parametrize(
    "path",
    sorted((REPOSITORY / "Testing" / "Experiments" / "configurations").glob("*.toml")),
    ids=lambda path: path.stem,
)
def test_configurations_of_the_repository_can_be_read(path: Path) -> None:
    from MetalArtifactReductionLib.methods.registry import task_names
    from MetalArtifactReductionLib.methods.sinogram_unet.task import SinogramOptions
    from MetalArtifactReductionLib.training.config import from_options, read_config

    config = read_config(path, task_names())
    if config.task == "sinogram-unet":
        options = from_options(SinogramOptions, config.options, str(path))
        assert Path(options.metal_options["plans"]).is_dir()
        assert not set(options.volumes) & set(options.validation)
