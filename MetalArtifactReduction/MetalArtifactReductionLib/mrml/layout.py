"""Views for comparing: original, corrected and change beside each other, linked."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

from ..errors import InputError
from .display import layers_in_steps, one_change, set_layers, show_legend
from .hierarchy import ROLE_ATTRIBUTE, results_of
from .kept import expected_error_of, original_of, result_of
from .namespace import slicer_classes
from .transaction import all_of

FOUR_UP, COMPARISON, FIGURES, SINGLE = "four-up", "comparison", "figures", "single"
LAYOUTS = (FOUR_UP, COMPARISON, FIGURES, SINGLE)
"""Names of the layouts: Slicer's own with 3-D view; three axial over three coronal slices; three
axial slices over table and plot; one slice, the result laid over its original."""

PREVIEW = "preview"
"""Original and one corrected slice beside each other."""

VIEWS = {
    "MarOriginal": ("Orig", "#4a7fb5"),
    "MarCorrected": ("Corr", "#54a24b"),
    "MarChange": ("Diff", "#d6604d"),
}
"""Slice views of a row of the comparison, from left to right: name -> (label, colour).
A longer label would be cut off in Slicer's bar above the view."""

CHANGE, EXPECTED_ERROR = "change", "expected-error"
OVERLAYS = (CHANGE, EXPECTED_ERROR)
"""Maps that can be laid over a result: what was changed, how far it may be off."""

_ERROR_LABEL = "Err"

SECOND_ROW = "Coronal"
"""What the names of the lower row of :data:`COMPARISON` end with."""

_LAYOUT_IDS = {COMPARISON: 20631, FIGURES: 20632, PREVIEW: 20633}
"""Slicer's own end below 1000; any free number from there on will do."""

_TABLE_VIEW, _PLOT_VIEW = "MarTable", "MarPlot"
_VIEW_GROUPS = {"": 631, SECOND_ROW: 632}  # each row is linked within itself


def layout_xml(name: str) -> str:
    """The description of one of our own layouts in Slicer's layout language."""
    row = _row("", 2 if name == PREVIEW else 3)
    if name == PREVIEW:
        return row
    if name == COMPARISON:
        return f'<layout type="vertical"><item>{row}</item><item>{_row(SECOND_ROW)}</item></layout>'
    if name != FIGURES:
        raise InputError(f"no layout '{name}': choose one of {', '.join(LAYOUTS)}")
    figures = (
        '<layout type="horizontal">'
        f'<item><view class="vtkMRMLTableViewNode" singletontag="{_TABLE_VIEW}">'
        '<property name="viewlabel" action="default">T</property></view></item>'
        f'<item><view class="vtkMRMLPlotViewNode" singletontag="{_PLOT_VIEW}">'
        '<property name="viewlabel" action="default">P</property></view></item>'
        "</layout>"
    )
    return (
        '<layout type="vertical" split="true">'
        f'<item splitSize="600">{row}</item><item splitSize="400">{figures}</item></layout>'
    )


def _row(ending: str, count: int = 3) -> str:
    """The first views beside each other; ``ending``: "" or :data:`SECOND_ROW`."""
    slices = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{view}{ending}">'
        f'<property name="orientation" action="default">{ending or "Axial"}</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        f'<property name="viewgroup" action="default">{_VIEW_GROUPS[ending]}</property>'
        "</view></item>"
        for view, (label, color) in list(VIEWS.items())[:count]
    )
    return f'<layout type="horizontal">{slices}</layout>'


def use_layout(layout_node: Any, name: str) -> None:
    """Arrange the views; in Slicer they appear at once.

    :param layout_node: the scene's ``vtkMRMLLayoutNode``.
    :param name: one of :data:`LAYOUTS`.
    :raises InputError: another name.
    """
    own = {FOUR_UP: "SlicerLayoutFourUpView", SINGLE: "SlicerLayoutOneUpRedSliceView"}
    if name in own:
        layout_node.SetViewArrangement(getattr(layout_node, own[name]))
        return
    number = _LAYOUT_IDS[name]
    with one_change(layout_node):
        if not layout_node.IsLayoutDescription(number):
            layout_node.AddLayoutDescription(number, layout_xml(name))
        layout_node.SetViewArrangement(number)


def is_own_layout(arrangement: int) -> bool:
    """Whether an arrangement of views, as the layout node numbers it, is none of Slicer's own."""
    return arrangement in _LAYOUT_IDS.values()


def add_view(scene: Any, name: str) -> None:
    """Make a slice view that a layout will need, as the layout itself would, unless it is there.

    :param name: of :data:`VIEWS`, in the lower row with :data:`SECOND_ROW`.
    """
    kind = "vtkMRMLSliceNode"
    if scene.GetSingletonNode(name, kind) is not None:
        return
    ending = name.removeprefix(str(_own_view(name)))
    label, colour = VIEWS[str(_own_view(name))]
    node = scene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetLayoutName(name)
    node.SetName(name)
    node.SetLayoutLabel(label)
    node.SetLayoutColor(*(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)))
    node.SetViewGroup(_VIEW_GROUPS[ending])
    node = scene.AddNode(node)
    node.SetOrientation(ending or "Axial")


