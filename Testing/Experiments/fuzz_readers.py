"""Give every reader of this software damaged files, and print what became of them.

    python Testing/Experiments/fuzz_readers.py --count 2000 --seed 1
    python Testing/Experiments/fuzz_readers.py --formats nifti.gz mha --count 200

Each file is one valid small file with one to four changes: bits, bytes, cuts, repeated pieces, and
numbers and words that readers stumble over. What a container compresses is changed inside it too.
Files are read in a child process that may take ``--seconds`` a file, and twice the memory of what
it reads, and ``--memory`` MB more: one that claims a gigabyte and holds none is refused before that
is allocated. The table's last column is the most MB that any file of a format took. A file that is
read must either give the values of the valid file or, where no checksum covers them, other ones
("changed"). The exit code is 1 where any reader ended in another way than a result or one line.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fuzz_formats import FORMATS, VTK, imported

OUTCOMES = ("same", "changed", "refused", "silent", "traceback", "hang", "crash", "memory")
BAD = OUTCOMES[3:]
_WORDS = (
    *(b"%n%n%n", b"1e30", b"NaN", b"-1", b"2147483648", b"0", b"99999999999999999999", b"\0\0\0\0"),
    *(
        b"Infinity",
        b"[]",
        b"{}",
        b'"',
        b"../../x",
        b"\xff\xfe",
        b"%s%s",
        b"1000000000",
        b"[" * 3000,
    ),
)
_OF_VTK = ("vtkIOLegacy", "vtkIOXML", "vtkFiltersCore", "util.numpy_support")
_LIBRARIES = {
    "dicom": ("SimpleITK",),
    "dicom-seg": ("SimpleITK", "highdicom.seg"),
    **dict.fromkeys(VTK, tuple(f"vtkmodules.{name}" for name in _OF_VTK)),
}
_RENEWED = 250  # files; the classes of 3D Slicer keep 4 MB of each scene for ever
_HARD_LIMIT = 1 << 32  # address space, so that a fault cannot take the machine with it
_CHECKED = ("nifti.gz", "zip", "mrb")
"""Formats with a checksum of all values: damage from outside never changes them ("silent")."""


def mutated(content: bytes, random_: random.Random) -> bytes:
    """One to four changes, most of them in the first half kilobyte: the header."""
    data = bytearray(content)
    for _ in range(random_.choice((1, 1, 2, 4))):
        size = max(1, len(data))
        at = random_.randrange(min(size, 512) if random_.random() < 0.6 else size)
        what = random_.randrange(7)
        if what == 0 and data:
            data[at] ^= 1 << random_.randrange(8)
        elif what == 1:
            data[at : at + 4] = random_.randbytes(4)
        elif what == 2:
            data = data[:at]
        elif what == 3:
            data[at:at] = data[at : at + random_.randrange(1, 64)]
        elif what == 4:
            word = random_.choice(_WORDS)
            data[at : at + len(word)] = word
        elif what == 5:
            _replace_number(data, random_)
        else:
            del data[at : at + random_.randrange(1, 32)]
    return bytes(data)


def _replace_number(data: bytearray, random_: random.Random) -> None:
    """One number of a text by a word that readers stumble over."""
    digits = [i for i, byte in enumerate(data[:4096]) if 48 <= byte < 58]
    if digits:
        start = end = random_.choice(digits)
        while end < len(data) and 48 <= data[end] < 58:
            end += 1
        data[start:end] = random_.choice(_WORDS)


def variants(kind: str, content: bytes, random_: random.Random) -> tuple[bytes, bool]:
    """A damaged file, and whether it was damaged inside and packed again, as half of some are."""
    if kind == "nifti.gz" and random_.random() < 0.5:
        return gzip.compress(mutated(gzip.decompress(content), random_)), True
    if kind == "mha.z" and random_.random() < 0.3:
        head, _, packed = content.partition(b"LOCAL\n")
        return head + b"LOCAL\n" + zlib.compress(mutated(zlib.decompress(packed), random_)), True
    return mutated(content, random_), False


def _child(connection: Connection, kind: str, folder: Path, memory_mb: int) -> None:
    """Read one named file after the other, and say what became of each."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    errors = imported("MetalArtifactReductionLib.errors:MARError")
    read = FORMATS[kind][1]
    for library in _LIBRARIES.get(kind, ()):
        import_module(library)  # what it takes is not of the file
    valid = next(one for one in (folder / "valid").iterdir() if one.is_file())
    if kind == "dicom-seg":
        import_module("highdicom.seg").segread(valid).get_volume()  # loads more at its first call
    try:
        expected = read(valid)
    except errors as error:
        connection.send(("unknown", str(error), 0.0))
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _HARD_LIMIT,) * 2)
    connection.send(("ready", "", 0.0))
    while (name := connection.recv()) is not None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, needed = _resident_mb("VmRSS"), 0
        try:
            value = read(Path(name))
            outcome = "same" if np.array_equal(value, expected) else "changed"
            told, needed = "", np.asarray(value).nbytes
        except errors as error:
            outcome, told = "refused", str(error)
            if "\n" in told or len(told) > 2000:
                outcome = "traceback"
        except MemoryError:
            outcome, told = "memory", "MemoryError"
        except BaseException as error:
            outcome, told = "traceback", f"{type(error).__name__}: {error}"
        value = None
        grown_mb = _resident_mb("VmHWM") - before
        if grown_mb > memory_mb + 2 * needed / 2**20:
            outcome, told = "memory", f"{grown_mb:.0f} MB; {told}"
        connection.send((outcome, told, grown_mb))


