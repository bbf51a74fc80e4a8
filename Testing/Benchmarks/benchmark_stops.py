"""How long commands take to end when they are stopped, and what they leave.

python Testing/Benchmarks/benchmark_stops.py [--moments 20] [--seed 1] [--commands correct train]

Every command is started again and again and gets a signal at a random moment of its run: Ctrl-C as
a terminal sends it, to all its processes, or SIGKILL to the first of them. "worst" is the longest
time from there until none of its processes is left; "left" is what there is of hidden files, empty
folders and halves, beside the outputs and among temporary files: after Ctrl-C at once, after
SIGKILL once the same command has been given again. Its outputs must then be those of a run that
nobody stopped. "first word" is when a command said something. Not on Windows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

WANTED_S = 2.0
CONFIG = """task = "sinogram-unet"
[training]
steps = 6
batch_size = 4
[options]
volumes = ["clean.nrrd"]
metal = "simple"
start = "li"
slices = 2
"""
KEPT = (".nrrd", "weights.safetensors")
"""Names of outputs that are the same whenever they are made end so."""

_TEXTS = {
    "correct": "correct ct.nrrd out/c.nrrd --metal out/m.nrrd --always --device cpu",
    "batch": "correct cases out/batch --workers 2 --always --device cpu",
    "dataset": "dataset clean.nrrd out/set --cases 6 --workers 2 --model missing-trace",
    "simulate": "simulate clean.nrrd out/case --rods --model missing-trace --device cpu",
    "train": "train train.toml --data . --output out/run --accelerator cpu",
    "train-patient": "train-patient ct.nrrd out/run --masks 80 --steps 15 --device cpu",
    "patient": "correct ct.nrrd out/c.nrrd --method patient --always --device cpu",
}
COMMANDS = {name: tuple(text.split()) for name, text in _TEXTS.items()}


def make_inputs(folder: Path) -> None:
    """A thigh with and without a nail in a few of its slices, many of them, and a training."""
    import SimpleITK as sitk

    row, col = np.mgrid[:128, :128] - 63.5
    hu = np.where(np.hypot(row, col) < 50, 40, -1000) + np.zeros((30, 1, 1))
    hu[:, np.hypot(row, col - 10) < 10] = 1200
    hu += np.random.default_rng(1).normal(0, 15, hu.shape)
    for name, nail in (("clean", False), ("ct", True)):
        hu[12:18, np.hypot(row, col - 10) < 5] = 7000 if nail else 1200
        image = sitk.GetImageFromArray(hu.astype(np.int16))
        image.SetSpacing((2.0, 2.0, 3.0))
        sitk.WriteImage(image, str(folder / f"{name}.nrrd"), True)
    (folder / "cases").mkdir()
    for number in range(3):
        shutil.copy(folder / "ct.nrrd", folder / "cases" / f"ct{number}.nrrd")
    (folder / "train.toml").write_text(CONFIG)


class Run:
    """One run of a command, in a session of its own, with its own place for temporary files."""

    def __init__(self, folder: Path, arguments: tuple[str, ...]) -> None:
        self.began = time.monotonic()
        checkpoint = folder / "out" / "run" / "checkpoint.safetensors"
        more = ["--resume"] if checkpoint.exists() else []
        force = ["--force"] if arguments[0] == "correct" else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "MetalArtifactReductionLib.cli", *arguments, *more, *force],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder / "tmp")},
            stdout=subprocess.DEVNULL,
            stderr=(folder / "told").open("wb"),
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        self.told = folder / "told"

    def left(self) -> Iterator[int]:
        """Its processes that run."""
        for place in Path("/proc").iterdir():
            if place.name.isdecimal():
                try:
                    fields = (place / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    yield int(place.name)

    def end(self, number: signal.Signals | None = None) -> float:
        """Wait until all its processes have ended, after a signal if any; the seconds."""
        began = time.monotonic()
        if number == signal.SIGINT:
            with contextlib.suppress(ProcessLookupError):  # it was done before
                os.killpg(self.process.pid, number)
        elif number is not None:
            self.process.send_signal(number)
        while self.process.poll() is None or any(self.left()):
            time.sleep(0.02)
        return time.monotonic() - began

    def first_word(self) -> float:
        """Seconds until it says something."""
        while self.process.poll() is None and not self.told.stat().st_size:
            time.sleep(0.02)
        return time.monotonic() - self.began


def outputs(folder: Path) -> dict[str, bytes]:
    """What lies below ``out`` and must be the same after every run."""
    found = (folder / "out").rglob("*")
    return {
        str(one.relative_to(folder)): one.read_bytes()
        for one in sorted(found)
        if one.is_file() and one.name.endswith(KEPT)
    }


def litter(folder: Path) -> list[str]:
    """Hidden files and empty folders below ``out``, and what is ours among temporary files."""
    found = [
        one
        for one in (folder / "out").rglob("*")
        if one.name.startswith(".") or (one.is_dir() and not any(one.iterdir()))
    ]
    return [one.name for one in (*found, *(folder / "tmp").glob("*mar-*"))]


def fresh(folder: Path) -> None:
    for name in ("out", "tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()


def measured(folder: Path, name: str, number: signal.Signals, moments: list[float]) -> str:
    """One line of the table.

    :param moments: shares of the run's time.
    """
    arguments = COMMANDS[name]
    fresh(folder)
    run = Run(folder, arguments)
    first = run.first_word()
    run.end()
    total, wanted = time.monotonic() - run.began, outputs(folder)
    assert run.process.returncode == 0 and wanted, run.told.read_text()
    worst, wrong = 0.0, []
    for share in moments:
        fresh(folder)
        run = Run(folder, arguments)
        time.sleep(share * total)
        done = run.process.poll() is not None
        worst = max(worst, run.end(number))
        where = f"at {share * total:.1f} s"
        if number == signal.SIGKILL:
            again = Run(folder, arguments)
            again.end()
            if again.process.returncode or outputs(folder) != wanted:
                wrong.append(f"{where}: other outputs, exit code {again.process.returncode}")
        elif not done and run.process.returncode not in (0, 130, -signal.SIGINT):
            wrong.append(f"{where}: exit code {run.process.returncode}")
        said = run.told.read_text(errors="replace")
        if "Traceback" in said:
            wrong.append(f"{where}: {said.strip().splitlines()[-1][:80]}")
        halves = set(outputs(folder).items()) - set(wanted.items())
        trained = {one for one in halves if one[0].endswith("weights.safetensors")}
        wrong += [f"{where}: {one}" for one in (*litter(folder), *dict(halves - trained))]
    return (
        f"{name:<14} {number.name:<8} {total:>8.1f} {first:>11.1f} {len(moments):>8} {worst:>7.2f}"
        f"  {'; '.join(wrong) or 'nothing'}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--signals", nargs="+", default=["SIGINT", "SIGKILL"])
    options = parser.parse_args()
    print(
        f"{'command':<14} {'signal':<8} {'whole, s':>8} {'first word':>11} {'moments':>8}", end=""
    )
    print(f" {'worst':>7}  left", flush=True)
    with tempfile.TemporaryDirectory() as name:
        make_inputs(Path(name))
        for command in options.commands:
            for number in options.signals:
                random_ = random.Random(f"{options.seed} {command} {number}")
                moments = [random_.uniform(0.0, 1.0) for _ in range(options.moments)]
                print(measured(Path(name), command, signal.Signals[number], moments), flush=True)


if __name__ == "__main__":
    main()
