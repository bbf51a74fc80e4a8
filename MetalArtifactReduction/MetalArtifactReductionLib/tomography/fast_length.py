"""Lengths at which Fourier transforms are fast."""

from __future__ import annotations

import math


def fast_length(at_least: float) -> int:
    """Smallest even length >= ``at_least`` with no prime factor but 2, 3 and 5."""
    length = 2 * math.ceil(at_least / 2)
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2