def show_result(
    scene: Any, corrected: Any, layout: str, *, overlay_opacity: float, overlay: str = CHANGE
) -> list[Any]:
    """Put a result and its original into the views of a layout that is in use.

    :param corrected: the corrected volume node.
    :param overlay_opacity: of the map, 0..1.
    :param overlay: one of :data:`OVERLAYS`; a result without expected errors shows its changes.
    :returns: the slice nodes that show it: to be fitted by the caller, who has their logics.
    :raises InputError: not a result, or its original is gone.
    """
    shown: list[Any] = all_of(result_in_steps(scene, corrected, layout, overlay_opacity, overlay))
    return shown


def result_in_steps(
    scene: Any, corrected: Any, layout: str, overlay_opacity: float, overlay: str = CHANGE
) -> Generator[None, None, list[Any]]:
    """:func:`show_result` with a pause after each view."""
    original, over = original_of(corrected), overlay_of(scene, corrected, overlay)
    of_error = over is not None and over.GetAttribute(ROLE_ATTRIBUTE) == EXPECTED_ERROR
    for line in results_of(scene, original, "line"):
        line.SetDisplayVisibility(layout == FIGURES)  # elsewhere it would hide what it crosses
    if layout in (FOUR_UP, SINGLE):
        if layout == SINGLE:
            yield from layers_in_steps(scene, original, corrected, 1.0)
        else:
            yield from layers_in_steps(scene, corrected, over, overlay_opacity)
        return slice_nodes(scene, own=False)
    layers = {
        "MarOriginal": (original, None),
        "MarCorrected": (corrected, None),
        # Changes are of the original, errors of what came out.
        "MarChange": (corrected if of_error else original, over),
    }
    shown: list[Any] = []
    for node in slice_nodes(scene):
        name = node.GetLayoutName()
        composite = scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}")
        if _own_view(name) is None or composite is None:
            continue
        background, foreground = layers[str(_own_view(name))]
        shown.append(node)
        if _own_view(name) == "MarChange":
            node.SetLayoutLabel(_ERROR_LABEL if of_error else VIEWS["MarChange"][0])
        _fill_own(composite, background, foreground, overlay_opacity)
        yield
    return shown


def show_scale(scene: Any, corrected: Any, overlay: str) -> None:
    """The bar in HU beside a result's map, in the views of ours that are for maps."""
    over = overlay_of(scene, corrected, overlay)
    views = [one for one in slice_nodes(scene) if _own_view(one.GetLayoutName()) == "MarChange"]
    for role in OVERLAYS:
        for node in results_of(scene, original_of(corrected), role):
            show_legend(node, views if node is over else [])


def show_preview(scene: Any, original: Any, preview: Any) -> list[Any]:
    """Put a volume and one corrected slice of it into the views of :data:`PREVIEW`.

    :returns: their slice nodes.
    """
    layers = {"MarOriginal": original, "MarCorrected": preview}
    shown = [node for node in slice_nodes(scene) if node.GetLayoutName() in layers]
    for node in shown:
        composite = scene.GetNodeByID(f"vtkMRMLSliceCompositeNode{node.GetLayoutName()}")
        if composite is None:
            continue
        _fill_own(composite, layers[node.GetLayoutName()])
    return shown


def _fill_own(composite: Any, background: Any, foreground: Any = None, opacity: float = 0) -> None:
    """Layers of one of our own views, which is linked with its row."""
    with one_change(composite):
        set_layers(composite, background, foreground, opacity)
        composite.SetLabelVolumeID(None)
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)


def _own_view(layout_name: str) -> str | None:
    """Which of :data:`VIEWS` a slice view is, in either row; None if it is another."""
    name = layout_name.removesuffix(SECOND_ROW)
    return name if name in VIEWS else None


def show_figures(scene: Any, table: Any, chart: Any) -> None:
    """Put a table and a plot chart node (or None) into the views of :data:`FIGURES`."""
    table_view = scene.GetNodeByID(f"vtkMRMLTableViewNode{_TABLE_VIEW}")
    if table_view is not None:
        table_view.SetTableNodeID(table.GetID() if table is not None else None)
    plot_view = scene.GetNodeByID(f"vtkMRMLPlotViewNode{_PLOT_VIEW}")
    if plot_view is not None:
        plot_view.SetPlotChartNodeID(chart.GetID() if chart is not None else None)


