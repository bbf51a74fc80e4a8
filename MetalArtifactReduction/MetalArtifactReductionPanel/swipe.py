"""A line between original and result in one slice view."""

from __future__ import annotations

from typing import Any

import vtk
from slicer.i18n import tr as _

_FROM_LINE, _FROM_TOP = 8, 24  # pixels
_COLOUR = (1.0, 0.85, 0.2)


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
        self._line.GetProperty().SetColor(*_COLOUR)
        self._line.GetProperty().SetLineWidth(2)
        self._sides = {-_FROM_LINE: _label(_("Original")), _FROM_LINE: _label(_("Corrected"))}
        self._sides[-_FROM_LINE].GetTextProperty().SetJustificationToRight()
        for prop in (self._line, *self._sides.values()):
            self._renderer().AddViewProp(prop)
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
        for away, label in self._sides.items():
            label.SetPosition(x + away, rows - _FROM_TOP)
        self._view.scheduleRender()

    def stop(self) -> None:
        """The whole foreground again."""
        self._node.RemoveObserver(self._tag)
        self._blend.RemoveInputConnection(1, self._right.GetOutputPort())
        for prop in (self._line, *self._sides.values()):
            self._renderer().RemoveViewProp(prop)
        self._view.scheduleRender()

    def _renderer(self) -> Any:
        return self._view.renderWindow().GetRenderers().GetFirstRenderer()


def _label(text: str) -> Any:
    """What is on one side of the line."""
    label = vtk.vtkTextActor()
    label.SetInput(text)
    label.GetTextProperty().SetFontSize(16)
    label.GetTextProperty().SetColor(*_COLOUR)
    return label
