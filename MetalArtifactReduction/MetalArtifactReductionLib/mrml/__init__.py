"""MRML scenes: nodes <-> volumes and metal, results placed and shown, scenes saved.

Works inside Slicer and, without Slicer, on the ``slicer-core`` package. The scene is always an
argument. Importing this package imports no MRML; the first call does.
"""

from .correct import CorrectedNodes, add_results, correct_node, propose_metal
from .display import (
    WINDOWS,
    Window,
    apply_window,
    set_overlay_opacity,
    show_change,
    show_expected_error,
    show_in_slice_views,
)
from .hierarchy import place_results, results_of
from .namespace import SceneUnavailable
from .scene import headless_scene, load_scene, save_scene
from .segmentations import (
    fraction_from_node,
    fraction_from_segmentation,
    node_from_fraction,
    segment_masks,
    segmentation_from_fraction,
)
from .volumes import node_from_volume, require_scalar_volume, volume_from_node

__all__ = [
    "WINDOWS",
    "CorrectedNodes",
    "SceneUnavailable",
    "Window",
    "add_results",
    "apply_window",
    "correct_node",
    "fraction_from_node",
    "fraction_from_segmentation",
    "headless_scene",
    "load_scene",
    "node_from_fraction",
    "node_from_volume",
    "place_results",
    "propose_metal",
    "require_scalar_volume",
    "results_of",
    "save_scene",
    "segment_masks",
    "segmentation_from_fraction",
    "set_overlay_opacity",
    "show_change",
    "show_expected_error",
    "show_in_slice_views",
    "volume_from_node",
]
