"""The state of a training in one file: tensors as safetensors, the rest as JSON in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files.inputs import check_readable
from ..files.whole import written_whole

KEY = "metal-artifact-reduction-training"
FORMAT = 1


@dataclass(frozen=True)
class TrainingState:
    """What has to be known to go on as if nothing had happened.

    Random numbers are not among it: those of step ``n`` follow from the seed and ``n`` alone.

    :param tensors: name -> tensor of every network, optimizer and average.
    :param record: everything else, plain JSON values.
    """

    tensors: Mapping[str, torch.Tensor]
    record: Mapping[str, Any]


def write_checkpoint(path: Path, state: TrainingState) -> None:
    """Replace the checkpoint; the new one appears whole or the old one stays.

    :raises OutputError: no permission, disk full.
    """
    from safetensors.torch import save

    # Plain layout, and no two of them in the same memory.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.tensors.items()
    }
    text = json.dumps({"format": FORMAT, **state.record})
    with written_whole(path, overwrite=True) as temporary:
        temporary.write_bytes(save(tensors, metadata={KEY: text}))


def read_checkpoint(path: Path) -> TrainingState:
    """The state that :func:`write_checkpoint` wrote.

    :raises InputError: no such file, corrupted, or of something else.
    """
    from safetensors import SafetensorError, safe_open

    if os.path.lexists(path):
        check_readable(path)
    else:
        raise InputError(
            f"{path}: there is no checkpoint to resume; start without resume (--resume)"
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is corrupted ({error}); start again in a new folder") from None
    if text is None:
        raise InputError(f"{path}: is no checkpoint of a training")
    record = json.loads(text)
    if record.pop("format", 0) > FORMAT:
        raise InputError(f"{path}: written by a later version; update this software")
    return TrainingState(tensors, record)


def optimizer_state(
    name: str, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors and plain values."""
    state = optimizer.state_dict()
    tensors, values = {}, {}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{name}/{index}/{key}"] = value
            else:
                values[f"{index}/{key}"] = value
    return tensors, {"groups": state["param_groups"], "values": values}


def restore_optimizer(name: str, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Give the optimizer what :func:`optimizer_state` took from it."""
    record = state.record["optimizers"][name]
    entries: dict[int, dict[str, Any]] = {}
    prefix = f"optimizer/{name}/"
    for key, tensor in state.tensors.items():
        if key.startswith(prefix):
            index, entry = key.removeprefix(prefix).split("/", 1)
            entries.setdefault(int(index), {})[entry] = tensor
    for key, value in record["values"].items():
        index, entry = key.split("/", 1)
        entries.setdefault(int(index), {})[entry] = value
    # JSON made lists of tuples such as Adam's betas.
    groups = [
        {k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in group.items()}
        for group in record["groups"]
    ]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def network_state(name: str, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A network's parameters and buffers by name."""
    return {f"network/{name}/{key}": value for key, value in network.state_dict().items()}


def restore_network(name: str, network: torch.nn.Module, state: TrainingState) -> None:
    """Give the network what :func:`network_state` took from it.

    :raises InputError: the checkpoint is of another network.
    """
    prefix = f"network/{name}/"
    own = {
        key.removeprefix(prefix): tensor
        for key, tensor in state.tensors.items()
        if key.startswith(prefix)
    }
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:160]
        raise InputError(f"the checkpoint is of another network {name!r}: {first}") from None


def average_state(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The averaged parameters by name."""
    return {f"average/{key}": value for key, value in tensors.items()}


def restore_average(tensors: dict[str, torch.Tensor], state: TrainingState) -> None:
    """Give the average what :func:`average_state` took from it."""
    for key, tensor in tensors.items():
        stored = state.tensors.get(f"average/{key}")
        if stored is None:
            raise InputError("the checkpoint has no average (EMA); resume with the same settings")
        tensor.copy_(stored)
