"""A measured scan: line integrals, how they were measured, and the image that they become."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from .attenuation import MU_WATER_PER_MM
from .geometry import FanGeometry, ImageGrid, ParallelGeometry

HIGHEST_LINE_INTEGRAL = 100.0
"""No detector reads what is left of a beam that this stopped; behind thick metal there is 10-20."""

_BORDER_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class Scan:
    """A sinogram and all that is needed to reconstruct it.

    :param sinogram: line integrals ``(slices, views, bins)``, slices from the feet to the head.
    :param geometry: of all slices.
    :param grid: of the images, centred on the isocentre.
    :param mu_water_per_mm: attenuation of water that the line integrals were made with.
    :param slice_mm: distance between slices.
    :raises InputError: one line with what does not fit: shape, order of axes, angles, intensities.
    """

    sinogram: np.ndarray = field(repr=False)
    geometry: ParallelGeometry | FanGeometry
    grid: ImageGrid
    mu_water_per_mm: float = MU_WATER_PER_MM
    slice_mm: float = 1.0

    def __post_init__(self) -> None:
        """See the errors above."""
        _check_shape(self.sinogram.shape, self.geometry)
        _check_range(self.geometry, self.grid)
        _check_values(self.sinogram)
        for name in ("mu_water_per_mm", "slice_mm"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}; give a number above 0")

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """Affine ``(4, 4)`` of the images: the isocentre at 0, rows to the back, columns left."""
        row_mm, col_mm = self.grid.spacing_mm
        affine = np.diag([-col_mm, -row_mm, self.slice_mm, 1.0])
        affine[0, 3] = col_mm * (self.grid.cols - 1) / 2
        affine[1, 3] = row_mm * (self.grid.rows - 1) / 2
        return affine


def reach_mm(geometry: ParallelGeometry | FanGeometry) -> float:
    """Distance from the isocentre to the farthest ray."""
    if isinstance(geometry, ParallelGeometry):
        return float(np.abs(geometry.bin_positions_mm).max())
    fan = min(float(np.abs(geometry.fan_angles_rad).max()), math.pi / 2)
    return geometry.source_isocentre_mm * math.sin(fan)


def _check_shape(shape: tuple[int, ...], geometry: ParallelGeometry | FanGeometry) -> None:
    views, bins = geometry.views, geometry.bins
    if len(shape) == 3 and shape[1:] == (views, bins):
        return
    wanted = f"the geometry has {views} views of {bins} bins"
    if len(shape) != 3:
        raise InputError(
            f"the sinogram has shape {shape}; give (slices, {views}, {bins}): {wanted}"
        )
    if shape[1:] == (bins, views):
        raise InputError(
            f"the sinogram has shape {shape} but {wanted}: bins and views are exchanged; "
            "transpose the last two axes"
        )
    if (shape[0], shape[2]) == (views, bins) or sorted(shape[:2]) == sorted((views, bins)):
        raise InputError(
            f"the sinogram has shape {shape} but {wanted}: the slices are not its first axis; "
            "move that axis to the front"
        )
    raise InputError(
        f"the sinogram has shape {shape} but {wanted}; correct views and bins in the geometry"
    )


def _check_range(geometry: ParallelGeometry | FanGeometry, grid: ImageGrid) -> None:
    """The views are enough for the circle in the image, and no more than a turn."""
    degrees = math.degrees(geometry.range_rad)
    fan = 0.0
    if isinstance(geometry, FanGeometry):
        if not 0 < geometry.source_isocentre_mm < geometry.source_detector_mm:
            raise InputError(
                f"the source is {geometry.source_isocentre_mm:g} mm from the isocentre and "
                f"{geometry.source_detector_mm:g} mm from the detector; the second must be larger"
            )
        side = min(grid.rows * grid.spacing_mm[0], grid.cols * grid.spacing_mm[1])
        seen = min(side / 2, reach_mm(geometry), 0.999 * geometry.source_isocentre_mm)
        fan = 2 * math.degrees(math.asin(seen / geometry.source_isocentre_mm))
    if abs(degrees - 2 * math.pi) < 0.3 or abs(degrees - math.pi) < 0.15:
        raise InputError(
            f"the views cover {degrees:.4g} degrees: radians? give degrees, 360 or 180"
        )
    if degrees < 180 + fan - 360 / geometry.views - 1e-6:
        raise InputError(
            f"the views cover {degrees:.4g} degrees, the image needs {180 + fan:.4g} (half a turn "
            "and its fan): correct the range, or make the image smaller"
        )
    if geometry.range_rad > 100:
        raise InputError(f"range_rad is {geometry.range_rad:g}: degrees? give radians, 2 pi or pi")
    if degrees > 360 + 1e-6:
        raise InputError(f"the views cover {degrees:.4g} degrees; give the views of one turn")


def _check_values(sinogram: np.ndarray) -> None:
    """Finite line integrals, not intensities."""
    finite = np.isfinite(sinogram)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(
            f"the sinogram holds {int((~finite).sum())} NaN or infinite values, the first at slice,"
            f" view, bin {where}; where no photon was counted give the highest line integral"
        )
    highest = float(sinogram.max())
    if highest > HIGHEST_LINE_INTEGRAL:
        raise InputError(
            f"the sinogram's values go up to {highest:.4g}, line integrals do not: counts, or "
            "attenuation in other units? give -log(counts / counts in air)"
        )
    bins = sinogram.shape[2]
    edge = max(1, round(_BORDER_SHARE * bins))
    border = float(np.median(np.concatenate([sinogram[..., :edge], sinogram[..., -edge:]], axis=2)))
    middle = float(np.median(sinogram[..., bins // 3 : bins - bins // 3]))
    if highest <= 0 or border > 1.5 * middle:
        raise InputError(
            f"the sinogram has {border:.3g} at the detector's ends and {middle:.3g} in its middle: "
            "intensities? give line integrals, -log(intensity / intensity in air)"
        )
