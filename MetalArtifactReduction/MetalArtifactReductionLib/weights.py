"""Weights on disk: safetensors that say which network they belong to and how to use them.

The metadata of the file hold one JSON text: the architecture's name, the arguments that build it,
and facts of the method (which inpainter runs it, its normalisation, the training in short). Nothing
in the file is executed: whoever loads it says which architecture is expected, and its class.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .files.inputs import check_readable, is_file
from .files.schema import check_values, json_of
from .files.whole import written_whole

if TYPE_CHECKING:
    import torch

SHIPPED = Path(__file__).resolve().parent / "weights"
"""Inside the library, so that a wheel, an editable install and Slicer all have it."""

OWN = "MAR_WEIGHTS"
"""Environment variable that names another folder than :func:`own_folder`'s."""

SUFFIX = ".safetensors"
KEY = "metal-artifact-reduction"
FORMAT = 1
LARGEST_HEADER = 50_000_000


@dataclass(frozen=True)
class WeightsFacts:
    """What a file of weights says of itself; plain JSON values.

    :param architecture: name of the network.
    :param arguments: of its class.
    :param method: how to use it: ``"inpainter"`` names the kind of method that it makes, the rest
        is that method's.
    """

    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    method: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Text for the metadata.

        :raises TypeError: a value that JSON does not know.
        """
        return json.dumps(
            {
                "format": FORMAT,
                "architecture": self.architecture,
                "arguments": dict(self.arguments),
                "method": dict(self.method),
            },
            sort_keys=True,
        )


@dataclass(frozen=True)
class _Record:
    """The description as it stands in the file."""

    format: int
    architecture: str
    arguments: dict[str, Any]
    method: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Weights:
    """A network with its weights loaded.

    :param network: in evaluation mode, without gradients.
    :param facts: what the file says.
    :param path: the file.
    :param sha256: of the file, hexadecimal.
    """

    network: torch.nn.Module
    facts: WeightsFacts
    path: Path
    sha256: str = ""

    @property
    def identity(self) -> dict[str, object]:
        """Which weights these are, for the record of what was done with them."""
        return {"weights": self.path.name, "weights_sha256": self.sha256}

    def on(self, device: torch.device) -> torch.nn.Module:
        """The network, moved where the batch is (once)."""
        parameter = next(self.network.parameters())
        return self.network if parameter.device == device else self.network.to(device)


def build_network(
    architecture: str, network: Callable[..., torch.nn.Module], arguments: Mapping[str, Any]
) -> torch.nn.Module:
    """A network with fresh parameters.

    :raises InputError: arguments that it does not take.
    """
    try:
        return network(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the network {architecture!r} cannot be built with {dict(arguments)}: {error}"
        ) from error


def save_weights(
    path: str | PathLike[str],
    network: torch.nn.Module,
    facts: WeightsFacts,
    *,
    half: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the network's parameters and buffers; the file appears whole or not at all.

    :param half: as 16-bit floating-point numbers: half the size. They are computed with in 32 bits.
    :raises OutputError: exists already, no permission, disk full.
    """
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    if half:
        tensors = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    with written_whole(path, overwrite=overwrite) as temporary:
        # save_file would leave a file that only its owner can read.
        temporary.write_bytes(save(tensors, metadata={KEY: facts.to_json()}))


def own_folder() -> Path:
    """Where a user's own weights lie, there or not: ``MetalArtifactReduction/weights`` at home."""
    named = os.environ.get(OWN)
    return Path(named) if named else Path.home() / "MetalArtifactReduction" / "weights"


def own_weights() -> dict[str, Path]:
    """Files in :func:`own_folder` by their names without the ending."""
    try:
        found = sorted(own_folder().glob(f"*{SUFFIX}"))
    except (OSError, RuntimeError):  # no permission, no home
        return {}
    return {path.name.removesuffix(SUFFIX): path for path in found if is_file(path)}


