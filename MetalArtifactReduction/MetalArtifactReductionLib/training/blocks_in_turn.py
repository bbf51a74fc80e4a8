"""Which simulated blocks are in use together, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Block = TypeVar("Block")


class BlocksInTurn(Generic[Block]):
    """Makes the block that a sample is taken from, and keeps those of the sample's turn.

    A turn uses ``window`` blocks alternately and ends after ``uses`` samples of each: samples of
    a batch come from different blocks, and only so many are kept.

    :param window: blocks of a turn.
    :param uses: samples that are taken from each.
    """

    def __init__(self, window: int, uses: int) -> None:
        self._window, self._uses = window, uses
        self._kept: dict[int, Block] = {}

    def block(self, index: int, make: Callable[[int], Block]) -> Block:
        """The block of sample ``index``.

        :param make: block by number; asked once a block while samples are asked for in order.
        """
        first = index // (self._window * self._uses) * self._window
        number = first + index % self._window
        if number not in self._kept:
            kept = {n: block for n, block in self._kept.items() if n >= first}
            self._kept = kept | {number: make(number)}
        return self._kept[number]
