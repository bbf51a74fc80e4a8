"""How long work tells where it is and is asked to stop."""

from __future__ import annotations

from collections.abc import Callable

from .errors import Cancelled

Progress = Callable[[float, str], None]
"""Called with the fraction done (0..1) and a short sentence."""

Cancel = Callable[[], bool]
"""Returns True once the user asked to stop; polled between batches."""


def report(progress: Progress | None, fraction: float, message: str = "") -> None:
    """Call ``progress`` if there is one."""
    if progress is not None:
        progress(min(max(fraction, 0.0), 1.0), message)


def part(progress: Progress | None, start: float, end: float) -> Progress | None:
    """A progress of its own for work that takes ``start`` to ``end`` of the whole."""
    if progress is None:
        return None

    def told(fraction: float, message: str) -> None:
        report(progress, start + (end - start) * fraction, message)

    return told


def check_cancelled(cancel: Cancel | None) -> None:
    """Raise :class:`Cancelled` once ``cancel`` says so."""
    if cancel is not None and cancel():
        raise Cancelled("cancelled on request; nothing was written")


def out_of_memory(error: BaseException) -> bool:
    """Whether work ended for want of memory: torch says it in words of its own for each device."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
