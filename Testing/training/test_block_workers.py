"""Processes that make blocks beside the training: order, failures, and what they leave behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from block_makers import failing_maker, square_maker, vanishing_maker
from MetalArtifactReductionLib.training import block_workers
from MetalArtifactReductionLib.training.block_workers import BlockWorkers
from MetalArtifactReductionLib.training.task import TrainingError

Made = Callable[..., BlockWorkers]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Makes workers whose files lie in ``tmp_path``, and ends them."""
    monkeypatch.setattr(block_workers.tempfile, "tempdir", str(tmp_path))
    opened: list[BlockWorkers] = []

    def make(*arguments: object) -> BlockWorkers:
        opened.append(BlockWorkers(*arguments))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for workers in opened:
        workers.close()


def test_blocks_come_in_order_whoever_makes_them(made: Made, tmp_path: Path) -> None:
    workers = made(2, square_maker, 10.0)
    makers = set()
    for number in range(6):
        block = workers.get(number)
        assert block["square"].dtype == np.float16
        assert block["square"].tolist() == [10.0, number**2]
        makers.add((number % 2, int(block["process"])))
        assert int(block["process"]) != os.getpid()
    assert len(makers) == 2, "each process makes every second block"
    processes = list(workers._processes)
    # No more than what is made ahead lies on the disk: the block being written, those that wait.
    waiting = list(tmp_path.rglob("*.npz"))
    assert len(waiting) <= 2 * (block_workers.AHEAD + 1)
    workers.close()
    assert not any(process.is_alive() for process in processes)
    assert not list(tmp_path.iterdir())


def test_a_resumed_training_begins_anywhere(made: Made) -> None:
    workers = made(2, square_maker, 0.1)
    for number in (7, 8, 9, 10):
        block = workers.get(number)
        assert block["square"][1] == number**2
    # Half precision and numbers without axes come back as they were sent.
    sent = torch.tensor([0.1, 100.0], dtype=torch.float16)
    assert torch.equal(torch.from_numpy(block["square"]), sent) and block["process"].shape == ()
    for wrong in (10, 12):
        with pytest.raises(ValueError, match=f"block {wrong} was asked for, 11 is the next one"):
            workers.get(wrong)
    assert workers.get(11)["square"][1] == 121
    workers.close()
    workers.close()
    assert workers.get(2)["square"][1] == 4, "closed workers start again"


def test_an_error_in_a_process_is_told(made: Made, capfd: pytest.CaptureFixture[str]) -> None:
    workers = made(2, failing_maker, 3)
    for number in range(3):
        workers.get(number)
    with pytest.raises(TrainingError, match=r"not be simulated: OverflowError: no block 3") as told:
        workers.get(3)
    assert "\n" not in str(told.value)
    assert "block_makers.py" in capfd.readouterr().err, "the traceback helps to find the cause"


def test_a_process_that_dies_does_not_leave_the_training_waiting(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_workers, "PATIENCE_S", 0.2)
    workers = made(1, vanishing_maker)
    with pytest.raises(TrainingError, match="died; is memory short"):
        workers.get(0)


def test_nothing_is_started_before_it_is_needed(made: Made, tmp_path: Path) -> None:
    workers = made(2, square_maker, 1.0)
    assert not workers._processes and not list(tmp_path.iterdir())
    workers.close()
