"""How far apart voxels are, also where the distance of slices changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..volume import CTVolume, Orientation, voxel_edges
from .judgement import Box, Spacing


@dataclass(frozen=True, eq=False)
class Distances:
    """Places along the axes of a volume in the anatomical orientation.

    :param spacing_mm: ``(slice, row, col)``, the mean ones.
    :param axis: along which the distance changes.
    :param centres_mm: of the slices along it, from the first; None where nothing changes.
    """

    spacing_mm: Spacing
    axis: int = 0
    centres_mm: np.ndarray | None = None

    @classmethod
    def of(cls, volume: CTVolume, turn: Orientation) -> Distances:
        """Of a volume that is turned."""
        slice_mm, row_mm, col_mm = (volume.spacing_mm[axis] for axis in turn.axes)
        spacing_mm = slice_mm, row_mm, col_mm
        if volume.uneven is None:
            return cls(spacing_mm)
        own, centres = volume.uneven
        axis = turn.axes.index(own)
        return cls(
            spacing_mm, axis, centres if turn.steps[axis] > 0 else centres[-1] - centres[::-1]
        )

    def near(self, box: Box) -> Spacing:
        """Mean size of the voxels in a box."""
        if self.centres_mm is None:
            return self.spacing_mm
        edges, along = voxel_edges(self.centres_mm), box[self.axis]
        sides = list(self.spacing_mm)
        sides[self.axis] = float(edges[along.stop] - edges[along.start]) / (
            along.stop - along.start
        )
        return sides[0], sides[1], sides[2]

    def volume_mm3(self, voxels: np.ndarray, box: Box) -> float:
        """Of the voxels in a box that are True."""
        if self.centres_mm is None:
            return int(voxels.sum()) * float(np.prod(self.spacing_mm))
        along = np.diff(voxel_edges(self.centres_mm))[box[self.axis]]
        others = tuple(axis for axis in range(3) if axis != self.axis)
        plane = float(np.prod([self.spacing_mm[axis] for axis in others]))
        return float(voxels.sum(axis=others) @ along) * plane

    def corners_mm(self, boxes: Sequence[Box]) -> tuple[np.ndarray, np.ndarray]:
        """Where boxes begin and end, each ``(boxes, 3)``."""
        low, high = (
            np.array([[getattr(side, end) for side in box] for box in boxes]) * self.spacing_mm
            for end in ("start", "stop")
        )
        if self.centres_mm is not None:
            edges = voxel_edges(self.centres_mm)
            low[:, self.axis] = [edges[box[self.axis].start] for box in boxes]
            high[:, self.axis] = [edges[box[self.axis].stop] for box in boxes]
        return low, high

    def even(self, index: np.ndarray) -> np.ndarray:
        """Indices ``(n, 3)`` as they were in an evenly spaced volume: what the affine takes."""
        if self.centres_mm is None:
            return index
        index = index.astype(float)
        index[:, self.axis] = (
            self.centres_mm[index[:, self.axis].astype(int)] / self.spacing_mm[self.axis]
        )
        return index
