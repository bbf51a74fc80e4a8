"""A line between original and result in one slice view."""

from __future__ import annotations

from typing import Any

import vtk


class Swipe:
    """Shows a slice view's foreground on the right of a line only.

    :param sliceWidget: ``qMRMLSliceWidget``.
    """

    def __init__(self, sliceWidget: Any) -> None:
        self._view, self._node = sliceWidget.sliceView(), sliceWidget.mrmlSliceNode()
        self._blend = sliceWidget.sliceLogic().GetBlend()
        self._share = 0.5
        self._right = vtk.vtkROIStencilSource()
        self._right.SetShapeToBox()
        self._blend.SetStencilConnection(self._right.GetOutputPort())
        self._ends = vtk.vtkLineSource()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputConnection(self._ends.GetOutputPort())
        self._line = vtk.vtkActor2D()
        self._line.SetMapper(mapper)
        self._line.GetProperty().SetColor(1.0, 0.85, 0.2)
        self._line.GetProperty().SetLineWidth(2)
        self._renderer().AddViewProp(self._line)
        event = vtk.vtkCommand.ModifiedEvent  # another size of the view is another place
        self._tag = self._node.AddObserver(event, lambda *_: self.at(self._share))

    def at(self, share: float) -> None:
        """Move the line.

        :param share: of the view's width, 0..1.
        """
        self._share = share
        columns, rows, _ = self._node.GetDimensions()
        x = round(share * columns)
        self._right.SetOutputWholeExtent(0, columns - 1, 0, rows - 1, 0, 0)
        self._right.SetBounds(x, columns, -1, rows, -1, 1)
        self._ends.SetPoint1(x, 0, 0)
        self._ends.SetPoint2(x, rows, 0)
        self._view.scheduleRender()

    def stop(self) -> None:
        """The whole foreground again."""
        self._node.RemoveObserver(self._tag)
        self._blend.RemoveInputConnection(1, self._right.GetOutputPort())
        self._renderer().RemoveViewProp(self._line)
        self._view.scheduleRender()

    def _renderer(self) -> Any:
        return self._view.renderWindow().GetRenderers().GetFirstRenderer()
