"""Work in pieces, alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from MetalArtifactReductionLib.errors import printable
from MetalArtifactReductionLib.jobs.call import call_job
from panel_support import QTimer


@pytest.fixture
def turns(scene: Any) -> Any:
    from MetalArtifactReductionPanel.turns import Turns

    return Turns()


def test_one_piece_a_turn_in_order(turns: Any) -> None:
    done: list[str] = []
    turns.add(lambda: done.append("a"), lambda: done.append("b"))
    assert turns.busy and not done
    QTimer.turn()
    assert turns.busy and done == ["a"]
    QTimer.turn()
    assert not turns.busy and done == ["a", "b"]
    assert not QTimer.waiting


def test_steps_go_before_what_waits_until_they_are_no_longer_wanted(turns: Any) -> None:
    done: list[int] = []
    wanted = True
    turns.follow((done.append(number) for number in range(9)), lambda: wanted)
    turns.add(lambda: done.append(100))
    QTimer.turn()
    QTimer.turn()
    assert done == [0, 1]
    wanted = False
    while turns.busy:
        QTimer.turn()
    assert done == [0, 1, 100]


def test_what_waits_is_forgotten_and_what_is_half_done_ended(turns: Any) -> None:
    ended: list[bool] = []

    def steps() -> Iterator[None]:
        try:
            yield
            pytest.fail("forgotten")
        finally:
            ended.append(True)

    turns.follow(steps())
    turns.follow(iter((1, 2)))  # has no close
    turns.add(lambda: pytest.fail("forgotten"))
    QTimer.turn()
    turns.clear()
    assert ended == [True]
    QTimer.turn()


@pytest.mark.parametrize("end", ["done", "forgotten", "unwanted"])
def test_views_wait_for_the_steps_and_draw_one_a_turn(
    turns: Any, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    import slicer

    paused = dict.fromkeys(("Red", "Green", "Hidden", "3D"), 0)

    def widget(name: str) -> Any:
        def by(count: int) -> None:
            paused[name] += count

        view = SimpleNamespace(
            pauseRender=lambda: by(1), resumeRender=lambda: by(-1), visible=name != "Hidden"
        )
        return SimpleNamespace(sliceView=lambda: view, threeDView=lambda: view)

    manager = SimpleNamespace(
        sliceViewNames=lambda: ("Red", "Green", "Hidden"), sliceWidget=widget,
        threeDViewCount=1, threeDWidget=lambda index: widget("3D"),
    )  # fmt: skip
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: manager)
    wanted = True
    turns.follow(iter((1, 2)), lambda: wanted)
    assert not any(paused.values())
    waiting = []
    for _ in range(2):
        QTimer.turn()
        waiting.append(sum(paused.values()))
    if end == "forgotten":
        turns.clear()
    wanted = end != "unwanted"
    while turns.busy:
        QTimer.turn()
        waiting.append(sum(paused.values()))
    assert waiting == {"done": [4, 4, 3, 2, 0, 0], "forgotten": [4, 4], "unwanted": [4, 4, 0]}[end]
    assert not any(paused.values())


def test_the_first_step_can_be_taken_at_once(turns: Any) -> None:
    done: list[int] = []
    turns.begin(done.append(number) for number in range(2))
    assert done == [0]
    QTimer.turn()
    assert done == [0, 1] and turns.busy


def test_a_job_adds_its_nodes_a_turn(scene: Any) -> None:
    from MetalArtifactReductionPanel.background import BackgroundJobs

    jobs, added = BackgroundJobs(), []

    def add_nodes(_job: Any) -> Iterator[None]:
        for number in range(4):
            added.append(number)
            yield

    jobs.started(jobs.queue.add(call_job(printable, "text"), (), add_nodes))
    while not added:
        QTimer.turn()
    waiting = len(QTimer.waiting)
    QTimer.turn()
    assert waiting == 2 and len(added) > 2  # by the jobs' own timer, and by the turns'
    while not jobs.idle:
        QTimer.turn()
    assert added == [0, 1, 2, 3] and jobs.handles()[0].done
    jobs.close()


def test_a_module_is_loaded_before_the_piece_and_a_missing_one_left(turns: Any) -> None:
    done: list[str] = []
    turns.load(["sys"], lambda: done.append("at once"))
    assert done == ["at once"]
    turns.load(["no_such_module_here"], lambda: done.append("later"))
    assert len(done) == 1
    while turns.busy:
        QTimer.turn()
    assert done[1:] == ["later"]


def test_an_error_is_said_and_the_next_piece_done(turns: Any, texts: Any) -> None:
    def wrong() -> None:
        raise ValueError("this piece")

    done: list[str] = []
    turns.said = texts.said
    turns.add(wrong, lambda: done.append("next"))
    QTimer.turn()
    assert "this piece" in texts.status.text
    QTimer.turn()
    assert done == ["next"]
