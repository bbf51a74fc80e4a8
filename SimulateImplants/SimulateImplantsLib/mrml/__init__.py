"""Implants in MRML scenes: editable nodes, lines that drive screws, rods that follow, simulation.

Works inside Slicer and, without Slicer, on the ``slicer-core`` package. The scene is always an
argument. Nodes are known by attributes and references, never by name.
"""

from ..placement.spine.levels import LEVELS
from .bone import (
    bone_in_background,
    bone_labels,
    clicks_of,
    name_points,
    segment_bone,
    segmentation_from_labels,
)
from .companions import duplicate, remove
from .fit import fit_screw
from .history import PlacementHistory
from .lines import add_line, update_from_line, update_line
from .link import ImplantLink, begin_line, edit_implant, finish_line
from .nodes import (
    add_implant,
    change_parameters,
    new_construct,
    placement_at,
    set_matrix,
)
from .plans import add_plan, plan_of
from .propose import (
    ProposedNodes,
    propose,
    propose_in_background,
    split_in_background,
    split_vertebrae,
)
from .quality import (
    QualityRow,
    forget_quality,
    placement_quality,
    quality_in_background,
    quality_of,
    quality_table,
    size_text,
)
from .rods import add_cross_link, add_rod, follow_screws, rods_through, screws_of
from .sample import SAMPLES, SampleNodes, add_sample, sample_in_background
from .scene_implant import SceneImplant, implant_of_node, implants_of, placed_implants
from .simulate import (
    SimulatedNodes,
    add_fraction,
    add_simulation,
    fraction_in_background,
    simulate_in_background,
    simulate_node,
    voxelize_implants,
)
from .surfaces import show_handles, show_handles_of
from .variants import variants_in_background
from .views import PLANES, show_aligned, show_plane, slice_to_ras

__all__ = [
    "LEVELS",
    "PLANES",
    "SAMPLES",
    "ImplantLink",
    "PlacementHistory",
    "ProposedNodes",
    "QualityRow",
    "SampleNodes",
    "SceneImplant",
    "SimulatedNodes",
    "add_cross_link",
    "add_fraction",
    "add_implant",
    "add_line",
    "add_plan",
    "add_rod",
    "add_sample",
    "add_simulation",
    "begin_line",
    "bone_in_background",
    "bone_labels",
    "change_parameters",
    "clicks_of",
    "duplicate",
    "edit_implant",
    "finish_line",
    "fit_screw",
    "follow_screws",
    "forget_quality",
    "fraction_in_background",
    "implant_of_node",
    "implants_of",
    "name_points",
    "new_construct",
    "placed_implants",
    "placement_at",
    "placement_quality",
    "plan_of",
    "propose",
    "propose_in_background",
    "quality_in_background",
    "quality_of",
    "quality_table",
    "remove",
    "rods_through",
    "sample_in_background",
    "screws_of",
    "segment_bone",
    "segmentation_from_labels",
    "set_matrix",
    "show_aligned",
    "show_handles",
    "show_handles_of",
    "show_plane",
    "simulate_in_background",
    "simulate_node",
    "size_text",
    "slice_to_ras",
    "split_in_background",
    "split_vertebrae",
    "update_from_line",
    "update_line",
    "variants_in_background",
    "voxelize_implants",
]
