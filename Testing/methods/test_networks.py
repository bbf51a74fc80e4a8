"""The sinogram networks, and their weights on disk: what they promise and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from MetalArtifactReductionLib.errors import InputError, OutputError
from MetalArtifactReductionLib.methods.registry import entries
from MetalArtifactReductionLib.methods.sinogram_unet.discriminator import ConditionalDiscriminator
from MetalArtifactReductionLib.methods.sinogram_unet.network import MaskedUNet, wrapped_views
from MetalArtifactReductionLib.tomography import (
    ImageGrid,
    ParallelProjector,
    parallel_geometry_for,
)
from MetalArtifactReductionLib.weights import (
    KEY,
    SHIPPED,
    WeightsFacts,
    load_weights,
    read_facts,
    save_weights,
)

TINY = (4, 4, 8, 8, 8, 4)


def inputs(n: int = 2, channels: int = 3, views: int = 50, bins: int = 37) -> list[torch.Tensor]:
    """Channels, start, measured, trace; with values that a wrong selection cannot reproduce."""
    generator = torch.Generator().manual_seed(4)
    drawn = [torch.randn(n, channels, views, bins, generator=generator)]
    drawn += [torch.randn(n, views, bins, generator=generator) for _ in range(2)]
    return [*drawn, torch.rand(n, views, bins, generator=generator) < 0.3]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_outside_the_trace_the_measured_sinogram_passes_bit_by_bit(
    residual: bool, dtype: torch.dtype | None
) -> None:
    torch.manual_seed(0)
    network = MaskedUNet(3, TINY, residual=residual)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    channels, start, measured, trace = inputs()
    measured[0, 0, :3] = torch.tensor([-0.0, float("nan"), 1e-42])
    trace[0, 0, :3] = False
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        filled = network(channels, start, measured, trace)
    assert filled.dtype == torch.float32 and filled.shape == measured.shape
    bits = [x.detach().numpy().view(np.uint32)[~trace.numpy()] for x in (filled, measured)]
    assert np.array_equal(*bits)
    assert (filled != measured)[trace].float().mean() > 0.99


def test_masked_unet_is_the_formula() -> None:
    """G = m U(x) + (1 - m) x, the U-Net's output being what an all-true trace shows."""
    torch.manual_seed(0)
    network = MaskedUNet(3, TINY, output_scale=2.0)
    channels, start, measured, trace = inputs()
    whole = network(channels, start, measured, torch.ones_like(trace))
    mask = trace.float()
    expected = mask * whole + (1 - mask) * measured
    assert torch.allclose(network(channels, start, measured, trace), expected, atol=1e-6)
    assert torch.allclose(whole, 2.0 * network.unet(channels)[:, 0], atol=1e-5)


def test_untrained_residual_network_returns_its_start() -> None:
    channels, start, measured, trace = inputs(channels=6)
    filled = MaskedUNet(6, TINY, residual=True)(channels, start, measured, trace)
    assert torch.equal(filled[trace], start[trace])


def test_frozen_layers_are_those_named() -> None:
    network = MaskedUNet(3, TINY)
    network.freeze(("conv_0", "down"))
    frozen = {n.split(".")[1] for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"conv_0", "down_1", "down_2", "down_3", "down_4"}
    with pytest.raises(ValueError, match=r"bottleneck.*conv_0"):
        network.freeze(("bottleneck",))


