"""What the sections of the panel share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """What can be done now.

    :param free: there is a parameter node, and nothing runs. :param ready: and a usable CT.
    :param bone: and bone. :param implants: how many there are. :param chosen: how many of them.
    """

    free: bool
    ready: bool
    bone: bool
    implants: int
    chosen: int
