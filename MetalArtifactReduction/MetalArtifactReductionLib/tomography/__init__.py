"""Projection and reconstruction: geometry is data, the operators are verbs.

The names below load their files, and with them torch, when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .fan import FanProjector as FanProjector
    from .filters import WINDOWS as WINDOWS
    from .footprint import FootprintProjector as FootprintProjector
    from .footprint import metal_path_mm as metal_path_mm
    from .geometry import FanGeometry as FanGeometry
    from .geometry import ImageGrid as ImageGrid
    from .geometry import ParallelGeometry as ParallelGeometry
    from .geometry import parallel_geometry_for as parallel_geometry_for
    from .operator import Projector as Projector
    from .operator import as_device as as_device
    from .operator import fast_bfloat16 as fast_bfloat16
    from .parallel import ParallelProjector as ParallelProjector
    from .reconstruction import FilteredBackProjection as FilteredBackProjection
    from .reconstruction import fbp as fbp
    from .reprojection import MeasuredScan as MeasuredScan
    from .reprojection import Reprojection as Reprojection
    from .scan import Scan as Scan

_FILES = {
    "WINDOWS": "filters",
    "FanGeometry": "geometry",
    "FanProjector": "fan",
    "FilteredBackProjection": "reconstruction",
    "FootprintProjector": "footprint",
    "ImageGrid": "geometry",
    "MeasuredScan": "reprojection",
    "ParallelGeometry": "geometry",
    "ParallelProjector": "parallel",
    "Projector": "operator",
    "Reprojection": "reprojection",
    "Scan": "scan",
    "as_device": "operator",
    "fast_bfloat16": "operator",
    "fbp": "reconstruction",
    "metal_path_mm": "footprint",
    "parallel_geometry_for": "geometry",
}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f".{_FILES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
