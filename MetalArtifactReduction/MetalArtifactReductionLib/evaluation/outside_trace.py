"""How much a method changed that it was not asked to fill, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

KEY = "outside_trace"
"""Of a correction's parameters: what a method did to rays that do not meet metal."""


NOTHING = "nothing"
_FEW_RAYS = 1e-4
"""Share of the rays below which nobody needs to know that they were held at the limit."""


def outside_trace_text(parameters: Mapping[str, object]) -> str:
    """The change of rays that miss the metal, as one phrase.

    :param parameters: of a :class:`..correction.result.CorrectionResult`. Under :data:`KEY`:
        ``rms_line_integral`` (no unit), ``rms_line_integral_share``, the same relative to the root
        mean square of those rays' line integrals, and ``bounded_share_of_rays``, how many of them
        would have been changed by more than the method allows; each may be missing.
    :returns: :data:`NOTHING` if all changes are 0; "" if nothing is known.
    """
    found = parameters.get(KEY)
    if not isinstance(found, Mapping):
        return ""
    amount = _number(found.get("rms_line_integral"))
    share = _number(found.get("rms_line_integral_share"))
    bounded = _number(found.get("bounded_share_of_rays"))
    if amount == 0.0 or (amount is None and share == 0.0):
        return NOTHING
    words = []
    if amount is not None:
        words.append(f"{amount:.2g} in line integrals (RMS)")
    if share is not None:
        words.append(f"{100 * share:.2g} % of their values")
    if bounded is not None and bounded >= _FEW_RAYS:
        words.append(f"held at the limit in {100 * bounded:.2g} % of these rays")
    return ", ".join(words)


def changed_outside(parameters: Mapping[str, object]) -> str:
    """As :func:`outside_trace_text`, but "" also where nothing was changed: for short messages."""
    text = outside_trace_text(parameters)
    return "" if text == NOTHING else text


def _number(value: object) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None  # type: ignore[arg-type]
