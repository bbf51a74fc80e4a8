"""The logic's half that turns, fills and arranges Slicer's views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer


class ViewLogic:
    """Mixin of the logic."""

    implants: Callable[[], list[Any]]
    _qualityTable: Callable[[], Any]

    def align(self, one: Any, view: str = "Red", plane: str = "along") -> None:
        """Turn a slice view to an implant."""
        from SimulateImplantsLib.mrml import show_aligned

        sliceNode = slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode()
        show_aligned(sliceNode, one, plane)

    def straighten(self) -> None:
        """Slice views as Slicer has them at its start."""
        for index in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
            sliceNode = slicer.mrmlScene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
            sliceNode.SetOrientationToDefault()

    def outlineOnly(self, segmentation: Any) -> None:
        """Leave the slices uncovered: streaks are to be seen."""
        if segmentation is not None and segmentation.GetDisplayNode() is not None:
            segmentation.GetDisplayNode().SetVisibility2DFill(False)

    def showQuality(self) -> None:
        """Every measure of every implant in a table below the views."""
        table = self._qualityTable()
        if table is not None:
            layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
            slicer.app.layoutManager().setLayout(layout)
            slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
            slicer.app.applicationLogic().PropagateTableSelection()

    def hideQuality(self) -> None:
        """Give the room of the table back to the views."""
        layout = slicer.vtkMRMLLayoutNode
        if slicer.app.layoutManager().layout == layout.SlicerLayoutFourUpTableView:
            slicer.app.layoutManager().setLayout(layout.SlicerLayoutFourUpView)

    def showPlaced(self, bone: Any, fromBehind: bool = False) -> None:
        """Look at the implants through the bone.

        :param fromBehind: as a spine surgeon does.
        """
        from MetalArtifactReductionLib.mrml.layout import go_to

        implants = self.implants()
        if not implants:
            return
        if bone is not None and bone.GetDisplayNode() is not None:
            bone.GetDisplayNode().SetOpacity3D(0.4)
        go_to(slicer.mrmlScene, tuple(implants[0].matrix()[:3, 3]))
        self._lookAt([one.model for one in implants], fromBehind)

    def showBone(self, bone: Any) -> None:
        """Bring bone into the middle of the 3-D view."""
        self._lookAt([bone])

    def _lookAt(self, nodes: Sequence[Any], fromBehind: bool = False) -> None:
        """Fill the 3-D view with nodes, seen from the front or from behind."""
        import vtk

        from MetalArtifactReductionLib.mrml.layout import fill_views

        box, bounds = vtk.vtkBoundingBox(), [0.0] * 6
        for node in nodes:
            node.GetRASBounds(bounds)
            box.AddBounds(bounds)
        box.GetBounds(bounds)
        fill_views(slicer.mrmlScene, bounds, (0.0, -1.0 if fromBehind else 1.0, 0.0))

    def setDisplay(self, ct: Any, shown: str, window: str) -> None:
        """Show the CT or the newest result of a role in the slice views, in one window."""
        from MetalArtifactReductionLib.mrml import apply_window, results_of, show_in_slice_views

        roles = ("corrupted", "ideal", "reference")
        results = [node for role in roles for node in results_of(slicer.mrmlScene, ct, role)]
        for node in [ct, *results]:
            apply_window(node, window)
        found = results_of(slicer.mrmlScene, ct, shown) if shown in roles else [ct]
        if found:
            show_in_slice_views(slicer.mrmlScene, found[-1])

    def _viewCentre(self) -> Any:
        """RAS of the middle of the red slice view."""
        import numpy as np

        red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        matrix = slicer.util.arrayFromVTKMatrix(red.GetSliceToRAS()) if red else np.eye(4)
        return matrix[:3, 3]

    def _startPlacing(self, markups: Any, persistent: bool) -> None:
        """Let the mouse place control points of a markups node."""
        selection = slicer.app.applicationLogic().GetSelectionNode()
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        selection.SetReferenceActivePlaceNodeClassName(markups.GetClassName())
        selection.SetActivePlaceNodeID(markups.GetID())
        interaction.SetPlaceModePersistence(1 if persistent else 0)
        interaction.SetCurrentInteractionMode(interaction.Place)
