"""Blocks of slices simulated by processes beside the training, in the order in which it asks.

A GPU trains faster than one process can tell it what to simulate. Which process makes a block does
not change it: block ``b`` follows from the seed and ``b`` alone.
"""

from __future__ import annotations

import multiprocessing
import queue
import shutil
import signal
import tempfile
import threading
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..files.leftovers import hidden_folder, leave_with_the_parent
from .task import TrainingError

AHEAD = 3
"""Blocks that each process makes in advance."""

PATIENCE_S = 5.0

Arrays = dict[str, np.ndarray]
Maker = Callable[..., Callable[[int], Arrays]]
"""Called in the process with the arguments; gives the function from number to arrays."""


class BlockWorkers:
    """Processes that make blocks ``first, first + 1, ...``, each every ``count``-th.

    :param count: of processes.
    :param maker: a module's function (it is sent to the processes), see :data:`Maker`.
    :param arguments: of ``maker``.
    """

    def __init__(self, count: int, maker: Maker, *arguments: Any) -> None:
        self._count, self._maker, self._arguments = count, maker, arguments
        self._queues: list[Any] = []
        self._processes: list[Any] = []
        self._next = 0
        self._folder: Path | None = None

    def makes(self, number: int) -> bool:
        """Whether that block can be had; others come too early or too late for the processes.

        A training that is resumed, or shared among processes, does not ask for every block.
        """
        return not self._processes or number == self._next

    def get(self, number: int) -> Arrays:
        """Block ``number``; the numbers asked for must follow each other.

        :raises TrainingError: the process that makes it failed.
        """
        if not self._processes:
            self._start(number)
        if number != self._next:
            raise ValueError(f"block {number} was asked for, {self._next} is the next one")
        self._next += 1
        index = number % self._count
        while True:
            try:
                made = self._queues[index].get(timeout=PATIENCE_S)
                break
            except queue.Empty:
                if not self._processes[index].is_alive():
                    raise TrainingError(
                        "a process that simulates training samples died; is memory short? Use "
                        "fewer workers"
                    ) from None
        if not isinstance(made, Path):
            raise TrainingError(f"samples could not be simulated: {made}")
        with np.load(made, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        made.unlink()
        return arrays

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        self._processes, self._queues = [], []
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _start(self, first: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._next = first
        # Through files: pipes would copy every block in the training's own thread.
        self._folder = hidden_folder(Path(tempfile.gettempdir()))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        for index in range(self._count):
            own = first + (index - first) % self._count
            self._queues.append(context.Queue(AHEAD))
            process = context.Process(
                target=_work,
                args=(
                    self._queues[index],
                    self._folder,
                    own,
                    self._count,
                    self._maker,
                    self._arguments,
                ),
                daemon=True,
            )
            process.start()
            self._processes.append(process)


def _work(
    results: Any, folder: Path, first: int, step: int, maker: Maker, arguments: tuple[Any, ...]
) -> None:
    """What a process does until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training hears Ctrl-C, and ends it
    threading.Thread(target=leave_with_the_parent, daemon=True).start()
    try:
        make = maker(*arguments)
        number = first
        while True:
            path = folder / f"{number}.npz"
            np.savez(path, **make(number))  # type: ignore[arg-type]
            results.put(path)
            number += step
    except Exception as error:
        traceback.print_exc()
        results.put(f"{type(error).__name__}: {error}")
