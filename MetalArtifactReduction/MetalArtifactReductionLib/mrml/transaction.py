"""Nodes that appear in the scene all together or not at all, also in steps."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any


class Added:
    """Remembers nodes that were added to the scene."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []

    def __call__(self, node: Any) -> Any:
        """Remember a node; returns it."""
        self.nodes.append(node)
        return node


@contextmanager
def all_or_none(scene: Any) -> Iterator[Added]:
    """Take the added nodes out of the scene again if anything goes wrong in the block."""
    added = Added()
    try:
        yield added
    except BaseException:
        for node in reversed(added.nodes):
            remove_node(scene, node)
        raise


def all_of(steps: Generator[None, None, Any]) -> Any:
    """What steps return, without a pause between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def remove_node(scene: Any, node: Any) -> None:
    """Take a node out of the scene with its display and storage nodes; MRML leaves them behind."""
    if node is None or node.GetScene() is not scene:
        return
    attached = []
    if node.IsA("vtkMRMLDisplayableNode"):
        attached += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        attached += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for other in attached:
        if other is not None and other.GetScene() is scene:
            scene.RemoveNode(other)
