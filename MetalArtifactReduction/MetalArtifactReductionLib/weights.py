"""Weights on disk: safetensors that say which network they belong to and how to use them.

The metadata of the file hold one JSON text: the architecture's name, the arguments that build it,
and facts of the method (which inpainter runs it, its normalisation, the training in short). Nothing
in the file is executed; a network is built by name from :data:`ARCHITECTURES` only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .files.whole import written_whole

if TYPE_CHECKING:
    import torch

ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {
        "image-prior": ".methods.image_prior.network:ImagePrior",
        "masked-unet": ".methods.sinogram_unet.network:MaskedUNet",
        "metal-refiner": ".methods.metal_refiner.network:MetalRefiner",
        "patch-discriminator": ".methods.sinogram_unet.discriminator:ConditionalDiscriminator",
        "trace-cnn": ".methods.trace_cnn.network:TraceCNN",
    }
)
"""Name -> ``"module:class"`` in this package; the class is built with the stored arguments."""

SHIPPED = Path(__file__).resolve().parent / "weights"
"""Inside the library, so that a wheel, an editable install and Slicer all have it."""

SUFFIX = ".safetensors"
KEY = "metal-artifact-reduction"
FORMAT = 1
LARGEST_HEADER = 50_000_000


@dataclass(frozen=True)
class WeightsFacts:
    """What a file of weights says of itself; plain JSON values.

    :param architecture: a name of :data:`ARCHITECTURES`.
    :param arguments: of the network's class.
    :param method: how to use it: ``"inpainter"`` names the entry of ``inpainting.learned``, the
        rest is that method's.
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


def build_network(architecture: str, arguments: Mapping[str, Any]) -> torch.nn.Module:
    """A network by name, with fresh parameters.

    :raises InputError: unknown architecture, or arguments that it does not take.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(
            f"unknown network architecture {architecture!r}; this version knows "
            f"{', '.join(ARCHITECTURES)}"
        )
    module, name = ARCHITECTURES[architecture].split(":")
    try:
        network: torch.nn.Module = getattr(import_module(module, __package__), name)(**arguments)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the network {architecture!r} needs the package {error.name!r}; install it"
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the network {architecture!r} cannot be built with {dict(arguments)}: {error}"
        ) from error
    return network


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


def weights_path(name_or_path: str | PathLike[str]) -> Path:
    """The file of shipped weights of that name, or the path itself if it ends in .safetensors.

    :raises InputError: no such file.
    """
    text = str(name_or_path)
    path = Path(text) if text.endswith(SUFFIX) else SHIPPED / f"{text}{SUFFIX}"
    if path.is_file():
        return path
    if text.endswith(SUFFIX):
        raise InputError(f"{text}: no such file of weights; check the name")
    shipped = sorted(file.stem for file in SHIPPED.glob(f"*{SUFFIX}"))
    raise InputError(
        f"no weights named {text!r} are installed; there are: {', '.join(shipped) or 'none'}"
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
    text = header.get("__metadata__", {}).get(KEY)
    if text is None:
        raise InputError(
            f"{path}: does not say which network it belongs to; give weights that 'mar train' wrote"
        )
    try:
        record = json.loads(text)
        version = int(record["format"])
        facts = WeightsFacts(record["architecture"], record["arguments"], record["method"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its description cannot be read ({error!r})") from None
    if version > FORMAT:
        raise InputError(f"{path}: written by a later version; update this software")
    return facts


def load_weights(
    name_or_path: str | PathLike[str],
    *,
    architecture: str | None = None,
    device: str | torch.device = "cpu",
) -> Weights:
    """Build the network that the file names and load its weights.

    :param name_or_path: a name of shipped weights, or a ``.safetensors`` file.
    :param architecture: refuse files of any other.
    :raises InputError: missing, corrupted, of another architecture, or not fitting the network
        that it names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = weights_path(name_or_path)
    facts = read_facts(path)
    if architecture is not None and facts.architecture != architecture:
        raise InputError(
            f"{path}: holds weights of a {facts.architecture!r}, but a {architecture!r} is needed"
        )
    network = build_network(facts.architecture, facts.arguments)
    try:
        tensors = load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is corrupted ({error}); get the file again") from None
    wanted = network.state_dict()
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
    network.load_state_dict(tensors)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(network.to(device).eval().requires_grad_(False), facts, path, digest)


def initial_network(
    architecture: str, arguments: Mapping[str, Any], pretrained: str | PathLike[str] | None
) -> torch.nn.Module:
    """A network to train: with fresh parameters, or those of weights.

    :param pretrained: name of shipped weights, or a file; None for fresh ones.
    :raises InputError: as :func:`load_weights`, or weights of a network of other arguments.
    """
    network = build_network(architecture, arguments)
    if pretrained is None:
        return network
    weights = load_weights(pretrained, architecture=architecture)
    if dict(weights.facts.arguments) != dict(arguments):
        raise InputError(
            f"{weights.path}: its network was built with {dict(weights.facts.arguments)}, "
            f"the configuration says {dict(arguments)}"
        )
    network.load_state_dict(weights.network.state_dict())
    return network


def _header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: 8 bytes of length, then the text."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LARGEST_HEADER, path.stat().st_size - 8):
            raise ValueError("its header is cut off")
        header = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is no description of tensors")
    return header
