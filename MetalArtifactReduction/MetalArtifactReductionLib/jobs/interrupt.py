"""Ctrl-C ends a command at once, also within a library that does not listen."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STOPPED = 130
"""Exit code of what was stopped by the user."""

GRACE_S = 1.0
"""For the orderly end: Python hears of Ctrl-C only between two of its own steps, and a network's
layer, a compression or the start of a library can be a long one."""


@contextmanager
def ended_by_ctrl_c() -> Iterator[None]:
    """Within the block Ctrl-C is a ``KeyboardInterrupt``, and after a grace the end of the process.

    Nothing half written is left behind either way. What must not be divided sets another handler
    meanwhile, and is waited for: :func:`..files.whole.moved_at_once`, :func:`ended_in_order`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # somebody else listens
        yield
        return
    here, there = socket.socketpair()
    here.setblocking(False)
    before = signal.set_wakeup_fd(here.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_after_grace, args=(there,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        here.close()


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Within the block Ctrl-C is a ``KeyboardInterrupt`` and no more: processes are to be ended."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _end_after_grace(wakes: socket.socket) -> None:
    """End the process a little after a number of SIGINT came, unless the other side closes."""
    with wakes:
        while number := wakes.recv(1):
            if number[0] == signal.SIGINT and not _held_off():
                break
        else:
            return
        until = time.monotonic() + GRACE_S
        while (left := until - time.monotonic()) > 0:
            wakes.settimeout(min(left, 0.1))
            with contextlib.suppress(TimeoutError):
                if not wakes.recv(1):
                    return
            if _held_off():
                until = max(until, time.monotonic() + 0.3)
    from ..files.leftovers import clear_own

    with contextlib.suppress(OSError):
        clear_own()
        os.write(sys.stderr.fileno(), b"\nmar: stopped; nothing unfinished was written\n")
    os._exit(STOPPED)


def _held_off() -> bool:
    return signal.getsignal(signal.SIGINT) is not signal.default_int_handler
