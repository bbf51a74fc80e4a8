"""The projector and reconstruction of images that are all there is of a scan."""

from __future__ import annotations

import torch

from .geometry import ImageGrid, parallel_geometry_for
from .parallel import ParallelProjector
from .reconstruction import FilteredBackProjection

VIEWS_PER_PIXEL = 1.41
FEWEST_VIEWS = 544
"""Also for small matrices: the filled trace has sharper ends than the image it came from, and
fewer views show them as fine radial lines at the skin."""


class Reprojection:
    """Projects images and reconstructs their sinograms, made once and shared by all batches.

    The bins cover the diagonal of the image, so that corners of the rectangle outside the scanner's
    field of view project and come back like the rest.

    :param grid: of the images.
    :param window: filter window of the reconstruction, see :data:`.filters.WINDOWS`.

    ``projector`` takes ``(slices, rows, cols)`` in 1/mm to ``(slices, views, bins)``,
    ``reconstruct`` back again.
    """

    def __init__(self, grid: ImageGrid, device: torch.device, window: str = "ramp") -> None:
        self.device = device
        geometry = parallel_geometry_for(
            grid, views_per_pixel=VIEWS_PER_PIXEL, fewest_views=FEWEST_VIEWS
        )
        self.projector = ParallelProjector(grid, geometry, device)
        self.reconstruct = FilteredBackProjection(self.projector, window)
