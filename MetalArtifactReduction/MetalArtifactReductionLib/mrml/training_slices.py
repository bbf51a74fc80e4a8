"""Which slices a network is trained on when it learns from this patient alone, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..methods.trace_cnn.near_metal import NearMetalParameters, near_metal_slices
from .segmentations import fraction_from_node
from .volumes import volume_from_node


def describe_training_slices(metal: Any, volume_node: Any, above: int, below: int) -> str:
    """One line: the clean slices that are used, and the slices that hold metal.

    :param metal: segmentation node of the metal.
    :param above, below: how many are wanted beyond the ends of the metal.
    :raises InputError: too few clean slices; says what to do instead.
    """
    volume, turn = volume_from_node(volume_node).anatomical()
    fraction, count = turn(fraction_from_node(metal, volume_node)), len(volume.hu)
    parameters = NearMetalParameters(above=above, below=below)
    found = near_metal_slices(fraction, volume.hu, parameters)
    holds_metal = np.flatnonzero(fraction.reshape(len(fraction), -1).any(axis=1))
    chosen, with_metal = (np.sort(turn.slice_numbers(k, count)) for k in (found, holds_metal))
    return f"Slices {ranges(chosen)} (metal in {ranges(with_metal)})."


def ranges(indices: np.ndarray) -> str:
    """Whole numbers in ascending order as ranges: ``"3-7, 9"``."""
    runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs if len(run)
    )
