"""How results look: window presets, the change map's colours, the slice views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import InputError
from ..evaluation.report_pictures import LEAST_ERROR_HU, change_limit_hu, colour_limit_hu
from .namespace import slicer_classes
from .volumes import voxel_array

OWN_VIEWS = "Mar"
"""What the names of our own slice views begin with."""

_CHANGE_COLORS_TAG = "MetalArtifactReductionChange"
_CHANGE_COLORS = 255  # odd: the middle colour stands for exactly no change
_TRANSPARENT_BELOW = 0.1
_ERROR_TRANSPARENT_BELOW = 0.2
"""Below, a voxel does not count for the window: it is hardly changed; its error is noise."""

_ERROR_COLORS_TAG = "MetalArtifactReductionExpectedError"
_ERROR_COLORS = 256
_ERROR_STOPS = (
    (0.0, (0.15, 0.25, 0.55)),
    (0.35, (0.1, 0.6, 0.5)),
    (0.7, (0.98, 0.85, 0.2)),
    (1.0, (0.85, 0.15, 0.1)),
)
"""From sure to unsure; not the colours of the change map, with which it must not be confused."""


@dataclass(frozen=True)
class Window:
    """A grey-value window in HU."""

    level_hu: float
    width_hu: float


WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "bone": Window(level_hu=400.0, width_hu=2000.0),
        "soft-tissue": Window(level_hu=40.0, width_hu=400.0),
        "metal": Window(level_hu=1500.0, width_hu=5000.0),
    }
)
"""Window presets: bone and soft tissue as in radiology; metal shows streaks, bone and implants
at once, up to 4000 HU."""


def apply_window(node: Any, preset: str) -> None:
    """Show a volume node in one of :data:`WINDOWS`.

    :raises InputError: unknown preset.
    """
    if preset not in WINDOWS:
        raise InputError(f"no window preset '{preset}': choose one of {', '.join(WINDOWS)}")
    window = WINDOWS[preset]
    display = _display_node(node)
    display.AutoWindowLevelOff()
    display.SetWindowLevel(window.width_hu, window.level_hu)


def change_color_node(scene: Any, transparent_below: float = _TRANSPARENT_BELOW) -> Any:
    """A colour table for change maps; made on first use, one a scene and dead band.

    Blue is darker than before, red is brighter.

    :param transparent_below: share of the window's limit up to which changes are transparent, so
        that an overlay leaves the CT uncovered where nothing was changed; in whole per cent.
    """
    percent = max(1, round(100 * transparent_below))
    half = _CHANGE_COLORS // 2
    colours = []
    for index in range(_CHANGE_COLORS):
        amount = (index - half) / half
        pale = 0.8 * (1.0 - abs(amount))
        red = 0.95 if amount > 0 else pale
        blue = 0.95 if amount < 0 else pale
        shown = 100 * abs(amount) >= percent
        colours.append((f"{amount:+.3f}", (red, pale, blue), shown))
    tag = f"{_CHANGE_COLORS_TAG}{percent}"
    return _color_node(scene, tag, "Change (blue: lower, red: higher HU)", colours)


def expected_error_color_node(scene: Any) -> Any:
    """The scene's colour table for expected errors; made on first use, one a scene.

    From blue (small) over green and yellow to red; below 20 % of the window's limit transparent.
    """
    stops = [amount for amount, _ in _ERROR_STOPS]
    colours = []
    for amount in np.linspace(0.0, 1.0, _ERROR_COLORS):
        rgb = tuple(np.interp(amount, stops, [rgb[c] for _, rgb in _ERROR_STOPS]) for c in range(3))
        colours.append((f"{amount:.3f}", rgb, amount >= _ERROR_TRANSPARENT_BELOW))
    return _color_node(
        scene, _ERROR_COLORS_TAG, "Expected error (blue: small, red: large)", colours
    )


def _color_node(
    scene: Any, tag: str, name: str, colours: Sequence[tuple[str, tuple[float, ...], bool]]
) -> Any:
    """The scene's table of that tag; made of (name, red green blue, shown) if there is none."""
    node = scene.GetSingletonNode(tag, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    table = scene.CreateNodeByClass("vtkMRMLColorTableNode")
    table.UnRegister(None)
    table.SetName(name)
    table.SetSingletonTag(tag)
    table.SetTypeToUser()
    table.SetNumberOfColors(len(colours))
    for index, (text, rgb, shown) in enumerate(colours):
        # The slice views know only transparent and not: any opacity above 0 counts as full.
        table.SetColor(index, text, *rgb, float(shown))
    table.SetAttribute("Category", "MetalArtifactReduction")
    table = scene.AddNode(table)
    table.AddDefaultStorageNode()
    # Every Slicer reads .ctbl; the newer default, .csv, is unknown to older ones.
    table.GetStorageNode().SetDefaultWriteFileExtension("ctbl")
    return table


def show_change(node: Any, limit_hu: float | None = None, *, noise_hu: float | None = None) -> None:
    """Show a change map in diverging colours, symmetric about no change.

    :param node: volume node with differences in HU.
    :param limit_hu: change at which the colour is strongest; by default what 99 % of the changed
        voxels stay within, rounded up to 50 HU.
    :param noise_hu: smaller changes stay clear; a tenth of the limit if None or 0.
    """
    limit_hu = limit_hu or change_limit_hu(voxel_array(node))
    share = min(noise_hu / limit_hu, 0.5) if noise_hu else _TRANSPARENT_BELOW
    display = _display_node(node)
    display.SetAndObserveColorNodeID(change_color_node(node.GetScene(), share).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevel(2.0 * limit_hu, 0.0)


def show_legend(node: Any, slice_nodes: Sequence[Any]) -> None:
    """A bar in HU beside a map, in these slice views only; none without any.

    :param node: volume node with a display node.
    """
    colors = slicer_classes().vtkSlicerColorLogic
    if not slice_nodes:
        legend = colors.GetColorLegendDisplayNode(node)
        if legend is not None:
            legend.SetVisibility(False)
        return
    legend = colors.AddDefaultColorLegendDisplayNode(node)
    if legend is None:  # of a scene without Slicer's module Colors
        return
    legend.SetTitleText("HU")
    legend.SetLabelFormat("%.0f")
    legend.SetMaxNumberOfColors(_CHANGE_COLORS)
    legend.SetNumberOfLabels(5)
    legend.SetSize(0.12, 0.4)
    legend.SetPosition(0.98, 0.5)
    legend.SetViewNodeIDs([one.GetID() for one in slice_nodes])
    legend.SetVisibility(True)


def show_expected_error(node: Any, limit_hu: float | None = None) -> None:
    """Show a map of expected errors in colours that rise from no error.

    :param node: volume node with absolute errors in HU.
    :param limit_hu: where the colour is strongest; by default what 99 % of the errors above 10 HU
        stay within, rounded up to 50 HU.
    """
    limit_hu = colour_limit_hu(voxel_array(node), LEAST_ERROR_HU) if limit_hu is None else limit_hu
    display = _display_node(node)
    display.SetAndObserveColorNodeID(expected_error_color_node(node.GetScene()).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevel(limit_hu, limit_hu / 2.0)


def show_in_slice_views(
    scene: Any, background: Any, foreground: Any = None, *, foreground_opacity: float = 0.5
) -> None:
    """Show volumes in Slicer's slice views; where the scene has none, make its three.

    :param background: volume node.
    :param foreground: volume node laid over it, or None.
    :param foreground_opacity: 0..1.
    """
    for _ in layers_in_steps(scene, background, foreground, foreground_opacity):
        pass


def layers_in_steps(
    scene: Any, background: Any, foreground: Any = None, foreground_opacity: float = 0.5
) -> Iterator[None]:
    """:func:`show_in_slice_views` with a pause after each view."""
    logics = [] if _composite_nodes(scene) else _make_slice_views(scene)
    for composite in _composite_nodes(scene):
        if not (composite.GetLayoutName() or "").startswith(OWN_VIEWS):
            set_layers(composite, background, foreground, foreground_opacity)
            yield
    for logic in logics:
        logic.FitSliceToAll(*logic.GetSliceNode().GetDimensions()[:2])


@contextmanager
def one_change(node: Any) -> Iterator[None]:
    """Tell whoever observes a node once of all that is changed in the block: views draw anew."""
    before = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(before)


def set_layers(composite: Any, background: Any, foreground: Any, opacity: float) -> None:
    """What a slice view shows.

    :param foreground: volume node laid over the background, or None. :param opacity: its, 0..1.
    """
    with one_change(composite):
        composite.SetBackgroundVolumeID(background.GetID())
        composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
        composite.SetForegroundOpacity(opacity if foreground is not None else 0.0)


def set_overlay_opacity(scene: Any, node: Any, opacity: float) -> None:
    """How opaque a volume is in the slice views that show it as foreground.

    :param opacity: 0..1.
    """
    for composite in _composite_nodes(scene):
        if composite.GetForegroundVolumeID() == node.GetID():
            composite.SetForegroundOpacity(opacity)


def _display_node(node: Any) -> Any:
    node.CreateDefaultDisplayNodes()
    return node.GetDisplayNode()


def _composite_nodes(scene: Any) -> list[Any]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(i, "vtkMRMLSliceCompositeNode") for i in range(count)]


def _make_slice_views(scene: Any) -> list[Any]:
    """The red, yellow and green slice views, as Slicer's own layout makes them."""
    slicer = slicer_classes()
    kind = slicer.vtkMRMLSliceNode
    kind.AddDefaultSliceOrientationPresets(scene)
    logics = []
    for name, label, orientation, color in (
        ("Red", "R", "Axial", kind.GetRedColor()),
        ("Yellow", "Y", "Sagittal", kind.GetYellowColor()),
        ("Green", "G", "Coronal", kind.GetGreenColor()),
    ):
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLScene(scene)
        node = logic.AddSliceNode(name)
        node.SetLayoutLabel(label)
        node.SetLayoutColor(color)
        node.SetOrientation(orientation)
        node.SetDimensions(512, 512, 1)
        logics.append(logic)
    return logics
