"""Projection and reconstruction: geometry is data, the operators are verbs."""

from .fan import FanProjector
from .filters import WINDOWS
from .footprint import FootprintProjector, metal_path_mm
from .geometry import FanGeometry, ImageGrid, ParallelGeometry, parallel_geometry_for
from .operator import Projector, as_device
from .parallel import ParallelProjector
from .reconstruction import FilteredBackProjection, fbp

__all__ = [
    "WINDOWS",
    "FanGeometry",
    "FanProjector",
    "FilteredBackProjection",
    "FootprintProjector",
    "ImageGrid",
    "ParallelGeometry",
    "ParallelProjector",
    "Projector",
    "as_device",
    "fbp",
    "metal_path_mm",
    "parallel_geometry_for",
]
