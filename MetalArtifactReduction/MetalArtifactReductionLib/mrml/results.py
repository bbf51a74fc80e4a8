"""Figures of a correction as nodes: a table, and a plot of HU along a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluation.before_after import Measure
from ..evaluation.line_profile import Line, line_across_metal, profile_along
from ..volume import CTVolume
from .display import one_change
from .hierarchy import (
    CORRECTED_REFERENCE,
    METAL_REFERENCE,
    mark_result,
    place_results,
    results_of,
)
from .kept import kept, original_of, result_of
from .namespace import slicer_classes
from .segmentations import fraction_from_node
from .transaction import all_or_none
from .volumes import ijk_to_ras, require_scalar_volume, view_of, volume_from_node, voxel_array

_COLUMNS = ("Measure", "Unit", "Before", "After", "Key")
_CURVES = (("original", (0.29, 0.47, 0.66)), ("corrected", (0.84, 0.38, 0.30)))
_SERIES_REFERENCE = "MetalArtifactReduction.series"
_TABLE_REFERENCE = "MetalArtifactReduction.table"


def corrected_volumes(
    corrected: Any, read: Callable[[Any], CTVolume] = volume_from_node
) -> tuple[CTVolume, CTVolume, np.ndarray]:
    """Original, corrected volume and metal fraction of a result, as arrays on one grid.

    :param read: :func:`.volumes.view_of` copies nothing.
    :raises InputError: not a result; original or metal is gone or was changed to another grid.
    """
    original = original_of(corrected)
    for node in (original, corrected):
        require_scalar_volume(node)
    metal = corrected.GetNodeReference(METAL_REFERENCE)
    if metal is None:
        raise InputError(
            f"'{corrected.GetName()}' has lost its metal segmentation: correct the CT again"
        )
    before, after = read(original), read(corrected)
    if before.hu.shape != after.hu.shape:
        raise InputError(
            f"'{corrected.GetName()}' and '{original.GetName()}' have different sizes by now: "
            "correct the CT again"
        )
    return before, after, fraction_from_node(metal, original)


def facts_of(corrected: Any) -> dict[str, float]:
    """What a correction did, for the panel after reloading; empty if nothing was kept."""
    return kept(corrected, "facts")


def table_of(scene: Any, corrected: Any) -> Any:
    """The table node with the figures of a result, or None."""
    return result_of(scene, corrected, "table")


def plot_of(scene: Any, corrected: Any) -> Any:
    """The plot chart node of a result, or None."""
    return result_of(scene, corrected, "plot")


def put_measures(scene: Any, corrected: Any, measures: Sequence[Measure]) -> Any:
    """Show figures as a table node beside the result; an earlier one is filled anew.

    :param measures: those without a value, as no voxel is that near to the metal, are left out.
    :returns: ``vtkMRMLTableNode``.
    """
    measures = [one for one in measures if np.isfinite([one.before, one.after]).any()]
    with all_or_none(scene) as added:
        node = table_of(scene, corrected)
        if node is None:
            name = f"Figures {corrected.GetName()}"
            node = added(
                scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
            )
            _place(scene, node, "table", corrected)
        _fill(
            node,
            {
                "Measure": [one.title for one in measures],
                "Unit": [one.unit for one in measures],
                "Before": [round(one.before, 2) for one in measures],
                "After": [round(one.after, 2) for one in measures],
                "Key": [one.key for one in measures],
            },
        )
    return node


def measures_in(table: Any) -> tuple[Measure, ...]:
    """The figures of a table node, also after saving and loading; empty if they are not there."""
    columns = {name: table.GetTable().GetColumnByName(name) for name in _COLUMNS}
    if None in columns.values():
        return ()
    return tuple(
        Measure(
            columns["Key"].GetValue(row),
            columns["Measure"].GetValue(row),
            columns["Unit"].GetValue(row),
            columns["Before"].GetVariantValue(row).ToDouble(),
            columns["After"].GetVariantValue(row).ToDouble(),
        )
        for row in range(table.GetNumberOfRows())
    )


def propose_line(scene: Any, corrected: Any, into: Any = None) -> Any:
    """A markups line across the metal, to be dragged by its ends.

    :param into: line node to move there instead of a new one.
    :returns: ``vtkMRMLMarkupsLineNode`` with two points.
    """
    before, _, fraction = corrected_volumes(corrected, view_of)
    line = line_across_metal(before, fraction)
    with all_or_none(scene) as added:
        if into is None:
            into = added(
                scene.AddNewNodeByClass(
                    "vtkMRMLMarkupsLineNode", scene.GenerateUniqueName("HU profile")
                )
            )
            into.CreateDefaultDisplayNodes()
            display = into.GetDisplayNode()
            display.SetPropertiesLabelVisibility(False)
            display.SetGlyphScale(2.0)
            _place(scene, into, "line", corrected)
        with one_change(into):
            into.SetAndObserveTransformNodeID(original_of(corrected).GetTransformNodeID())
            into.RemoveAllControlPoints()
            for end in (line.start, line.end):
                into.AddControlPoint(*end)
    return into


def line_of(node: Any, volume_node: Any) -> Line:
    """A markups line as seen from a volume's own space.

    :raises InputError: not two points.
    """
    if node is None or node.GetNumberOfDefinedControlPoints() != 2:
        raise InputError("no line across the metal yet: place its two ends")
    to_volume = volume_node.GetParentTransformNode()
    ends = []
    for index in (0, 1):
        point = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(index, point)
        if to_volume is not None:
            volume_node.TransformPointFromWorld(point, point)
        ends.append((float(point[0]), float(point[1]), float(point[2])))
    return Line(ends[0], ends[1])


def put_profile(scene: Any, corrected: Any, line_node: Any) -> Any:
    """Plot HU along a line, before and after; an earlier plot of the result is filled anew.

    :param line_node: ``vtkMRMLMarkupsLineNode``.
    :returns: ``vtkMRMLPlotChartNode``.
    :raises InputError: not a result; no line; a line outside the volume.
    """
    original = original_of(corrected)
    for node in (original, corrected):
        require_scalar_volume(node)
    line = line_of(line_node, original)
    # Views on the voxels: dragging the line must not copy volumes.
    curves = {
        name: profile_along(_view(node), line)
        for name, node in (("original", original), ("corrected", corrected))
    }
    with all_or_none(scene) as added:
        chart = plot_of(scene, corrected)
        if chart is None:
            chart = _new_chart(scene, corrected, added)
        distance, hu = curves["original"]
        inside = np.isfinite(hu)
        _fill(
            chart.GetNodeReference(_TABLE_REFERENCE),
            {
                "mm": distance[inside],
                **{name: values[inside] for name, (_, values) in curves.items()},
            },
        )
    return chart


def region_masks(scene: Any, volume_node: Any) -> dict[str, np.ndarray]:
    """The boxes (markups ROI) that the user made for measuring, on the grid of a volume.

    :returns: name -> bool ``(slices, rows, cols)``; empty boxes are left out.
    """
    count = scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLMarkupsROINode") for index in range(count)]
    wanted = [node for node in nodes if node in results_of(scene, volume_node, "region")]
    out = {}
    for node in wanted:
        mask = _inside_box(node, volume_node)
        if mask.any():
            out[node.GetName()] = mask
    return out


def add_region(
    scene: Any, corrected: Any, centre_ras: tuple[float, float, float], size_mm: float = 20.0
) -> Any:
    """A box whose mean HU is listed before and after, to be dragged to where it is wanted.

    :param centre_ras: in the world.
    :returns: ``vtkMRMLMarkupsROINode``.
    """
    with all_or_none(scene) as added:
        node = added(
            scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", scene.GenerateUniqueName("Region"))
        )
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetFillOpacity(0.1)
        # Slicer's own size of the handles would cover a box as small as this one.
        node.GetDisplayNode().SetInteractionHandleScale(1.0)
        node.SetCenterWorld(centre_ras)
        node.SetSize(size_mm, size_mm, size_mm)
        original = original_of(corrected)
        mark_result(node, "region", original)
        place_results(scene, original, [node], f"MAR {original.GetName()}")
    return node


def _inside_box(roi: Any, volume_node: Any) -> np.ndarray:
    """Voxels whose centre lies in a markups ROI, whatever way it is turned."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(roi.GetObjectToWorldMatrix())
    matrix.Invert()
    from_world = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
    volume = volume_from_node(volume_node, world=True)
    to_box = from_world @ volume.ijk_to_ras
    half = np.array(roi.GetSize()) / 2.0
    index = [np.arange(n, dtype=np.float64) for n in volume.hu.shape]
    inside = np.ones(volume.hu.shape, dtype=bool)
    for axis in range(3):
        i, j, k, at = to_box[axis]
        place = (
            at
            + k * index[0][:, None, None]
            + j * index[1][None, :, None]
            + i * index[2][None, None]
        )
        inside &= np.abs(place) <= half[axis]
    return inside


