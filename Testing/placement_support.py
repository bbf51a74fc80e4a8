"""How planned implants sit in a CT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.plan import PlannedImplant
from SimulateImplantsLib.placement.quality import PlacedItem, measure_placement


def grades(volume: CTVolume, item: PlannedImplant, *moves: Sequence[float]) -> list[str]:
    """In place, and moved along the implant's axes (mm)."""
    found = []
    for move in ((0.0, 0.0, 0.0), *moves):
        matrix = item.matrix.copy()
        matrix[:3, 3] += matrix[:3, :3] @ np.asarray(move)
        placed = PlacedItem(item.make(), matrix, "one")
        found.append(measure_placement([placed], Anatomy(volume), lambda i, j: True)[0].grade)
    return found
