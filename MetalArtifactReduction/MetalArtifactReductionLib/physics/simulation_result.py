"""What a simulation gives back; read without torch, where a user interface takes it over."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..volume import CTVolume


@dataclass(frozen=True)
class Sinograms:
    """Sinograms of the simulated slices, corrected line integrals, water ``MU_WATER_PER_MM``.

    :param slices: index of each slice in the volume, int ``(n,)``.
    :param corrupted: with implants, float32 ``(n, views, bins)``.
    :param reference: without metal, same shape, or None.
    :param metal_path_mm: path of each ray in metal, same shape.
    """

    slices: np.ndarray
    corrupted: np.ndarray
    reference: np.ndarray | None
    metal_path_mm: np.ndarray


@dataclass(frozen=True)
class SimulationResult:
    """What a simulation gives back; all arrays on the input's grid.

    :param corrupted: the implants as the simulated scanner shows them, with artifacts.
    :param ideal: the input with the implants' HU at the reference energy and no artifact, neither
        blurred nor noisy: the truth about what is where.
    :param reference: the same scan without metal (same noise numbers); implants that are none stay,
        as they should in a corrected image. Compare a correction with this one: against ``ideal``
        the scanner's own blur and noise would count as errors of the correction. None if it was
        not asked for.
    :param metal_fraction: share of each voxel that is metal (:attr:`Material.is_metal`), 0..1.
    :param labels: uint8, where implants take at least half of the voxel the 1-based index of the
        one with the largest share, else 0; ``parameters["implants"]`` says which is which.
    :param sinograms: if they were to be kept.
    :param parameters: everything needed to make the same again, of plain JSON types.
    """

    corrupted: CTVolume
    ideal: CTVolume
    reference: CTVolume | None
    metal_fraction: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    sinograms: Sinograms | None = field(repr=False)
    parameters: dict[str, Any] = field(repr=False)

    def parameters_json(self) -> str:
        """``parameters`` as JSON text."""
        return json.dumps(self.parameters, indent=2)
