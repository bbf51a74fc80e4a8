"""Slicer's views, lent to the panel: what it shows in them, and how they are given back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import qt
import slicer
import vtk

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml import apply_window, kept, layout, results, results_of
from MetalArtifactReductionLib.mrml.borrowed import BorrowedViews
from MetalArtifactReductionLib.mrml.display import layers_in_steps, set_overlay_opacity
from MetalArtifactReductionLib.mrml.hierarchy import INPUT_REFERENCE
from MetalArtifactReductionLib.mrml.preview import put_preview
from MetalArtifactReductionLib.mrml.zoom import Place, most_metal, zoom

from .swipe import Swipe
from .turns import Turns

NEW_VIEWS_MS = 100


class SceneViews:
    """A CT, its metal or a result in Slicer's views."""

    def __init__(self) -> None:
        self._borrowed: Any = None
        self._swipe: Any = None
        self._share = 0.5
        self._last: tuple[Any, ...] = ()  # how, which node, and with which choices it was shown
        self._previewed: tuple[Any, ...] = ()  # what a preview was laid over
        self._followed: Any = None
        self._onMove: Any = None
        self.turns = Turns()

    def prepare(self) -> None:
        """Make the views of a comparison while its result is computed: all at once they take
        seconds.
        """
        names = [name + row for row in ("", layout.SECOND_ROW) for name in layout.VIEWS]
        self.turns.follow(layout.add_view(slicer.mrmlScene, name) for name in names)

    def borrow(self) -> Any:
        """Remember what the views show, before they are changed the first time."""
        if self._borrowed is None:
            self._borrowed = BorrowedViews(slicer.mrmlScene)
        return self._borrowed

    def giveBack(self) -> None:
        """The views as they were before the panel changed them."""
        self.stopSwipe()
        if self._borrowed is not None:
            self.turns.begin(self._returned())
            self._borrowed = None

    def _returned(self) -> Iterator[None]:
        self._borrowed.give_back()
        yield

    def again(self) -> None:
        """What the panel showed when it was left, if it is still there."""
        if self._last and self._borrowed is None:
            how, node, choices = self._last
            if node.GetScene() is slicer.mrmlScene:
                how(node, **choices)

    def showInput(self, volumeNode: Any, window: str) -> None:
        """A CT that was chosen, whole."""
        self.giveBack()
        self._last = (self.showInput, volumeNode, {"window": window})

        def whole() -> Iterator[None]:
            self.setDisplay(volumeNode, window, 0.0)
            yield
            yield from layers_in_steps(slicer.mrmlScene, volumeNode)
            for node in layout.slice_nodes(slicer.mrmlScene, own=False):
                self._fit([node])
                yield

        self.turns.follow(whole(), self._wanted(volumeNode))

    def _wanted(self, node: Any) -> Callable[[], bool]:
        """Whether what is to be shown now still is, while it is shown step by step."""
        lent, last = self.borrow(), self._last
        return lambda: (
            self._last is last and self._borrowed is lent and node.GetScene() is slicer.mrmlScene
        )

    def show(
        self,
        corrected: Any,
        views: str,
        window: str,
        overlayOpacity: float,
        overlay: str = "change",
    ) -> None:
        """Lay out Slicer's views and show a result in them.

        :param views: one of ``layout.LAYOUTS``.
        :param overlay: the map over it, one of ``layout.OVERLAYS``.
        """
        self.stopSwipe()
        original = kept.original_of(corrected)  # or it is said now that it is gone
        choices: dict[str, Any] = {"views": views, "window": window}
        choices |= {"overlayOpacity": overlayOpacity, "overlay": overlay}
        self._last = (self.show, corrected, choices)
        self.turns.follow(self._filled(original, corrected, choices), self._wanted(corrected))

    def _filled(self, original: Any, corrected: Any, choices: dict[str, Any]) -> Iterator[None]:
        """A layout and its views, a step at a time; the user may choose meanwhile."""
        scene, metal = slicer.mrmlScene, kept.metal_of(corrected)
        views, overlay = choices["views"], choices["overlay"]
        layout.use_layout(slicer.app.layoutManager().layoutLogic().GetLayoutNode(), views)
        yield
        self.setDisplay(original, choices["window"], choices["overlayOpacity"])
        yield
        nodes = yield from layout.result_in_steps(
            scene, corrected, views, choices["overlayOpacity"], overlay
        )
        self.showFigures(corrected)
        yield
        layout.show_scale(scene, corrected, overlay)
        yield
        where = None if metal is None else most_metal(metal, original)
        if metal is not None:
            layout.look_at(scene, metal)
        yield
        # Twice: views that were made just now take a size and a slice of their own.
        for _ in range(2):
            for node in nodes:
                if where is None:
                    self._fit([node])
                else:
                    zoom([node], where)
                yield
            if where is None and views not in (layout.FOUR_UP, layout.SINGLE):
                layout.same_scale(nodes)
        if views == layout.SINGLE:
            self.swipe(self._share)

    def _fit(self, nodes: list[Any]) -> None:
        for node in nodes:
            slicer.app.applicationLogic().GetSliceLogic(node).FitSliceToBackground()

    def centre(self) -> tuple[float, float, float]:
        """The middle of the axial view that is in front, RAS in mm."""
        matrix = self._axial().GetSliceToRAS()
        return tuple(matrix.GetElement(row, 3) for row in range(3))  # type: ignore[return-value]

    def inSlice(self, ras: tuple[float, float, float]) -> tuple[float, float, float]:
        """The point of the axial view in front that is nearest to a place, RAS in mm."""
        matrix = self._axial().GetSliceToRAS()
        normal = np.array([matrix.GetElement(row, 2) for row in range(3)])
        return tuple(np.array(ras) - normal @ np.subtract(ras, self.centre()) * normal)

    def follow(self, onMove: Any) -> None:
        """Call this whenever the axial view moves; nothing any more if None."""
        if self._followed is not None:
            node, tag = self._followed
            node.RemoveObserver(tag)
            self._followed = None
        if onMove is not None:
            node = self._axial()
            tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: onMove())
            self._followed = node, tag
        self._onMove = onMove

    def showPreview(self, original: Any, index: int, hu: Any, into: Any, window: str) -> Any:
        """One corrected slice beside its original, where the user looks; returns its node.

        :param index: of the slice. :param hu: ``(rows, cols)``. :param into: an earlier one.
        """
        node = put_preview(slicer.mrmlScene, original, index, hu, into)
        if into is None:
            view, place = self._axial(), self.centre()
            size_mm = min(view.GetFieldOfView()[:2])
            self.stopSwipe()
            self.borrow()
            self._previewed = self._last
            layout.use_layout(
                slicer.app.layoutManager().layoutLogic().GetLayoutNode(), layout.PREVIEW
            )
            shown = layout.show_preview(slicer.mrmlScene, original, node)

            def move() -> None:
                zoom(shown, Place(place, size_mm))

            move()
            qt.QTimer.singleShot(NEW_VIEWS_MS, move)
            self.follow(self._onMove)
        self.setDisplay(original, window, 0.0)
        return node

    def removePreview(self, node: Any) -> None:
        """What was shown before it, of the same CT in the same place; else what is shown by now."""
        original = node.GetNodeReference(INPUT_REFERENCE)
        place = Place(self.centre(), min(self._axial().GetFieldOfView()[:2]))
        slicer.mrmlScene.RemoveNode(node)
        if self._last is not self._previewed:
            return

        def move() -> None:
            shown = self._last[1] if self._last else None
            if shown and original and original in (shown, shown.GetNodeReference(INPUT_REFERENCE)):
                zoom(self._visible(), place)

        # Behind the pieces that showing again adds.
        self.turns.add(self.giveBack, self.again, lambda: self.turns.add(move))

    def _visible(self) -> list[Any]:
        """The nodes of the slice views that are in front."""
        manager = slicer.app.layoutManager()
        widgets = (manager.sliceWidget(name) for name in manager.sliceViewNames())
        return [widget.mrmlSliceNode() for widget in widgets if widget.visible]

    def _axial(self) -> Any:
        """The node of the axial view that is in front."""
        manager = slicer.app.layoutManager()
        for name in ("MarOriginal", "Red"):
            widget = manager.sliceWidget(name)
            if widget is not None and widget.visible:
                return widget.mrmlSliceNode()
        return slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")

    def showFigures(self, corrected: Any) -> None:
        """Put table and plot of a result into their views, if they are laid out."""
        scene = slicer.mrmlScene
        layout.show_figures(
            scene, results.table_of(scene, corrected), results.plot_of(scene, corrected)
        )

    def goToMetal(self, segmentationNode: Any, volumeNode: Any) -> None:
        """Show the slice with most metal in every slice view, and all of it in 3D."""
        lent = self.borrow()

        def still() -> bool:
            gone = segmentationNode.GetScene() is None or volumeNode.GetScene() is None
            return self._borrowed is lent and not gone

        def go() -> Iterator[None]:
            place = most_metal(segmentationNode, volumeNode)
            for node in self._visible():
                zoom([node], place)
                yield
            layout.look_at(slicer.mrmlScene, segmentationNode)

        self.turns.follow(go(), still)

    def goTo(self, ras: tuple[float, float, float]) -> None:
        """Show a place in every slice view."""
        layout.go_to(slicer.mrmlScene, ras)

    def flicker(self, corrected: Any) -> Any:
        """Original and corrected volume in turn: ``turn()``, ``stop()``."""
        return layout.Flicker(slicer.mrmlScene, corrected)

    def swipe(self, share: float) -> None:
        """Original left of a line and result right of it, in the single view.

        :param share: of the view's width, 0..1.
        """
        self._share = share
        if self._swipe is None:
            self._swipe = Swipe(slicer.app.layoutManager().sliceWidget("Red"))
        self._swipe.at(share)

    def stopSwipe(self) -> None:
        """The whole result again."""
        if self._swipe is not None:
            self._swipe.stop()
            self._swipe = None

    def choose(self, volumeNode: Any, window: str, overlayOpacity: float) -> None:
        """:meth:`setDisplay` as the user wants it from now on, also on coming back."""
        if self._last:
            choices = self._last[2]
            now = {"window": window, "overlayOpacity": overlayOpacity}
            choices |= {name: value for name, value in now.items() if name in choices}
        self.setDisplay(volumeNode, window, overlayOpacity)

    def setDisplay(self, volumeNode: Any, window: str, overlayOpacity: float) -> None:
        """Show a CT and its corrections in one window, and the maps this opaque."""
        self.borrow().window(volumeNode)
        self.borrow().hide_metal_of_others(volumeNode)
        roles = ("corrected", "preview")
        made = [one for role in roles for one in results_of(slicer.mrmlScene, volumeNode, role)]
        for node in [volumeNode, *made]:
            apply_window(node, window)
        for role in layout.OVERLAYS:
            for node in results_of(slicer.mrmlScene, volumeNode, role):
                set_overlay_opacity(slicer.mrmlScene, node, overlayOpacity)

    def overlayScale(self, corrected: Any, overlay: str) -> Any:
        """Map over a result and the HU at which its colour is strongest; None without a map."""
        try:
            node = layout.overlay_of(slicer.mrmlScene, corrected, overlay)
        except InputError:  # its CT is gone
            return None
        display = node.GetDisplayNode() if node is not None else None
        return None if display is None else (node, display.GetLevel() + display.GetWindow() / 2)
