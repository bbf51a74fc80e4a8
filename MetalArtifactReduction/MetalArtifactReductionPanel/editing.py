"""The Segment Editor's tools inside the panel, for the metal only."""

from __future__ import annotations

from typing import Any

import slicer

EFFECTS = ("Threshold", "Paint", "Draw", "Erase", "Scissors", "Islands", "Smoothing", "Margin")
_EDITOR_NODE_TAG = "MetalArtifactReductionEditor"


class MetalEditor:
    """A segment editor that is made when it is first wanted.

    :param layout: Qt layout to put it into.
    """

    def __init__(self, layout: Any) -> None:
        self._layout = layout
        self._widget: Any = None

    @property
    def active(self) -> bool:
        """Whether it is open."""
        return self._widget is not None

    def open(self, segmentation: Any, volume: Any) -> None:
        """Edit a segmentation over a volume."""
        if self._widget is None:
            self._widget = self._make()
        self._widget.setSegmentationNode(segmentation)
        self._widget.setSourceVolumeNode(volume)

    def close(self) -> None:
        """Put the tools away; the widget must be gone before Slicer ends."""
        if self._widget is None:
            return
        self._widget.setActiveEffect(None)
        self._widget.setSegmentationNode(None)
        self._widget.setMRMLSegmentEditorNode(None)
        self._widget.setMRMLScene(None)
        self._layout.removeWidget(self._widget)
        self._widget.deleteLater()
        self._widget = None

    def _make(self) -> Any:
        widget = slicer.qMRMLSegmentEditorWidget()
        widget.setMaximumNumberOfUndoStates(10)
        widget.setEffectNameOrder(EFFECTS)
        widget.unorderedEffectsVisible = False
        widget.setSegmentationNodeSelectorVisible(False)
        widget.setSourceVolumeNodeSelectorVisible(False)
        widget.setSwitchToSegmentationsButtonVisible(False)
        widget.setMRMLScene(slicer.mrmlScene)
        widget.setMRMLSegmentEditorNode(self._editorNode())
        self._layout.addWidget(widget)
        return widget

    @staticmethod
    def _editorNode() -> Any:
        kind = "vtkMRMLSegmentEditorNode"
        node = slicer.mrmlScene.GetSingletonNode(_EDITOR_NODE_TAG, kind)
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass(kind)
            node.UnRegister(None)
            node.SetSingletonTag(_EDITOR_NODE_TAG)
            node = slicer.mrmlScene.AddNode(node)
        return node
