"""``mar train METHOD --cts FOLDER``, and weights of one's own among the methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from cli_support import assert_refused, run, stored, write_image
from MetalArtifactReductionLib.batch.case import Case
from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import write_volume
from MetalArtifactReductionLib.methods.image_prior.network import ImagePrior
from MetalArtifactReductionLib.methods.registry import (
    create_method,
    entry_of,
    methods,
    recipe_of,
    task_names,
    trainable,
)
from MetalArtifactReductionLib.training.config import read_config
from MetalArtifactReductionLib.weights import OWN, WeightsFacts, save_weights
from training_support import small_ct

Capture = pytest.CaptureFixture[str]

CONFIG = """
task = "sinogram-unet"

[training]
steps = 2
batch_size = 1
checkpoint_every = 1

[options]
volumes = ["training"]
validation = ["held-out"]
validation_blocks = 1
metal = "packed"
metal_options = {packed = ["training", "held-out"]}
start = "li"
features = [4, 4, 8, 8, 8, 4]
crop = [64, 48]
slices = 1
window = 1
"""


def test_from_a_folder_of_cts_to_a_method(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cts, own = tmp_path / "cts", tmp_path / "own"
    cts.mkdir(), own.mkdir()
    monkeypatch.setenv(OWN, str(own))
    for name, slices in (("a", 10), ("b", 10), ("few", 4)):
        write_volume(small_ct(slices), cts / f"{name}.nii.gz")
    config = tmp_path / "small.toml"
    config.write_text(CONFIG, encoding="utf-8")
    command = ("train", config, "--cts", cts, "--metal", "simple", "--accelerator", "cpu")
    output = ("--output", own / "mine.safetensors")

    stopped = run(capfd, *command, *output, "--minutes", 1e-9)
    assert stopped.code == 0 and stopped.out.startswith("0 steps")
    assert "a: 10 slices, 6 placements, training" in stopped.err
    assert "few: no; left out: 4 slices: only 4 clean slices in a row; 10 are" in stopped.err
    assert_refused(run(capfd, *command, *output, "--quiet"), "exists already", "--resume")
    done = run(capfd, *command, *output, "--quiet", "--resume")
    assert done.code == 0 and done.out.startswith("2 steps"), done.err
    folder = own / "mine-training"
    one, two = load_file(own / "mine.safetensors"), load_file(folder / "weights.safetensors")
    assert all(np.array_equal(one[name], two[name]) for name in one)
    card = (own / "mine.md").read_text(encoding="utf-8")
    assert "not trained on (b)" in card and "2 of 2 steps" in card and "rmse body hu" in card

    volume = small_ct(3)
    volume.hu[1:2, 28:34, 20:26] = 3000
    source = write_image(tmp_path / "ct.nii.gz", volume.hu, np.diag([6.0, 6.0, 3.0, 1.0]))
    target = tmp_path / "out.nii.gz"
    corrected = run(capfd, "correct", source, target, "--always", "--method", "mine", "--quiet")
    assert corrected.code == 0, corrected
    assert np.any(stored(target)[1] != stored(source)[1])


def test_own_weights_are_methods_of_their_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OWN, str(tmp_path))
    shipped = list(methods())
    network = ImagePrior(9, [4, 4, 4, 4], [1, 1, 1, 1])
    arguments = {"in_channels": 9, "features": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]}
    facts = WeightsFacts("image-prior", arguments, {"inpainter": "image-prior"})
    for name in ("mine", "nmar"):
        save_weights(tmp_path / f"{name}.safetensors", network, facts)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    names = ["mine", "mine-strict", "own-nmar", "own-nmar-strict"]
    assert [name for name in methods() if name not in shipped] == names
    assert list(methods())[: len(shipped)] == shipped
    assert entry_of("mine").tells_error and not entry_of("mine-strict").tells_error
    assert create_method("mine-strict").parameters["weights"] == "mine.safetensors"
    assert entry_of("nmar").weights == ""
    # A batch does a case again when the file has changed, whatever the method is called.
    case = Case("a", tmp_path, options=CorrectionOptions("mine"))
    before = case.settings()["method"]
    save_weights(tmp_path / "mine.safetensors", network, facts, half=True, overwrite=True)
    assert case.settings()["method"] != before
    (tmp_path / "mine.safetensors").unlink()
    with pytest.raises(InputError, match=f"unknown method 'mine'.*{tmp_path.name}"):
        entry_of("mine")


def test_every_network_has_a_recipe() -> None:
    assert {read_config(recipe_of(name), task_names()).task for name in trainable()} == set(
        task_names()
    )
    assert recipe_of("prior-strict") == recipe_of("prior") != recipe_of("metal-refiner")
    with pytest.raises(InputError, match=r"'li' is neither .*prior.*configuration"):
        recipe_of("li")


def test_refusals(tmp_path: Path, capfd: Capture) -> None:
    output = ("--output", tmp_path / "w.safetensors", "--quiet")
    assert_refused(run(capfd, "train", "prior", *output), "what to train on?", "--cts FOLDER")
    nowhere = ("--cts", tmp_path / "nowhere")
    assert_refused(run(capfd, "train", "unet", *nowhere, *output), "nowhere: no such folder")
    (tmp_path / "empty").mkdir()
    empty = run(capfd, "train", "unet", "--cts", tmp_path / "empty", *output)
    assert_refused(empty, "no volumes in", "empty")