def _resident_mb(field: str) -> float:
    """Memory of this process now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


class Reader:
    """A child process that reads files; started anew when it has gone."""

    def __init__(self, kind: str, folder: Path, memory_mb: int) -> None:
        self.arguments = kind, folder, memory_mb
        self.process: Any = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.here, there = context.Pipe()
        self.process = context.Process(target=_child, args=(there, *self.arguments), daemon=True)
        self.process.start()
        there.close()
        if not self.here.poll(120):
            raise RuntimeError(f"the reader of {self.arguments[0]} does not start")
        outcome, told, _ = self.here.recv()
        if outcome != "ready":
            raise ValueError(f"{self.arguments[0]} is no format that is read: {told}")

    def read(self, path: Path, seconds: float) -> tuple[str, str, float]:
        """What became of a file, in one line, and the MB that it took."""
        if self.process is None:
            self.start()
        try:
            self.here.send(str(path))
            if self.here.poll(seconds):
                answer: tuple[str, str, float] = self.here.recv()
                return answer
            self.stop()
            return "hang", f"{seconds:g} s", 0.0
        except (EOFError, OSError):
            self.process.join(10)
            code = self.process.exitcode
            self.process = None
            name = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
            return "crash", name, 0.0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def fuzzed(
    kind: str,
    count: int,
    seed: int,
    *,
    seconds: float = 10.0,
    memory_mb: int = 32,
    tell: Callable[[str], None] | None = None,
    keep: Path | None = None,
) -> tuple[Counter[str], float]:
    """How many damaged files of a format ended how, and the most MB that one of them took.

    :param tell: gets a line for each that ended badly. :param keep: a folder that gets the file.
    """
    make = FORMATS[kind][0]
    with tempfile.TemporaryDirectory(prefix="mar-fuzz-") as name:
        folder = Path(name)
        (folder / "valid").mkdir()
        (folder / "made").mkdir()
        (folder / "now").mkdir()
        valid = make(folder / "made", kind)
        for one in (folder / "made").iterdir():
            if one.name == valid.name or kind == "mhd":
                (folder / "valid" / one.name).write_bytes(one.read_bytes())
                (folder / "now" / one.name).write_bytes(one.read_bytes())
        if kind == "dicom":
            (folder / "valid" / valid.name).write_bytes(valid.read_bytes())
        if kind == "dicom-seg":
            (folder / "made" / "dicom").rename(folder / "dicom")
        if kind == "mhd":
            (folder / "valid" / "v.raw").rename(folder / "v.raw.kept")
            (folder / "valid" / "v.raw").symlink_to(folder / "v.raw.kept")
        content = valid.read_bytes()
        reader = Reader(kind, folder, memory_mb)
        random_ = random.Random(f"{seed} {kind}")
        found: Counter[str] = Counter()
        most_mb = 0.0
        for number in range(count):
            path = folder / "now" / valid.name
            damaged, inside = variants(kind, content, random_)
            path.write_bytes(damaged)
            if number % _RENEWED == _RENEWED - 1:
                reader.stop()
            outcome, told, grown_mb = reader.read(path, seconds)
            most_mb = max(most_mb, grown_mb)
            if outcome == "changed" and kind in _CHECKED and not inside:
                outcome = "silent"
            found[outcome] += 1
            if tell is not None and outcome in BAD:
                tell(f"{kind} {number}: {outcome}: {told[:200]}")
            if keep is not None and outcome in BAD:
                (keep / f"{kind}-{number}-{valid.name}").write_bytes(path.read_bytes())
        reader.stop()
    return found, most_mb


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="files of each format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="for one file")
    parser.add_argument("--memory", type=int, default=32, metavar="MB")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="gets what ended badly")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(exist_ok=True)
    print(f"{'format':<14}" + "".join(f"{name:>10}" for name in (*OUTCOMES, "most MB")), flush=True)
    total: Counter[str] = Counter()
    for kind in options.formats:
        lines: list[str] = []
        try:
            found, most_mb = fuzzed(
                kind,
                options.count,
                options.seed,
                seconds=options.seconds,
                memory_mb=options.memory,
                tell=lines.append,
                keep=options.keep,
            )
        except ValueError as error:
            print(f"{kind:<14}{error}", flush=True)
            continue
        total += found
        counts = "".join(f"{found[name]:>10}" for name in OUTCOMES)
        print(f"{kind:<14}{counts}{most_mb:>10.1f}", flush=True)
        for line in lines[:5]:
            print(f"  {line}", flush=True)
    print(f"{'all':<14}" + "".join(f"{total[name]:>10}" for name in OUTCOMES))
    return int(any(total[name] for name in BAD))


if __name__ == "__main__":
    sys.exit(main())
