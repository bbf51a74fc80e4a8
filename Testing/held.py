"""``mar`` whose work stands still, in a process that others are forked from."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from support import HANG_S


def run_held(when: str, arguments: Sequence[str], told: Connection, errors: Path) -> None:
    """``mar ARGUMENTS``; it or its processes say ``held`` and wait until they are told to stop.

    ``when`` is the folder of a batch or dataset, and each process of its work is held once a first
    case is finished there; or a number, and the command itself is held when it has looked so often
    whether it was cancelled.
    """
    from MetalArtifactReductionLib import cli, progress
    from MetalArtifactReductionLib.jobs import isolated

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a forkserver is deaf to Ctrl-C
    with told, errors.open("wb") as file:
        for number, name, to in ((1, "stdout", told), (2, "stderr", file)):
            os.dup2(to.fileno(), number)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    check, checks, command = progress.check_cancelled, count(), os.getpid()

    def held(cancel: progress.Cancel | None) -> None:
        if when.isdigit():
            if next(checks) == int(when):
                print("held", flush=True)
                threading.Event().wait()
        elif cancel and os.getpid() != command and any(Path(when).glob("*/case.json")):
            print("held", flush=True)
            while not cancel():
                time.sleep(0.01)
        check(cancel)

    for module in list(sys.modules.values()):
        if vars(module).get("check_cancelled") is check:
            module.check_cancelled = held  # type: ignore[attr-defined]
    fork = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda _method: fork  # type: ignore[assignment, return-value]
    isolated._GRACE_S = HANG_S  # its processes stop by themselves, however slow the machine is
    sys.exit(cli.main(list(arguments)))
