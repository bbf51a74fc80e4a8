"""What test processes make: importable without torch, so that they start quickly."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


def square_maker(first: float) -> Callable[[int], Arrays]:
    """Blocks that tell their number and who made them."""
    return lambda number: {
        "square": np.array([first, number**2], np.float16),
        "process": np.array(os.getpid()),
    }


def failing_maker(at: int) -> Callable[[int], Arrays]:
    """Fails with the block of that number."""

    def make(number: int) -> Arrays:
        if number == at:
            raise OverflowError(f"no block {number}")
        return {"number": np.array(number)}

    return make


def vanishing_maker() -> Callable[[int], Arrays]:
    """Ends its process without a word, as the system does when memory is short."""

    def make(number: int) -> Arrays:
        os._exit(9)

    return make
