"""Learned methods in the correction: whatever the batch, where they look, what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cli_support import ct_hu, metal_truth
from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.methods import Method, create_method
from MetalArtifactReductionLib.methods.registry import methods, require_method
from MetalArtifactReductionLib.volume import CTVolume
from MetalArtifactReductionLib.weights import SHIPPED, WeightsFacts, save_weights
from training_support import small_sampler, small_task

CLOSE_HU = 0.5


def weights_of(path: Path, start: str, *, spread: float) -> Path:
    """A network whose output is far from 0 and depends on all that it sees."""
    torch.manual_seed(3)
    task = small_task(start)
    network = task.networks()["generator"]
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=spread / parameter[0].numel() ** 0.5)
    save_weights(path, network, task.facts())
    return path


def volume() -> CTVolume:
    return CTVolume(ct_hu(dtype="float32"), np.diag([1.9, 2.0, 3.0, 1.0]))


@pytest.mark.parametrize("start", ["none", "li", "nmar"])
def test_the_batch_does_not_change_the_result(tmp_path: Path, start: str) -> None:
    path = weights_of(tmp_path / "w.safetensors", start, spread=1.4)
    metal = metal_truth().astype(np.float32)
    metal[2, 40:44, 48:52] = 1.0  # slices differ in how much of the sinogram is seen
    results = [
        correct_volume(volume(), metal, str(path), batch_slices=n, always=True).corrected.hu
        for n in (1, 3, 8)
    ]
    for other in results[1:]:
        assert np.abs(other - results[0]).max() < CLOSE_HU
    plain = correct_volume(volume(), metal, "nmar", always=True).corrected.hu
    assert np.abs(plain - results[0])[1:5].max() > 5  # the network does something
    assert np.array_equal(results[0][[0, 5]], volume().hu[[0, 5]])


def test_an_untrained_network_is_the_method_that_it_starts_from(tmp_path: Path) -> None:
    task = small_task("nmar")
    save_weights(tmp_path / "w.safetensors", task.networks()["generator"], task.facts())
    metal = metal_truth().astype(np.float32)
    found = correct_volume(volume(), metal, str(tmp_path / "w.safetensors"), always=True)
    assert (
        np.abs(
            found.corrected.hu - correct_volume(volume(), metal, "nmar", always=True).corrected.hu
        ).max()
        < 0.1
    )
    assert found.method == "unet"
    record = found.parameters["method_parameters"]
    assert isinstance(record, dict)
    assert record["weights"] == "w.safetensors" and len(str(record["weights_sha256"])) == 64
    assert record["start"] == "nmar"


def test_only_the_trace_changes_and_neighbours_are_seen(tmp_path: Path) -> None:
    path = weights_of(tmp_path / "w.safetensors", "none", spread=1.4)
    inpainter = create_method(str(path))
    metal = metal_truth().astype(np.float32)
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    class Spy(Method):
        name = "spy"

        def __call__(self, sinogram, trace, context):  # type: ignore[no-untyped-def]
            seen.append((sinogram, trace, inpainter(sinogram, trace, context)))
            return seen[-1][2]

    one = volume()
    correct_volume(one, metal, Spy(), always=True)
    sinogram, trace, filled = seen[0]
    assert trace.any() and torch.equal(filled[~trace], sinogram[~trace])
    one.hu[0, 20:70, 30:60] += 200  # a slice without metal, beside the first with metal
    correct_volume(one, metal, Spy(), always=True)
    changed = (seen[1][2] - filled).abs().flatten(1).amax(dim=1)
    assert changed[0] > 1e-3 and not changed[1:].any()


def test_foreign_or_missing_weights_are_refused_before_the_work(tmp_path: Path) -> None:
    network = small_task("li").networks()["generator"]
    arguments = small_task("li").arguments
    path = tmp_path / "w.safetensors"
    for method, words in (
        ({"inpainter": "magic"}, "'magic'.*sinogram-unet"),
        ({}, "'nothing'"),
        ({"inpainter": "sinogram-unet", "start": "dream"}, "unknown input 'dream'"),
    ):
        save_weights(path, network, WeightsFacts("masked-unet", arguments, method), overwrite=True)
        with pytest.raises(InputError, match=words):
            correct_volume(volume(), metal_truth(), str(path), always=True)
    path.write_bytes(b"\x01" * 99)
    for call in (require_method, create_method):
        with pytest.raises(InputError, match="corrupted"):
            call(str(path))
        with pytest.raises(InputError, match="no such file"):
            call(str(tmp_path / "none.safetensors"))
        with pytest.raises(InputError, match="unknown method 'unnet'"):
            call("unnet")
    save_weights(path, network, small_task("li").facts(), overwrite=True)
    require_method(str(path))
    with pytest.raises(InputError, match="colour"):
        create_method(str(path), colour=1)


def test_every_learned_method_says_in_a_line_what_it_is() -> None:
    for name, entry in methods().items():
        assert entry.summary and "\n" not in entry.summary
        if entry.weights and not (SHIPPED / f"{entry.weights}.safetensors").exists():
            with pytest.raises(InputError, match=f"no weights named '{entry.weights}'"):
                require_method(name)


@pytest.mark.parametrize("name", [n for n, e in methods().items() if e.weights])
def test_shipped_methods_reduce_the_error(name: str) -> None:
    """On a phantom far from what they were trained on: streaks drawn by the physics of the disc."""
    weights = methods()[name].weights
    if not (SHIPPED / f"{weights}.safetensors").exists():
        pytest.skip(f"no weights of {weights} are shipped")
    block = small_sampler(seed=2).block(0, torch.device("cpu"))
    ct = CTVolume(block.corrupted_hu.numpy(), np.diag([6.0, 6.0, 3.0, 1.0]))
    metal = block.metal.numpy()
    outside = metal < 0.02
    found = correct_volume(ct, metal, name, always=True).corrected.hu
    errors = [
        np.sqrt(np.mean((x - block.reference_hu.numpy())[outside] ** 2)) for x in (found, ct.hu)
    ]
    assert errors[0] < errors[1]
