"""What the trainer trains: the seam between a method and :func:`.trainer.train`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..errors import MARError
from ..weights import WeightsFacts

if TYPE_CHECKING:
    import torch

Batch: TypeAlias = "dict[str, torch.Tensor]"
"""Named tensors whose first axis counts the samples."""


class TrainingError(MARError, RuntimeError):
    """Training cannot go on; ``str(error)`` is one line.

    :param network: with the last good weights, in evaluation mode on the CPU; None if there are
        none.
    """

    def __init__(self, message: str, network: torch.nn.Module | None = None) -> None:
        super().__init__(message)
        self.network = network


@dataclass(frozen=True)
class Validation:
    """What a network does on images that it is not trained on.

    :param figures: name -> value, for the curves.
    :param images: title -> slice in HU ``(rows, cols)``, all of one shape; for a picture.
    :param pixel_mm: ``(row, col)`` of these slices.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    pixel_mm: tuple[float, float] = (1.0, 1.0)


class Task(ABC):
    """One method's networks, samples and losses.

    Several networks are trained in turns at every step, in the order of :meth:`networks`; that is
    all that an adversarial training needs.
    """

    name: str
    """Short, for messages."""

    trained: str = "generator"
    """The network that is averaged (EMA), validated and written as weights."""

    best: str = "loss"
    """The validation figure whose lowest value marks the best weights."""

    half_weights: bool = False
    """Write the weights as 16-bit numbers, see :func:`..weights.save_weights`."""

    @abstractmethod
    def networks(self) -> dict[str, torch.nn.Module]:
        """The networks, made with their initial weights; asked once.

        Parameters with ``requires_grad`` off stay frozen.
        """

    @abstractmethod
    def optimizer(
        self, name: str, parameters: Iterable[torch.nn.Parameter]
    ) -> torch.optim.Optimizer:
        """The optimizer of one network; the trainer multiplies its learning rates by a schedule."""

    @abstractmethod
    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """The samples of these numbers, made on the device.

        Sample ``k`` depends on the task's seed and on ``k`` alone.
        """

    @abstractmethod
    def loss(
        self, part: str, networks: Mapping[str, torch.nn.Module], batch: Batch
    ) -> tuple[torch.Tensor, Mapping[str, float | torch.Tensor]]:
        """The loss of the network called ``part``, a mean over the samples, and figures to log.

        :param networks: all of them; only ``part`` gets gradients.
        :param batch: of :meth:`batch`; what an earlier part leaves in it, a later one may use.
        """

    def validate(self, network: torch.nn.Module, device: torch.device) -> Validation:
        """Figures and pictures of the trained network (averaged, evaluation mode, no gradients)."""
        return Validation()

    @abstractmethod
    def facts(self) -> WeightsFacts:
        """What the weights' file shall say."""

    def settings(self) -> Mapping[str, Any]:
        """Plain JSON values that a resumed training must share with the interrupted one."""
        return {}
