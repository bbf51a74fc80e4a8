"""Devices, processes and random numbers of a training, by Lightning Fabric."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_hook

from ..errors import DeviceError, InputError
from .parameters import TrainerParameters


def launched(parameters: TrainerParameters) -> Any:
    """A started Fabric.

    :raises DeviceError: this machine has no such devices.
    :raises InputError: Fabric is not installed.
    """
    try:
        from lightning_fabric import Fabric
    except ModuleNotFoundError as error:
        raise InputError(
            f"training needs the package {error.name}: run `pip install lightning-fabric`"
        ) from None

    try:
        fabric = Fabric(
            accelerator=parameters.accelerator,
            devices=parameters.devices,
            num_nodes=parameters.nodes,
            strategy=parameters.strategy,
            precision=parameters.precision,  # type: ignore[arg-type]
        )
    except Exception as error:  # Fabric has its own kinds of errors for what is not there
        reason = " ".join(str(error).split())
        raise DeviceError(
            f"cannot train with {parameters.devices} x {parameters.accelerator!r}, strategy "
            f"{parameters.strategy!r}: {reason}"
        ) from error
    fabric.launch()
    return fabric


@contextmanager
def own_randomness() -> Iterator[None]:
    """Leave the caller's random numbers as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=list(devices)):
        yield


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> 1)


def with_device(parameters: TrainerParameters, device: str | None) -> TrainerParameters:
    """The parameters with the accelerator that a torch device's name means.

    :raises InputError: unknown name.
    """
    if device is None:
        return parameters
    kind = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}.get(device)
    if kind is None:
        raise InputError(f"device {device!r} is unknown; use auto, cpu, cuda or mps")
    return replace(parameters, accelerator=kind)


@contextmanager
def heard_between_layers() -> Iterator[None]:
    """Python takes a step between layers backwards, too, and hears Ctrl-C there."""

    def listen(_module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.requires_grad:
            output.register_hook(lambda _gradient: None)

    handle = register_module_forward_hook(listen)
    try:
        yield
    finally:
        handle.remove()


def undoing(
    networks: Mapping[str, torch.nn.Module], optimizers: Mapping[str, Any]
) -> Callable[[], None]:
    """A function that brings back what a step changes before it is whole.

    Of one network these are its buffers; several are trained one after the other.

    :param optimizers: of the same names, set up by Fabric.
    """
    several = len(networks) > 1
    before = {
        name: copy.deepcopy(network.state_dict() if several else dict(network.named_buffers()))
        for name, network in networks.items()
    }
    states = {
        name: copy.deepcopy(optimizer.optimizer.state_dict())
        for name, optimizer in optimizers.items()
        if several
    }

    def undo() -> None:
        for name, state in before.items():
            networks[name].load_state_dict(state, strict=False)
        for name, state in states.items():
            optimizers[name].optimizer.load_state_dict(state)

    return undo
