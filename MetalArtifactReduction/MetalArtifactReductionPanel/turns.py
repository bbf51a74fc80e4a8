"""Work in pieces, between which Slicer serves its user."""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from threading import Lock, Thread
from typing import Any

import qt
import slicer

TURN_MS = 20
"""Between two pieces: what the first has changed is drawn, and the user is heard."""

IMPORT_S = 0.05
"""Of each turn for a thread that imports: Python runs in it only while the main one waits."""

_IMPORTING = Lock()
Still = Callable[[], bool]


class Turns:
    """Does pieces of work in order, one each time that Slicer has served its events."""

    said: Callable[[], AbstractContextManager[object]] = staticmethod(nullcontext)
    """Around each piece: the panel says in it what goes wrong."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[Generator[object, None, object], Still]] = deque()
        self._taken: Generator[object, None, object] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)  # no next piece behind a dialog of this one
        self._timer.setInterval(TURN_MS)
        self._timer.connect("timeout()", self._next)

    @property
    def busy(self) -> bool:
        """Pieces wait, or one is being done."""
        return self._taken is not None or bool(self._pieces)

    def add(self, *pieces: Callable[[], object]) -> None:
        """Put pieces behind those that wait."""
        for piece in pieces:
            self.follow(_once(piece))

    def follow(self, steps: Iterable[object], still: Still = lambda: True) -> None:
        """Take a step a turn; the views draw when all are taken.

        :param still: asked before each; the rest is left if it says no.
        """
        self._wait(_drawn_once(steps), still)

    def begin(self, steps: Iterable[object]) -> None:
        """:meth:`follow` with the first step at once."""
        taken = _drawn_once(steps)
        next(taken, None)
        self._wait(taken)

    def clear(self) -> None:
        """Forget what waits, and end what is half done; what calls this takes no further step."""
        self._taken = None
        while self._pieces:
            self._pieces.popleft()[0].close()

    def load(self, modules: Sequence[str], then: Callable[[], object]) -> None:
        """Import modules in a thread, then do a piece; at once where they are loaded.

        One that cannot be imported is left to whoever needs it.
        """
        missing = [name for name in modules if name not in sys.modules]
        if not missing:
            with self.said():
                then()
            return
        self._wait(_imports(missing))
        self.add(then)

    def _wait(self, steps: Generator[object, None, object], still: Still = lambda: True) -> None:
        self._pieces.append((steps, still))
        self._timer.start()

    def _next(self) -> None:
        if self._taken is not None:  # behind a dialog of it
            return
        try:
            if self._pieces:
                steps, still = self._pieces.popleft()
                self._taken = steps
                with self.said():
                    if still() and next(steps, steps) is not steps and self._taken is steps:
                        self._pieces.appendleft((steps, still))
        finally:
            self._taken = None
            if self._pieces:
                self._timer.start()


def _drawn_once(steps: Iterable[object]) -> Generator[object, None, None]:
    """The views wait for the steps and draw then, one a turn: else each draws at every change."""
    manager, views = slicer.app.layoutManager(), []
    if manager is not None:  # there is a main window
        views = [manager.sliceWidget(name).sliceView() for name in manager.sliceViewNames()]
        views += [manager.threeDWidget(i).threeDView() for i in range(manager.threeDViewCount)]
    for view in views:
        view.pauseRender()
    try:
        yield from steps
        while views:
            if _resume(views.pop(0)):
                yield
    finally:
        for view in views:
            _resume(view)


def _resume(view: Any) -> bool:
    """Let a view draw again; whether that is seen. It may have gone with its node meanwhile."""
    try:
        view.resumeRender()
        return bool(view.visible)
    except ValueError:  # PythonQt's for what is destroyed
        return False


def _once(piece: Callable[[], object]) -> Generator[None, None, None]:
    piece()
    yield from ()


def _imports(names: Sequence[str]) -> Generator[None, None, None]:
    def load() -> None:
        with _IMPORTING:  # the other panel's thread must not switch it on again
            collecting = gc.isenabled()
            gc.disable()  # what it finds here are also widgets, which must not end in this thread
            try:
                for name in names:
                    with suppress(ImportError):
                        import_module(name)
            finally:
                if collecting:
                    gc.enable()

    thread = Thread(target=load)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(IMPORT_S)
            yield
    finally:
        thread.join()
