"""A CT volume: Hounsfield units plus geometry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class CTVolume:
    """A CT volume whose first axis is the acquisition axis.

    :param hu: float32 array ``(slices, rows, cols)`` in Hounsfield units, C-contiguous.
    :param ijk_to_ras: float64 ``(4, 4)``; maps ``(col, row, slice, 1)`` to RAS in mm.
    :param source: where the volume came from and how to write it back (see ``VolumeSource``).
    """

    hu: np.ndarray
    ijk_to_ras: np.ndarray
    source: Any = field(default=None, compare=False)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size ``(slice, row, col)`` in mm: the array's own axis order."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(k), float(j), float(i)

    def with_hu(self, hu: np.ndarray) -> CTVolume:
        """The same geometry with other values (same shape; cast to float32)."""
        if hu.shape != self.hu.shape:
            raise ValueError(f"array of shape {hu.shape} does not fit a volume of {self.hu.shape}")
        return replace(self, hu=np.ascontiguousarray(hu, dtype=np.float32))
