"""Jobs of a panel that end when the test says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Background:
    """In place of those that run in processes of their own."""

    def __init__(self) -> None:
        self.list: list[Any] = []
        self.queue = self

    def handles(self) -> list[Any]:
        return self.list

    @property
    def idle(self) -> bool:
        return all(one.ended for one in self.list)

    def forget(self, *handles: Any) -> None:
        self.list = [one for one in self.list if one not in handles]

    def start(self, title: str, on_end: Any) -> Any:
        handle = SimpleNamespace(
            title=title, state=SimpleNamespace(value="waiting"), ended=False, done=False,
            fraction=0.0, remaining_s=None, seconds=3.0, error="", remedy="", message="",
            nodes=None,
        )  # fmt: skip

        def end(state: str, nodes: Any = None, error: str = "", remedy: str = "") -> None:
            handle.state.value, handle.ended, handle.done = state, True, state == "done"
            handle.nodes, handle.error, handle.remedy = nodes, error + remedy, remedy
            on_end(handle)

        handle.end = end
        handle.cancel = lambda: end("cancelled", error="stopped")
        self.list.append(handle)
        return handle
