"""What a result in the scene keeps of its correction besides the corrected volume."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .hierarchy import PREFIX
from .layout import expected_error_of
from .volumes import volume_from_node


def expected_error_hu(scene: Any, corrected: Any) -> np.ndarray | None:
    """The expected error of a result, ``(slices, rows, cols)``; None where nobody knows it.

    On the grid of :func:`corrected_volumes`; also None where the user changed the node's size.
    """
    node = expected_error_of(scene, corrected)
    if node is None:
        return None
    values = volume_from_node(node).hu
    return values if values.shape == volume_from_node(corrected).hu.shape else None


def parameters_of(corrected: Any) -> dict[str, object]:
    """Everything needed to repeat a correction; empty if it was not kept."""
    try:
        kept = json.loads(corrected.GetAttribute(PREFIX + "parameters") or "{}")
    except ValueError:  # an attribute that somebody edited
        return {}
    return kept if isinstance(kept, dict) else {}