def _view(node: Any) -> CTVolume:
    """A volume node's values without a copy, in the order in which they are stored."""
    return CTVolume(voxel_array(node), ijk_to_ras(node))


def _new_chart(scene: Any, corrected: Any, added: Any) -> Any:
    name = corrected.GetName()

    def new(kind: str, title: str, role: str, *, hidden: bool = True) -> Any:
        node = scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(scene.GenerateUniqueName(title))
        node.SetHideFromEditors(hidden)  # the Data tree looks once, when a node is added
        node = added(scene.AddNode(node))
        mark_result(node, role, original_of(corrected), references={CORRECTED_REFERENCE: corrected})
        return node

    table = new("vtkMRMLTableNode", f"HU along the line {name}", "profile")
    chart = new("vtkMRMLPlotChartNode", f"Plot {name}", "plot", hidden=False)
    _place(scene, chart, "plot", corrected)
    chart.SetNodeReferenceID(_TABLE_REFERENCE, table.GetID())
    chart.SetTitle("HU along the line")
    chart.SetXAxisTitle("mm")
    chart.SetYAxisTitle("HU")
    for title, color in _CURVES:
        series = new("vtkMRMLPlotSeriesNode", title, "series")
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("mm")
        series.SetYColumnName(title)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone)
        series.SetLineWidth(2.0)
        series.SetColor(*color)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def _fill(node: Any, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
    """Replace the contents of a table node."""
    import vtk

    slicer_classes()
    table = vtk.vtkTable()
    for name, values in columns.items():
        text = len(values) > 0 and isinstance(values[0], str)
        column = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value if text else float(value))
        table.AddColumn(column)
    node.SetAndObserveTable(table)


def _place(scene: Any, node: Any, role: str, corrected: Any) -> None:
    original = original_of(corrected)
    mark_result(node, role, original, references={CORRECTED_REFERENCE: corrected})
    place_results(scene, original, [node], f"MAR {original.GetName()}")
