"""Work in pieces, alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def test_steps_that_have_forgotten_everything_end(turns: Any) -> None:
    def steps() -> Iterator[None]:
        turns.add(lambda: pytest.fail("forgotten"))
        turns.clear()
        yield
        pytest.fail("forgotten")

    turns.follow(steps())
    QTimer.turn()
    assert not turns.busy
    QTimer.turn()


def test_no_piece_is_done_behind_a_dialog_of_another(turns: Any) -> None:
    done: list[str] = []

    def steps() -> Iterator[None]:
        turns.add(lambda: done.append("next"))
        QTimer.turn()  # a dialog lets timers fire
        done.append("first")
        yield
        done.append("second")

    turns.follow(steps())
    while turns.busy:
        QTimer.turn()
    assert done == ["first", "second", "next"]


def show_views(monkeypatch: pytest.MonkeyPatch, gone: set[str] | None = None) -> list[str]:
    """Three slice views, one of them hidden, and a 3-D view.

    :param gone: names of those that are destroyed. :returns: whoever waits, once for each time.
    """
    import slicer

    paused: list[str] = []

    def widget(name: str) -> Any:
        def change(by: Callable[[str], None]) -> None:
            if name in (gone or ()):
                raise ValueError("Trying to call 'resumeRender' on a destroyed object")
            by(name)

        view = SimpleNamespace(
            pauseRender=lambda: change(paused.append),
            resumeRender=lambda: change(paused.remove),
            visible=name != "Hidden",
        )
        return SimpleNamespace(sliceView=lambda: view, threeDView=lambda: view)

    manager = SimpleNamespace(
        sliceViewNames=lambda: ("Red", "Green", "Hidden"), sliceWidget=widget,
        threeDViewCount=1, threeDWidget=lambda index: widget("3D"),
    )  # fmt: skip
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: manager)
    return paused


@pytest.mark.parametrize("end", ["done", "forgotten", "unwanted"])
def test_views_wait_for_the_steps_and_draw_one_a_turn(
    turns: Any, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    paused = show_views(monkeypatch)
    wanted = True
    turns.follow(iter((1, 2)), lambda: wanted)
    assert not paused
    waiting = []
    for _ in range(2):
        QTimer.turn()
        waiting.append(len(paused))
    if end == "forgotten":
        turns.clear()
    wanted = end != "unwanted"
    while turns.busy:
        QTimer.turn()
        waiting.append(len(paused))
    assert waiting == {"done": [4, 4, 3, 2, 0, 0], "forgotten": [4, 4], "unwanted": [4, 4, 0]}[end]
    assert not paused


@pytest.mark.parametrize("end", ["done", "forgotten"])
def test_views_that_are_gone_keep_no_other_from_drawing(
    turns: Any, texts: Any, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    gone: set[str] = set()
    paused = show_views(monkeypatch, gone)
    turns.said = texts.said
    turns.follow(iter((1, 2)))
    QTimer.turn()
    gone |= {"Red", "Green"}
    if end == "forgotten":
        turns.clear()
    while turns.busy:
        QTimer.turn()
    assert sorted(paused) == ["Green", "Red"] and not texts.status.text


def test_the_first_step_can_be_taken_at_once(turns: Any) -> None:
    done: list[int] = []
    turns.begin(done.append(number) for number in range(2))
    assert done == [0]
    QTimer.turn()
    assert done == [0, 1] and turns.busy


def test_a_job_adds_its_nodes_a_turn_and_views_draw_once(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MetalArtifactReductionPanel.background import BackgroundJobs

    jobs, added, paused = BackgroundJobs(), [], show_views(monkeypatch)

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
    waits = [len(paused)]
    while QTimer.waiting:
        QTimer.turn()
        waits.append(len(paused))
    assert waits[-1] == 0 and waits == sorted(waits, reverse=True)
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
