"""CPU seconds until help and import are there; run by hand, best of some runs.

python Testing/Benchmarks/benchmark_startup.py [--runs 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

WANTED_S = 0.3
"""For the help; a user who waits longer looks whether something is wrong."""

COMMANDS = {
    "mar --help": ["-m", "MetalArtifactReductionLib.cli", "--help"],
    "mar correct --help": ["-m", "MetalArtifactReductionLib.cli", "correct", "--help"],
    "import MetalArtifactReductionLib": ["-c", "import MetalArtifactReductionLib"],
}


def cpu_s(command: list[str]) -> float:
    """User and system seconds of a process; not on Windows."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a line a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    for name, command in COMMANDS.items():
        began = time.perf_counter()
        seconds = min(cpu_s(command) for _ in range(runs))
        wall = (time.perf_counter() - began) / runs
        verdict = "" if seconds < WANTED_S else f", more than {WANTED_S} s"
        print(f"{name}: {seconds:.2f} s CPU, {wall:.2f} s on the clock{verdict}")


if __name__ == "__main__":
    main()
