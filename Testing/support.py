"""What several test files share."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import pickle
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from MetalArtifactReductionLib.volume import CTVolume

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

HANG_S = 600.0
"""After so long something is taken to hang; no test expects anything to be quicker."""

LOADED_BEFORE = (
    *("SimpleITK", "trimesh", "MetalArtifactReductionLib.correction.correct"),
    *("MetalArtifactReductionLib.files.nifti", "MetalArtifactReductionLib.files.dicom"),
    *("MetalArtifactReductionLib.training.block_workers", "SimulateImplantsLib.dataset.run"),
)
"""What takes long in the processes that tests start."""

Made = TypeVar("Made")


def once(make: Callable[..., Made]) -> Callable[..., Made]:
    """As :func:`functools.cache`, for all processes of a run; no test changes what is made."""

    @cache
    @wraps(make)
    def made(*arguments: Any) -> Made:
        call = repr((make.__module__, make.__qualname__, arguments))
        return _kept(call.encode(), partial(make, *arguments))

    return made


def asked_once(ask: Callable[..., Made]) -> Callable[..., Made]:
    """The same answer for the same arguments in all processes of a run, each time a copy."""

    @wraps(ask)
    def asked(*arguments: Any, **named: Any) -> Made:
        question = pickle.dumps((ask.__module__, ask.__qualname__, arguments, named))
        return _kept(question, partial(ask, *arguments, **named))

    return asked


def _kept(question: bytes, make: Callable[[], Made]) -> Made:
    path = Path(os.environ["MADE_ONCE"], hashlib.sha256(question).hexdigest())
    if not path.exists():
        own = path.with_suffix(f".{os.getpid()}")
        own.write_bytes(pickle.dumps(make()))
        own.replace(path)
    result: Made = pickle.loads(path.read_bytes())
    return result


def opinion_asked_once(ask: Callable[..., Any]) -> Callable[..., Any]:
    """``SecondOpinion()``, the same for the same batch; not of the correcting method."""
    from MetalArtifactReductionLib.methods.image_prior import inpainter

    known: dict[bytes, Any] = {}

    def asked(self: Any, sinogram: Any, trace: Any, context: Any) -> Any:
        prior = self._prior
        if prior._last is not None and prior._last[0] is context:
            return ask(self, sinogram, trace, context)
        projector = context.projector
        half = inpainter.fast_bfloat16(context.device)
        how = prior.weights_path, projector.grid, projector.geometry, half
        key = hashlib.blake2b(repr(how).encode())
        neighbours = [context.neighbour_mu(offset) for offset in (-1, 0, 1)]
        for tensor in (sinogram, trace, context.metal_fraction, *neighbours):
            key.update(repr(tensor.shape).encode() + tensor.cpu().numpy().tobytes())
        found = known.pop(key.digest(), None)
        if found is None:
            found = ask(self, sinogram, trace, context)
        known[key.digest()] = found
        if len(known) > 64:
            known.pop(next(iter(known)))
        return found.clone()

    return asked


def fork_instead_of_spawn(loaded: Sequence[str] = LOADED_BEFORE) -> Any:
    """In place of ``multiprocessing.get_context``, where the system can.

    Processes are forked from one that has loaded what takes long; else they are as spawned ones.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(loaded))
    return lambda _method: context


class ForkedJob:
    """A job's process as :func:`subprocess.Popen` tells of it, forked like those above."""

    stdin = None

    def __init__(self, arguments: Sequence[str], *, folder: Path, **_: object) -> None:
        context = fork_instead_of_spawn()("spawn")
        self._process = context.Process(target=_work_in, args=(folder, arguments[1]))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    returncode = property(poll)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        return int(self._process.exitcode)

    def kill(self) -> None:
        self._process.kill()


def _work_in(folder: Path, worker: str) -> None:
    """``python -m WORKER FOLDER``, in the process that is there already."""
    from MetalArtifactReductionLib.jobs.task import EVENTS, LOG

    if hasattr(os, "setsid"):
        os.setsid()
    os.chdir(folder)
    os.dup2(os.pipe()[0], 0)  # on which nothing is said
    for name, number in ((EVENTS, 1), (LOG, 2)):
        with (folder / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.exit(import_module(worker).main([str(folder)]))


def until(happened: Callable[[], object]) -> None:
    """Look until it has happened."""
    end = time.monotonic() + HANG_S
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def running(pid: int) -> bool:
    """Alive, and not only waiting for somebody to ask how it ended."""
    from MetalArtifactReductionLib.files.leftovers import process_alive

    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return sys.platform != "linux" and process_alive(pid)


def shared_data(name: str) -> Path:
    """Path of a real CT beside the checkout; skips the test where it is absent."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"real CT {name} is not beside the checkout")
    return path


def packed_ct(name: str) -> CTVolume:
    """A CT of ``packed`` beside the checkout, RAS axes; skips the test where it is absent."""
    pytest.importorskip("jpeg_ls", exc_type=ImportError)
    path = shared_data(f"packed/{name}.npz")
    reader = runpy.run_path(str(path.parent / "read_ct_pack.py"))["read_ct_pack"]
    hu, spacing_zyx, origin, direction = reader(path)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(direction, (3, 3)) * spacing_zyx[::-1]
    matrix[:3, 3] = origin
    return CTVolume(hu, np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix)


@contextmanager
def peak_memory_mb() -> Iterator[Callable[[], float]]:
    """Within the block: by how many MB this process has grown at most since its beginning.

    What was freed before is given back first: what is taken of it again would not show.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("only Linux tells the peak of a part of a process's life")
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)

    def resident_mb(field: str) -> float:
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mb("VmRSS")
    yield lambda: resident_mb("VmHWM") - before
