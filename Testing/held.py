"""``mar`` whose work stands still: ``python held.py WHEN COMMAND``.

WHEN is the folder of a batch or dataset, and each process of its work is held once a first case is
finished there; or a number, and the command itself is held when it has looked so often whether it
was cancelled. Each says ``held`` on the standard output and waits until it is told to stop. (The
processes import this file too, as those started by ``spawn`` import the main one.)
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from itertools import count
from pathlib import Path

from MetalArtifactReductionLib import progress
from MetalArtifactReductionLib.progress import Cancel, check_cancelled

WHEN, CHECKS = sys.argv[1], count()
WORKER = __name__ != "__main__"


def held(cancel: Cancel | None) -> None:
    if WHEN.isdigit():
        if next(CHECKS) == int(WHEN):
            print("held", flush=True)
            threading.Event().wait()
    elif cancel is not None and WORKER and any(Path(WHEN).glob("*/case.json")):
        print("held", flush=True)
        while not cancel():
            time.sleep(0.01)
    check_cancelled(cancel)


progress.check_cancelled = held  # before anything else imports it

if __name__ == "__main__":
    from MetalArtifactReductionLib.cli import main
    from MetalArtifactReductionLib.jobs import isolated
    from support import HANG_S, fork_instead_of_spawn

    multiprocessing.get_context = fork_instead_of_spawn(["SimpleITK", "scipy.ndimage", "torch"])
    isolated._GRACE_S = HANG_S  # its processes stop by themselves, however slow the machine is
    sys.exit(main(sys.argv[2:]))