def overlay_of(scene: Any, corrected: Any, overlay: str) -> Any:
    """The map to lay over a result, or None where the user removed it.

    :param overlay: one of :data:`OVERLAYS`; without expected errors the changes.
    :raises InputError: another name.
    """
    if overlay not in OVERLAYS:
        raise InputError(f"no map '{overlay}': choose one of {', '.join(OVERLAYS)}")
    error = expected_error_of(scene, corrected) if overlay == EXPECTED_ERROR else None
    return error if error is not None else result_of(scene, corrected, CHANGE)


def same_scale(nodes: list[Any]) -> None:
    """Zoom the views of each row alike: they differ by some pixels in width.

    :param nodes: slice nodes, fitted to what they show.
    """
    for group in {node.GetViewGroup() for node in nodes}:
        row = [node for node in nodes if node.GetViewGroup() == group]
        mm = max(node.GetFieldOfView()[0] / max(node.GetDimensions()[0], 1) for node in row)
        for node in row:
            columns, rows, _ = node.GetDimensions()
            node.SetFieldOfView(mm * columns, mm * rows, node.GetFieldOfView()[2])


def go_to(scene: Any, ras: tuple[float, float, float]) -> None:
    """Move every slice view to the slice of a point of the world."""
    for node in slice_nodes(scene):
        node.JumpSliceByOffsetting(*ras)


def look_at(scene: Any, node: Any) -> None:
    """Turn every 3-D view's camera to a segmentation, and fill the view with it.

    :param node: segmentation node; one without content changes nothing.
    """
    fill_views(scene, _bounds_of(node))


def fill_views(
    scene: Any, bounds: Sequence[float], viewed_from: tuple[float, float, float] | None = None
) -> None:
    """Turn every 3-D view's camera to a box, and fill the view with it.

    :param bounds: six numbers, mm in the world, as VTK gives them; an empty box changes nothing.
    :param viewed_from: direction towards the camera, the head up; None leaves it.
    """
    sides = [high - low for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    if min(sides) < 0:
        return
    centre = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    radius = max(1.0, math.hypot(*sides) / 2)
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLCameraNode")):
        camera = scene.GetNthNodeByClass(index, "vtkMRMLCameraNode")
        away = viewed_from or [
            a - b for a, b in zip(camera.GetPosition(), camera.GetFocalPoint(), strict=True)
        ]
        distance = radius / math.sin(math.radians(camera.GetViewAngle()) / 2)
        scale = distance / (math.hypot(*away) or 1.0)
        camera.SetFocalPoint(*centre)
        camera.SetPosition(*(c + a * scale for c, a in zip(centre, away, strict=True)))
        if viewed_from is not None:
            camera.SetViewUp(0.0, 0.0, 1.0)
        camera.ResetClippingRange()


def _bounds_of(segmentation: Any) -> list[float]:
    """Bounds in the world: of the surfaces where there are any, as a labelmap is mostly empty."""
    import vtk

    segments = segmentation.GetSegmentation()
    converter = slicer_classes().vtkSegmentationConverter
    name = converter.GetSegmentationClosedSurfaceRepresentationName()
    box = vtk.vtkBoundingBox()
    for index in range(segments.GetNumberOfSegments()):
        surface = segments.GetNthSegment(index).GetRepresentation(name)
        if surface is not None and surface.GetNumberOfPoints():
            box.AddBounds(surface.GetBounds())
    bounds = [0.0] * 6
    if box.IsValid() and segmentation.GetParentTransformNode() is None:
        box.GetBounds(bounds)
    else:
        segmentation.GetRASBounds(bounds)
    return bounds


class Flicker:
    """Original and corrected volume in turn, in the slice views that show the latter.

    Where it lies over its original it is hidden in turn.

    :param corrected: a corrected volume node.
    """

    def __init__(self, scene: Any, corrected: Any) -> None:
        self._corrected, self._original = corrected, original_of(corrected)
        count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
        composites = (scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode") for i in range(count))
        self._opacity = {
            composite: composite.GetForegroundOpacity()
            for composite in composites
            if corrected.GetID()
            in (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
        }
        self.shows_original = False

    def turn(self) -> None:
        """Show the other one."""
        self._show(not self.shows_original)

    def stop(self) -> None:
        """Show the corrected volume again, as it was."""
        self._show(False)

    def _show(self, original: bool) -> None:
        self.shows_original = original
        node = self._original if original else self._corrected
        for composite, opacity in self._opacity.items():
            scene = composite.GetScene()
            if scene is None or node.GetScene() is not scene:
                continue
            if composite.GetForegroundVolumeID() != self._corrected.GetID():
                composite.SetBackgroundVolumeID(node.GetID())
            # The map of the changes would cover what is to be compared.
            composite.SetForegroundOpacity(0.0 if original else opacity)


def slice_nodes(scene: Any, *, own: bool = True) -> list[Any]:
    """Every slice view's node.

    :param own: those of our own layouts, too.
    """
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLSliceNode") for index in range(count)]
    return [node for node in nodes if own or _own_view(node.GetLayoutName()) is None]
