"""Learning rate and weight averaging as functions of the step."""

from __future__ import annotations

import math

import torch

SCHEDULES = ("constant", "cosine")

LOWEST_SHARE = 0.02
"""Of the learning rate, at the end of the cosine."""


def learning_rate_factor(schedule: str, step: int, steps: int, warmup_steps: int) -> float:
    """What the optimizer's own learning rate is multiplied by at a step.

    :param schedule: one of :data:`SCHEDULES`; ``"cosine"`` falls from 1 to
        :data:`LOWEST_SHARE` (Loshchilov, Hutter: SGDR. ICLR 2017, without restarts).
    :param step: 0 for the first.
    :param warmup_steps: rises linearly over so many.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return LOWEST_SHARE + (1.0 - LOWEST_SHARE) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


class MovingAverage:
    """Exponential moving average of a network's parameters.

    Early on the average is shorter, ``min(decay, (1 + n) / (10 + n))`` after ``n`` steps, so that
    the random start is soon forgotten. Buffers (of batch normalisation) are those of the last step.

    :param network: its parameters are followed.
    :param decay: share of the average that a step keeps, 0..1.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: p.detach().clone() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: torch.nn.Module, step: int) -> None:
        """Take in the network's parameters after step ``step`` (0 for the first)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in network.named_parameters():
            self.tensors[name].lerp_(parameter.detach(), 1.0 - decay)

    @torch.no_grad()
    def write_to(self, network: torch.nn.Module) -> None:
        """Give a network the averaged parameters."""
        for name, parameter in network.named_parameters():
            parameter.copy_(self.tensors[name])
