"""Views that are lent to a panel: what they showed before is given back."""

from __future__ import annotations

from typing import Any

from .belonging import metal_problem
from .hierarchy import INPUT_REFERENCE, ROLE_ATTRIBUTE
from .layout import is_own_layout
from .namespace import slicer_classes


class BorrowedViews:
    """Layout, links, windows, what is seen through or hidden, as now, until :meth:`give_back`.

    Slices stay where the user has moved them.

    :param scene: the ``vtkMRMLScene``.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        layouts = [(node, node.GetViewArrangement()) for node in self._nodes("Layout")]
        kinds = slicer_classes().vtkMRMLLayoutNode
        # While a scene is closed Slicer shows no view at all; that is nothing to come back to. Nor
        # are views for a result, as a saved scene may have them: without it they show anything.
        self._layouts = [
            (node, kinds.SlicerLayoutFourUpView if is_own_layout(shown) else shown)
            for node, shown in layouts
            if shown != kinds.SlicerLayoutNone
        ]
        self._composites = [
            (
                node,
                node.GetBackgroundVolumeID(),
                node.GetForegroundVolumeID(),
                node.GetForegroundOpacity(),
                node.GetLinkedControl(),
                node.GetHotLinkedControl(),
            )
            for node in self._nodes("SliceComposite")
        ]
        self._windows: dict[Any, tuple[bool, float, float]] = {}
        self._opacities: dict[Any, tuple[float, float]] = {}
        self._hidden: list[Any] = []

    def window(self, volume_node: Any) -> None:
        """Remember a volume's window, once; call it before it is changed."""
        display = volume_node.GetDisplayNode()
        if display is not None and display not in self._windows:
            automatic, width = bool(display.GetAutoWindowLevel()), display.GetWindow()
            self._windows[display] = (automatic, width, display.GetLevel())

    def see_through(self, display: Any, opacity: float) -> None:
        """Let a segmentation be seen through in 3-D; one that the user changes stays so."""
        before, ours = self._opacities.get(display, (0.0, -1.0))
        now = display.GetOpacity3D()
        self._opacities[display] = (before if now == ours else now, opacity)
        display.SetOpacity3D(opacity)

    def hide_metal_of_others(self, volume_node: Any) -> None:
        """No metal that was found in another scan beside this CT, in 3-D above all.

        Its own stays seen where it lies askew, too, for the CT was moved: it may be proposed again.
        """
        for node in self._nodes("Segmentation"):
            display = node.GetDisplayNode()
            shown = display is not None and display.GetVisibility()
            found = node.GetAttribute(ROLE_ATTRIBUTE) == "metal"
            of_another = node.GetNodeReference(INPUT_REFERENCE) is not volume_node
            if shown and found and of_another and metal_problem(node, volume_node):
                display.SetVisibility(False)
                self._hidden.append(display)

    def give_back(self) -> None:
        """Everything as it was; results make room for the CT that they were made from."""
        for node, arrangement in self._layouts:
            node.SetViewArrangement(arrangement)
        for node, background, foreground, opacity, linked, hot in self._composites:
            if node.GetScene() is not self._scene:
                continue
            ours = self._result(node.GetBackgroundVolumeID())
            if ours is not None:
                node.SetBackgroundVolumeID(background or ours.GetNodeReferenceID(INPUT_REFERENCE))
            if self._result(node.GetForegroundVolumeID()) is not None:
                node.SetForegroundVolumeID(foreground)
                node.SetForegroundOpacity(opacity)
            node.SetLinkedControl(linked)
            node.SetHotLinkedControl(hot)
        for display, (automatic, width, level) in self._windows.items():
            display.SetWindowLevel(width, level)
            display.SetAutoWindowLevel(automatic)
        for display in self._hidden:
            display.SetVisibility(True)
        for display, (before, ours) in self._opacities.items():
            if display.GetOpacity3D() == ours:
                display.SetOpacity3D(before)

    def _result(self, node_id: str | None) -> Any:
        """The result that a layer shows, or None where it shows something else."""
        node = self._scene.GetNodeByID(node_id) if node_id else None
        return node if node is not None and node.GetAttribute(ROLE_ATTRIBUTE) else None

    def _nodes(self, kind: str) -> list[Any]:
        name = f"vtkMRML{kind}Node"
        count = self._scene.GetNumberOfNodesByClass(name)
        return [self._scene.GetNthNodeByClass(index, name) for index in range(count)]
