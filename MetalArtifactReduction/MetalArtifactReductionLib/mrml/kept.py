"""What a result in the scene keeps of its correction: original, metal, maps, facts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..errors import InputError
from .hierarchy import (
    CORRECTED_REFERENCE,
    INPUT_REFERENCE,
    METAL_REFERENCE,
    PREFIX,
    results_of,
)
from .volumes import view_of


def original_of(corrected: Any) -> Any:
    """The volume node that a result was made from.

    :raises InputError: not a result, or its original is gone.
    """
    if corrected is None:
        raise InputError("no result chosen: correct a CT first")
    original = corrected.GetNodeReference(INPUT_REFERENCE)
    if original is None:
        raise InputError(
            f"'{corrected.GetName()}' has lost its original: choose a result whose CT is here"
        )
    return original


def metal_of(corrected: Any) -> Any:
    """The metal segmentation that a result was corrected for, or None where it was removed."""
    return corrected.GetNodeReference(METAL_REFERENCE)


def result_of(scene: Any, corrected: Any, role: str) -> Any:
    """What else was made with a corrected volume (``"change"``, ``"table"``, ...), or None where
    it was not, or the user removed it.
    """
    nodes = results_of(scene, original_of(corrected), role)
    matching = (node for node in nodes if node.GetNodeReference(CORRECTED_REFERENCE) is corrected)
    return next(matching, None)


def expected_error_of(scene: Any, corrected: Any) -> Any:
    """The map of a corrected volume's expected error, or None where its method knows none."""
    return result_of(scene, corrected, "expected-error")


def expected_error_hu(scene: Any, corrected: Any) -> np.ndarray | None:
    """The expected error of a result, ``(slices, rows, cols)``; None where nobody knows it.

    On the grid of :func:`.results.corrected_volumes`; also None where the user changed the node's
    size.
    """
    node = expected_error_of(scene, corrected)
    if node is None:
        return None
    values = view_of(node).hu
    return values if values.shape == view_of(corrected).hu.shape else None


def parameters_of(corrected: Any) -> dict[str, Any]:
    """Everything needed to repeat a correction; empty if it was not kept."""
    return kept(corrected, "parameters")


def kept(node: Any, name: str) -> dict[str, Any]:
    """What an attribute of ours (without prefix) holds as JSON; empty if nothing."""
    try:
        found = json.loads(node.GetAttribute(PREFIX + name) or "{}")
    except ValueError:  # an attribute that somebody edited
        return {}
    return found if isinstance(found, dict) else {}
