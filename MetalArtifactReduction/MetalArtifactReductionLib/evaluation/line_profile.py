"""HU along a straight line, and a line across the metal to begin with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..volume import CTVolume

MARGIN_MM = 50.0
"""How far the proposed line reaches beyond the metal on either side."""


@dataclass(frozen=True)
class Line:
    """A straight line in RAS, mm.

    :param start: ``(R, A, S)``.
    :param end: ``(R, A, S)``.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]

    @property
    def length_mm(self) -> float:
        """Distance from start to end."""
        return float(np.linalg.norm(np.subtract(self.end, self.start)))


def line_across_metal(
    volume: CTVolume, metal_fraction: np.ndarray, *, margin_mm: float = MARGIN_MM
) -> Line:
    """A line along the rows, through the metal of the slice that holds most of it.

    :param metal_fraction: 0..1 on the volume's grid.
    :param margin_mm: reach beyond the metal, cut at the image's border.
    :raises InputError: no metal.
    """
    amount = metal_fraction.reshape(len(metal_fraction), -1).sum(axis=1, dtype=np.float64)
    index = int(np.argmax(amount))
    if amount[index] <= 0:
        raise InputError("no metal to draw a line across; segment the metal first")
    layer = metal_fraction[index]
    labels, count = ndimage.label(layer > 0, structure=np.ones((3, 3)))
    sizes = ndimage.sum_labels(layer, labels, np.arange(1, count + 1))
    largest = labels == int(np.argmax(sizes)) + 1
    rows, cols = np.nonzero(largest)
    row = float(np.average(rows, weights=layer[largest]))
    margin = margin_mm / volume.spacing_mm[2]
    low = max(0.0, float(cols.min()) - margin)
    high = min(float(layer.shape[1] - 1), float(cols.max()) + margin)
    ends = (volume.ijk_to_ras @ np.array([[col, row, index, 1.0] for col in (low, high)]).T)[:3].T
    first, second = (tuple(map(float, end)) for end in ends)
    return Line((first[0], first[1], first[2]), (second[0], second[1], second[2]))


def profile_along(
    volume: CTVolume, line: Line, *, step_mm: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """HU along a line, linearly interpolated.

    :param step_mm: distance of the samples; default: half the smallest voxel size.
    :returns: distance from the start in mm, and HU; NaN outside the volume.
    :raises InputError: a line without length, or one that misses the volume.
    """
    length = line.length_mm
    if not length > 0:
        raise InputError("the line has no length; place its two ends apart")
    step = 0.5 * min(volume.spacing_mm) if step_mm is None else step_mm
    count = max(2, round(length / step) + 1)
    share = np.linspace(0.0, 1.0, count)
    ras = np.outer(1.0 - share, line.start) + np.outer(share, line.end)
    homogeneous = np.column_stack([ras, np.ones(count)])
    ijk = np.linalg.solve(volume.ijk_to_ras, homogeneous.T)[:3]
    # A line from border to border may leave the grid by rounding alone.
    last = np.array(volume.hu.shape)[:, None] - 1.0
    index, inside = ijk[::-1], np.clip(ijk[::-1], 0.0, last)
    index = np.where(np.abs(index - inside) < 1e-6, inside, index)
    hu: np.ndarray = ndimage.map_coordinates(
        volume.hu, index, output=np.float64, order=1, cval=np.nan, mode="constant"
    )
    if np.isnan(hu).all():
        raise InputError("the line lies outside the volume; place it across the metal")
    return share * length, hu