@pytest.mark.parametrize("arguments", [(0, TINY), (3, (4, 4, 4)), (3, (4, 4, 8, 8, 8, 0))])
def test_unet_that_cannot_be_built(arguments: tuple[int, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=str(arguments[0])):
        MaskedUNet(*arguments)


def test_the_networks_are_those_of_monai() -> None:
    """The same parameters from the same seed under the same names, and the same output."""
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed")
    leaky, norm = ("LeakyReLU", {"negative_slope": 0.1}), ("INSTANCE", {"affine": True})
    images = torch.randn(2, 3, 53, 90)
    torch.manual_seed(1)
    theirs = nets.BasicUNet(2, 3, 1, TINY, leaky, None, upsample="nontrainable")
    judge = nets.PatchDiscriminator(2, 4, 3, norm=norm)
    torch.manual_seed(1)
    ours, own_judge = MaskedUNet(3, TINY).unet, ConditionalDiscriminator(2, features=4).layers
    for mine, other in ((ours, theirs), (own_judge, judge)):
        assert list(mine.state_dict()) == list(other.state_dict())
        for value, expected in zip(mine.parameters(), other.parameters(), strict=True):
            assert torch.equal(value, expected)
    torch.testing.assert_close(ours(images), theirs(images))
    torch.testing.assert_close(own_judge(images), judge(images)[-1])


def test_discriminator_is_conditional_and_looks_at_patches() -> None:
    torch.manual_seed(0)
    network = ConditionalDiscriminator(3, features=4)
    channels, candidate, other, _ = inputs(views=256, bins=256)
    scores = network(channels, candidate)
    assert scores.shape[:2] == (2, 1) and min(scores.shape[2:]) > 20
    assert not torch.allclose(scores, network(channels.flip(1), candidate), atol=1e-3)
    assert not torch.allclose(scores, network(channels, other), atol=1e-3)
    channels.requires_grad_(True)
    network.layers.eval()
    # Instance normalisation mixes all patches weakly; without it a score sees 70 x 70.
    for module in network.modules():
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x  # type: ignore[method-assign]
    network(channels, candidate)[0, 0, 14, 14].backward()
    assert channels.grad is not None
    seen = torch.nonzero(channels.grad[0].abs().sum(dim=0))
    assert (seen.amax(dim=0) - seen.amin(dim=0) + 1).tolist() == [70, 70]


def test_views_beyond_half_a_turn_are_those_of_the_object() -> None:
    """A projector over a whole turn measures what wrapping the half turn says."""
    grid = ImageGrid(40, 40, (1.0, 1.0))
    geometry = parallel_geometry_for(grid)
    image = torch.zeros(1, 40, 40)
    image[0, 8:20, 25:31] = 0.02
    half = ParallelProjector(grid, geometry)(image)
    rotated = ParallelProjector(grid, geometry)(image.flip(-1, -2))  # by 180 degrees
    views = half.shape[1]
    wrapped = wrapped_views(half, 5, 7)
    assert wrapped.shape == (1, views + 12, half.shape[2])
    assert torch.equal(wrapped[:, 5:-7], half)
    assert torch.allclose(wrapped[:, -7:], rotated[:, :7], atol=1e-4)
    assert torch.allclose(wrapped[:, :5], rotated[:, -5:], atol=1e-4)
    with pytest.raises(ValueError, match=f"{views + 1}"):
        wrapped_views(half, views + 1, 0)


FACTS = WeightsFacts(
    "masked-unet",
    {"in_channels": 3, "features": list(TINY)},
    {"inpainter": "sinogram-unet", "start": "none"},
)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(2)
    network = MaskedUNet(3, TINY)
    path = tmp_path / "w.safetensors"
    save_weights(path, network, FACTS)
    return path, network


def test_weights_come_back_bit_by_bit(saved: tuple[Path, torch.nn.Module]) -> None:
    path, network = saved
    loaded = load_weights(path, "masked-unet", MaskedUNet)
    assert loaded.facts == FACTS and not loaded.network.training
    assert not any(p.requires_grad for p in loaded.network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode, "not what other files get"
    with pytest.raises(OutputError, match="not overwritten"):
        save_weights(path, network, FACTS)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _scribble(path: Path) -> None:
    path.write_bytes(b"\xff" * 500)


def _foreign(path: Path) -> None:
    save_file(load_file(path), path)


def _other_shape(path: Path) -> None:
    tensors = load_file(path)
    first = sorted(tensors)[0]
    tensors[first] = torch.zeros(3)
    save_file(tensors, path, metadata={KEY: FACTS.to_json()})


def _not_a_number(path: Path) -> None:
    tensors = load_file(path)
    tensors[sorted(tensors)[0]][0] = float("nan")
    save_file(tensors, path, metadata={KEY: FACTS.to_json()})


def _described(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = json.dumps(json.loads(FACTS.to_json()) | changes)
        save_file(load_file(path), path, metadata={KEY: text})

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, "corrupted"),
        (_scribble, "corrupted"),
        (_foreign, "does not say which network"),
        (_other_shape, "does not fit the network"),
        (_not_a_number, "not finite"),
        (_described(architecture="mystery-net"), "mystery-net.*masked-unet"),
        (_described(arguments={"depth": 3}), "depth"),
        (_described(format=99), "later version"),
        (_described(architecture=None), "architecture is None"),
        (Path.unlink, "no such file"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_in_one_line(
    saved: tuple[Path, torch.nn.Module], damage: Callable[[Path], None], words: str
) -> None:
    path, _ = saved
    damage(path)
    with pytest.raises(InputError, match=words) as caught:
        load_weights(path, "masked-unet", MaskedUNet)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(saved: tuple[Path, torch.nn.Module]) -> None:
    with pytest.raises(InputError, match=r"'masked-unet', but a 'trace-cnn' is needed"):
        load_weights(saved[0], "trace-cnn", MaskedUNet)
    with pytest.raises(InputError, match="no weights named 'nothing-like-it'"):
        load_weights("nothing-like-it", "masked-unet", MaskedUNet)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.safetensors")), ids=lambda p: p.stem)
def test_shipped_weights_load_and_have_a_card(path: Path) -> None:
    found = read_facts(path).architecture
    (network,) = {e.network: e for e in entries().values() if e.architecture == found}.values()
    weights = load_weights(path.stem, found, network.load("network"))
    assert next(weights.network.parameters()).isfinite().all()
    assert path.stat().st_size < 16e6
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    for word in ("CC BY", "mar ", "seed", "Limits"):
        assert word in card, word