def weights_path(name_or_path: str | PathLike[str]) -> Path:
    """The file of shipped weights of that name, or the path itself if it ends in .safetensors.

    :raises InputError: no such file.
    """
    text = str(name_or_path)
    path = Path(text) if text.endswith(SUFFIX) else SHIPPED / f"{text}{SUFFIX}"
    if is_file(path):
        return path
    if text.endswith(SUFFIX):
        check_readable(path)  # says what is there instead
        raise InputError(f"{text}: no such file of weights; check the name")
    shipped = sorted(file.stem for file in SHIPPED.glob(f"*{SUFFIX}"))
    raise InputError(
        f"no weights named {text!r} are installed; there are: {', '.join(shipped) or 'none'}; "
        "install Metal Artifact Reduction again"
    )


def read_facts(path: str | PathLike[str]) -> WeightsFacts:
    """What a file of weights says of itself, without loading a tensor.

    :raises InputError: missing, corrupted, or not written by this software.
    """
    path = weights_path(path)
    try:
        header = _header(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is corrupted or not a file of weights ({error})") from None
    metadata = header.get("__metadata__")
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise InputError(
            f"{path}: does not say which network it belongs to; give weights that 'mar train' wrote"
        )
    try:
        record = json_of(text)
    except ValueError as error:
        raise InputError(f"{path}: its description cannot be read ({error!r})") from None
    check_values(_Record, record, f"{path}: its description cannot be read")
    if record["format"] > FORMAT:
        raise InputError(f"{path}: written by a later version; update this software")
    return WeightsFacts(record["architecture"], record["arguments"], record["method"])


def load_weights(
    name_or_path: str | PathLike[str],
    architecture: str,
    network: Callable[..., torch.nn.Module],
) -> Weights:
    """Build the network that the file names and load its weights, on the CPU.

    Shipped weights are loaded once: whoever asks again gets the same network, not to be changed.

    :param name_or_path: a name of shipped weights, or a ``.safetensors`` file.
    :param architecture: refuse files of any other.
    :param network: its class, called with the arguments that the file holds.
    :raises InputError: missing, corrupted, of another architecture, or not fitting the network
        that it names.
    """
    path = weights_path(name_or_path)
    load = _loaded_once if path.parent == SHIPPED else _loaded
    return load(path, architecture, network)


def _loaded(path: Path, architecture: str, network: Callable[..., torch.nn.Module]) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    facts = read_facts(path)
    if facts.architecture != architecture:
        raise InputError(
            f"{path}: holds weights of a {facts.architecture!r}, but a {architecture!r} is needed"
        )
    built = build_network(architecture, network, facts.arguments)
    try:
        tensors = load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is corrupted ({error}); get the file again") from None
    wanted = built.state_dict()
    wrong = sorted(
        (set(wanted) ^ set(tensors))
        | {name for name in set(wanted) & set(tensors) if wanted[name].shape != tensors[name].shape}
    )
    if wrong:
        raise InputError(
            f"{path}: does not fit the network that it names ({len(wrong)} tensors, first "
            f"{wrong[0]!r}); get the file again"
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"{path}: tensor {name!r} is not finite; get the file again")
    built.load_state_dict(tensors)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(built.eval().requires_grad_(False), facts, path, digest)


_loaded_once = cache(_loaded)


def initial_network(
    architecture: str,
    network: Callable[..., torch.nn.Module],
    arguments: Mapping[str, Any],
    pretrained: str | PathLike[str] | None,
) -> torch.nn.Module:
    """A network to train: with fresh parameters, or those of weights.

    :param pretrained: name of shipped weights, or a file; None for fresh ones.
    :raises InputError: as :func:`load_weights`, or weights of a network of other arguments.
    """
    built = build_network(architecture, network, arguments)
    if pretrained is None:
        return built
    weights = load_weights(pretrained, architecture, network)
    if dict(weights.facts.arguments) != dict(arguments):
        raise InputError(
            f"{weights.path}: its network was built with {dict(weights.facts.arguments)}, "
            f"the configuration says {dict(arguments)}"
        )
    built.load_state_dict(weights.network.state_dict())
    return built


def _header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: 8 bytes of length, then the text."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LARGEST_HEADER, path.stat().st_size - 8):
            raise ValueError("its header is cut off")
        header = json_of(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is no description of tensors")
    return header
