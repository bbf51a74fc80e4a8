"""``mar`` whose work stands still once a first case is finished: ``python held.py OUT COMMAND``.

The processes of the work import this file too, as processes started by ``spawn`` import the main
one. Each says ``held`` on the standard output and then waits until it is told to stop.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

from MetalArtifactReductionLib import progress
from MetalArtifactReductionLib.progress import Cancel, check_cancelled


def held(cancel: Cancel | None) -> None:
    if cancel is not None and multiprocessing.parent_process() is not None:
        if any(Path(sys.argv[1]).glob("*/case.json")):
            print("held", flush=True)
            while not cancel():
                time.sleep(0.01)
        check_cancelled(cancel)


progress.check_cancelled = held  # before anything else imports it

if __name__ == "__main__":
    from MetalArtifactReductionLib.cli import main

    sys.exit(main(sys.argv[2:]))
